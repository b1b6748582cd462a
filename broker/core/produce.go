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
			refused, found := r.Refused[Place{i, j}]
			transactional := false
			if !found {
				var p *partition
				p, transactional, refused = m.producePartition(req, t, t.Partitions[j], &rp)
				if p != nil {
					parts = append(parts, p)
				}
			}
			rp.ErrorCode, rp.ErrorMessage = code(refused.Err), text(refused.Text)
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

// producePartition appends a partition's batch. It returns the partition, nil if
// nothing stands there of the batch, and whether it stands in a transaction.
func (m *Machine) producePartition(req *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopic, rp kmsg.ProduceRequestTopicPartition, resp *kmsg.ProduceResponseTopicPartition) (_ *partition, transactional bool, _ Refusal) {
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
		return nil, false, Refusal{kerr.InvalidTopicException, fmt.Sprintf("topic %q is the broker's own", p.topic.name)}
	}
	set := &p.topic.settings
	h, refused := m.acceptBatch(req, set, rp.Records)
	if refused.Err != nil {
		return nil, false, refused
	}
	var s *sequences
	if h.ProducerID != batch.NoProducer {
		again, next, err := m.checkProducer(req, p, h)
		if err != nil {
			return nil, false, Refusal{Err: err}
		}
		if next == nil {
			resp.BaseOffset, resp.LogStartOffset = again.base, p.start
			if set.appendTime {
				resp.LogAppendTime = again.time
			}
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
	resp.BaseOffset, resp.LogStartOffset = base, p.start
	return p, h.Transactional(), Refusal{}
}

// acceptBatch says whether a client may send what a partition's records are: one
// batch.
func (m *Machine) acceptBatch(req *kmsg.ProduceRequest, set *settings, records []byte) (batch.Header, Refusal) {
	h, err := batch.Parse(records)
	switch {
	case errors.Is(err, batch.ErrDamaged):
		return h, Refusal{kerr.CorruptMessage, err.Error()}
	case err != nil:
		return h, Refusal{kerr.InvalidRecord, err.Error()}
	case h.Size != len(records):
		return h, Refusal{kerr.InvalidRecord, "more than one record batch for a partition"}
	case int64(h.Size) > set.maxMessageBytes:
		return h, Refusal{kerr.MessageTooLarge, fmt.Sprintf("a record batch of %d bytes, the topic's limit is %d", h.Size, set.maxMessageBytes)}
	case h.BaseOffset != 0:
		return h, Refusal{kerr.InvalidRecord, "the base offset of a record batch that is produced is 0"}
	case h.LogAppendTime():
		return h, Refusal{kerr.InvalidTimestamp, "the broker alone stamps append times"}
	case req.Version < 7 && h.Compression() == 4:
		return h, Refusal{kerr.UnsupportedCompressionType, "zstd needs version 7 of this request"}
	case h.Transactional() && req.TransactionID == nil:
		return h, Refusal{Err: kerr.TransactionalIDAuthorizationFailed}
	}
	if err := batch.Acceptable(h); err != nil {
		return h, Refusal{kerr.InvalidRecord, err.Error()}
	}
	if !set.appendTime {
		return h, m.acceptTime(h, set)
	}
	return h, Refusal{}
}

// acceptTime looks at the header's times: the largest is what readers and
// retention go by.
func (m *Machine) acceptTime(h batch.Header, set *settings) Refusal {
	now := m.now.UnixMilli()
	const none = -1
	switch {
	case h.MaxTimestamp != none && h.MaxTimestamp-now > set.timestampAfter:
		return Refusal{kerr.InvalidTimestamp, fmt.Sprintf("a record is dated %d ms ahead of the broker's clock, the limit is %d", h.MaxTimestamp-now, set.timestampAfter)}
	case h.FirstTimestamp != none && now-h.FirstTimestamp > set.timestampBefore:
		return Refusal{kerr.InvalidTimestamp, fmt.Sprintf("a record is dated %d ms before the broker's clock, the limit is %d", now-h.FirstTimestamp, set.timestampBefore)}
	}
	return Refusal{}
}

// checkProducer decides whether a batch is its producer's next one in p: then it
// returns the sequences to add it to. If it repeats a batch, it returns that.
func (m *Machine) checkProducer(req *kmsg.ProduceRequest, p *partition, h batch.Header) (again keptBatch, next *sequences, _ *kerr.Error) {
	implicit := req.Version >= 12
	var t *transaction
	if h.Transactional() {
		var err *kerr.Error
		if t, err = m.transaction(*req.TransactionID, h.ProducerID, h.ProducerEpoch); err != nil {
			return again, nil, fenced(err, false)
		}
		if !implicit && !t.has(p) {
			return again, nil, outside(req.Version >= 11)
		}
	}
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
