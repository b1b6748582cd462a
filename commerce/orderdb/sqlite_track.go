package orderdb

import (
	"context"

	"github.com/comptoir/comptoir/commerce/event"
)

func (d *sqliteDB) Apply(ctx context.Context, b Batch) error {
	return d.do(ctx, &task{kind: kindApply, size: b.records(), run: func(w *sqliteWriter) error { return w.apply(&b) }})
}

func (w *sqliteWriter) apply(b *Batch) error {
	if err := w.loadPositions(); err != nil {
		return err
	}
	for _, p := range b.partitions() {
		stored, present := w.positions[p]
		if err := expect(p, stored, present, b.From[p]); err != nil {
			return err
		}
	}
	if err := w.addTopics(b); err != nil {
		return err
	}
	groups := groupByOrder(b.Orders)
	ids := make([]event.ID, len(groups))
	for i, g := range groups {
		ids[i] = g[0].ID
	}
	touched, err := w.loadOrders(ids)
	if err != nil {
		return err
	}
	for i, r := range touched {
		if needsContents(groups[i]) {
			if err := w.loadContents(r); err != nil {
				return err
			}
		}
		r.applyAll(groups[i], w.topics)
	}
	if err := w.saveOrders(touched); err != nil {
		return err
	}
	for i := range b.Products {
		p, err := w.loadProduct(b.Products[i].ID)
		if err != nil {
			return err
		}
		p.put(&b.Products[i])
		if err := w.saveProduct(p); err != nil {
			return err
		}
	}
	for _, l := range b.levels() {
		if err := w.putLevels.add(w.ctx, string(l.Product), l.Name, l.Available, l.Reserved, false); err != nil {
			return err
		}
	}
	if err := w.putLevels.flush(w.ctx); err != nil {
		return err
	}
	for p, to := range b.To {
		if err := w.putPosition(p, to); err != nil {
			return err
		}
	}
	return w.putPositions.flush(w.ctx)
}

// loadPositions reads the positions, unless they are known.
func (w *sqliteWriter) loadPositions() error {
	if w.positions != nil {
		return nil
	}
	rows, err := w.conn.QueryContext(w.ctx, allPositions)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	positions := make(map[Partition]Position)
	for rows.Next() {
		if err := scanPosition(rows.Scan, positions); err != nil {
			return err
		}
	}
	w.positions = positions
	return rows.Err()
}

// putPosition must be followed by a flush.
func (w *sqliteWriter) putPosition(p Partition, to Position) error {
	w.positions[p] = to
	return w.putPositions.add(w.ctx, p.Topic, int64(p.Partition), to.Topic[:], to.Next)
}

// addTopics numbers topics that are met for the first time.
func (w *sqliteWriter) addTopics(b *Batch) error {
	if len(w.topics) == 0 {
		if err := w.loadTopics(); err != nil {
			return err
		}
	}
	for _, name := range b.topics() {
		if _, known := w.topics[name]; known {
			continue
		}
		if _, err := w.conn.ExecContext(w.ctx, `INSERT INTO topics (name) VALUES (?) ON CONFLICT DO NOTHING`, name); err != nil {
			return err
		}
		if err := w.loadTopics(); err != nil {
			return err
		}
	}
	return nil
}

func (d *sqliteDB) Forget(ctx context.Context, p Partition, to Position) error {
	return d.do(ctx, &task{run: func(w *sqliteWriter) error {
		w.orders.clear() // changes rises in the database alone
		if err := w.forgetEntries(p, to.Next); err != nil {
			return err
		}
		if err := w.loadPositions(); err != nil {
			return err
		}
		if err := w.putPosition(p, to); err != nil {
			return err
		}
		return w.putPositions.flush(w.ctx)
	}})
}

func (w *sqliteWriter) forgetEntries(p Partition, from int64) error {
	l := loss{partition: p.Partition, from: from}
	absent, err := none(w.conn.QueryRowContext(w.ctx, `SELECT id FROM topics WHERE name = ?`, p.Topic).Scan(&l.topic))
	if absent || err != nil {
		return err
	}
	var after, counted part
	for more := true; more; {
		var lost []shortened
		if lost, more, err = w.lost(l, &after); err != nil {
			return err
		}
		for _, s := range lost {
			if s.number != counted.number {
				if _, err := w.conn.ExecContext(w.ctx, `UPDATE orders SET changes = changes + 1 WHERE number = ?`, s.number); err != nil {
					return err
				}
			}
			counted = s.part
			query, args := `UPDATE history SET last = ?, entries = ? WHERE number = ? AND part = ?`, []any{s.last, s.entries, s.number, s.part.part}
			if s.gone {
				query, args = `DELETE FROM history WHERE number = ? AND part = ?`, args[2:]
			}
			if _, err := w.conn.ExecContext(w.ctx, query, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// lost looks at some parts behind after, which it moves on.
func (w *sqliteWriter) lost(l loss, after *part) (found []shortened, more bool, err error) {
	rows, err := w.conn.QueryContext(w.ctx, `SELECT number, part, entries, verdict IS NOT NULL FROM history
		WHERE (number, part) > (?, ?) AND instr(entries, ?) > 0 ORDER BY number, part LIMIT ?`, after.number, after.part, l.mark(), forgetPage)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = rows.Close() }()
	n := 0
	for ; rows.Next(); n++ {
		if err := l.scan(rows.Scan, after, &found); err != nil {
			return nil, false, err
		}
	}
	return found, n == forgetPage, rows.Err()
}
