package core

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batchOf is a batch of one record.
func (r *txnRig) batchOf(by incarnation, seq int32, transactional bool, value string) sent {
	return sent{by: by, seq: seq, n: 1, transactional: transactional, time: r.now.UnixMilli(), value: []byte(value)}
}

func TestIdempotentProduce(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 1)
	by := r.init("", nobody, nil)
	put := func(seq, n int32, epoch int16, want *kerr.Error) int64 {
		t.Helper()
		b := r.batchOf(incarnation{by.producer, epoch}, seq, false, "v")
		b.n = int(n)
		return r.produce(9, "", "t", 0, b, want)
	}
	if at := put(0, 3, 0, nil); at != 0 {
		t.Errorf("first batch at %d", at)
	}
	if at := put(3, 2, 0, nil); at != 3 {
		t.Errorf("second batch at %d", at)
	}
	for range 2 {
		if at := put(0, 3, 0, nil); at != 0 {
			t.Errorf("repetition of the first batch at %d", at)
		}
		r.load(true, false)
	}
	put(0, 2, 0, kerr.OutOfOrderSequenceNumber) // not the same batch
	put(6, 1, 0, kerr.OutOfOrderSequenceNumber) // a gap
	put(5, 1, 1, kerr.OutOfOrderSequenceNumber) // a new epoch begins at 0
	for i := range int32(4) {
		put(5+i, 1, 0, nil)
	}
	dup := r.batchOf(incarnation{by.producer, 0}, 3, false, "v")
	dup.n = 2
	again := do[*kmsg.ProduceResponse](r, produceRequest(9, "", "t", 0, dup.encode())).Topics[0].Partitions[0]
	if again.BaseOffset != 3 || again.LogAppendTime != dup.time || again.LogStartOffset != 0 {
		t.Errorf("the repetition is answered %+v, want the first one's place and time", again)
	}
	if at := put(3, 2, 0, nil); at != 3 {
		t.Errorf("repetition of the fifth batch from the end at %d", at)
	}
	put(0, 3, 0, kerr.OutOfOrderSequenceNumber) // six back
	if at := put(0, 1, 1, nil); at != 9 {
		t.Errorf("a new epoch at %d", at)
	}
	put(9, 1, 0, kerr.InvalidProducerEpoch)
	r.load(true, false)
	put(9, 1, 0, kerr.InvalidProducerEpoch)
	put(1, 1, 1, nil)

	// Who is not known may go on at any number, and the numbers wrap.
	by.producer = 4711
	put(math.MaxInt32-1, 1, 0, nil)
	put(math.MaxInt32, 2, 0, nil)
	put(1, 1, 0, nil)
	put(3, 1, 0, kerr.OutOfOrderSequenceNumber)
	if at := put(math.MaxInt32, 2, 0, nil); at != 12 {
		t.Errorf("repetition over the wrap at %d", at)
	}

	// After a day without a batch it is forgotten.
	r.pass(producerExpiry)
	r.settle()
	put(30, 1, 0, nil)
}

func TestProduceRefusals(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 1)
	r.topic("small", 1, "max.message.bytes", "100")
	r.topic("stamped", 1, "message.timestamp.type", "LogAppendTime")
	plain := sent{by: nobody, seq: -1, n: 1, time: r.now.UnixMilli(), value: []byte("v")}
	with := func(change func(*sent)) []byte {
		b := plain
		change(&b)
		return b.encode()
	}
	edit := func(at int, v byte) []byte {
		b := plain.encode()
		b[at] = v
		return b
	}
	for _, c := range []struct {
		name    string
		topic   string
		version int16
		acks    int16
		id      string
		records []byte
		want    *kerr.Error
		byLog   bool // and not by what stands before it
	}{
		{name: "good", records: plain.encode()},
		{name: "no topic", topic: "none", records: plain.encode(), want: kerr.UnknownTopicOrPartition},
		{name: "acks", acks: 2, records: plain.encode(), want: kerr.InvalidRequiredAcks},
		{name: "nothing", want: kerr.InvalidRecord},
		{name: "two batches", records: append(plain.encode(), plain.encode()...), want: kerr.InvalidRecord},
		{name: "broken off", records: plain.encode()[:70], want: kerr.InvalidRecord},
		{name: "old version", records: edit(16, 1), want: kerr.InvalidRecord},
		{name: "no version", records: edit(16, 9), want: kerr.CorruptMessage},
		{name: "length", records: edit(11, 3), want: kerr.CorruptMessage},
		{name: "base offset", records: edit(7, 3), want: kerr.InvalidRecord, byLog: true},
		{name: "control", records: edit(22, 0x20), want: kerr.InvalidRecord, byLog: true},
		{name: "append time", records: edit(22, 0x08), want: kerr.InvalidTimestamp, byLog: true},
		{name: "codec", records: edit(22, 0x05), want: kerr.InvalidRecord, byLog: true},
		{name: "zstd too early", version: 6, records: edit(22, 0x04), want: kerr.UnsupportedCompressionType},
		{name: "too large", topic: "small", records: with(func(b *sent) { b.value = make([]byte, 100) }), want: kerr.MessageTooLarge},
		{name: "future", records: with(func(b *sent) { b.time += time.Hour.Milliseconds() + 1 }), want: kerr.InvalidTimestamp, byLog: true},
		{name: "not quite future", records: with(func(b *sent) { b.time += time.Hour.Milliseconds() })},
		{name: "future, but stamped", topic: "stamped", records: with(func(b *sent) { b.time += 2 * time.Hour.Milliseconds() })},
		{name: "transaction without id", records: with(func(b *sent) { b.by, b.seq, b.transactional = incarnation{1, 0}, 0, true }), want: kerr.TransactionalIDAuthorizationFailed},
		{name: "transaction of an unknown id", id: "x", records: with(func(b *sent) { b.by, b.seq, b.transactional = incarnation{1, 0}, 0, true }), want: kerr.InvalidProducerIDMapping},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.topic == "" {
				c.topic = "t"
			}
			if c.version == 0 {
				c.version = 9
			}
			if c.acks == 0 {
				c.acks = -1
			}
			req := produceRequest(c.version, c.id, c.topic, 0, c.records)
			req.Acks = c.acks
			got := do[*kmsg.ProduceResponse](r, req).Topics[0].Partitions[0]
			r.want("produce", got.ErrorCode, c.want)
			if stamped := c.topic == "stamped"; stamped != (got.LogAppendTime == r.now.UnixMilli()) {
				t.Errorf("append time %d", got.LogAppendTime)
			}
			if c.want != nil && got.BaseOffset != -1 {
				t.Errorf("refused, at %d", got.BaseOffset)
			}
			// What the log refuses names its start, as with Kafka.
			start := int64(-1)
			if c.want == nil || c.byLog {
				start = 0
			}
			if got.LogStartOffset != start {
				t.Errorf("the log starts at %d, want %d", got.LogStartOffset, start)
			}
		})
	}
}

// What the server found in the records is told with the records that are to blame,
// unless the partition is not there.
func TestProduceRefusedRecords(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 1)
	for topic, want := range map[string]*kerr.Error{"t": kerr.InvalidRecord, "none": kerr.UnknownTopicOrPartition} {
		req := produceRequest(9, "", topic, 0, sent{by: nobody, seq: -1, n: 1, time: r.now.UnixMilli(), value: []byte("v")}.encode())
		refused := Refusal{Err: kerr.InvalidRecord, Text: "bad", Records: []BadRecord{{Index: 3, Text: "no key"}}}
		var got kmsg.ProduceResponseTopicPartition
		r.m.Handle(r.now, &Request{Body: req, Refused: map[Place]Refusal{{0, 0}: refused},
			Answer: func(resp kmsg.Response) { got = resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0] }})
		r.settle()
		r.want(topic, got.ErrorCode, want)
		if named := len(got.ErrorRecords) == 1 && got.ErrorRecords[0].RelativeOffset == 3; named != (topic == "t") {
			t.Errorf("%s: records named: %+v", topic, got.ErrorRecords)
		}
	}
}

// A produce that wants no answer gets none, but the server learns that it is done
// with; a client hears of its failure by the end of the connection.
func TestProduceWithoutAnswer(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 1)
	for topic, want := range map[string]bool{"t": false, "none": true} {
		req := produceRequest(9, "", topic, 0, sent{by: nobody, seq: -1, n: 1, value: []byte("v")}.encode())
		req.Acks = 0
		done, dropped := false, false
		r.m.Handle(r.now, &Request{Body: req, Answer: func(resp kmsg.Response) { done = resp == nil }, Dropped: func() { dropped = true }})
		r.settle()
		if dropped != want || done == want {
			t.Errorf("%s: done is %v, dropped is %v", topic, done, dropped)
		}
	}
}

func TestTransaction(t *testing.T) {
	for _, version := range []int16{1, 2} {
		t.Run(map[int16]string{1: "version 1", 2: "version 2"}[version], func(t *testing.T) {
			produce, end := int16(11), int16(4)
			if version == 2 {
				produce, end = 13-1, 5
			}
			r := newTxnRig(t)
			r.topic("t", 2)
			by := r.init("x", nobody, nil)
			seq := []int32{0, 0}
			put := func(partition int32, value string) {
				t.Helper()
				if version == 1 {
					r.add("x", by, "t", partition, nil)
				}
				r.produce(produce, "x", "t", partition, r.batchOf(by, seq[partition], true, value), nil)
				seq[partition]++
			}
			over := func(commit bool) {
				t.Helper()
				old := by
				next := r.end(end, "x", by, commit, nil)
				again := r.end(end, "x", old, commit, nil)
				if version == 2 {
					if by = next; next != again || next.epoch != old.epoch+1 {
						t.Fatalf("%v ends as %v, and again as %v", old, next, again)
					}
					seq = []int32{0, 0}
				}
				r.end(end, "x", old, !commit, kerr.InvalidTxnState)
			}
			see := func(partition int32, want ...string) {
				t.Helper()
				if got := r.committed("t", partition); !slices.Equal(got, want) {
					t.Fatalf("partition %d has %q, want %q", partition, got, want)
				}
			}
			put(0, "a")
			put(1, "b")
			put(0, "c")
			see(0)
			r.load(true, false)
			put(1, "d")
			see(1)
			over(true)
			see(0, "a", "c")
			see(1, "b", "d")
			put(0, "e")
			over(false)
			r.load(true, false)
			put(0, "f")
			see(0, "a", "c")
			over(true)
			see(0, "a", "c", "f")

			if version == 1 {
				r.produce(11, "x", "t", 0, r.batchOf(by, seq[0], true, "g"), kerr.TransactionAbortable)
				r.produce(10, "x", "t", 0, r.batchOf(by, seq[0], true, "g"), kerr.InvalidTxnState)
				r.end(4, "x", by, false, kerr.InvalidTxnState)
			}
			// A time-out aborts and fences.
			put(0, "h")
			r.pass(time.Minute)
			r.settle()
			see(0, "a", "c", "f")
			r.end(end, "x", by, true, kerr.ProducerFenced)
			r.produce(produce, "x", "t", 0, r.batchOf(by, seq[0], true, "h"), kerr.InvalidProducerEpoch)
			state, _ := r.view.Topic("t")
			if s := state.Partitions[0].State(); s.Stable != s.End {
				t.Errorf("stable to %d of %d", s.Stable, s.End)
			}

			// Taking the id over does, too.
			old := r.init("x", nobody, nil)
			by, seq = old, []int32{0, 0}
			put(0, "i")
			by = r.init("x", nobody, nil)
			seq = []int32{0, 0}
			r.end(end, "x", old, true, kerr.ProducerFenced)
			r.init("x", old, kerr.ProducerFenced)
			put(0, "j")
			over(true)
			see(0, "a", "c", "f", "j")

			// And a loss of power.
			put(0, "k")
			r.load(true, true)
			r.end(end, "x", by, true, kerr.ProducerFenced)
			see(0, "a", "c", "f", "j")
		})
	}
}

// After the last epoch comes a new producer id, and a repeated request is still
// understood.
func TestEpochsEnd(t *testing.T) {
	for name, next := range map[string]func(r *txnRig, by incarnation) incarnation{
		"taken over": func(r *txnRig, by incarnation) incarnation { return r.init("x", nobody, nil) },
		"recovered": func(r *txnRig, by incarnation) incarnation {
			got := r.init("x", by, nil)
			if again := r.init("x", by, nil); again != got {
				r.t.Errorf("%v, and again %v", got, again)
			}
			return got
		},
		"ended": func(r *txnRig, by incarnation) incarnation {
			r.produce(12, "x", "t", 0, r.batchOf(by, 0, true, "v"), nil)
			got := r.end(5, "x", by, true, nil)
			if again := r.end(5, "x", by, true, nil); again != got {
				r.t.Errorf("%v, and again %v", got, again)
			}
			return got
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTxnRig(t)
			r.topic("t", 1)
			first := r.init("x", nobody, nil)
			r.m.producers.transactions["x"].now.epoch = lastEpoch - 1
			r.m.touchTransaction(r.m.producers.transactions["x"])
			r.settle()
			r.load(true, false)
			by := next(r, incarnation{first.producer, lastEpoch - 1})
			if by != (incarnation{first.producer, lastEpoch}) {
				t.Fatalf("then %v", by)
			}
			if by = next(r, by); by.producer == first.producer || by.epoch != 0 {
				t.Fatalf("at the end %v", by)
			}
			r.produce(12, "x", "t", 0, r.batchOf(by, 0, true, "w"), nil)
		})
	}
}

// A producer that takes a transactional id over has an epoch of its own: the one
// before it ended what was open.
func TestInitWhileOpen(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 1)
	by := r.init("x", nobody, nil)
	r.produce(12, "x", "t", 0, r.batchOf(by, 0, true, "v"), nil)
	next := r.init("x", nobody, nil)
	if want := (incarnation{by.producer, by.epoch + 2}); next != want {
		t.Fatalf("%v takes over, want %v", next, want)
	}
	r.produce(12, "x", "t", 0, r.batchOf(by, 1, true, "w"), kerr.InvalidProducerEpoch)
	r.produce(12, "x", "t", 0, r.batchOf(incarnation{by.producer, by.epoch + 1}, 0, true, "w"), kerr.InvalidProducerEpoch)
	r.produce(12, "x", "t", 0, r.batchOf(next, 0, true, "w"), nil)
	r.end(5, "x", next, true, nil)
	if got := r.committed("t", 0); !slices.Equal(got, []string{"w"}) {
		t.Errorf("readers see %q", got)
	}

	// The last epochs: there is always one to fence with.
	x := r.m.producers.transactions["x"]
	for _, epoch := range []int16{lastEpoch - 1, lastEpoch} {
		x.now = incarnation{r.m.newProducer(), epoch}
		r.produce(12, "x", "t", 0, r.batchOf(x.now, 0, true, "z"), nil)
		if next := r.init("x", nobody, nil); next.epoch > lastEpoch || next == x.last {
			t.Errorf("after epoch %d comes %v", epoch, next)
		}
	}
}

func TestInitRefusals(t *testing.T) {
	r := newTxnRig(t)
	empty := ""
	for name, c := range map[string]struct {
		change func(*kmsg.InitProducerIDRequest)
		want   *kerr.Error
	}{
		"good":           {func(*kmsg.InitProducerIDRequest) {}, nil},
		"empty id":       {func(q *kmsg.InitProducerIDRequest) { q.TransactionalID = &empty }, kerr.InvalidRequest},
		"no timeout":     {func(q *kmsg.InitProducerIDRequest) { q.TransactionTimeoutMillis = 0 }, kerr.InvalidTransactionTimeout},
		"long timeout":   {func(q *kmsg.InitProducerIDRequest) { q.TransactionTimeoutMillis = 900_001 }, kerr.InvalidTransactionTimeout},
		"half a request": {func(q *kmsg.InitProducerIDRequest) { q.ProducerID = 4 }, kerr.InvalidRequest},
	} {
		req := initRequest("x", time.Minute, nobody)
		c.change(req)
		got := do[*kmsg.InitProducerIDResponse](r, req)
		if got.ErrorCode != code(c.want) {
			t.Errorf("%s: %v", name, kerr.ErrorForCode(got.ErrorCode))
		}
		if c.want != nil && (got.ProducerID != -1 || got.ProducerEpoch != -1) {
			t.Errorf("%s: refused, with %d and %d", name, got.ProducerID, got.ProducerEpoch)
		}
	}
}

// turns is a machine whose turns are written, and on the disk when a test says so.
type turns struct {
	*txnRig
	relaxed int // answers that did not wait for the disk
}

func (r *turns) take(req kmsg.Request, check func(kmsg.Response)) Turn {
	r.t.Helper()
	r.m.Handle(r.now, &Request{Body: req, Answer: check, Dropped: func() { r.t.Error("dropped") }})
	taken := r.m.Take()
	if _, err := r.disk.Write(&taken.Commit); err != nil {
		r.t.Fatal(err)
	}
	release(taken.Early)
	release(taken.Relaxed)
	r.relaxed += len(taken.Relaxed)
	return taken
}

func (r *turns) write(id string, batch sent) Turn {
	r.t.Helper()
	return r.take(produceRequest(12, id, "t", 0, batch.encode()), func(resp kmsg.Response) {
		r.want("produce", resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, nil)
	})
}

func (r *turns) onDisk(taken Turn) {
	release(taken.Publish)
	r.m.shown.Store(taken.number)
	release(taken.Durable)
}

// Readers see a partition grow, whatever of it is shown before it is on the disk.
func TestTransactionShownInOrder(t *testing.T) {
	r := &turns{txnRig: newTxnRig(t)}
	p := r.topic("t", 1).partitions[0]
	record := sent{by: r.init("x", nobody, nil), n: 1, value: []byte("v"), transactional: true}
	hard := r.write("", sent{by: nobody, seq: -1, n: 1, value: []byte("v")})
	soft := r.write("x", record)
	r.onDisk(hard)
	record.seq = 1
	last := r.write("x", record)
	seen := p.log.State().End
	for _, taken := range []Turn{soft, last} {
		r.onDisk(taken)
		if end := p.log.State().End; end < seen {
			t.Fatalf("the end was %d and is %d", seen, end)
		} else {
			seen = end
		}
	}
	if seen != 3 {
		t.Fatalf("the end is %d, want 3", seen)
	}
}

// An end that is not on the disk yet keeps no other transaction waiting, and shows
// nothing to those who read committed records.
func TestTransactionBesideAnEnd(t *testing.T) {
	r := &turns{txnRig: newTxnRig(t)}
	p := r.topic("t", 1).partitions[0]
	x, y := r.init("x", nobody, nil), r.init("y", nobody, nil)
	see := func(what string, end, stable int64) {
		t.Helper()
		if s := p.log.State(); s.End != end || s.Stable != stable {
			t.Fatalf("%s: the end is %d, stable %d; want %d, %d", what, s.End, s.Stable, end, stable)
		}
	}
	r.onDisk(r.write("x", sent{by: x, n: 1, value: []byte("v"), transactional: true}))
	see("a record", 1, 0)
	ended := r.take(endRequest(5, "x", x, true), func(resp kmsg.Response) {
		r.want("end", resp.(*kmsg.EndTxnResponse).ErrorCode, nil)
		see("the end is told", 3, 2)
	})
	see("an end that is not on the disk", 2, 0)
	r.relaxed = 0
	other := r.write("y", sent{by: y, n: 1, value: []byte("v"), transactional: true})
	see("another's record behind it", 3, 0)
	if r.relaxed != 1 {
		t.Fatal("the other waits for the disk")
	}
	r.onDisk(ended)
	see("the end on the disk", 3, 2)
	r.onDisk(other)
	see("all on the disk", 3, 2)
	// Behind a record of no transaction it waits.
	hard := r.write("", sent{by: nobody, seq: -1, n: 1, value: []byte("v")})
	r.relaxed = 0
	behind := r.write("y", sent{by: y, seq: 1, n: 1, value: []byte("v"), transactional: true})
	see("behind a record that is not on the disk", 3, 2)
	if r.relaxed != 0 {
		t.Fatal("told of a record that nobody sees")
	}
	r.onDisk(hard)
	r.onDisk(behind)
	see("both on the disk", 5, 2)
}
