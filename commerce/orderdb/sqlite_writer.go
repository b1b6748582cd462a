package orderdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// task is a write other than Submit. It has a transaction of its own.
type task struct {
	kind string // of its metrics, empty for none
	size int
	run  func(*sqliteWriter) error
	// durable says that nobody does it again after a power cut.
	durable bool
	done    chan error // has room for the result
}

// do has the writer execute a task.
func (d *sqliteDB) do(ctx context.Context, t *task) error {
	t.done = make(chan error, 1)
	if d.closing.Err() != nil {
		return unavailable(errClosed)
	}
	select {
	case d.tasks <- t:
	case <-ctx.Done():
		return unavailable(fmt.Errorf("gave up waiting, nothing was done: %w", ctx.Err()))
	case <-d.closing.Done():
		return unavailable(errClosed)
	}
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
		return unavailable(fmt.Errorf("gave up waiting, the outcome is unknown: %w", ctx.Err()))
	}
}

// work is the goroutine that writes. Submissions go first, since somebody waits
// for each; but after a batch of them one task has its turn.
func (d *sqliteDB) work(w *sqliteWriter) {
	defer w.close()
	idle := time.NewTimer(recentLasts)
	defer idle.Stop()
	for ; ; idle.Reset(recentLasts) {
		var t *task
		select {
		case <-idle.C:
			w.orders.clear()
			continue
		case <-d.closing.Done():
			d.queue.close()
			return
		case <-d.queue.ready:
			d.submitted(w, d.queue.take())
			select {
			case t = <-d.tasks:
			default:
				continue
			}
		case t = <-d.tasks:
			d.submitted(w, d.queue.take())
		}
		began := time.Now()
		// Whatever a power cut takes of most is done again: positions are in the
		// same transaction, a message marked twice is sent twice at worst. The log
		// keeps the order of transactions, so a submission's sync covers them too.
		err := w.transaction(t.durable, func() error { return t.run(w) })
		d.m.done(t.kind, t.size, began, err)
		t.done <- err
	}
}

// submitted executes a batch of submissions.
func (d *sqliteDB) submitted(w *sqliteWriter, jobs []*job) {
	if len(jobs) == 0 {
		return
	}
	var sends atomic.Bool
	together(jobs, func(jobs []*job) (outs []Outcome, err error) {
		began := time.Now()
		err = w.transaction(true, func() error {
			var b *submissions
			b, outs, err = w.submit(jobs)
			if err == nil && len(b.messages) > 0 {
				sends.Store(true)
			}
			return err
		})
		d.m.done(kindSubmit, len(jobs), began, err)
		return outs, err
	})
	if sends.Load() {
		d.woken.wake()
	}
}

// sqliteWriter is the one connection that writes, with its prepared statements.
// Statements get no context: a transaction is ended or undone, not interrupted.
type sqliteWriter struct {
	ctx    context.Context
	conn   *sql.Conn
	shards int
	synced bool             // synchronous is FULL
	topics map[string]int64 // their numbers; empty if not read yet
	all    []*sql.Stmt
	// What the database has of orders touched last, and all positions, nil if they
	// are not read yet. We are the only one who writes.
	orders    recent[event.ID, *record]
	positions map[Partition]Position

	begin, commit, rollback, full, normal               *sql.Stmt
	key, orderRow, orderRows, contents, product         *sql.Stmt
	updateOrder, moveOrder, turnOrder, lastOrder        *sql.Stmt
	putProduct, sent                                    *sql.Stmt
	newOrders, newContents, newParts, messages, newKeys *inserter
	putLevels, putPositions                             *inserter
	inserters                                           []*inserter
}

func newSQLiteWriter(ctx context.Context, conn *sql.Conn, shards int) (*sqliteWriter, error) {
	w := &sqliteWriter{ctx: context.WithoutCancel(ctx), conn: conn, shards: shards, topics: make(map[string]int64)}
	// The log is copied into the file after so many pages (64 MB), not more often:
	// that takes two syncs while submissions wait, and a page that changes often
	// is copied once.
	if _, err := conn.ExecContext(ctx, `PRAGMA wal_autocheckpoint = 16000`); err != nil {
		return nil, err
	}
	var err error
	prepare := func(query string) *sql.Stmt {
		if err != nil {
			return nil
		}
		var s *sql.Stmt
		if s, err = conn.PrepareContext(ctx, query); err != nil {
			err = fmt.Errorf("prepare %q: %w", query, err)
			return nil
		}
		w.all = append(w.all, s)
		return s
	}
	inserter := func(head string, columns int, tail string) *inserter {
		in := newInserter(prepare, head, columns, tail)
		w.inserters = append(w.inserters, in)
		return in
	}
	w.begin, w.commit, w.rollback = prepare(`BEGIN IMMEDIATE`), prepare(`COMMIT`), prepare(`ROLLBACK`)
	w.full, w.normal = prepare(`PRAGMA synchronous = FULL`), prepare(`PRAGMA synchronous = NORMAL`)
	w.key = prepare(`SELECT fingerprint, at, status, location, body FROM keys WHERE key = ?`)
	const orders = `SELECT id, number, state, evidence, rejected, digest, refused, client, at, reason, reason_of, invoice, alerts, updated, changes
		FROM orders WHERE id IN (?`
	w.orderRow, w.orderRows = prepare(orders+`)`), prepare(orders+strings.Repeat(`, ?`, rowsTogether-1)+`)`)
	w.contents = prepare(`SELECT digest, client, at, refused, value IS NOT NULL FROM contents WHERE number = ?`)
	w.product = prepare(`SELECT catalogued, name, price, available, reserved FROM products WHERE id = ?`)
	w.lastOrder = prepare(`SELECT coalesce(max(number), 0) FROM orders`)
	const set = `UPDATE orders SET evidence = ?, rejected = ?, digest = ?, refused = ?, at = ?, reason = ?, reason_of = ?,
		invoice = ?, alerts = ?, updated = ?, changes = ?`
	w.updateOrder = prepare(set + ` WHERE number = ?`)
	w.moveOrder = prepare(set + `, state = ? WHERE number = ?`)
	w.turnOrder = prepare(set + `, state = ?, client = ? WHERE number = ?`)
	w.putProduct = prepare(`INSERT OR REPLACE INTO products (id, catalogued, name, price, available, reserved) VALUES (?, ?, ?, ?, ?, ?)`)
	w.sent = prepare(`UPDATE outbox SET sent = ? WHERE number = ? AND sent IS NULL`)
	// OR FAIL: a statement that fails undoes the whole transaction anyway, so
	// SQLite need not keep what each one changes.
	w.newOrders = inserter(`INSERT OR FAIL INTO orders (number, id, state, evidence, rejected, digest, refused, client, at, reason, reason_of, invoice,
		alerts, updated, changes) VALUES`, 15, ``)
	w.newContents = inserter(`INSERT OR FAIL INTO contents (number, digest, client, at, refused, value) VALUES`, 6,
		` ON CONFLICT DO UPDATE SET refused = excluded.refused, value = coalesce(value, excluded.value)`)
	w.newParts = inserter(`INSERT OR FAIL INTO history (number, part, last, entries, verdict) VALUES`, 5, ``)
	w.putLevels = inserter(`INSERT OR FAIL INTO products (id, name, available, reserved, catalogued) VALUES`, 5, ` ON CONFLICT DO UPDATE SET
		name = CASE WHEN name = '' THEN excluded.name ELSE name END, available = excluded.available, reserved = excluded.reserved`)
	w.putPositions = inserter(`INSERT OR REPLACE INTO positions (topic, partition, topic_id, next) VALUES`, 4, ``)
	w.messages = inserter(`INSERT OR FAIL INTO outbox (shard, topic, key, value, headers, at) VALUES`, 6, ``)
	w.newKeys = inserter(`INSERT OR REPLACE INTO keys (key, fingerprint, at, status, location, body) VALUES`, 6, ``)
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *sqliteWriter) close() {
	for _, s := range w.all {
		_ = s.Close() // everything of worth is committed
	}
	_ = w.conn.Close()
}

// transaction runs f in a transaction that is on disk when it returns if durable,
// and otherwise with the next that is.
func (w *sqliteWriter) transaction(durable bool, f func() error) error {
	if durable != w.synced {
		mode := w.normal
		if durable {
			mode = w.full
		}
		if _, err := mode.ExecContext(w.ctx); err != nil {
			return classifySQLite(err)
		}
		w.synced = durable
	}
	if _, err := w.begin.ExecContext(w.ctx); err != nil {
		return classifySQLite(err)
	}
	err := f()
	if err == nil {
		_, err = w.commit.ExecContext(w.ctx)
	}
	if err != nil {
		for _, in := range w.inserters {
			in.drop()
		}
		clear(w.topics)  // some may be undone too: read them again
		w.orders.clear() // what is kept may differ from the database
		w.positions = nil
		_, _ = w.rollback.ExecContext(w.ctx) // SQLite may have done so itself
	}
	return classifySQLite(err)
}

// loadTopics reads the numbers of topics.
func (w *sqliteWriter) loadTopics() error {
	rows, err := w.conn.QueryContext(w.ctx, `SELECT name, id FROM topics`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		var id int64
		if err := rows.Scan(&name, &id); err != nil {
			return err
		}
		w.topics[name] = id
	}
	return rows.Err()
}

// inserter gathers rows of a table and writes several with one statement, whose
// cost is by the statement as much as by the row.
type inserter struct {
	one, many *sql.Stmt
	columns   int
	args      []any
}

const rowsTogether = 32

func newInserter(prepare func(string) *sql.Stmt, head string, columns int, tail string) *inserter {
	row := []byte{'('}
	for range columns {
		row = append(row, '?', ',')
	}
	row[len(row)-1] = ')'
	query := []byte(head)
	for i := range rowsTogether {
		if i > 0 {
			query = append(query, ',')
		}
		query = append(query, row...)
	}
	return &inserter{one: prepare(head + string(row) + tail), many: prepare(string(query) + tail), columns: columns}
}

func (in *inserter) add(ctx context.Context, args ...any) error {
	in.args = append(in.args, args...)
	if len(in.args) < rowsTogether*in.columns {
		return nil
	}
	_, err := in.many.ExecContext(ctx, in.args...)
	in.drop()
	return err
}

func (in *inserter) flush(ctx context.Context) error {
	defer in.drop()
	for i := 0; i < len(in.args); i += in.columns {
		if _, err := in.one.ExecContext(ctx, in.args[i:i+in.columns]...); err != nil {
			return err
		}
	}
	return nil
}

func (in *inserter) drop() {
	clear(in.args)
	in.args = in.args[:0]
}

// none says whether a row is absent, which is no error.
func none(err error) (bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return false, err
}
