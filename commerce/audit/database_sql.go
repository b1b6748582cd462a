package audit

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

// openSQL opens a database for reading alone: a SQLite file or a PostgreSQL URL.
// The error never has the password.
func openSQL(ctx context.Context, where string) (db *sql.DB, postgres bool, err error) {
	driver, source := "sqlite", ""
	if postgres = strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://"); postgres {
		driver, source = "pgx", where
	} else {
		path := strings.TrimPrefix(strings.TrimPrefix(where, "jdbc:"), "sqlite:")
		if _, err := os.Stat(path); err != nil {
			return nil, false, err
		}
		// A cache takes twice what it is told, outside of Go's sight, and each
		// connection has its own. What is read here is read once, in order.
		query := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "query_only(1)", "cache_size(-2048)"}}
		source = "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
	}
	if db, err = sql.Open(driver, source); err != nil {
		return nil, false, errors.New("it is no URL of PostgreSQL")
	}
	db.SetMaxOpenConns(3)
	if err := db.PingContext(ctx); err != nil {
		return nil, false, errors.Join(err, db.Close())
	}
	return db, postgres, nil
}

// SQLDatabase reads an order database. It changes nothing in it.
type SQLDatabase struct {
	db       *sql.DB
	postgres bool
	// The queries as this kind of database takes them.
	positions, last, orders, history, level, pending, topics, page, span string
}

// OpenDatabase opens the order database at a file path or a postgres:// URL. The
// caller closes it.
func OpenDatabase(ctx context.Context, where string) (*SQLDatabase, error) {
	db, postgres, err := openSQL(ctx, where)
	if err != nil {
		return nil, fmt.Errorf("order database: %w", err)
	}
	d := &SQLDatabase{db: db, postgres: postgres}
	schema, among, one, two, three := "", "IN (SELECT value FROM json_each(?))", "?", "?", "?"
	if postgres {
		schema, among, one, two, three = "comptoir.", "IN (SELECT jsonb_array_elements_text($1::jsonb))", "$1", "$2", "$3"
	}
	query := strings.NewReplacer("{s}", schema, "{among}", among, "{1}", one, "{2}", two, "{3}", three).Replace
	d.positions = query(`SELECT topic, partition, next FROM {s}positions`)
	d.last = query(`SELECT coalesce(max(number), 0) FROM {s}orders`)
	orders := `SELECT number, id, state, client, CASE WHEN reason_of = state THEN reason ELSE '' END, invoice, alerts, digest, at FROM {s}orders `
	d.orders = query(orders + `WHERE id {among}`)
	d.topics = query(`SELECT id, name FROM {s}topics`)
	d.page = query(orders + `WHERE number > {1} AND number <= {2} ORDER BY number LIMIT {3}`)
	d.span = query(`SELECT number, entries FROM {s}history WHERE number > {1} AND number <= {2}`)
	d.history = query(`SELECT o.id, h.entries FROM {s}orders o JOIN {s}history h ON h.number = o.number WHERE o.id {among}`)
	d.level = query(`SELECT available, reserved FROM {s}products WHERE id = {1}`)
	d.pending = query(`SELECT count(*), coalesce(min(at), 0) FROM {s}outbox WHERE sent IS NULL`)
	if _, _, err := d.Pending(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("it is no order database that this program knows: %w", err), db.Close())
	}
	return d, nil
}

// Close ends the connections.
func (d *SQLDatabase) Close() error { return d.db.Close() }

// each calls f for each row of a query.
func each(ctx context.Context, q interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, f func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	for err == nil && rows.Next() {
		err = f(rows)
	}
	return errors.Join(err, rows.Err(), rows.Close())
}

// Positions implements Database.
func (d *SQLDatabase) Positions(ctx context.Context) (map[orderdb.Partition]int64, error) {
	positions := map[orderdb.Partition]int64{}
	err := each(ctx, d.db, func(rows *sql.Rows) error {
		var p orderdb.Partition
		var next int64
		err := rows.Scan(&p.Topic, &p.Partition, &next)
		positions[p] = next
		return err
	}, d.positions)
	if err != nil {
		return nil, fmt.Errorf("order database: positions: %w", err)
	}
	return positions, nil
}

// Rows implements Database.
func (d *SQLDatabase) Rows(ctx context.Context, ids []string, f func(Row), entry func(string, string, int32, int64)) error {
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	tx, err := d.begin(ctx)
	if err != nil {
		return fmt.Errorf("order database: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	if err := each(ctx, tx, func(rows *sql.Rows) error {
		var number int64
		r, err := scanRow(rows.Scan, &number)
		if err != nil {
			return err
		}
		f(r)
		return nil
	}, d.orders, string(list)); err != nil {
		return fmt.Errorf("order database: orders: %w", err)
	}
	topics, err := d.topicNames(ctx, tx)
	if err != nil {
		return fmt.Errorf("order database: topics: %w", err)
	}
	if err := each(ctx, tx, func(rows *sql.Rows) error {
		var id string
		var part []byte
		if err := rows.Scan(&id, &part); err != nil {
			return err
		}
		return eachEntry(part, func(topic uint32, partition int32, offset int64) { entry(id, topics[topic], partition, offset) })
	}, d.history, string(list)); err != nil {
		return fmt.Errorf("order database: timelines: %w", err)
	}
	return nil
}

// begin opens a transaction that sees one moment.
func (d *SQLDatabase) begin(ctx context.Context) (*sql.Tx, error) {
	var how sql.TxOptions // SQLite sees one moment in any transaction
	if d.postgres {
		how = sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return d.db.BeginTx(ctx, &how)
}

func (d *SQLDatabase) topicNames(ctx context.Context, tx *sql.Tx) (map[uint32]string, error) {
	topics := map[uint32]string{}
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var id uint32
		var name string
		err := rows.Scan(&id, &name)
		topics[id] = name
		return err
	}, d.topics)
	return topics, err
}

// eachEntry calls f for each entry of a part of a timeline: time (8 bytes), topic
// (4), partition (4) and offset (8), big-endian.
func eachEntry(part []byte, f func(topic uint32, partition int32, offset int64)) error {
	const size = 24
	for ; len(part) >= size; part = part[size:] {
		f(binary.BigEndian.Uint32(part[8:]), int32(binary.BigEndian.Uint32(part[12:])), int64(binary.BigEndian.Uint64(part[16:])))
	}
	if len(part) > 0 {
		return fmt.Errorf("a damaged entry of %d bytes", len(part))
	}
	return nil
}

// alertsAgainst reads the codes against one content from what is stored of all
// contents of an order. A content is named by its digest, by where its record
// stands, or by both to say that they are the same. What cannot be read is
// returned as one code that is none.
func alertsAgainst(stored, digest string) (found []string) {
	var said []struct {
		Digest, Origin string
		Codes          []string
	}
	if stored == "" {
		return nil
	}
	if json.Unmarshal([]byte(stored), &said) != nil {
		return []string{stored}
	}
	at := map[string]bool{}
	for _, s := range said {
		if s.Digest == digest && s.Origin != "" {
			at[s.Origin] = true
		}
	}
	for _, s := range said {
		if s.Digest == digest || s.Digest == "" && at[s.Origin] {
			found = append(found, s.Codes...)
		}
	}
	return found
}

// Level implements Database.
func (d *SQLDatabase) Level(ctx context.Context, product string) (available, reserved int64, ok bool, err error) {
	err = d.db.QueryRowContext(ctx, d.level, product).Scan(&available, &reserved)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("order database: stock: %w", err)
	}
	return available, reserved, true, nil
}

// Pending implements Database.
func (d *SQLDatabase) Pending(ctx context.Context) (n int64, oldest time.Time, err error) {
	var at int64
	if err = d.db.QueryRowContext(ctx, d.pending).Scan(&n, &at); err != nil {
		return 0, time.Time{}, fmt.Errorf("order database: outbox: %w", err)
	}
	return n, time.UnixMilli(at), nil
}
