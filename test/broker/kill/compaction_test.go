package kill

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// compaction is a topic of which only each key's last value must stand: the last
// acknowledged one, or one written after it.
type compaction struct {
	run *run
	rng *rand.Rand

	mu    sync.Mutex
	acked map[int]uint64 // key, version: of the last one acknowledged
	last  map[int]uint64 // of the last one sent
}

const (
	compactTopic = "compact"
	compactKeys  = 600
)

func newCompaction(r *run, seed uint64) *compaction {
	return &compaction{run: r, rng: source(seed, "compaction"), acked: map[int]uint64{}, last: map[int]uint64{}}
}

func (a *compaction) prepare(ctx context.Context) error {
	return a.run.create(ctx, compactTopic, 1, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01",
		"segment.bytes", "1048576", "segment.ms", "200", "min.compaction.lag.ms", "0", "delete.retention.ms", "86400000")
}

func (a *compaction) work(ctx context.Context) {
	cl, err := a.run.client(kgo.ProducerBatchCompression(codec(1)))
	if err != nil {
		a.run.t.Error(err)
		return
	}
	defer cl.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		for range 1 + a.rng.IntN(12) {
			// Some keys are written often, some once in a long while, few once.
			key := int(float64(compactKeys) * a.rng.Float64() * a.rng.Float64())
			a.mu.Lock()
			a.last[key]++
			version := a.last[key]
			rec := &kgo.Record{Topic: compactTopic, Key: fmt.Append(nil, key), Value: value(version, a.rng.IntN(1000))}
			if a.rng.IntN(20) == 0 {
				// A tombstone. Its version travels as a header.
				rec.Value, rec.Headers = nil, []kgo.RecordHeader{{Key: "version", Value: binary.BigEndian.AppendUint64(nil, version)}}
			}
			a.mu.Unlock()
			cl.Produce(context.Background(), rec, func(_ *kgo.Record, err error) {
				if err != nil {
					a.run.tally.fault(fenced, "%s: key %d: %v", compactTopic, key, err)
					return
				}
				a.mu.Lock()
				defer a.mu.Unlock()
				a.acked[key] = max(a.acked[key], version)
				a.run.tally.did("records of the compacted topic", 1)
			})
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	flush, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cl.Flush(flush); err != nil {
		a.run.tally.fault(fenced, "%s: %v", compactTopic, err)
	}
}

func (a *compaction) check(ctx context.Context, last bool) error {
	a.mu.Lock()
	acked := make(map[int]uint64, len(a.acked))
	for k, v := range a.acked {
		acked[k] = v
	}
	a.mu.Unlock()
	conn, err := wire.Dial(ctx, a.run.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stands := map[int]uint64{}
	records := 0
	start, _, err := bounds(ctx, conn, compactTopic, 0, uncommitted)
	if err != nil {
		return err
	}
	end, err := read(ctx, conn, compactTopic, 0, start, uncommitted, func(r *kgo.Record) {
		records++
		var key int
		if _, err := fmt.Sscan(string(r.Key), &key); err != nil {
			a.run.tally.fault(missing, "%s at %d: key %q", compactTopic, r.Offset, r.Key)
			return
		}
		version := identity(r.Value)
		if r.Value == nil && len(r.Headers) == 1 {
			version = binary.BigEndian.Uint64(r.Headers[0].Value)
		}
		if version <= stands[key] {
			a.run.tally.fault(duplicate, "%s at %d: version %d of key %d after version %d", compactTopic, r.Offset, version, key, stands[key])
		}
		stands[key] = version
	})
	if err != nil {
		return err
	}
	judgeKeys(a.run.tally, acked, stands)
	if last {
		a.run.tally.did("records cleaned away", int(end)-records)
		if int64(records) == end {
			return fmt.Errorf("nothing was compacted in %d records: this run proves nothing about it", records)
		}
	}
	return nil
}

// judgeKeys holds the versions that stand against those acknowledged before.
func judgeKeys(t *tally, acked, stands map[int]uint64) {
	for key, version := range acked {
		if stands[key] < version {
			t.fault(lostKey, "key %d stands at version %d, %d was acknowledged", key, stands[key], version)
		}
	}
}
