package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// loadFrom is how many offsets make a restore write tables of its own.
	loadFrom = 20_000
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
	asOf := time.Now()
	ends, err := listOffsets(ctx, adm.ListEndOffsets, topic)
	if err != nil {
		return err
	}
	positions, targets := map[partitionKey]int64{}, map[partitionKey]int64{}
	consume := map[int32]kgo.Offset{}
	re := newReplay(w.cfg.State)
	var total int64
	for _, p := range tasks {
		k := partitionKey{topic, p}
		at, err := w.replayFrom(re, p, id, starts[k], ends[k])
		if err != nil {
			return err
		}
		if at < ends[k] {
			positions[k], targets[k] = at, ends[k]
			consume[p] = kgo.NewOffset().At(at)
			total += ends[k] - at
		}
	}
	if len(consume) == 0 {
		return re.save(asOf)
	}
	if total >= loadFrom {
		re.useTables()
	}
	w.log.Info("restoring state", "partitions", len(consume), "offsets", total)
	told := newProgress(w, watch, total)
	defer told.end()
	defer func() { _ = re.applied() }() // after an error, whose tasks are opened anew
	cl, err := w.cfg.Kafka.New(append(readerOptions(),
		kgo.FetchMaxBytes(restoreFetch),
		kgo.FetchMaxPartitionBytes(restoreFetchPartition),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: consume}),
		// A position that the changelog no longer holds is an error: its state is
		// wiped and read from the start at the next try.
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
		return re.put(r)
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
		return fmt.Errorf("restore: %w", w.readFailed(re, err))
	}
	for k, at := range positions {
		re.tasks[k.partition].at = at
	}
	if err := re.save(asOf); err != nil {
		return err
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
