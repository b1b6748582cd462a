package orderdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/commerce/event"
)

// postgresRows collects the rows of a query.
func postgresRows[T any](ctx context.Context, d *postgresDB, scan func(scan func(...any) error) (T, error), query string, args ...any) (out []T, err error) {
	if d.closing.Err() != nil {
		return nil, unavailable(errClosed)
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	rows, err := d.pool.Query(ctx, query, args...)
	err = eachRow(rows, err, func() error {
		v, err := scan(rows.Scan)
		out = append(out, v)
		return err
	})
	return out, classifyPostgres(err)
}

// postgresRow reads the one row of a query; ok is false if there is none.
func postgresRow[T any](ctx context.Context, d *postgresDB, scan func(scan func(...any) error) (T, error), query string, args ...any) (v T, ok bool, err error) {
	if d.closing.Err() != nil {
		return v, false, unavailable(errClosed)
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	v, err = scan(d.pool.QueryRow(ctx, query, args...).Scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, false, nil
	}
	return v, err == nil, classifyPostgres(err)
}

func (d *postgresDB) Answer(ctx context.Context, key string) (Answered, bool, error) {
	k, ok, err := postgresRow(ctx, d, func(scan func(...any) error) (k keyRow, err error) {
		var fingerprint []byte
		err = scan(&fingerprint, &k.at, &k.Answer.Status, &k.Answer.Location, &k.Answer.Body)
		copy(k.Fingerprint[:], fingerprint)
		return k, err
	}, `SELECT fingerprint, at, status, location, body FROM keys WHERE key = $1`, []byte(key))
	if !ok || !k.live(now()) {
		return Answered{}, false, err
	}
	return k.Answered, true, nil
}

const postgresOrders = `SELECT o.number, o.id, o.state, o.digest, o.client, o.at, o.reason, o.reason_of, o.invoice, o.alerts,
	CASE WHEN o.updated > 0 OR o.digest IS NOT NULL AND NOT o.refused THEN greatest(o.updated, o.at)
		ELSE (SELECT coalesce(max(last), o.at) FROM history WHERE number = o.number) END, o.changes,
	c.value, (SELECT verdict FROM history WHERE number = o.number AND verdict IS NOT NULL ORDER BY part DESC LIMIT 1) FROM orders o
	LEFT JOIN contents c ON c.number = o.number AND c.digest = o.digest`

func (d *postgresDB) Order(ctx context.Context, id event.ID) (Order, bool, error) {
	return postgresRow(ctx, d, scanOrder, postgresOrders+` WHERE o.id = $1`, string(id))
}

func (d *postgresDB) Orders(ctx context.Context, f Filter) ([]Order, error) {
	var where []string
	var args []any
	add := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if f.Client != "" {
		add(`o.client = $%d`, string(f.Client))
	}
	if f.State != Unknown {
		add(`o.state = $%d`, int16(f.State))
	}
	if f.Before > 0 {
		add(`o.number < $%d`, f.Before)
	}
	query := postgresOrders
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, ` AND `)
	}
	args = append(args, f.Limit)
	return postgresRows(ctx, d, scanOrder, fmt.Sprintf(`%s ORDER BY o.number DESC LIMIT $%d`, query, len(args)), args...)
}

func (d *postgresDB) Timeline(ctx context.Context, id event.ID) ([]Entry, error) {
	var entries []entry
	_, err := postgresRows(ctx, d, func(scan func(...any) error) (none struct{}, err error) {
		var stored []byte
		if err = scan(&stored); err == nil {
			entries, err = parseEntries(entries, stored)
		}
		return none, err
	}, `SELECT h.entries FROM orders o JOIN history h ON h.number = o.number WHERE o.id = $1`, string(id))
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	// Read after the entries: it has all their topics.
	names := make(map[int64]string)
	if _, err := postgresRows(ctx, d, func(scan func(...any) error) (none struct{}, err error) {
		return none, scanTopic(scan, names)
	}, `SELECT id, name FROM topics`); err != nil {
		return nil, err
	}
	return timeline(entries, names), nil
}

func (d *postgresDB) Changes(ctx context.Context, ids []event.ID) (map[event.ID]int64, error) {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	out := make(map[event.ID]int64, len(ids))
	_, err := postgresRows(ctx, d, func(scan func(...any) error) (none struct{}, err error) {
		var id event.ID
		var n int64
		err = scan(&id, &n)
		out[id] = n
		return none, err
	}, `SELECT id, changes FROM orders WHERE id = ANY($1)`, names)
	return out, err
}

const postgresProducts = `SELECT id, name, price, available, reserved FROM products`

func (d *postgresDB) Product(ctx context.Context, id event.ID) (Product, bool, error) {
	return postgresRow(ctx, d, scanProduct, postgresProducts+` WHERE id = $1`, string(id))
}

func (d *postgresDB) Products(ctx context.Context, after event.ID, limit int) ([]Product, error) {
	return postgresRows(ctx, d, scanProduct, postgresProducts+` WHERE id > $1 ORDER BY id LIMIT $2`, string(after), limit)
}

func (d *postgresDB) Unsent(ctx context.Context, limits map[int]int) (map[int][]Message, error) {
	var shards, most []int32
	for shard, limit := range limits {
		shards, most = append(shards, int32(shard)), append(most, int32(limit))
	}
	unsent := make(map[int][]Message, len(limits))
	_, err := postgresRows(ctx, d, func(scan func(...any) error) (none struct{}, err error) {
		var shard int
		m, err := scanMessage(func(into ...any) error { return scan(append([]any{&shard}, into...)...) })
		unsent[shard] = append(unsent[shard], m)
		return none, err
	}, `SELECT s.shard, o.* FROM unnest($1::int[], $2::int[]) AS s(shard, most) CROSS JOIN LATERAL (
			SELECT number, topic, key, value, headers, at FROM outbox
			WHERE outbox.shard = s.shard AND sent IS NULL ORDER BY number LIMIT s.most) AS o ORDER BY o.number`, shards, most)
	if err != nil {
		return nil, err
	}
	return unsent, nil
}

func (d *postgresDB) Pending(ctx context.Context) (n int64, oldest time.Time, err error) {
	n, _, err = postgresRow(ctx, d, func(scan func(...any) error) (n int64, err error) {
		var at *int64
		if err = scan(&n, &at); err == nil && at != nil {
			oldest = millis(*at)
		}
		return n, err
	}, `SELECT p.n, o.at FROM (SELECT count(*) AS n, min(number) AS first FROM outbox WHERE sent IS NULL) p LEFT JOIN outbox o ON o.number = p.first`)
	return n, oldest, err
}

func (d *postgresDB) Positions(ctx context.Context) (map[Partition]Position, error) {
	out := make(map[Partition]Position)
	_, err := postgresRows(ctx, d, func(scan func(...any) error) (none struct{}, err error) {
		return none, scanPosition(scan, out)
	}, allPositions)
	return out, err
}
