package track

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

// wanted is what a Fetch has and still wants. It belongs to one goroutine.
type wanted struct {
	payloads []Payload
	left     map[orderdb.Partition]*offsets
	count    int // of offsets left
	size     int // of payloads
	at       map[address][]int
}

// address is where a record stands.
type address struct {
	orderdb.Partition
	offset int64
}

// offsets are those still wanted of a partition, rising.
type offsets struct {
	offsets []int64
	alone   bool // the first one's batch did not fit beside other partitions'
	empty   int  // answers in a row that said nothing of it
}

func newWanted(entries []orderdb.Entry) *wanted {
	w := &wanted{
		payloads: make([]Payload, len(entries)),
		left:     make(map[orderdb.Partition]*offsets),
		at:       make(map[address][]int, len(entries)),
	}
	for i, e := range entries {
		p := address{orderdb.Partition{Topic: e.Topic, Partition: e.Partition}, e.Offset}
		if w.at[p] == nil {
			if w.left[p.Partition] == nil {
				w.left[p.Partition] = &offsets{}
			}
			w.left[p.Partition].offsets = append(w.left[p.Partition].offsets, e.Offset)
			w.count++
		}
		w.at[p] = append(w.at[p], i)
	}
	for _, o := range w.left {
		slices.Sort(o.offsets)
	}
	return w
}

func (w *wanted) topics() (names []string) {
	for tp := range w.left {
		if !slices.Contains(names, tp.Topic) {
			names = append(names, tp.Topic)
		}
	}
	return names
}

// settle notes that the first offset left of a partition is known to be there
// as r, or, if r is nil, to be gone.
func (w *wanted) settle(tp orderdb.Partition, r *kgo.Record) {
	o := w.left[tp]
	if r != nil {
		w.keep(address{tp, o.offsets[0]}, r)
	}
	o.offsets = o.offsets[1:]
	o.alone, o.empty = false, 0
	w.count--
	if len(o.offsets) == 0 {
		delete(w.left, tp)
	}
}

// keep copies r to where it was asked for: a record would keep the whole answer
// in memory.
func (w *wanted) keep(at address, r *kgo.Record) {
	size := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value)
	}
	p := Payload{Time: r.Timestamp, Found: true}
	if w.size+size > MaxFetch {
		p.Omitted = true
	} else {
		w.size += size
		p.Key, p.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		for _, h := range r.Headers {
			p.Headers = append(p.Headers, orderdb.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
		}
	}
	for _, i := range w.at[at] {
		w.payloads[i] = p
	}
}

// gone settles all that is wanted of a topic that is no more.
func (w *wanted) gone(topic string) {
	for tp, o := range w.left {
		if tp.Topic == topic {
			w.count -= len(o.offsets)
			delete(w.left, tp)
		}
	}
}

// emptyTries is how often a broker may say nothing of an offset that it does
// not deny, before it counts as gone: one that follows another for a moment
// knows less than we.
const emptyTries = 5

// take settles what an answer tells of. It returns one of the errors there
// were.
func (w *wanted) take(resp *kmsg.FetchResponse, ids map[[16]byte]string, alone bool, codec kgo.Decompressor) (failed error) {
	for i := range resp.Topics {
		t := &resp.Topics[i]
		topic := t.Topic
		if topic == "" {
			topic = ids[t.TopicID]
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			tp := orderdb.Partition{Topic: topic, Partition: p.Partition}
			o := w.left[tp]
			if o == nil {
				continue
			}
			switch err := w.takePartition(tp, o, p, alone, codec); {
			case errors.Is(err, kerr.OffsetOutOfRange):
				w.settle(tp, nil) // before the log's start, or lost with its end
			case err != nil:
				failed = fmt.Errorf("topic %s partition %d: %w", tp.Topic, tp.Partition, err)
			}
		}
	}
	return failed
}

func (w *wanted) takePartition(tp orderdb.Partition, o *offsets, p *kmsg.FetchResponseTopicPartition, alone bool, codec kgo.Decompressor) error {
	want := o.offsets[0]
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: want, Topic: tp.Topic, Partition: tp.Partition}, p, codec, nil)
	if fp.Err != nil && len(fp.Records) == 0 {
		return fp.Err
	}
	for _, r := range fp.Records {
		// What the log skips is not there any more.
		for w.left[tp] == o && o.offsets[0] < r.Offset {
			w.settle(tp, nil)
		}
		if w.left[tp] == o && o.offsets[0] == r.Offset {
			w.settle(tp, r)
		}
	}
	for w.left[tp] == o && o.offsets[0] < next {
		w.settle(tp, nil)
	}
	if w.left[tp] != o || o.offsets[0] != want {
		return nil
	}
	// The answer held nothing from want on.
	if !alone {
		o.alone = true
		return nil
	}
	if o.empty++; o.empty >= emptyTries {
		w.settle(tp, nil)
	}
	return nil
}
