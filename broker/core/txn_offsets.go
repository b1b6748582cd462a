package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxOffsetMetadata is how many bytes may stand beside an offset, Kafka's
// default of offset.metadata.max.bytes.
const maxOffsetMetadata = 4096

// txnOffsetCommit keeps offsets with the transaction, whose end applies them or
// forgets them: versions 0 to 5. From version 5 on the group need not be added
// before.
func (m *Machine) txnOffsetCommit(r *Request, req *kmsg.TxnOffsetCommitRequest) {
	g, t, refused := m.offsetsOf(req)
	m.relaxed(r, answerTxnOffsets(req, func(topic string, rp kmsg.TxnOffsetCommitRequestTopicPartition) *kerr.Error {
		p, err := m.partition(topic, rp.Partition)
		switch {
		case err != nil:
			return err
		case refused != nil:
			return refused
		case rp.Metadata != nil && len(*rp.Metadata) > maxOffsetMetadata:
			return kerr.OffsetMetadataTooLarge
		}
		o := txnOffset{partition: p, offset: rp.Offset, leaderEpoch: -1}
		if req.Version >= 2 {
			o.leaderEpoch = rp.LeaderEpoch
		}
		if rp.Metadata != nil {
			o.metadata = *rp.Metadata
		}
		g.offsets[p] = o
		return nil
	}))
	if refused == nil && len(g.offsets) > 0 {
		m.holdOffsets(t, g.name)
		m.touchTransaction(t)
	}
}

// answerTxnOffsets answers with what decide returns for each partition.
func answerTxnOffsets(req *kmsg.TxnOffsetCommitRequest, decide func(topic string, rp kmsg.TxnOffsetCommitRequestTopicPartition) *kerr.Error) *kmsg.TxnOffsetCommitResponse {
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code(decide(t.Topic, p))
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// offsetsOf finds where the offsets of a request are kept, or why they are
// refused.
func (m *Machine) offsetsOf(req *kmsg.TxnOffsetCommitRequest) (*txnGroup, *transaction, *kerr.Error) {
	if req.Group == "" {
		return nil, nil, kerr.InvalidGroupID
	}
	t, err := m.transaction(req.TransactionalID, req.ProducerID, req.ProducerEpoch)
	if err != nil {
		return nil, nil, fenced(err, false)
	}
	implicit := req.Version >= 5
	if !implicit && (t.state != ongoing || t.group(req.Group) == nil) {
		return nil, nil, outside(req.Version >= 4)
	}
	generation, member := int32(-1), ""
	var instance *string
	if req.Version >= 3 {
		generation, member, instance = req.Generation, req.MemberID, req.InstanceID
	}
	if err := m.checkTxnOffsets(req.Group, generation, member, instance); err != nil {
		return nil, nil, err
	}
	if implicit {
		if err := m.addGroup(t, req.Group); err != nil {
			return nil, nil, err
		}
	}
	return t.group(req.Group), t, nil
}

// holdOffsets remembers that t holds offsets of a group.
func (m *Machine) holdOffsets(t *transaction, group string) {
	held := m.producers.offsets[group]
	if held == nil {
		held = map[*transaction]struct{}{}
		m.producers.offsets[group] = held
	}
	held[t] = struct{}{}
}

// releaseOffsets forgets it.
func (m *Machine) releaseOffsets(t *transaction, group string) {
	held := m.producers.offsets[group]
	delete(held, t)
	if len(held) == 0 {
		delete(m.producers.offsets, group)
	}
}

// offsetsPending says whether an open transaction holds an offset of a group in
// p: who wants a stable one has to wait.
func (m *Machine) offsetsPending(group string, p *partition) bool {
	for t := range m.producers.offsets[group] {
		if g := t.group(group); g != nil {
			if _, ok := g.offsets[p]; ok {
				return true
			}
		}
	}
	return false
}

// groupPending says whether an open transaction holds any offset of a group.
func (m *Machine) groupPending(group string) bool { return len(m.producers.offsets[group]) > 0 }
