package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/streams/state"
)

const (
	// restoreBatch is how much of a partition's changelog is applied to the local
	// state at once, beside the reading of what follows.
	restoreBatch = 1 << 20
	// restoreFetch and restoreFetchPartition are the most bytes of one fetch. More
	// than those of a reader that follows the end of its topics: a restore never
	// waits for what is new.
	restoreFetch, restoreFetchPartition = 24 << 20, 8 << 20
	// restoreSays is how often a restore tells how far it is.
	restoreSays = 5 * time.Second
)

// restore brings the local state of tasks up to the ends of their changelogs. It
// reads what is committed, up to the end of everything: the last stable offset
// would miss a transaction that the previous owner has just ended.
func (w *worker) restore(ctx context.Context, tasks []int32, id [16]byte, watch *watch) error {
	topic := w.top.changelog()
	adm := kadm.NewClient(w.fetch)
	starts, err := listOffsets(ctx, adm.ListStartOffsets, topic)
	if err != nil {
		return err
	}
	ends, err := listOffsets(ctx, adm.ListEndOffsets, topic)
	if err != nil {
		return err
	}
	positions, targets := map[partitionKey]int64{}, map[partitionKey]int64{}
	restoring := map[int32]*restoring{}
	consume := map[int32]kgo.Offset{}
	var total int64
	for _, p := range tasks {
		k := partitionKey{topic, p}
		end := ends[k]
		r, err := w.restoreFrom(p, id, starts[k], end)
		if err != nil {
			return err
		}
		if r.at < end {
			positions[k], targets[k] = r.at, end
			consume[p] = kgo.NewOffset().At(r.at)
			restoring[p] = r
			total += end - r.at
		} else if err := r.save(); err != nil {
			return err
		}
	}
	if len(consume) == 0 {
		return nil
	}
	w.log.Info("restoring state", "partitions", len(consume), "offsets", total)
	told := newProgress(w, watch, total)
	defer told.end()
	defer func() {
		for _, r := range restoring {
			_ = r.applied() // after an error, whose tasks are opened anew
		}
	}()
	cl, err := w.cfg.Kafka.New(append(readerOptions(),
		kgo.FetchMaxBytes(restoreFetch),
		kgo.FetchMaxPartitionBytes(restoreFetchPartition),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: consume}),
		// A position that the changelog no longer holds is an error: it is
		// wiped and read from its start at the next try.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	err = readTo(ctx, cl, positions, targets, func(r *kgo.Record) error {
		if told.add(r) {
			left := int64(0)
			for k, end := range targets {
				left += max(0, end-positions[k])
			}
			told.tell(left)
		}
		return restoring[r.Partition].put(r)
	}, func(k partitionKey) error {
		// A record of our own behind whatever cannot be seen: it is given to us
		// once all before it is settled.
		end, err := w.barrier(ctx, k)
		if err == nil {
			targets[k] = end
		}
		return err
	})
	if err != nil {
		var fe *fetchError
		if errors.As(err, &fe) && errors.Is(err, kerr.OffsetOutOfRange) {
			if r := restoring[fe.partition]; r != nil {
				w.log.Warn("local state is older than its changelog's start: wiped, to be restored anew", "partition", fe.partition)
				r.wipe(0)
				err = errors.Join(err, r.save())
			}
		}
		return fmt.Errorf("restore: %w", err)
	}
	for p, r := range restoring {
		r.at = positions[partitionKey{topic, p}]
		if err := r.save(); err != nil {
			return err
		}
	}
	w.log.Info("state restored", "records", told.records, "took", time.Since(told.began).Round(time.Millisecond), "mb_per_second", told.rate())
	return nil
}

// progress tells how a restore goes, in metrics and in the log.
type progress struct {
	w              *worker
	watch          *watch
	began, said    time.Time
	records, bytes int64
	counted        struct{ records, bytes int64 } // by the metrics
}

func newProgress(w *worker, watch *watch, left int64) *progress {
	now := time.Now()
	p := &progress{w: w, watch: watch, began: now, said: now}
	p.show(left)
	return p
}

// add counts a record, and says whether it is time to tell.
func (p *progress) add(r *kgo.Record) bool {
	p.records++
	p.watch.beat()
	p.bytes += int64(len(r.Key) + len(r.Value))
	return p.records%10000 == 0
}

func (p *progress) tell(left int64) {
	p.count()
	p.show(left)
	if time.Since(p.said) >= restoreSays {
		p.said = time.Now()
		p.w.log.Info("restoring state", "records", p.records, "remaining_offsets", left, "mb_per_second", p.rate())
	}
}

func (p *progress) show(left int64) {
	p.w.metrics.restoring.WithLabelValues(p.w.top.app).Set(float64(left))
	p.watch.at(fmt.Sprintf("restoring state, of which %d offsets are left", left))
}

func (p *progress) count() {
	p.w.metrics.restored.WithLabelValues(p.w.top.app).Add(float64(p.records - p.counted.records))
	p.w.metrics.restoredBytes.WithLabelValues(p.w.top.app).Add(float64(p.bytes - p.counted.bytes))
	p.counted.records, p.counted.bytes = p.records, p.bytes
}

// rate is the megabytes of keys and values per second so far.
func (p *progress) rate() int64 {
	return int64(float64(p.bytes) / 1e6 / max(time.Since(p.began).Seconds(), 1e-3))
}

func (p *progress) end() {
	p.count()
	p.w.metrics.restoring.WithLabelValues(p.w.top.app).Set(0)
}

// keyBarrier is the changelog key of a barrier, which is a tombstone.
var keyBarrier = []byte{0, 2}

// barrier writes a record that changes nothing to the end of a changelog, and
// returns the offset after it.
func (w *worker) barrier(ctx context.Context, k partitionKey) (int64, error) {
	cl, err := w.cfg.Kafka.New(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	r, err := cl.ProduceSync(ctx, &kgo.Record{Topic: k.topic, Partition: k.partition, Key: keyBarrier}).First()
	if err != nil {
		return 0, fmt.Errorf("barrier in %s/%d: %w", k.topic, k.partition, err)
	}
	w.log.Debug("changelog ends with what cannot be seen: barrier written", "partition", k.partition, "offset", r.Offset)
	return r.Offset + 1, nil
}

// restoring is the local state of one task while it catches up.
type restoring struct {
	t     *task
	db    *state.DB
	batch *state.Batch
	at    int64
	key   []byte     // to build one in
	done  chan error // of the batch that is being applied, if not nil
}

// restoreFrom finds where the local state of a task stands in the changelog. It
// is wiped when it cannot be caught up: another changelog, older than its start,
// or ahead of its end (a broker that lost its tail).
func (w *worker) restoreFrom(p int32, id [16]byte, start, end int64) (*restoring, error) {
	t, err := newTask(w.top, p, w.cfg.State, w.app.globals, w.app.counts, w.log, time.Now())
	if err != nil {
		// Unreadable positions: the changelog has them.
		w.log.Warn("local state cannot be read: wiped, to be restored", "partition", p, "err", err)
		space, serr := w.cfg.State.Space(w.top.app, "state", p)
		if serr != nil {
			return nil, serr
		}
		b := w.cfg.State.NewBatch()
		b.Wipe(space)
		if err := b.Apply(); err != nil {
			return nil, err
		}
		if t, err = newTask(w.top, p, w.cfg.State, w.app.globals, w.app.counts, w.log, time.Now()); err != nil {
			return nil, err
		}
	}
	r := &restoring{t: t, db: w.cfg.State, batch: w.cfg.State.NewBatch(), at: t.changelog}
	var why string
	switch {
	case t.changelog == 0 && t.changeID == [16]byte{}:
		r.at = start
	case t.changeID != id:
		why = "its changelog was re-created"
	case t.changelog < start:
		why = "it is older than its changelog's start"
	case t.changelog > end:
		why = "it is ahead of its changelog's end"
	case t.changelog < end && time.Since(t.changeAt) > w.app.deletions/2:
		// What was deleted since may have left the changelog without a trace.
		why = "it is older than the changelog's tombstones"
	}
	if why != "" {
		w.log.Warn("local state wiped, to be restored", "partition", p, "why", why, "position", t.changelog, "start", start, "end", end)
		r.wipe(start)
	}
	t.changeID = id
	return r, nil
}

func (r *restoring) wipe(start int64) {
	r.batch.Wipe(r.t.space)
	r.at = start
}

func (r *restoring) put(rec *kgo.Record) error {
	r.key = append(append(r.key[:0], r.t.space[:]...), rec.Key...)
	if rec.Value == nil {
		r.batch.Delete(r.key)
	} else {
		r.batch.Set(r.key, rec.Value)
	}
	if r.batch.Size() < restoreBatch {
		return nil
	}
	// A read that ends here is caught up from here. The records of a
	// transaction lie in one stretch, but its changes apply one by one: a task
	// never runs before all are there.
	r.at = rec.Offset + 1
	return r.apply(r.db.NewBatchOf(restoreBatch))
}

// apply begins to apply what was read, with the position, when the batch before
// is done. What is read from now on goes into next.
func (r *restoring) apply(next *state.Batch) error {
	if err := r.applied(); err != nil {
		return err
	}
	r.t.setChangelog(r.batch, r.at, r.t.changeID)
	full, done := r.batch, make(chan error, 1)
	go func() { done <- full.Apply() }()
	r.batch, r.done = next, done
	return nil
}

// applied waits for the batch that is being applied.
func (r *restoring) applied() error {
	if r.done == nil {
		return nil
	}
	err := <-r.done
	r.done = nil
	return err
}

// save applies what was read, with the position, and waits for it.
func (r *restoring) save() error {
	if err := r.apply(r.db.NewBatch()); err != nil {
		return err
	}
	return r.applied()
}
