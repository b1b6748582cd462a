package core

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
)

// endTxn commits or aborts: versions 0 to 5. From version 5 on each end raises
// the epoch, so that nothing of the old transaction can get into the next
// (KIP-890).
func (m *Machine) endTxn(r *Request, req *kmsg.EndTxnRequest) {
	resp := req.ResponseKind().(*kmsg.EndTxnResponse)
	next, err := m.endTransaction(req)
	if err != nil {
		next = nobody
	}
	resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = code(fenced(err, req.Version >= 2)), next.producer, next.epoch
	m.durable(r, resp)
}

// endTransaction returns who goes on.
func (m *Machine) endTransaction(req *kmsg.EndTxnRequest) (incarnation, *kerr.Error) {
	wanted := aborted
	if req.Commit {
		wanted = committed
	}
	asks, raise := incarnation{producer: req.ProducerID, epoch: req.ProducerEpoch}, req.Version >= 5
	if t := m.producers.transactions[req.TransactionalID]; t != nil && t.bumped && t.last == asks {
		// A repetition, after the end has raised the epoch.
		if t.state != wanted {
			return nobody, kerr.InvalidTxnState
		}
		return t.now, nil
	}
	t, err := m.transaction(req.TransactionalID, req.ProducerID, req.ProducerEpoch)
	if err != nil {
		return nobody, err
	}
	switch {
	case t.state == ongoing:
	case raise && !req.Commit:
		// The client cannot know whether its transaction had begun; the epoch is
		// raised in any case.
	case !raise && !t.bumped && t.state == wanted:
		return t.now, nil // a repetition
	default:
		return nobody, kerr.InvalidTxnState
	}
	if raise {
		t.last = t.now
		t.now.epoch++ // lastEpoch leaves room
	}
	m.touchTransaction(t)
	m.end(t, req.Commit)
	t.bumped = raise
	if raise && t.now.epoch > lastEpoch {
		t.now = incarnation{producer: m.newProducer()}
	}
	return t.now, nil
}

// end writes the markers of a transaction, with the epoch that its producer has
// now, and applies its offsets.
func (m *Machine) end(t *transaction, commit bool) {
	for _, p := range t.partitions {
		m.mark(p, t.now, commit)
	}
	for _, g := range t.groups {
		if commit && len(g.offsets) > 0 {
			m.applyOffsets(g.name, g.sorted())
		}
		m.releaseOffsets(t, g.name)
	}
	t.partitions, t.groups, t.member = nil, nil, nil
	m.timers.stop(t.timer)
	t.timer = nil
	t.state = aborted
	if commit {
		t.state = committed
	}
}

// mark ends a producer's transaction in one partition.
func (m *Machine) mark(p *partition, by incarnation, commit bool) {
	marker := batch.Marker(by.producer, by.epoch, commit, m.now.UnixMilli())
	h, err := batch.Parse(marker)
	if err != nil {
		panic(err) // it is ours
	}
	base := m.append(p, marker, h)
	s := m.sequencesOf(p, by.producer, by.epoch)
	s.raise(by.epoch)
	if s.open < 0 {
		return
	}
	first := s.open
	s.open = -1
	p.open = slices.DeleteFunc(p.open, func(o *sequences) bool { return o == s })
	if !commit {
		p.lastAborted = base
		m.savePartition(p)
		m.turn.Commit.Set(abortedKey(p.id, base, by.producer), appendAborted(nil, first, p.stable()))
	}
}

// writeTxnMarkers is what Kafka's brokers send each other, and tools that end
// hanging transactions: versions 0 to 2. Here none hangs: an end is one commit.
// So an abort of what is open aborts all of the transaction and fences its
// producer; a commit of a part of it is refused, and what is not open is left
// alone.
func (m *Machine) writeTxnMarkers(r *Request, req *kmsg.WriteTxnMarkersRequest) {
	m.durable(r, answerMarkers(req, m.writeMarker))
}

// answerMarkers answers with what decide returns for each partition.
func answerMarkers(req *kmsg.WriteTxnMarkersRequest, decide func(w kmsg.WriteTxnMarkersRequestMarker, topic string, index int32) *kerr.Error) *kmsg.WriteTxnMarkersResponse {
	resp := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
	for _, w := range req.Markers {
		rw := kmsg.NewWriteTxnMarkersResponseMarker()
		rw.ProducerID = w.ProducerID
		for _, wt := range w.Topics {
			rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			rt.Topic = wt.Topic
			for _, index := range wt.Partitions {
				rp := kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
				rp.Partition, rp.ErrorCode = index, code(decide(w, wt.Topic, index))
				rt.Partitions = append(rt.Partitions, rp)
			}
			rw.Topics = append(rw.Topics, rt)
		}
		resp.Markers = append(resp.Markers, rw)
	}
	return resp
}

func (m *Machine) writeMarker(w kmsg.WriteTxnMarkersRequestMarker, topic string, index int32) *kerr.Error {
	p, err := m.partition(topic, index)
	if err != nil {
		return err
	}
	s := p.producers[w.ProducerID]
	switch {
	case s == nil:
		return nil
	case w.ProducerEpoch < s.epoch:
		return kerr.InvalidProducerEpoch
	case s.open < 0:
		return nil
	}
	for _, t := range m.producers.transactions {
		if t.now.producer != w.ProducerID || !t.has(p) {
			continue
		}
		if w.Committed {
			return kerr.InvalidTxnState
		}
		m.log.Warn("transaction aborted by a marker", "transactional_id", t.id, "producer", w.ProducerID, "topic", topic, "partition", index)
		m.fence(t)
		return nil
	}
	m.mark(p, incarnation{producer: w.ProducerID, epoch: w.ProducerEpoch}, w.Committed)
	return nil
}
