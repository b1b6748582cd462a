package streams

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What a task sends to a repartition partition whose task runs in the same worker
// need not go through Kafka: both are in one transaction, so it is handed over in
// memory and handled before the transaction ends. That saves a hop, and the record
// itself.
//
// It must not overtake what was sent to that partition before and still lies in
// the topic. So a partition's records are handed over only once its task has
// handled everything up to an end that covers all that our tasks, wherever they
// ran before, have sent there: the end of the topic when a task of ours was last
// opened, and what we sent ourselves since. From then on nothing of ours lies in
// the topic, until the task moves away.
//
// What other workers send goes through the topic as ever. It has no order with
// what ours send.

// handed is a record on its way to another task of this worker.
type handed struct {
	source    *source
	partition int32
	key       []byte
	value     []byte
	headers   []Header
	at        time.Time
}

// send is what a task's outputs do with a record.
func (w *worker) send(out *output, partition int32, key, value []byte, headers []Header, at time.Time) {
	if out.internal == nil {
		if readers := w.readers[out.topic]; partition < 0 && len(readers) > 0 {
			partition = w.pick(key, readers[0].app.counts[out.topic])
		}
		rec := w.produce(out.topic, partition, key, value, headers, at, w.onProduced)
		if w.cfg.Chain != nil {
			c := w.carrier()
			c.txn.relayed = append(c.txn.relayed, relayed{w, out.topic, partition, key, value, headers, at.Truncate(time.Millisecond), rec})
		}
		return
	}
	if partition < 0 && key != nil {
		partition = Partition(key, w.app.counts[out.topic])
	}
	if src := w.near(out, partition); src != nil {
		w.txn.hand(handed{src, partition, key, value, headers, at.Truncate(time.Millisecond)})
		return
	}
	w.txn.sent(partitionKey{out.topic, partition}, -1)
	w.produce(out.topic, partition, key, value, headers, at, w.onProducedInside)
}

// near returns the source by which a task of ours takes what goes to a partition
// of a repartition topic, nil if it must go through the topic.
func (w *worker) near(out *output, partition int32) *source {
	t := w.tasks[partition]
	if t == nil || out.internal.far || w.top.ordered || w.cfg.farOnly {
		return nil
	}
	if w.txn.bytes >= 2*w.cfg.BufferBytes {
		// A commit is overdue, but one record begets more and more. They must
		// not keep the transaction from its end.
		return nil
	}
	k := partitionKey{out.topic, partition}
	if w.txn.isSent(k) {
		return nil
	}
	src := out.source
	if t.positions[src.index] < w.behind[k] {
		return nil
	}
	return src
}

// catchUpFor bounds how long new input is held back after tasks were opened, so
// that what lies in their repartition partitions is handled and the hand-over can
// begin. Under load it might else never come to that: each transaction would send
// more through the topic while the last one's records are on their way. The bound
// is there since an end may never be reached (see readTo).
const catchUpFor = 2 * time.Second

// catchUp holds back the public topics while what we sent to tasks of ours lies
// in repartition topics, and lets them go again.
func (w *worker) catchUp() {
	hold := false
	if !w.catchBy.IsZero() {
		if hold = w.lying() && time.Now().Before(w.catchBy); !hold {
			w.catchBy = time.Time{}
		}
	}
	if hold == w.holding {
		return
	}
	w.holding = hold
	if hold {
		w.log.Debug("new input waits for what lies in repartition topics", "at_most", catchUpFor)
		w.fetch.PauseFetchTopics(w.top.Sources()...)
	} else {
		w.fetch.ResumeFetchTopics(w.top.Sources()...)
	}
}

// lying tells whether a repartition partition of a task of ours holds what must
// not be overtaken.
func (w *worker) lying() bool {
	for p, t := range w.tasks {
		for i, s := range w.top.sources {
			// A task may have no such partition: -1, and nothing lies there.
			at := t.positions[i]
			if s.internal != nil && !s.internal.far && at >= 0 && at < w.behind[partitionKey{s.topic, p}] {
				return true
			}
		}
	}
	return false
}

// handOver gives every record that was handed over to its task, and those that
// come of it. A transaction never ends before.
func (w *worker) handOver() {
	for {
		h, ok := w.txn.next()
		if !ok {
			return
		}
		t := w.tasks[h.partition]
		w.begin(t)
		w.txn.moved = true
		if err := t.process(h.source, -1, h.at, h.key, h.value, h.headers); err != nil && !skipped(err) {
			w.metrics.decodeErrors.WithLabelValues(w.top.app, h.source.topic).Inc()
			w.log.Error("record of our own passed over: it does not decode", "topic", h.source.topic, "partition", h.partition, "err", err)
		}
	}
}

// producedInside is the promise of records to repartition topics.
func (w *worker) producedInside(r *kgo.Record, err error) {
	if err != nil {
		w.txn.fail(err)
		return
	}
	w.txn.sent(partitionKey{r.Topic, r.Partition}, r.Offset+1)
}

// handChunk is how much memory for handed-over records is taken at once. It is
// not used again: what is decoded from it may live on, as what was fetched may.
const handChunk = 64 << 10

// hand queues a record, whose key and value it copies.
func (x *txn) hand(h handed) {
	h.key, h.value = x.keep(h.key), x.keep(h.value)
	x.bytes += len(h.key) + len(h.value) + 64
	x.handed = append(x.handed, h)
}

// keep copies what a task is handed over.
func (x *txn) keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	// Never nil, since an empty value is not a missing one.
	if x.chunk == nil || cap(x.chunk)-len(x.chunk) < len(b) {
		x.chunk = make([]byte, 0, max(handChunk, len(b)))
	}
	start := len(x.chunk)
	x.chunk = append(x.chunk, b...)
	return x.chunk[start:len(x.chunk):len(x.chunk)]
}

// next takes the oldest record that is handed over.
func (x *txn) next() (handed, bool) {
	if x.taken == len(x.handed) {
		clear(x.handed)
		x.handed, x.taken = x.handed[:0], 0
		return handed{}, false
	}
	h := x.handed[x.taken]
	x.taken++
	return h, true
}

// sent notes that a repartition partition has got a record from us, and where it
// ends then; -1 while that is not known.
func (x *txn) sent(k partitionKey, end int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.inside == nil {
		x.inside = map[partitionKey]int64{}
	}
	if old, ok := x.inside[k]; !ok || end > old {
		x.inside[k] = end
	}
}

func (x *txn) isSent(k partitionKey) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.inside[k]
	return ok
}
