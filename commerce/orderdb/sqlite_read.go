package orderdb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// sqliteReads are the queries that many ask for.
type sqliteReads struct {
	order, history, topics, changes, key *sql.Stmt
}

const sqliteOrders = `SELECT o.number, o.id, o.state, o.digest, o.client, o.at, o.reason, o.reason_of, o.invoice, o.alerts,
	CASE WHEN o.updated > 0 OR o.digest IS NOT NULL AND NOT o.refused THEN max(o.updated, o.at)
		ELSE (SELECT coalesce(max(last), o.at) FROM history WHERE number = o.number) END, o.changes,
	c.value, (SELECT verdict FROM history WHERE number = o.number AND verdict IS NOT NULL ORDER BY part DESC LIMIT 1) FROM orders o
	LEFT JOIN contents c ON c.number = o.number AND c.digest = o.digest`

func (r *sqliteReads) prepare(ctx context.Context, db *sql.DB) (err error) {
	for query, to := range map[string]**sql.Stmt{
		sqliteOrders + ` WHERE o.id = ?`: &r.order,
		`SELECT h.entries FROM orders o JOIN history h ON h.number = o.number WHERE o.id = ?`: &r.history,
		`SELECT id, name FROM topics`: &r.topics,
		`SELECT id, changes FROM orders WHERE id IN (SELECT value FROM json_each(?))`: &r.changes,
		`SELECT fingerprint, at, status, location, body FROM keys WHERE key = ?`:      &r.key,
	} {
		if *to, err = db.PrepareContext(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

func (d *sqliteDB) Answer(ctx context.Context, key string) (Answered, bool, error) {
	k, err := scanKey(d.reads.key.QueryRowContext(ctx, []byte(key)))
	if err != nil || k == nil || !k.live(now()) {
		return Answered{}, false, classifySQLite(err)
	}
	return k.Answered, true, nil
}

// scanOrder reads a row of sqliteOrders or postgresOrders.
func scanOrder(scan func(...any) error) (Order, error) {
	var (
		o           Order
		digest      []byte
		at, updated int64
		reasonOf    State
		alerts      string
	)
	if err := scan(&o.Number, &o.ID, &o.State, &digest, &o.Client, &at, &o.Reason, &reasonOf, &o.Invoice, &alerts, &updated, &o.Changes,
		&o.Value, &o.Verdict); err != nil {
		return Order{}, err
	}
	copy(o.Digest[:], digest)
	o.At, o.Updated = millis(at), millis(updated)
	o.Reason = shownReason(o.Reason, reasonOf, o.State)
	if digest == nil {
		return o, nil
	}
	said, err := decodeAlerts(alerts)
	if err != nil {
		return Order{}, err
	}
	var last int64
	o.Alerts, last = said.against(o.Digest)
	o.Updated = millis(max(updated, last))
	return o, nil
}

func (d *sqliteDB) Order(ctx context.Context, id event.ID) (Order, bool, error) {
	o, err := scanOrder(d.reads.order.QueryRowContext(ctx, string(id)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Order{}, false, nil
	}
	return o, err == nil, classifySQLite(err)
}

func (d *sqliteDB) Orders(ctx context.Context, f Filter) ([]Order, error) {
	var where []string
	var args []any
	if f.Client != "" {
		where, args = append(where, `o.client = ?`), append(args, string(f.Client))
	}
	if f.State != Unknown {
		condition := `o.state = ?`
		if f.Client != "" {
			condition = `+o.state = ?` // a client's orders are fewer: leave the index to it
		}
		where, args = append(where, condition), append(args, int64(f.State))
	}
	if f.Before > 0 {
		where, args = append(where, `o.number < ?`), append(args, f.Before)
	}
	query := sqliteOrders
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, ` AND `)
	}
	return sqliteRows(ctx, d.read, scanOrder,
		query+` ORDER BY o.number DESC LIMIT ?`, append(args, f.Limit)...)
}

// sqliteRows collects the rows of a query.
func sqliteRows[T any](ctx context.Context, db *sql.DB, scan func(scan func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	return collect(rows, err, scan)
}

func collect[T any](rows *sql.Rows, err error, scan func(scan func(...any) error) (T, error)) (out []T, _ error) {
	if err != nil {
		return nil, classifySQLite(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, classifySQLite(err)
		}
		out = append(out, v)
	}
	return out, classifySQLite(rows.Err())
}

func (d *sqliteDB) Timeline(ctx context.Context, id event.ID) ([]Entry, error) {
	rows, err := d.reads.history.QueryContext(ctx, string(id))
	var entries []entry
	if _, err := collect(rows, err, func(scan func(...any) error) (none struct{}, err error) {
		var stored []byte
		if err = scan(&stored); err == nil {
			entries, err = parseEntries(entries, stored)
		}
		return none, err
	}); err != nil || len(entries) == 0 {
		return nil, err
	}
	// Read after the entries: it has all their topics.
	names := make(map[int64]string)
	rows, err = d.reads.topics.QueryContext(ctx)
	if _, err := collect(rows, err, func(scan func(...any) error) (none struct{}, err error) {
		return none, scanTopic(scan, names)
	}); err != nil {
		return nil, err
	}
	return timeline(entries, names), nil
}

func scanTopic(scan func(...any) error, into map[int64]string) error {
	var id int64
	var name string
	err := scan(&id, &name)
	into[id] = name
	return err
}

func (d *sqliteDB) Changes(ctx context.Context, ids []event.ID) (map[event.ID]int64, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	rows, err := d.reads.changes.QueryContext(ctx, string(list))
	type change struct {
		id event.ID
		n  int64
	}
	all, err := collect(rows, err, func(scan func(...any) error) (c change, err error) {
		err = scan(&c.id, &c.n)
		return c, err
	})
	out := make(map[event.ID]int64, len(all))
	for _, c := range all {
		out[c.id] = c.n
	}
	return out, err
}

const sqliteProducts = `SELECT id, name, price, available, reserved FROM products`

func scanProduct(scan func(...any) error) (p Product, err error) {
	var price *int64
	if err = scan(&p.ID, &p.Name, &price, &p.Available, &p.Reserved); err == nil && price != nil {
		p.Price, p.HasPrice = event.Amount(*price), true
	}
	return p, err
}

func (d *sqliteDB) Product(ctx context.Context, id event.ID) (Product, bool, error) {
	p, err := scanProduct(d.read.QueryRowContext(ctx, sqliteProducts+` WHERE id = ?`, string(id)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Product{}, false, nil
	}
	return p, err == nil, classifySQLite(err)
}

func (d *sqliteDB) Products(ctx context.Context, after event.ID, limit int) ([]Product, error) {
	return sqliteRows(ctx, d.read, scanProduct,
		sqliteProducts+` WHERE id > ? ORDER BY id LIMIT ?`, string(after), limit)
}

func (d *sqliteDB) Unsent(ctx context.Context, limits map[int]int) (map[int][]Message, error) {
	unsent := make(map[int][]Message, len(limits))
	for shard, limit := range limits {
		var err error
		unsent[shard], err = sqliteRows(ctx, d.read, scanMessage,
			`SELECT number, topic, key, value, headers, at FROM outbox INDEXED BY outbox_unsent WHERE shard = ? AND sent IS NULL ORDER BY number LIMIT ?`,
			shard, limit)
		if err != nil {
			return nil, err
		}
	}
	return unsent, nil
}

func scanMessage(scan func(...any) error) (m Message, err error) {
	var headers []byte
	var at int64
	if err = scan(&m.Number, &m.Topic, &m.Key, &m.Value, &headers, &at); err != nil {
		return m, err
	}
	m.At = millis(at)
	m.Headers, err = parseHeaders(headers)
	return m, err
}

func (d *sqliteDB) Pending(ctx context.Context) (n int64, oldest time.Time, err error) {
	var at sql.NullInt64
	err = d.read.QueryRowContext(ctx, `SELECT p.n, o.at FROM (SELECT count(*) AS n, min(number) AS first FROM outbox INDEXED BY outbox_unsent
		WHERE sent IS NULL) p LEFT JOIN outbox o ON o.number = p.first`).Scan(&n, &at)
	return n, millis(at.Int64), classifySQLite(err)
}

const allPositions = `SELECT topic, partition, topic_id, next FROM positions`

func (d *sqliteDB) Positions(ctx context.Context) (map[Partition]Position, error) {
	out := make(map[Partition]Position)
	_, err := sqliteRows(ctx, d.read, func(scan func(...any) error) (none struct{}, err error) {
		return none, scanPosition(scan, out)
	}, allPositions)
	return out, err
}
