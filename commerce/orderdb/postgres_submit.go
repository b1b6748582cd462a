package orderdb

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/commerce/event"
)

func (d *postgresDB) Submit(ctx context.Context, s Submission) (Outcome, error) {
	return d.queue.submit(ctx, &s)
}

// commit executes batches of submissions until Close. It runs committers times.
func (d *postgresDB) commit() {
	for {
		select {
		case <-d.closing.Done():
			return
		case <-d.queue.ready:
		}
		select {
		case <-d.closing.Done():
			return
		case d.turn <- struct{}{}:
		}
		n := d.queue.size()
		if n == 0 {
			<-d.turn // the other one took it, and nothing is to be paced
			continue
		}
		// Who sends one after the other would wait for nobody.
		if alone := n == 1 && d.last == 1; !alone && d.pace.Wait(d.closing) != nil {
			return
		}
		next := sync.OnceFunc(func() { <-d.turn })
		jobs := d.queue.take()
		d.last = len(jobs)
		if len(jobs) == 0 {
			next()
			continue
		}
		late := time.AfterFunc(overtake, next)
		var sends atomic.Bool
		together(jobs, func(jobs []*job) (outs []Outcome, err error) {
			began := time.Now()
			var b *submissions
			// What has begun is finished: Close waits for it.
			err = d.transaction(context.WithoutCancel(d.closing), writeTime, func(ctx context.Context, tx pgx.Tx) (err error) {
				b, outs, err = d.submit(ctx, tx, jobs)
				return err
			})
			if err == nil && len(b.messages) > 0 {
				sends.Store(true)
			}
			d.m.done(kindSubmit, len(jobs), began, err)
			return outs, err
		})
		late.Stop()
		next()
		if sends.Load() {
			d.wake()
		}
	}
}

// submit decides on a batch and writes it.
//
// Other transactions may be about the same keys and ids. Whoever inserts a row
// first has it, the others wait for the end of that transaction and then see it:
// so new keys and orders are inserted at once, as they will be if nothing stands
// in their way, and only where something does is it read and locked. Everyone
// inserts and locks by kind (positions, keys, orders, products), new ones before
// old ones, each sorted: so nobody waits in a circle.
func (d *postgresDB) submit(ctx context.Context, tx pgx.Tx, jobs []*job) (*submissions, []Outcome, error) {
	b := &submissions{shards: d.shards, keys: make(map[string]*keyRow), orders: make(map[event.ID]*record), products: make(map[event.ID]*productRow)}
	claimed, err := claimKeys(ctx, tx, b, jobs)
	if err != nil {
		return nil, nil, err
	}
	if err := loadSubmitted(ctx, tx, b, jobs); err != nil {
		return nil, nil, err
	}
	outs := make([]Outcome, 0, len(jobs))
	var rewrite []string
	for _, j := range jobs {
		out := b.decide(j.s)
		outs = append(outs, out)
		switch out.Result {
		case Created:
			if j.s.Key != "" && !claimed[j.s.Key] {
				rewrite = append(rewrite, j.s.Key)
			}
		case Same, Conflict:
			if j.s.Key != "" {
				rewrite = append(rewrite, j.s.Key)
			}
		}
	}
	var batch pgx.Batch
	queueOrders(&batch, b.touched)
	queueProducts(&batch, b.changed)
	queueMessages(&batch, b.messages, d.shards)
	if len(rewrite) > 0 {
		batch.Queue(`INSERT INTO keys (key, fingerprint, at, status, location, body) `+unnestKeys+`
			ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, at = excluded.at, status = excluded.status,
			location = excluded.location, body = excluded.body`, keyColumns(rewrite, b.keys)...)
	}
	return b, outs, tx.SendBatch(ctx, &batch).Close()
}

const unnestKeys = `SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::integer[], $5::text[], $6::bytea[])`

func keyColumns(keys []string, rows map[string]*keyRow) []any {
	slices.Sort(keys)
	var (
		key, fingerprint, body [][]byte
		at                     []int64
		status                 []int32
		location               []string
	)
	for _, name := range slices.Compact(keys) {
		k := rows[name]
		key, fingerprint, at = append(key, []byte(name)), append(fingerprint, k.Fingerprint[:]), append(at, k.at)
		status, location, body = append(status, int32(k.Answer.Status)), append(location, k.Answer.Location), append(body, k.Answer.Body)
	}
	return []any{key, fingerprint, at, status, location, body}
}

// claimKeys inserts the keys that are new with the answer for Created, which is
// mostly what becomes of them, and loads the others. It returns the inserted.
func claimKeys(ctx context.Context, tx pgx.Tx, b *submissions, jobs []*job) (claimed map[string]bool, err error) {
	claimed = make(map[string]bool)
	rows := make(map[string]*keyRow)
	var keys []string
	for _, j := range jobs {
		if s := j.s; s.Key != "" && rows[s.Key] == nil {
			rows[s.Key] = &keyRow{Answered{s.Fingerprint, s.Answers[Created]}, toMillis(s.At)}
			keys = append(keys, s.Key)
		}
	}
	if len(keys) == 0 {
		return claimed, nil
	}
	found, err := tx.Query(ctx, `INSERT INTO keys (key, fingerprint, at, status, location, body) `+unnestKeys+` ON CONFLICT (key) DO NOTHING RETURNING key`,
		keyColumns(keys, rows)...)
	if err := eachRow(found, err, func() error {
		var key []byte
		err := found.Scan(&key)
		claimed[string(key)] = true
		return err
	}); err != nil {
		return nil, err
	}
	var others [][]byte
	for _, key := range keys {
		if !claimed[key] {
			others = append(others, []byte(key))
		}
	}
	if len(others) == 0 {
		return claimed, nil
	}
	found, err = tx.Query(ctx, `SELECT key, fingerprint, at, status, location, body FROM keys WHERE key = ANY($1) ORDER BY key FOR UPDATE`, others)
	return claimed, eachRow(found, err, func() error {
		var key, fingerprint []byte
		k := new(keyRow)
		err := found.Scan(&key, &fingerprint, &k.at, &k.Answer.Status, &k.Answer.Location, &k.Answer.Body)
		copy(k.Fingerprint[:], fingerprint)
		b.keys[string(key)] = k
		return err
	})
}

// loadSubmitted inserts the orders that are new and loads the others, and
// likewise products. What is decided by its key, as decide will see it, needs none.
func loadSubmitted(ctx context.Context, tx pgx.Tx, b *submissions, jobs []*job) error {
	answered := make(map[string]int64) // keys of this batch, and when
	fresh := make(map[event.ID]*record)
	var products []event.ID
	for _, j := range jobs {
		s := j.s
		if s.Key != "" {
			at := toMillis(s.At)
			k := b.keys[s.Key]
			if first, here := answered[s.Key]; here {
				k = &keyRow{at: first}
			}
			if k != nil && k.live(at) {
				continue
			}
			answered[s.Key] = at
		}
		if o := s.Order; o != nil && fresh[o.ID] == nil {
			r := &record{id: o.ID}
			r.accept(o, toMillis(s.At))
			fresh[o.ID] = r
		}
		if s.Product != nil {
			products = append(products, s.Product.ID)
		}
	}
	known, err := insertOrders(ctx, tx, fresh)
	if err != nil {
		return err
	}
	for id, r := range fresh {
		if r.number != 0 {
			b.orders[id] = &record{id: id, number: r.number}
		}
	}
	stored, err := lockOrders(ctx, tx, known)
	if err != nil {
		return err
	}
	for _, r := range stored {
		b.orders[r.id] = r
	}
	slices.Sort(products)
	b.products, err = lockProducts(ctx, tx, slices.Compact(products))
	return err
}

// queueMessages writes the outbox.
func queueMessages(batch *pgx.Batch, messages []*Message, shards int) {
	if len(messages) == 0 {
		return
	}
	n := len(messages)
	shard, at, topic := make([]int32, n), make([]int64, n), make([]string, n)
	key, value, headers := make([][]byte, n), make([][]byte, n), make([][]byte, n)
	for i, m := range messages {
		shard[i], topic[i], at[i] = int32(shardOf(m.Key, shards)), m.Topic, toMillis(m.At)
		key[i], value[i], headers[i] = m.Key, m.Value, appendHeaders(nil, m.Headers)
	}
	batch.Queue(`INSERT INTO outbox (shard, topic, key, value, headers, at)
		SELECT * FROM unnest($1::integer[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[])`, shard, topic, key, value, headers, at)
}
