package orderdb

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

func (d *sqliteDB) Submit(ctx context.Context, s Submission) (Outcome, error) {
	return d.queue.submit(ctx, &s)
}

// submit loads what the jobs touch, decides, and writes.
func (w *sqliteWriter) submit(jobs []*job) (*submissions, []Outcome, error) {
	b := &submissions{shards: w.shards, keys: make(map[string]*keyRow), orders: make(map[event.ID]*record), products: make(map[event.ID]*productRow)}
	outs := make([]Outcome, 0, len(jobs))
	for _, j := range jobs {
		if err := w.load(b, j.s); err != nil {
			return nil, nil, err
		}
		outs = append(outs, b.decide(j.s))
	}
	if err := w.saveOrders(b.touched); err != nil {
		return nil, nil, err
	}
	for _, p := range b.changed {
		if err := w.saveProduct(p); err != nil {
			return nil, nil, err
		}
	}
	for _, m := range b.messages {
		if err := w.messages.add(w.ctx, shardOf(m.Key, w.shards), m.Topic, m.Key, m.Value, appendHeaders(nil, m.Headers), toMillis(m.At)); err != nil {
			return nil, nil, err
		}
	}
	for _, key := range b.newKeys {
		k := b.keys[key]
		if err := w.newKeys.add(w.ctx, []byte(key), k.Fingerprint[:], k.at, k.Answer.Status, k.Answer.Location, k.Answer.Body); err != nil {
			return nil, nil, err
		}
	}
	if err := w.messages.flush(w.ctx); err != nil {
		return nil, nil, err
	}
	return b, outs, w.newKeys.flush(w.ctx)
}

// load reads what s touches, unless an earlier one of the batch did.
func (w *sqliteWriter) load(b *submissions, s *Submission) error {
	if _, loaded := b.keys[s.Key]; s.Key != "" && !loaded {
		k, err := scanKey(w.key.QueryRowContext(w.ctx, []byte(s.Key)))
		if err != nil {
			return err
		}
		b.keys[s.Key] = k
	}
	if o := s.Order; o != nil && b.orders[o.ID] == nil {
		r, err := w.loadOrder(o.ID)
		if err != nil {
			return err
		}
		b.orders[o.ID] = r
	}
	if p := s.Product; p != nil && b.products[p.ID] == nil {
		row, err := w.loadProduct(p.ID)
		if err != nil {
			return err
		}
		b.products[p.ID] = row
	}
	return nil
}

// scanKey reads a key's row, nil if there is none.
func scanKey(row *sql.Row) (*keyRow, error) {
	var k keyRow
	var fingerprint []byte
	absent, err := none(row.Scan(&fingerprint, &k.at, &k.Answer.Status, &k.Answer.Location, &k.Answer.Body))
	if absent || err != nil {
		return nil, err
	}
	copy(k.Fingerprint[:], fingerprint)
	return &k, nil
}

// loadOrder reads an order, mostly without its contents. One that is unknown is
// not stored.
func (w *sqliteWriter) loadOrder(id event.ID) (*record, error) {
	records, err := w.loadOrders([]event.ID{id})
	if err != nil {
		return nil, err
	}
	return records[0], nil
}

// loadOrders is loadOrder for several ids, in their order. They must differ.
func (w *sqliteWriter) loadOrders(ids []event.ID) ([]*record, error) {
	records := make([]*record, len(ids))
	var absent []int // what is not in memory
	for i, id := range ids {
		if r, ok := w.orders.get(id); ok {
			records[i] = r
		} else {
			absent = append(absent, i)
		}
	}
	for some := range slices.Chunk(absent, rowsTogether) {
		query, args := w.orderRows, make([]any, rowsTogether)
		if len(some) == 1 {
			query, args = w.orderRow, args[:1]
		}
		byID := make(map[event.ID]*record, len(some))
		for n := range args {
			i := some[min(n, len(some)-1)] // the last one stands for what is left of a query
			args[n] = string(ids[i])
			if records[i] == nil {
				records[i] = &record{id: own(ids[i])}
				byID[ids[i]] = records[i]
			}
		}
		if err := w.scanOrders(byID, query, args); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// scanOrders fills in those of the records that are stored.
func (w *sqliteWriter) scanOrders(byID map[event.ID]*record, query *sql.Stmt, args []any) error {
	rows, err := query.QueryContext(w.ctx, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, alerts string
		var digest []byte
		var k record
		if err := rows.Scan(&id, &k.number, &k.savedState, &k.evidence, &k.rejected, &digest, &k.refused, &k.client,
			&k.at, &k.reason, &k.reasonOf, &k.invoice, &alerts, &k.updated, &k.changes); err != nil {
			return err
		}
		r := byID[event.ID(id)]
		k.id, k.stored, k.savedClient, k.chosen = r.id, true, k.client, digest != nil
		copy(k.digest[:], digest)
		if k.alerts, err = decodeAlerts(alerts); err != nil {
			return err
		}
		*r = k
	}
	return rows.Err()
}

func (w *sqliteWriter) loadContents(r *record) error {
	if !r.stored || r.complete {
		return nil
	}
	r.contents, r.complete = nil, true
	rows, err := w.contents.QueryContext(w.ctx, r.number)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var k content
		var digest []byte
		if err := rows.Scan(&digest, &k.client, &k.at, &k.refused, &k.valued); err != nil {
			return err
		}
		copy(k.digest[:], digest)
		r.contents = append(r.contents, k)
	}
	return rows.Err()
}

// saveOrders writes orders. New ones get the next numbers, in their order.
func (w *sqliteWriter) saveOrders(touched []*record) error {
	var last int64
	for _, r := range touched {
		if r.stored {
			continue
		}
		if last == 0 {
			if err := w.lastOrder.QueryRowContext(w.ctx).Scan(&last); err != nil {
				return err
			}
		}
		last++
		r.number = last
	}
	// In this order the rows stand in the tables.
	slices.SortFunc(touched, func(a, b *record) int { return cmp.Compare(a.number, b.number) })
	for _, r := range touched {
		if err := w.saveOrder(r); err != nil {
			return fmt.Errorf("order %q: %w", r.id, err)
		}
	}
	for _, in := range []*inserter{w.newOrders, w.newContents, w.newParts} {
		if err := in.flush(w.ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *sqliteWriter) saveOrder(r *record) error {
	var digest []byte
	if r.chosen {
		digest = r.digest[:]
	}
	state, alerts := r.state(), encodeAlerts(r.alerts)
	var err error
	switch {
	case !r.stored:
		err = w.newOrders.add(w.ctx, r.number, string(r.id), int64(state), int64(r.evidence), r.rejected, digest, r.refused, string(r.client), r.at,
			r.reason, int64(r.reasonOf), r.invoice, alerts, r.updated, r.changes)
	// Naming a column rewrites its index: most changes leave one or both alone.
	case state == r.savedState && r.client == r.savedClient:
		_, err = w.updateOrder.ExecContext(w.ctx, int64(r.evidence), r.rejected, digest, r.refused, r.at, r.reason, int64(r.reasonOf), r.invoice,
			alerts, r.updated, r.changes, r.number)
	case r.client == r.savedClient:
		_, err = w.moveOrder.ExecContext(w.ctx, int64(r.evidence), r.rejected, digest, r.refused, r.at, r.reason, int64(r.reasonOf), r.invoice,
			alerts, r.updated, r.changes, int64(state), r.number)
	default:
		_, err = w.turnOrder.ExecContext(w.ctx, int64(r.evidence), r.rejected, digest, r.refused, r.at, r.reason, int64(r.reasonOf), r.invoice,
			alerts, r.updated, r.changes, int64(state), string(r.client), r.number)
	}
	if err != nil {
		return err
	}
	for i := range r.contents {
		if k := &r.contents[i]; k.changed {
			if err := w.newContents.add(w.ctx, r.number, k.digest[:], string(k.client), k.at, k.refused, k.value); err != nil {
				return err
			}
		}
	}
	if len(r.entries) > 0 {
		err = w.newParts.add(w.ctx, r.number, r.changes, lastOf(r.entries), appendEntries(nil, r.entries), r.verdict)
	}
	r.saved()
	w.orders.put(r.id, r)
	return err
}

func (w *sqliteWriter) loadProduct(id event.ID) (*productRow, error) {
	p := &productRow{Product: Product{ID: own(id)}}
	var price sql.NullInt64
	absent, err := none(w.product.QueryRowContext(w.ctx, string(id)).Scan(&p.catalogued, &p.Name, &price, &p.Available, &p.Reserved))
	if absent || err != nil {
		return p, err
	}
	p.Price, p.HasPrice = event.Amount(price.Int64), price.Valid
	return p, nil
}

func (w *sqliteWriter) saveProduct(p *productRow) error {
	price := sql.NullInt64{Int64: int64(p.Price), Valid: p.HasPrice}
	_, err := w.putProduct.ExecContext(w.ctx, string(p.ID), p.catalogued, p.Name, price, p.Available, p.Reserved)
	return err
}

func (d *sqliteDB) Sent(ctx context.Context, numbers []int64) error {
	return d.do(ctx, &task{kind: kindSent, size: len(numbers), run: func(w *sqliteWriter) error {
		at := now()
		for _, n := range numbers {
			if _, err := w.sent.ExecContext(w.ctx, at, n); err != nil {
				return err
			}
		}
		return nil
	}})
}

// exec is a task of one statement.
func (d *sqliteDB) exec(ctx context.Context, durable bool, query string, args ...any) (n int64, err error) {
	err = d.do(ctx, &task{durable: durable, run: func(w *sqliteWriter) error {
		result, err := w.conn.ExecContext(w.ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	}})
	return n, err
}

func (d *sqliteDB) Resend(ctx context.Context, within time.Duration) (int64, error) {
	n, err := d.exec(ctx, true, `UPDATE outbox SET sent = NULL WHERE sent >= (SELECT max(sent) FROM outbox) - ?`, within.Milliseconds())
	if n > 0 {
		d.woken.wake()
	}
	return n, err
}

func (d *sqliteDB) Prune(ctx context.Context, now, sentBefore time.Time) (bool, error) {
	keys, err := d.exec(ctx, false, `DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE at <= ? ORDER BY at LIMIT ?)`,
		now.Add(-keyLife).UnixMilli(), pruned)
	if err != nil {
		return false, err
	}
	messages, err := d.exec(ctx, false, `DELETE FROM outbox WHERE number IN (SELECT number FROM outbox WHERE sent < ? ORDER BY sent LIMIT ?)`,
		sentBefore.UnixMilli(), pruned)
	return err == nil && keys < pruned && messages < pruned, err
}
