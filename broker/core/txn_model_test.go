package core

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

// The model: producers, idempotent and transactional, old and new protocol,
// honest and late, against an oracle that keeps everything in plain lists. The
// machine is loaded anew from its store at random points.

var modelSeed = flag.Uint64("model.seed", 0, "seed of the one history that TestTransactionModel runs; 0 for several")

// modelLog is a partition as the oracle has it.
type modelLog struct {
	end, start int64
	batches    []modelBatch
	seqs       map[int64]*modelSeqs
	offset     int64 // of the group; -1 for none
}

type modelBatch struct {
	base, last int64
	value      string
	run        *modelRun // nil outside of transactions
}

// modelRun is one transaction.
type modelRun struct {
	over, committed bool
	first           map[*modelLog]int64 // where it begins
	logs            []*modelLog
	// offsets are those of the group, if that is in the transaction.
	offsets map[*modelLog]int64
}

// modelSeqs is all that a producer wrote to a partition in its epoch.
type modelSeqs struct {
	epoch   int16
	batches []modelSent
	run     *modelRun // open here
	used    int64
}

type modelSent struct {
	sent
	at int64
}

type modelID struct {
	name      string
	now, last incarnation
	state     txnState
	bumped    bool
	run       *modelRun
	started   int64
	used      int64
	// olds are those that once had the id.
	olds []incarnation
}

type model struct {
	*txnRig
	rnd    *rand.Rand
	step   int
	topics []string
	logs   map[string][]*modelLog
	ids    map[string]*modelID
	plain  []incarnation
	gone   []store.Partition // of topics that were deleted
}

const (
	modelTimeout    = 20 * time.Second
	modelPartitions = 2
)

func TestTransactionModel(t *testing.T) {
	steps, histories := 4000, 6
	if v, err := strconv.Atoi(os.Getenv("COMPTOIR_TEST_MODEL_STEPS")); err == nil {
		steps, histories = 20_000, max(1, v/20_000)
	}
	if *modelSeed != 0 {
		histories = 1
	}
	for i := range histories {
		seed := uint64(i + 1)
		if *modelSeed != 0 {
			seed = *modelSeed
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{
				txnRig: newTxnRig(t), rnd: rand.New(rand.NewPCG(seed, 6)),
				logs: map[string][]*modelLog{}, ids: map[string]*modelID{},
			}
			for _, name := range []string{"a", "b", "c"} {
				m.create(name)
			}
			for m.step = range steps {
				m.act()
				if m.rnd.IntN(3) == 0 {
					m.settle()
				}
				if t.Failed() {
					t.Fatalf("step %d of history %d", m.step, seed)
				}
			}
			m.settle()
			m.look()
		})
	}
}

// fail reports with the step, so that a history can be followed.
func (m *model) fail(format string, args ...any) {
	m.t.Errorf("step %d: "+format, append([]any{m.step}, args...)...)
}

func (m *model) create(name string) {
	m.topic(name, modelPartitions)
	m.topics = append(m.topics, name)
	for range modelPartitions {
		m.logs[name] = append(m.logs[name], &modelLog{seqs: map[int64]*modelSeqs{}, offset: -1})
	}
}

func (m *model) act() {
	switch n := m.rnd.IntN(1000); {
	case n < 500:
		m.actProduce()
	case n < 550:
		m.actAdd()
	case n < 600:
		m.actOffsets()
	case n < 750:
		m.actEnd()
	case n < 810:
		m.actInit()
	case n < 880:
		m.forward(time.Duration(m.rnd.IntN(3000)) * time.Millisecond)
	case n < 890:
		m.forward(modelTimeout + time.Duration(m.rnd.IntN(3000))*time.Millisecond)
	case n < 892:
		m.forward(time.Duration(m.rnd.IntN(26)) * time.Hour)
	case n < 893:
		m.forward(time.Duration(m.rnd.IntN(8)) * 24 * time.Hour)
	case n < 920:
		m.actTrim()
	case n < 925:
		m.actDelete()
	case n < 955:
		m.settle()
		m.load(m.rnd.IntN(2) == 0, false)
	case n < 958:
		m.settle()
		for _, x := range m.ids {
			m.fenceID(x)
		}
		m.load(true, true)
	default:
		m.settle()
		m.look()
	}
}

// forward turns the clock, in the oracle first: time-outs, then forgetting.
func (m *model) forward(d time.Duration) {
	m.pass(d)
	now := m.now.UnixMilli()
	for _, x := range m.ids {
		if x.run != nil && now-x.started >= modelTimeout.Milliseconds() {
			m.fenceID(x)
		}
	}
	for _, logs := range m.logs {
		for _, l := range logs {
			for id, s := range l.seqs {
				if now-s.used >= producerExpiry.Milliseconds() {
					delete(l.seqs, id)
				}
			}
		}
	}
	for name, x := range m.ids {
		if now-x.used >= transactionExpiry.Milliseconds() {
			delete(m.ids, name)
		}
	}
}

// fenceID takes a transactional id from whoever has it.
func (m *model) fenceID(x *modelID) {
	x.now.epoch++
	x.last, x.used = nobody, m.now.UnixMilli()
	if x.run != nil {
		m.over(x, false)
		x.bumped = false
	}
}

// over ends the open transaction of an id, with the epoch that it has now.
func (m *model) over(x *modelID, commit bool) {
	x.state = aborted
	if commit {
		x.state = committed
	}
	if x.run == nil {
		return
	}
	for _, l := range x.run.logs {
		s := l.seqs[x.now.producer]
		if s == nil {
			s = &modelSeqs{epoch: x.now.epoch}
			l.seqs[x.now.producer] = s
		}
		if x.now.epoch > s.epoch {
			s.epoch, s.batches = x.now.epoch, nil
		}
		s.run, s.used = nil, m.now.UnixMilli()
		l.end++
	}
	if commit {
		for l, o := range x.run.offsets {
			l.offset = o
		}
	}
	x.run.over, x.run.committed = true, commit
	x.run = nil
}

func (m *model) pick() (topic string, index int32, l *modelLog) {
	topic = m.topics[m.rnd.IntN(len(m.topics))]
	index = int32(m.rnd.IntN(modelPartitions))
	return topic, index, m.logs[topic][index]
}

// who picks a transactional id and an incarnation of it: mostly the right one.
func (m *model) who() (name string, x *modelID, by incarnation) {
	name = "x" + strconv.Itoa(m.rnd.IntN(5))
	x = m.ids[name]
	if x == nil {
		return name, nil, incarnation{int64(m.rnd.IntN(20)), 0}
	}
	by = x.now
	if m.rnd.IntN(8) == 0 {
		by = x.olds[m.rnd.IntN(len(x.olds))]
	}
	return name, x, by
}

// entitled is what the coordinator says to who asks for an id.
func entitled(x *modelID, by incarnation) *kerr.Error {
	switch {
	case x == nil || by.producer != x.now.producer:
		return kerr.InvalidProducerIDMapping
	case by.epoch != x.now.epoch:
		return kerr.ProducerFenced
	}
	return nil
}

func (m *model) expect(what string, got int16, want *kerr.Error) {
	if got != code(want) {
		m.fail("%s: %v, want %v", what, kerr.ErrorForCode(got), want)
	}
}

func (m *model) actInit() {
	step := m.step
	if m.rnd.IntN(3) == 0 {
		m.send(initRequest("", 0, nobody), func(resp kmsg.Response) {
			got := resp.(*kmsg.InitProducerIDResponse)
			m.expect("init", got.ErrorCode, nil)
			for _, p := range m.plain {
				if p.producer == got.ProducerID {
					m.fail("producer id %d of step %d is given twice", got.ProducerID, step)
				}
			}
			m.plain = append(m.plain, incarnation{got.ProducerID, got.ProducerEpoch})
		})
		m.settle()
		return
	}
	name, x, by := m.who()
	as := nobody
	if m.rnd.IntN(2) == 0 {
		as = by
	}
	var want *kerr.Error
	fresh := false
	switch {
	case x == nil:
		x = &modelID{name: name, last: nobody}
		m.ids[name] = x
		fresh = true
	case as == nobody || as == x.now:
		open := x.run != nil
		m.fenceID(x)
		if open && as == nobody {
			x.now.epoch++
		}
		x.last = as
	case as == x.last && x.run == nil:
	default:
		want = kerr.ProducerFenced
	}
	var got incarnation
	m.send(initRequest(name, modelTimeout, as), func(resp kmsg.Response) {
		a := resp.(*kmsg.InitProducerIDResponse)
		m.expect("init", a.ErrorCode, want)
		got = incarnation{a.ProducerID, a.ProducerEpoch}
	})
	m.settle()
	if want != nil {
		return
	}
	x.used, x.state, x.bumped = m.now.UnixMilli(), empty, false
	if fresh {
		x.now = got
	}
	if got != x.now {
		m.fail("init of %s as %v gives %v, want %v", name, as, got, x.now)
	}
	x.olds = append(x.olds, got)
}

func (m *model) begin(x *modelID) {
	x.used = m.now.UnixMilli()
	if x.run == nil {
		x.run, x.state, x.started = &modelRun{first: map[*modelLog]int64{}}, ongoing, x.used
	}
}

func (m *model) join(x *modelID, l *modelLog) {
	m.begin(x)
	if !slices.Contains(x.run.logs, l) {
		x.run.logs = append(x.run.logs, l)
	}
}

func (m *model) actAdd() {
	name, x, by := m.who()
	topic, index, l := m.pick()
	want := entitled(x, by)
	if want == nil {
		m.join(x, l)
	}
	m.send(addRequest(name, by, topic, index), func(resp kmsg.Response) {
		m.expect("add", resp.(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode, want)
	})
}

const modelGroup = "g"

// actOffsets adds the group to a transaction, or commits an offset in it.
func (m *model) actOffsets() {
	name, x, by := m.who()
	topic, index, l := m.pick()
	want := entitled(x, by)
	if m.rnd.IntN(2) == 0 {
		if want == nil {
			m.begin(x)
			if x.run.offsets == nil {
				x.run.offsets = map[*modelLog]int64{}
			}
		}
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = 3, name, by.producer, by.epoch, modelGroup
		m.send(req, func(resp kmsg.Response) {
			m.expect("add offsets", resp.(*kmsg.AddOffsetsToTxnResponse).ErrorCode, want)
		})
		return
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version = int16(3 + m.rnd.IntN(3))
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group, req.Generation = name, by.producer, by.epoch, modelGroup, -1
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset = index, int64(m.step)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	switch {
	case want == kerr.ProducerFenced:
		want = kerr.InvalidProducerEpoch
	case want != nil:
	case req.Version < 5 && (x.run == nil || x.run.offsets == nil):
		if want = kerr.InvalidTxnState; req.Version == 4 {
			want = kerr.TransactionAbortable
		}
	default:
		m.begin(x)
		if x.run.offsets == nil {
			x.run.offsets = map[*modelLog]int64{}
		}
		x.run.offsets[l] = int64(m.step)
	}
	m.send(req, func(resp kmsg.Response) {
		m.expect("commit offsets", resp.(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode, want)
	})
}

// lookAtOffsets compares the group's offsets, and which of them wait for a
// transaction.
func (m *model) lookAtOffsets(topic string, index int, l *modelLog) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = 7, modelGroup
	rt := kmsg.NewOffsetFetchRequestTopic()
	rt.Topic, rt.Partitions = topic, []int32{int32(index)}
	req.Topics = append(req.Topics, rt)
	req.RequireStable = m.rnd.IntN(2) == 0
	var want *kerr.Error
	offset := l.offset
	for _, x := range m.ids {
		if x.run == nil || !req.RequireStable {
			continue
		}
		if _, ok := x.run.offsets[l]; ok {
			want, offset = kerr.UnstableOffsetCommit, -1
		}
	}
	got := do[*kmsg.OffsetFetchResponse](m.txnRig, req).Topics[0].Partitions[0]
	m.expect(fmt.Sprintf("fetch the offset of %s/%d", topic, index), got.ErrorCode, want)
	if got.Offset != offset {
		m.fail("the offset of %s/%d is %d, want %d", topic, index, got.Offset, offset)
	}
}

func (m *model) actEnd() {
	name, x, by := m.who()
	version, commit := int16(4), m.rnd.IntN(3) > 0
	if m.rnd.IntN(2) == 0 {
		version = 5
	}
	if x != nil && x.bumped && m.rnd.IntN(4) == 0 {
		by = x.last
	}
	outcome := aborted
	if commit {
		outcome = committed
	}
	want, next := entitled(x, by), nobody
	switch {
	case x != nil && x.bumped && by == x.last:
		want = nil
		if x.state != outcome {
			want = kerr.InvalidTxnState
		} else {
			next = x.now
		}
	case want != nil:
	case x.run == nil && version == 4:
		if x.bumped || x.state != outcome {
			want = kerr.InvalidTxnState
		} else {
			next = x.now
		}
	case x.run == nil && commit:
		want = kerr.InvalidTxnState
	default:
		x.bumped, x.used = version == 5, m.now.UnixMilli()
		if x.bumped {
			x.last = x.now
			x.now.epoch++
			x.olds = append(x.olds, x.now)
		}
		m.over(x, commit)
		next = x.now
	}
	m.send(endRequest(version, name, by, commit), func(resp kmsg.Response) {
		got := resp.(*kmsg.EndTxnResponse)
		m.expect(fmt.Sprintf("end %v of %s by %v, version %d", commit, name, by, version), got.ErrorCode, want)
		if version == 5 && (incarnation{got.ProducerID, got.ProducerEpoch}) != next {
			m.fail("end of %s: %d with epoch %d goes on, want %v", name, got.ProducerID, got.ProducerEpoch, next)
		}
	})
}

func (m *model) actProduce() {
	topic, index, l := m.pick()
	name, x, by := m.who()
	transactional := m.rnd.IntN(10) > 2
	if !transactional {
		name = ""
		if m.rnd.IntN(3) == 0 || len(m.plain) == 0 {
			by = nobody
		} else {
			by = m.plain[len(m.plain)-1-m.rnd.IntN(min(3, len(m.plain)))]
			by.epoch = int16(m.rnd.IntN(20) / 19)
		}
	}
	s := l.seqs[by.producer]
	b := sent{by: by, n: 1 + m.rnd.IntN(3), transactional: transactional, time: m.now.UnixMilli(), value: []byte(strconv.Itoa(m.step))}
	if by == nobody {
		b.seq = -1
	} else {
		b = m.number(s, b)
	}
	version := int16(9 + m.rnd.IntN(4))
	want, again := m.judge(x, s, l, b, version)
	base := again
	if want == nil && again < 0 {
		base = l.end
		m.write(x, l, b)
	}
	start := l.start
	m.send(produceRequest(version, name, topic, index, b.encode()), func(resp kmsg.Response) {
		got := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		m.expect(fmt.Sprintf("produce %v/%d of %q by %v, version %d", b.seq, b.n, name, by, version), got.ErrorCode, want)
		if want == nil && (got.BaseOffset != base || got.LogStartOffset != start) {
			m.fail("a batch stands at %d, log from %d; want %d, %d", got.BaseOffset, got.LogStartOffset, base, start)
		}
	})
}

// number gives a batch the next sequence number, or that of a batch before, or
// one out of order.
func (m *model) number(s *modelSeqs, b sent) sent {
	known := 0
	if s != nil && s.epoch == b.by.epoch {
		known = len(s.batches)
	}
	if known > 0 {
		last := s.batches[known-1]
		b.seq = last.seq + int32(last.n)
	}
	switch m.rnd.IntN(12) {
	case 0, 1:
		if known > 0 {
			old := s.batches[max(0, known-1-m.rnd.IntN(7))]
			b.seq, b.n = old.seq, old.n
		}
	case 2:
		b.seq += int32(m.rnd.IntN(3))
	}
	return b
}

// judge says what becomes of a batch; again is where it stands already, or -1.
func (m *model) judge(x *modelID, s *modelSeqs, l *modelLog, b sent, version int16) (want *kerr.Error, again int64) {
	if b.by == nobody {
		return nil, -1
	}
	if b.transactional {
		switch err := entitled(x, b.by); {
		case err == kerr.ProducerFenced:
			return kerr.InvalidProducerEpoch, -1
		case err != nil:
			return err, -1
		case version < 12 && (x.run == nil || !slices.Contains(x.run.logs, l)):
			if version < 11 {
				return kerr.InvalidTxnState, -1
			}
			return kerr.TransactionAbortable, -1
		}
	}
	if s == nil {
		if b.transactional && version >= 12 && b.seq != 0 {
			return kerr.OutOfOrderSequenceNumber, -1
		}
		return nil, -1
	}
	next := int32(0)
	if s.epoch == b.by.epoch {
		for i, old := range s.batches {
			if i >= len(s.batches)-5 && old.seq == b.seq && old.n == b.n {
				return nil, old.at
			}
			next = old.seq + int32(old.n)
		}
	}
	switch {
	case b.by.epoch < s.epoch:
		return kerr.InvalidProducerEpoch, -1
	case b.seq != next:
		return kerr.OutOfOrderSequenceNumber, -1
	case !b.transactional && s.run != nil:
		return kerr.InvalidTxnState, -1
	}
	return nil, -1
}

func (m *model) write(x *modelID, l *modelLog, b sent) {
	kept := modelBatch{base: l.end, last: l.end + int64(b.n) - 1, value: string(b.value)}
	if b.transactional {
		if x.run == nil || !slices.Contains(x.run.logs, l) {
			m.join(x, l)
		}
		kept.run = x.run
		if _, ok := x.run.first[l]; !ok {
			x.run.first[l] = l.end
		}
	}
	if b.by != nobody {
		s := l.seqs[b.by.producer]
		if s == nil {
			s = &modelSeqs{epoch: b.by.epoch}
			l.seqs[b.by.producer] = s
		}
		if b.by.epoch > s.epoch {
			s.epoch, s.batches = b.by.epoch, nil
		}
		s.batches = append(s.batches, modelSent{sent: b, at: l.end})
		s.used = m.now.UnixMilli()
		if b.transactional {
			s.run = x.run
		}
	}
	l.batches = append(l.batches, kept)
	l.end = kept.last + 1
}

func (m *model) actTrim() {
	topic, index, l := m.pick()
	to := l.start + m.rnd.Int64N(l.end-l.start+1)
	if to <= l.start {
		return
	}
	l.start = to
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version = 2
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = index, to
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	m.send(req, func(resp kmsg.Response) {
		m.expect("delete records", resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode, nil)
	})
}

// actDelete deletes a topic and makes it anew.
func (m *model) actDelete() {
	topic, _, _ := m.pick()
	for _, p := range m.m.topics.byName[topic].partitions {
		m.gone = append(m.gone, p.id)
	}
	for _, l := range m.logs[topic] {
		for _, x := range m.ids {
			if x.run != nil {
				x.run.logs = slices.DeleteFunc(x.run.logs, func(o *modelLog) bool { return o == l })
				delete(x.run.first, l)
				delete(x.run.offsets, l)
			}
		}
	}
	delete(m.logs, topic)
	m.topics = slices.DeleteFunc(m.topics, func(o string) bool { return o == topic })
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TopicNames = 5, []string{topic}
	m.send(req, func(resp kmsg.Response) {
		m.expect("delete topic", resp.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, nil)
	})
	m.create(topic)
}

// look compares what readers see.
func (m *model) look() {
	for _, p := range m.gone {
		if first, next, ok := m.disk.Bounds(p); ok {
			m.fail("a partition that is deleted has records from %d to %d", first, next)
			return
		}
		for _, kind := range []byte{keyProducer, keyAborted, keyPartition} {
			if err := m.disk.Scan(partitionKey(kind, p), func(key, _ []byte) error { return fmt.Errorf("key %x", key) }); err != nil {
				m.fail("of a partition that is deleted something is kept: %v", err)
				return
			}
		}
	}
	for topic, logs := range m.logs {
		seen, ok := m.view.Topic(topic)
		if !ok {
			m.fail("topic %q is not seen", topic)
			return
		}
		for i, l := range logs {
			stable := l.end
			for _, x := range m.ids {
				if x.run != nil {
					if first, ok := x.run.first[l]; ok {
						stable = min(stable, first)
					}
				}
			}
			stable = max(stable, l.start)
			state := seen.Partitions[i].State()
			if state.Start != l.start || state.End != l.end || state.Stable != stable {
				m.fail("%s/%d is from %d to %d, stable to %d; want %d, %d, %d", topic, i, state.Start, state.End, state.Stable, l.start, l.end, stable)
				return
			}
			m.lookAtOffsets(topic, i, l)
			var want []string
			for _, b := range l.batches {
				if l.start < stable && b.last >= l.start && b.base < stable && (b.run == nil || b.run.committed) {
					want = append(want, b.value)
				}
			}
			if got := m.committed(topic, int32(i)); !slices.Equal(got, want) {
				m.fail("%s/%d has %q, want %q", topic, i, got, want)
				return
			}
		}
	}
	m.lookAtProducers()
}

// lookAtProducers compares what tools see.
func (m *model) lookAtProducers() {
	req := kmsg.NewPtrListTransactionsRequest()
	req.Version = 1
	resp := do[*kmsg.ListTransactionsResponse](m.txnRig, req)
	if len(resp.TransactionStates) != len(m.ids) {
		m.fail("%d transactional ids, want %d", len(resp.TransactionStates), len(m.ids))
	}
	for _, s := range resp.TransactionStates {
		if x := m.ids[s.TransactionalID]; x == nil || x.state.name() != s.TransactionState || x.now.producer != s.ProducerID {
			m.fail("transactional id %s is %s of %d, want %+v", s.TransactionalID, s.TransactionState, s.ProducerID, x)
		}
	}
	topic, index, l := m.pick()
	ask := kmsg.NewPtrDescribeProducersRequest()
	rt := kmsg.NewDescribeProducersRequestTopic()
	rt.Topic, rt.Partitions = topic, []int32{index}
	ask.Topics = append(ask.Topics, rt)
	got := do[*kmsg.DescribeProducersResponse](m.txnRig, ask).Topics[0].Partitions[0]
	m.expect("describe producers", got.ErrorCode, nil)
	if len(got.ActiveProducers) != len(l.seqs) {
		m.fail("%d producers in %s/%d, want %d", len(got.ActiveProducers), topic, index, len(l.seqs))
	}
	for _, p := range got.ActiveProducers {
		s := l.seqs[p.ProducerID]
		if s == nil {
			m.fail("producer %d is known in %s/%d", p.ProducerID, topic, index)
			continue
		}
		last, open := int32(-1), int64(-1)
		if n := len(s.batches); n > 0 {
			last = s.batches[n-1].seq + int32(s.batches[n-1].n) - 1
		}
		if s.run != nil {
			open = s.run.first[l]
		}
		if int16(p.ProducerEpoch) != s.epoch || p.LastSequence != last || p.CurrentTxnStartOffset != open {
			m.fail("producer %d has epoch %d, sequence %d, transaction from %d; want %d, %d, %d",
				p.ProducerID, p.ProducerEpoch, p.LastSequence, p.CurrentTxnStartOffset, s.epoch, last, open)
		}
	}
}
