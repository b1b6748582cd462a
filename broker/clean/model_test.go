package clean

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/core"
)

// written is a record as it was acknowledged.
type written struct {
	key, value []byte
	at         time.Time
	open       *producer // whose transaction is open
	aborted    bool
	done       time.Time // when it was committed
}

// history is a world and what should be in it.
type history struct {
	*world
	log       map[int64]*written
	producers []*producer
	open      map[*producer]bool

	quiet, lag, deleteAfter time.Duration
}

// TestCompactionModel runs random histories of keys, tombstones, transactions and
// time, in which the cleaner is killed at random steps, and compares what a
// reader sees with what it should.
// COMPTOIR_TEST_COMPACTIONS=n runs n histories, COMPTOIR_TEST_SEED=n begins at
// that one.
func TestCompactionModel(t *testing.T) {
	histories, first := 12, 1
	if n, err := strconv.Atoi(os.Getenv("COMPTOIR_TEST_COMPACTIONS")); err == nil {
		histories = n
	}
	if n, err := strconv.Atoi(os.Getenv("COMPTOIR_TEST_SEED")); err == nil {
		first = n
	}
	for seed := first; seed < first+histories; seed++ {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			newHistory(t, rand.New(rand.NewPCG(uint64(seed), 7))).run(150)
		})
	}
}

func newHistory(t *testing.T, rng *rand.Rand) *history {
	pick := func(d ...time.Duration) time.Duration { return d[rng.IntN(len(d))] }
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	h := &history{
		log: map[int64]*written{}, open: map[*producer]bool{},
		quiet:       pick(time.Millisecond, 10*time.Second, time.Hour),
		lag:         pick(0, 0, 30*time.Second),
		deleteAfter: pick(0, time.Second, 2*time.Minute),
	}
	h.world = newWorld(t, rng, []int{5, 8, 1000}[rng.IntN(3)],
		"cleanup.policy", "compact,delete", "min.cleanable.dirty.ratio", []string{"0", "0.3"}[rng.IntN(2)],
		"segment.ms", ms(h.quiet), "min.compaction.lag.ms", ms(h.lag), "delete.retention.ms", ms(h.deleteAfter))
	h.quiet = min(h.quiet, restless)
	h.initProducers()
	return h
}

func (h *history) initProducers() {
	h.producers = nil
	for i := range 3 {
		h.producers = append(h.producers, h.producer(fmt.Sprint("p", i)))
	}
}

func (h *history) run(steps int) {
	h.t.Helper()
	for range steps {
		switch n := h.rng.IntN(100); {
		case n < 35:
			h.write(&producer{id: -1})
		case n < 65:
			h.transact()
		case n < 75:
			h.clock.turn(time.Duration(h.rng.IntN(40_000)) * time.Millisecond)
		case n < 78:
			h.deleteRecords()
		case n < 80:
			h.power = h.rng.IntN(2) == 0
			h.crash()
			h.recovered()
		default:
			h.power = h.rng.IntN(2) == 0
			h.kill, h.after = h.rng.IntN(6), h.rng.IntN(2) == 0
			before := h.runner
			h.round()
			if h.runner != before {
				h.recovered()
			}
		}
		h.check()
		if h.t.Failed() {
			return
		}
	}
	h.converge()
}

// write appends a batch of random records.
func (h *history) write(p *producer) {
	h.t.Helper()
	var records []keyValue
	for range 1 + h.rng.IntN(5) {
		kv := keyValue{key: fmt.Append(nil, "key", h.rng.IntN(14))}
		if h.rng.IntN(4) > 0 {
			kv.value = fmt.Append(nil, "value", h.rng.Uint64())
		}
		records = append(records, kv)
	}
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	n := h.rng.IntN(len(codecs))
	base := h.produce(p, codecs[n], int16(n), records...)
	for i, kv := range records {
		w := &written{key: kv.key, value: kv.value, at: h.clock.Now(), done: h.clock.Now()}
		if p.id >= 0 {
			w.open = p
		}
		h.log[base+int64(i)] = w
	}
}

func (h *history) transact() {
	h.t.Helper()
	p := h.producers[h.rng.IntN(len(h.producers))]
	switch {
	case !h.open[p]:
		h.begin(p)
		h.open[p] = true
		h.write(p)
	case h.rng.IntN(2) == 0:
		h.write(p)
	default:
		h.end(p, h.rng.IntN(2) == 0)
	}
}

func (h *history) end(p *producer, commit bool) {
	h.t.Helper()
	h.finish(p, commit)
	h.settle(p, commit)
}

func (h *history) settle(p *producer, commit bool) {
	delete(h.open, p)
	for _, w := range h.log {
		if w.open == p {
			w.open, w.aborted, w.done = nil, !commit, h.clock.Now()
		}
	}
}

// recovered follows the broker's start: after a loss of power the transactions
// that were open are aborted, and their last records may be gone.
func (h *history) recovered() {
	h.t.Helper()
	if !h.power {
		return
	}
	for _, p := range h.producers {
		h.settle(p, false)
	}
	h.initProducers()
}

func (h *history) deleteRecords() {
	h.t.Helper()
	s := h.state()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Offset = s.Start + h.rng.Int64N((s.Stable-s.Start)/4+1)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	if got := do[*kmsg.DeleteRecordsResponse](h.world, req).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.LowWatermark != rp.Offset {
		h.t.Fatalf("delete up to %d: %+v", rp.Offset, got)
	}
}

// check compares what a reader sees with what it should.
func (h *history) check() {
	h.t.Helper()
	s := h.state()
	now := h.clock.Now()
	seen := map[int64]bool{}
	last := map[string]int64{}
	for _, r := range h.committed() {
		w := h.log[r.Offset]
		if w == nil || w.aborted || w.open != nil {
			h.t.Errorf("offset %d is seen: %+v", r.Offset, w)
			continue
		}
		if !bytes.Equal(r.Key, w.key) || !bytes.Equal(r.Value, w.value) || (r.Value == nil) != (w.value == nil) || r.Timestamp != w.at.UnixMilli() {
			h.t.Errorf("offset %d is %q %q at %d, was %+v", r.Offset, r.Key, r.Value, r.Timestamp, w)
		}
		seen[r.Offset] = true
		last[string(r.Key)] = r.Offset
	}
	for key, offset := range h.lasts(s) {
		w := h.log[offset]
		switch got, ok := last[key]; {
		case ok && got == offset:
		case !ok && w.value == nil && now.Sub(w.at) >= h.deleteAfter:
		default:
			h.t.Errorf("key %s: last seen at %d (%v), is at %d: %+v", key, got, ok, offset, w)
		}
	}
	for offset, w := range h.log {
		if offset < s.Start || offset >= s.Stable || w.aborted || w.open != nil || seen[offset] {
			continue
		}
		if now.Sub(w.at) < h.lag || now.Sub(w.done) < h.quiet {
			h.t.Errorf("offset %d is gone after %s: %+v", offset, now.Sub(w.at), w)
		}
	}
	if all := h.batches(); s.Start < s.End && (len(all) == 0 || all[len(all)-1].LastOffset()+1 != s.End) {
		h.t.Errorf("the partition ends at %d (%+v), its batches: %+v", s.End, s, all)
	}
}

// lasts returns the offset of each key's last committed record.
func (h *history) lasts(s core.LogState) map[string]int64 {
	last := map[string]int64{}
	for offset, w := range h.log {
		if offset >= s.Start && offset < s.Stable && !w.aborted && w.open == nil && offset >= last[string(w.key)] {
			last[string(w.key)] = offset
		}
	}
	return last
}

// converge lets time pass until everything may go that should.
func (h *history) converge() {
	h.t.Helper()
	for _, p := range h.producers {
		if h.open[p] {
			h.end(p, true)
		}
	}
	h.write(&producer{id: -1}) // whatever the dirty ratio was
	for range 12 {
		h.clock.turn(5 * time.Minute)
		h.kill = 0
		h.round()
		h.check()
	}
	live := 0
	for _, offset := range h.lasts(h.state()) {
		if h.log[offset].value != nil {
			live++
		}
	}
	// With a dirty ratio what was written last may wait for more.
	dirty := 0
	c, err := h.Cleanables(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for offset := range h.log {
		if offset >= c[0].Compacted.Below {
			dirty++
		}
	}
	if got := len(h.committed()); got > live+dirty {
		h.t.Errorf("%d records are left of %d keys, and %d to be compacted", got, live, dirty)
	}
	aborted, err := core.Aborted(h.store, h.partition(), 0, c[0].Compacted.Below)
	if err != nil || len(aborted) > 0 {
		h.t.Errorf("aborted transactions are left: %v, %v", aborted, err)
	}
	data, markers := 0, 0
	for _, b := range h.batches() {
		switch {
		case b.LastOffset() >= c[0].Compacted.Below:
		case b.Control():
			markers++
		default:
			data++
		}
	}
	// Markers stay with the records of their transactions, the partition's last
	// batch as its end.
	if data > live+1 || markers > live+1 {
		h.t.Errorf("%d compacted batches and %d markers are left of %d keys", data, markers, live)
	}
}
