package orderdb

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// An order database and a Kafka cluster go together: what was sent to one
// cluster is not sent to another, and timelines are of topics of that one. So the
// database keeps the cluster's id, in meta.
const clusterName = "cluster"

func (d *sqliteDB) Cluster(ctx context.Context, id string, adopt bool) (bound string, err error) {
	err = d.do(ctx, &task{durable: true, run: func(w *sqliteWriter) error {
		const keep = `INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO `
		query := keep + `NOTHING`
		if adopt {
			query = keep + `UPDATE SET value = excluded.value`
		}
		if _, err := w.conn.ExecContext(w.ctx, query, clusterName, id); err != nil {
			return err
		}
		return w.conn.QueryRowContext(w.ctx, `SELECT value FROM meta WHERE name = ?`, clusterName).Scan(&bound)
	}})
	return bound, err
}

func (d *postgresDB) Cluster(ctx context.Context, id string, adopt bool) (bound string, err error) {
	err = d.transaction(ctx, writeTime, func(ctx context.Context, tx pgx.Tx) error {
		const keep = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO `
		query := keep + `NOTHING`
		if adopt {
			query = keep + `UPDATE SET value = excluded.value`
		}
		if _, err := tx.Exec(ctx, query, clusterName, id); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT value FROM meta WHERE name = $1`, clusterName).Scan(&bound)
	})
	return bound, err
}
