package core

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
)

// Place is a partition in a produce request: the topic's index in it, and the
// partition's in the topic.
type Place struct{ Topic, Partition int }

// Refusal is why the records of a partition cannot be taken.
type Refusal struct {
	Err  *kerr.Error
	Text string
	// Log says that it is the log that refuses, and not what stands before it:
	// Kafka names the log's start then.
	Log bool
	// Records says of single records, by their place in the batch, that they are
	// why; it need not name all of them.
	Records []BadRecord
}

// BadRecord is a record for which a batch is refused.
type BadRecord struct {
	Index int32
	Text  string
}

// because writes a refusal into a partition's answer.
func (r Refusal) because(rp *kmsg.ProduceResponseTopicPartition) {
	rp.ErrorCode, rp.ErrorMessage = code(r.Err), text(r.Text)
	for _, b := range r.Records {
		bad := kmsg.NewProduceResponseTopicPartitionErrorRecord()
		bad.RelativeOffset, bad.ErrorMessage = b.Index, text(b.Text)
		rp.ErrorRecords = append(rp.ErrorRecords, bad)
	}
}

// produce appends batches: versions 3 to 13. The server has checked their
// checksums, and looked into the records where that is needed: what it found is
// in Request.Refused. From version 12 on a transactional batch takes its
// partition into the transaction itself (KIP-890).
func (m *Machine) produce(r *Request, req *kmsg.ProduceRequest) {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.Topics = make([]kmsg.ProduceResponseTopic, 0, len(req.Topics))
	relaxed, failed := true, false
	var parts []*partition
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.ProduceResponseTopicPartition, 0, len(t.Partitions))
		for j := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.BaseOffset = t.Partitions[j].Partition, -1
			p, transactional, refused := m.producePartition(req, t, t.Partitions[j], r.Refused[Place{i, j}], &rp)
			if p != nil {
				parts = append(parts, p)
			}
			refused.because(&rp)
			relaxed = relaxed && transactional
			failed = failed || refused.Err != nil
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	switch {
	case req.Acks == 0 && failed:
		// There is no other way to tell the client.
		m.turn.Relaxed = append(m.turn.Relaxed, r.Dropped)
	case req.Acks == 0:
		m.turn.Relaxed = append(m.turn.Relaxed, func() { r.Answer(nil) })
	case relaxed:
		// The transaction's end covers it.
		m.covered(r, resp, parts)
	default:
		m.durable(r, resp)
	}
}

// producePartition appends a partition's batch, unless its records are refused.
// It returns the partition, nil if nothing stands there of the batch, and whether
// it stands in a transaction.
func (m *Machine) producePartition(req *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopic, rp kmsg.ProduceRequestTopicPartition, records Refusal, resp *kmsg.ProduceResponseTopicPartition) (_ *partition, transactional bool, _ Refusal) {
	if req.Acks < -1 || req.Acks > 1 {
		return nil, false, Refusal{Err: kerr.InvalidRequiredAcks}
	}
	var p *partition
	var missing *kerr.Error
	if req.Version >= 13 {
		p, missing = m.partitionByID(t.TopicID, rp.Partition)
	} else {
		p, missing = m.partition(t.Topic, rp.Partition)
	}
	if missing != nil {
		return nil, false, Refusal{Err: missing}
	}
	if internal(p.topic.name) {
		return nil, false, Refusal{Err: kerr.InvalidTopicException, Text: fmt.Sprintf("topic %q is the broker's own", p.topic.name)}
	}
	set := &p.topic.settings
	h, refused := m.oneBatch(req, rp.Records)
	if refused.Log {
		resp.LogStartOffset = p.start
	}
	if refused.Err == nil && int64(h.Size) > set.maxMessageBytes {
		refused = Refusal{Err: kerr.MessageTooLarge, Text: fmt.Sprintf("a record batch of %d bytes, the topic's limit is %d", h.Size, set.maxMessageBytes)}
	}
	if refused.Err == nil && records.Err == kerr.CorruptMessage {
		refused = records
	}
	if refused.Err != nil {
		return nil, false, refused
	}
	in, err := m.transactionOf(req, p, h)
	if err != nil {
		return nil, false, Refusal{Err: err}
	}
	resp.LogStartOffset = p.start // from here on it is the log that refuses
	if refused = m.acceptBatch(h); refused.Err == nil {
		refused = records
	}
	if refused.Err == nil && !set.appendTime {
		refused = m.acceptTime(h, set)
	}
	if refused.Err != nil {
		return nil, false, refused
	}
	var s *sequences
	if h.ProducerID != batch.NoProducer {
		again, next, err := m.checkProducer(p, h, in, req.Version >= implicitProduce)
		if err != nil {
			return nil, false, Refusal{Err: err}
		}
		if next == nil {
			resp.BaseOffset, resp.LogAppendTime = again.base, again.time
			return p, h.Transactional(), Refusal{}
		}
		s = next
	}
	if set.appendTime {
		now := m.now.UnixMilli()
		batch.StampAppendTime(rp.Records, h, now)
		h.MaxTimestamp, resp.LogAppendTime = now, now
	}
	base := m.append(p, rp.Records, h)
	if s != nil {
		s.add(h, base)
		if h.Transactional() && s.open < 0 {
			s.open = base
			p.open = append(p.open, s)
		}
	}
	resp.BaseOffset = base
	return p, h.Transactional(), Refusal{}
}

// oneBatch reads the batch that a client sends for a partition. It says why what
// it sends cannot be one, in this version of the request.
func (m *Machine) oneBatch(req *kmsg.ProduceRequest, records []byte) (batch.Header, Refusal) {
	h, err := batch.Parse(records)
	switch {
	case errors.Is(err, batch.ErrDamaged):
		return h, Refusal{Err: kerr.CorruptMessage, Text: err.Error()}
	case err != nil:
		return h, Refusal{Err: kerr.InvalidRecord, Text: err.Error(), Log: errors.Is(err, batch.ErrCount)}
	case h.Size != len(records):
		return h, Refusal{Err: kerr.InvalidRecord, Text: "more than one record batch for a partition"}
	case req.Version < 7 && h.Compression() == 4:
		return h, Refusal{Err: kerr.UnsupportedCompressionType, Text: "zstd needs version 7 of this request"}
	case h.Transactional() && req.TransactionID == nil:
		return h, Refusal{Err: kerr.TransactionalIDAuthorizationFailed}
	}
	return h, Refusal{}
}

// acceptBatch says what a client may not write, by the header.
func (m *Machine) acceptBatch(h batch.Header) Refusal {
	switch err := batch.Acceptable(h); {
	case h.BaseOffset != 0:
		return Refusal{Err: kerr.InvalidRecord, Text: "the base offset of a record batch that is produced is 0"}
	case h.LogAppendTime():
		const why = "the broker alone stamps append times"
		return Refusal{Err: kerr.InvalidTimestamp, Text: why, Records: []BadRecord{{Text: why}}} // as all of them
	case err != nil:
		return Refusal{Err: kerr.InvalidRecord, Text: err.Error()}
	}
	return Refusal{}
}

// acceptTime looks at the header's times: the largest is what readers and
// retention go by.
func (m *Machine) acceptTime(h batch.Header, set *settings) Refusal {
	now := m.now.UnixMilli()
	const none = -1
	switch {
	case h.MaxTimestamp != none && h.MaxTimestamp-now > set.timestampAfter:
		return Refusal{Err: kerr.InvalidTimestamp, Text: fmt.Sprintf("a record is dated %d ms ahead of the broker's clock, the limit is %d", h.MaxTimestamp-now, set.timestampAfter)}
	case h.FirstTimestamp != none && now-h.FirstTimestamp > set.timestampBefore:
		return Refusal{Err: kerr.InvalidTimestamp, Text: fmt.Sprintf("a record is dated %d ms before the broker's clock, the limit is %d", now-h.FirstTimestamp, set.timestampBefore)}
	}
	return Refusal{}
}

// implicitProduce is the version of produce from which on a transactional batch
// takes its partition into the transaction itself.
const implicitProduce = 12

// transactionOf returns the transaction that a batch belongs to, nil for none, or
// why it cannot.
func (m *Machine) transactionOf(req *kmsg.ProduceRequest, p *partition, h batch.Header) (*transaction, *kerr.Error) {
	if !h.Transactional() {
		return nil, nil
	}
	t, err := m.transaction(*req.TransactionID, h.ProducerID, h.ProducerEpoch)
	if err != nil {
		return nil, fenced(err, false)
	}
	if req.Version < implicitProduce && !t.has(p) {
		return nil, outside(req.Version >= 11)
	}
	return t, nil
}

// checkProducer decides whether a batch is its producer's next one in p: then it
// returns the sequences to add it to. If it repeats a batch, it returns that. t is
// the batch's transaction, nil for none.
func (m *Machine) checkProducer(p *partition, h batch.Header, t *transaction, implicit bool) (again keptBatch, next *sequences, _ *kerr.Error) {
	s := p.producers[h.ProducerID]
	if k, ok := s.repeated(h); ok {
		return k, nil, nil
	}
	if err := s.check(h, t != nil && implicit); err != nil {
		return again, nil, err
	}
	switch {
	case t == nil && s != nil && s.open >= 0:
		return again, nil, kerr.InvalidTxnState
	case t != nil && !t.has(p):
		m.begin(t)
		t.add(p)
	}
	return again, m.sequencesOf(p, h.ProducerID, h.ProducerEpoch), nil
}
