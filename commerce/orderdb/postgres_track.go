package orderdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/commerce/event"
)

// lazily lets a transaction be on disk with the next one that insists: what a
// crash takes of it is done again. More may be selected behind it.
const lazily = `SELECT set_config('synchronous_commit', 'off', true)`

func (d *postgresDB) Apply(ctx context.Context, b Batch) error {
	began := time.Now()
	topics, err := d.numbered(ctx, b.topics())
	if err == nil {
		err = d.transaction(ctx, longTime, func(ctx context.Context, tx pgx.Tx) error { return applyPostgres(ctx, tx, &b, topics) })
	}
	d.m.done(kindApply, b.records(), began, err)
	return err
}

// applyPostgres inserts and locks in the order that submit explains.
func applyPostgres(ctx context.Context, tx pgx.Tx, b *Batch, topics map[string]int64) error {
	if _, err := tx.Exec(ctx, lazily); err != nil {
		return err
	}
	if err := move(ctx, tx, b); err != nil {
		return err
	}
	groups := make(map[event.ID][]*OrderChange)
	var ids []string
	for _, g := range groupByOrder(b.Orders) {
		groups[g[0].ID] = g
		ids = append(ids, string(g[0].ID))
	}
	known := make(map[event.ID]bool, len(ids))
	rows, err := tx.Query(ctx, `SELECT id FROM orders WHERE id = ANY($1)`, ids)
	if err := eachRow(rows, err, func() error {
		var id event.ID
		err := rows.Scan(&id)
		known[id] = true
		return err
	}); err != nil {
		return err
	}
	fresh := make(map[event.ID]*record)
	for id, g := range groups {
		if !known[id] {
			r := &record{id: id}
			r.applyAll(g, topics)
			fresh[id] = r
		}
	}
	if _, err := insertOrders(ctx, tx, fresh); err != nil {
		return err
	}
	var touched []*record
	var others []string
	for _, id := range ids {
		if r := fresh[event.ID(id)]; r != nil && r.number != 0 {
			touched = append(touched, r)
		} else {
			others = append(others, id)
		}
	}
	stored, err := lockOrders(ctx, tx, others)
	if err != nil {
		return err
	}
	if err := loadContents(ctx, tx, stored, groups); err != nil {
		return err
	}
	for _, r := range stored {
		r.applyAll(groups[r.id], topics)
		touched = append(touched, r)
	}
	levels := b.levels()
	catalogued, err := catalogue(ctx, tx, b.Products, levels)
	if err != nil {
		return err
	}
	var batch pgx.Batch
	queueOrders(&batch, touched)
	queueProducts(&batch, catalogued)
	queueLevels(&batch, levels)
	return tx.SendBatch(ctx, &batch).Close()
}

// catalogue locks products, those of levels too so that everyone locks in one
// order, and applies the catalogue's records to them.
func catalogue(ctx context.Context, tx pgx.Tx, products []event.Product, levels []Level) (changed []*productRow, err error) {
	if len(products) == 0 {
		return nil, nil
	}
	var ids []event.ID
	for i := range products {
		ids = append(ids, products[i].ID)
	}
	for i := range levels {
		ids = append(ids, levels[i].Product)
	}
	slices.Sort(ids)
	locked, err := lockProducts(ctx, tx, slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	for i := range products {
		p := locked[products[i].ID]
		p.put(&products[i])
		changed = append(changed, p)
	}
	return changed, nil
}

// move compares and sets the positions.
func move(ctx context.Context, tx pgx.Tx, b *Batch) error {
	var topics []string
	var partitions []int32
	all := b.partitions()
	for _, p := range all {
		topics, partitions = append(topics, p.Topic), append(partitions, p.Partition)
	}
	if len(all) == 0 {
		return nil
	}
	stored := make(map[Partition]Position)
	rows, err := tx.Query(ctx, `SELECT topic, partition, topic_id, next FROM positions
		WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::integer[])) ORDER BY topic, partition FOR UPDATE`, topics, partitions)
	if err := eachRow(rows, err, func() error { return scanPosition(rows.Scan, stored) }); err != nil {
		return err
	}
	var there, added []Partition
	for _, p := range all {
		at, present := stored[p]
		if err := expect(p, at, present, b.From[p]); err != nil {
			return err
		}
		_, moves := b.To[p]
		switch {
		case !moves:
		case present:
			there = append(there, p)
		default:
			added = append(added, p)
		}
	}
	if len(there) > 0 {
		if _, err := tx.Exec(ctx, `UPDATE positions p SET topic_id = u.topic_id, next = u.next
			FROM unnest($1::text[], $2::integer[], $3::bytea[], $4::bigint[]) AS u (topic, partition, topic_id, next)
			WHERE p.topic = u.topic AND p.partition = u.partition`, positionArgs(there, b.To)...); err != nil {
			return err
		}
	}
	if len(added) == 0 {
		return nil
	}
	// Somebody else may be doing the same for the first time too.
	tag, err := tx.Exec(ctx, `INSERT INTO positions (topic, partition, topic_id, next)
		SELECT * FROM unnest($1::text[], $2::integer[], $3::bytea[], $4::bigint[]) ON CONFLICT DO NOTHING`, positionArgs(added, b.To)...)
	if err == nil && tag.RowsAffected() < int64(len(added)) {
		err = fmt.Errorf("%w: %v are tracked meanwhile", ErrMoved, added)
	}
	return err
}

// positionArgs are the arrays of positions.
func positionArgs(partitions []Partition, at map[Partition]Position) []any {
	var (
		topics  []string
		numbers []int32
		ids     [][]byte
		next    []int64
	)
	for _, p := range partitions {
		to := at[p]
		topics, numbers, ids, next = append(topics, p.Topic), append(numbers, p.Partition), append(ids, to.Topic[:]), append(next, to.Next)
	}
	return []any{topics, numbers, ids, next}
}

func scanPosition(scan func(...any) error, into map[Partition]Position) error {
	var p Partition
	var id []byte
	var next int64
	if err := scan(&p.Topic, &p.Partition, &id, &next); err != nil {
		return err
	}
	at := Position{Next: next}
	copy(at.Topic[:], id)
	into[p] = at
	return nil
}

// loadContents reads the contents of those orders to whose changes they matter.
func loadContents(ctx context.Context, tx pgx.Tx, stored []*record, groups map[event.ID][]*OrderChange) error {
	byNumber := make(map[int64]*record)
	var numbers []int64
	for _, r := range stored {
		if needsContents(groups[r.id]) {
			byNumber[r.number] = r
			numbers = append(numbers, r.number)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT number, digest, client, at, refused, value IS NOT NULL FROM contents WHERE number = ANY($1)`, numbers)
	return eachRow(rows, err, func() error {
		var number int64
		var k content
		var digest []byte
		if err := rows.Scan(&number, &digest, &k.client, &k.at, &k.refused, &k.valued); err != nil {
			return err
		}
		copy(k.digest[:], digest)
		r := byNumber[number]
		r.contents = append(r.contents, k)
		return nil
	})
}

// numbered returns the numbers of topics, those named certainly. Ones met
// for the first time get theirs at once, whatever becomes of the batch.
func (d *postgresDB) numbered(ctx context.Context, names []string) (map[string]int64, error) {
	d.topicsMu.Lock()
	topics := d.topics
	d.topicsMu.Unlock()
	var unknown []string
	for _, name := range names {
		if topics[name] == 0 {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return topics, nil
	}
	slices.Sort(unknown)
	if _, err := d.exec(ctx, writeTime, `INSERT INTO topics (name) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING`, unknown); err != nil {
		return nil, err
	}
	if err := d.loadTopics(ctx); err != nil {
		return nil, classifyPostgres(err)
	}
	d.topicsMu.Lock()
	defer d.topicsMu.Unlock()
	return d.topics, nil
}

// loadTopics replaces the map of topics: who has the old one may go on reading
// it.
func (d *postgresDB) loadTopics(ctx context.Context) error {
	topics := make(map[string]int64)
	rows, err := d.pool.Query(ctx, `SELECT name, id FROM topics`)
	if err := eachRow(rows, err, func() error {
		var name string
		var id int64
		err := rows.Scan(&name, &id)
		topics[name] = id
		return err
	}); err != nil {
		return err
	}
	d.topicsMu.Lock()
	defer d.topicsMu.Unlock()
	d.topics = topics
	return nil
}

func (d *postgresDB) Forget(ctx context.Context, p Partition, to Position) error {
	return d.transaction(ctx, longTime, func(ctx context.Context, tx pgx.Tx) error {
		// This locks the position: nobody adds entries of the partition meanwhile.
		if _, err := tx.Exec(ctx, `INSERT INTO positions (topic, partition, topic_id, next) VALUES ($1, $2, $3, $4)
			ON CONFLICT (topic, partition) DO UPDATE SET topic_id = excluded.topic_id, next = excluded.next`, p.Topic, p.Partition, to.Topic[:], to.Next); err != nil {
			return err
		}
		l := loss{partition: p.Partition, from: to.Next}
		if err := tx.QueryRow(ctx, `SELECT id FROM topics WHERE name = $1`, p.Topic).Scan(&l.topic); errors.Is(err, pgx.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		var counted, after part
		for {
			var found []shortened
			n := 0
			rows, err := tx.Query(ctx, `SELECT number, part, entries, verdict IS NOT NULL FROM history WHERE (number, part) > ($1, $2)
				AND position($3::bytea in entries) > 0 ORDER BY number, part LIMIT $4`, after.number, after.part, l.mark(), forgetPage)
			if err := eachRow(rows, err, func() error { n++; return l.scan(rows.Scan, &after, &found) }); err != nil {
				return err
			}
			var batch pgx.Batch
			for _, s := range found {
				if s.number != counted.number {
					batch.Queue(`UPDATE orders SET changes = changes + 1 WHERE number = $1`, s.number)
				}
				counted = s.part
				if s.gone {
					batch.Queue(`DELETE FROM history WHERE number = $1 AND part = $2`, s.number, s.part.part)
				} else {
					batch.Queue(`UPDATE history SET last = $3, entries = $4 WHERE number = $1 AND part = $2`, s.number, s.part.part, s.last, s.entries)
				}
			}
			if err := tx.SendBatch(ctx, &batch).Close(); err != nil || n < forgetPage {
				return err
			}
		}
	})
}

// exec is a transaction of one statement.
func (d *postgresDB) exec(ctx context.Context, within time.Duration, query string, args ...any) (n int64, err error) {
	err = d.attempt(ctx, within, func(ctx context.Context) error {
		tag, err := d.pool.Exec(ctx, query, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

func (d *postgresDB) Sent(ctx context.Context, numbers []int64) error {
	began := time.Now()
	err := d.attempt(ctx, writeTime, func(ctx context.Context) error {
		// A batch is a transaction by itself, in one round trip.
		var batch pgx.Batch
		batch.Queue(lazily)
		batch.Queue(`UPDATE outbox SET sent = $1 WHERE number = ANY($2) AND sent IS NULL`, now(), numbers)
		return d.pool.SendBatch(ctx, &batch).Close()
	})
	d.m.done(kindSent, len(numbers), began, err)
	return err
}

func (d *postgresDB) Resend(ctx context.Context, within time.Duration) (int64, error) {
	n, err := d.exec(ctx, longTime, `UPDATE outbox SET sent = NULL WHERE sent >= (SELECT max(sent) FROM outbox) - $1`, within.Milliseconds())
	if n > 0 {
		d.wake()
	}
	return n, err
}

func (d *postgresDB) Prune(ctx context.Context, now, sentBefore time.Time) (bool, error) {
	keys, err := d.exec(ctx, writeTime, `DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE at <= $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		now.Add(-keyLife).UnixMilli(), pruned)
	if err != nil {
		return false, err
	}
	messages, err := d.exec(ctx, writeTime, `DELETE FROM outbox WHERE number IN
		(SELECT number FROM outbox WHERE sent < $1 ORDER BY sent LIMIT $2 FOR UPDATE SKIP LOCKED)`, sentBefore.UnixMilli(), pruned)
	return err == nil && keys < pruned && messages < pruned, err
}
