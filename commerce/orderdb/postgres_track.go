package orderdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/commerce/event"
)

// lazily lets a transaction be on disk with the next one that insists: what a
// crash takes of it is done again.
const lazily = `SET LOCAL synchronous_commit = off`

func (d *postgresDB) Apply(ctx context.Context, b Batch) error {
	began := time.Now()
	topics, err := d.numbered(ctx, b.Orders)
	if err == nil {
		err = d.transaction(ctx, longTime, func(ctx context.Context, tx pgx.Tx) error { return applyPostgres(ctx, tx, &b, topics) })
	}
	d.m.done(kindApply, len(b.Orders), began, err)
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
	products, err := lockProducts(ctx, tx, b.products())
	if err != nil {
		return err
	}
	b.applyProducts(products)
	var batch pgx.Batch
	queueOrders(&batch, touched)
	queueProducts(&batch, slices.Collect(maps.Values(products)))
	return tx.SendBatch(ctx, &batch).Close()
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
	var batch pgx.Batch
	var added []Partition
	for _, p := range all {
		at, present := stored[p]
		if err := expect(p, at, present, b.From[p]); err != nil {
			return err
		}
		to, moves := b.To[p]
		switch {
		case !moves:
		case present:
			batch.Queue(`UPDATE positions SET topic_id = $3, next = $4 WHERE topic = $1 AND partition = $2`, p.Topic, p.Partition, to.Topic[:], to.Next)
		default:
			// Somebody else may be doing the same for the first time too.
			batch.Queue(`INSERT INTO positions (topic, partition, topic_id, next) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				p.Topic, p.Partition, to.Topic[:], to.Next)
			added = append(added, p)
		}
	}
	results := tx.SendBatch(ctx, &batch)
	inserted := 0
	for _, q := range batch.QueuedQueries {
		tag, err := results.Exec()
		if err != nil {
			_ = results.Close() // tells the same
			return err
		}
		if q.SQL[0] == 'I' {
			inserted += int(tag.RowsAffected())
		}
	}
	if err := results.Close(); err != nil {
		return err
	}
	if inserted < len(added) {
		return fmt.Errorf("%w: %v are tracked meanwhile", ErrMoved, added)
	}
	return nil
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

// numbered returns the numbers of topics, those of changes certainly. Ones met
// for the first time get theirs at once, whatever becomes of the batch.
func (d *postgresDB) numbered(ctx context.Context, changes []OrderChange) (map[string]int64, error) {
	d.topicsMu.Lock()
	topics := d.topics
	d.topicsMu.Unlock()
	var unknown []string
	for i := range changes {
		if name := changes[i].Entry.Topic; topics[name] == 0 && !slices.Contains(unknown, name) {
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
		var batch pgx.Batch
		batch.Queue(`INSERT INTO positions (topic, partition, topic_id, next) VALUES ($1, $2, $3, $4)
			ON CONFLICT (topic, partition) DO UPDATE SET topic_id = excluded.topic_id, next = excluded.next`, p.Topic, p.Partition, to.Topic[:], to.Next)
		batch.Queue(`WITH lost AS (DELETE FROM timeline WHERE topic = (SELECT id FROM topics WHERE name = $1) AND partition = $2 AND log_offset >= $3
			RETURNING number) UPDATE orders SET changes = changes + 1 WHERE number IN (SELECT number FROM lost)`, p.Topic, p.Partition, to.Next)
		return tx.SendBatch(ctx, &batch).Close()
	})
}

// exec is a transaction of one statement.
func (d *postgresDB) exec(ctx context.Context, within time.Duration, query string, args ...any) (n int64, err error) {
	err = d.transaction(ctx, within, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, query, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

func (d *postgresDB) Sent(ctx context.Context, numbers []int64) error {
	began := time.Now()
	err := d.transaction(ctx, writeTime, func(ctx context.Context, tx pgx.Tx) error {
		var batch pgx.Batch
		batch.Queue(lazily)
		batch.Queue(`UPDATE outbox SET sent = $1 WHERE number = ANY($2) AND sent IS NULL`, now(), numbers)
		return tx.SendBatch(ctx, &batch).Close()
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
