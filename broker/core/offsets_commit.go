package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetCommit keeps how far a group has come (v2–10). How long clients of old
// ask for it to be kept is ignored: offsets do not expire.
func (m *Machine) offsetCommit(r *Request, req *kmsg.OffsetCommitRequest) {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	refused := m.checkCommit(req)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, o := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = o.Partition
			p, err := m.partition(t.Topic, o.Partition)
			if req.Version >= 10 {
				p, err = m.partitionByID(t.TopicID, o.Partition)
			}
			if err == nil {
				err = refused
			}
			if err == nil {
				err = m.commitRequested(req.Group, p, o)
			}
			rp.ErrorCode = code(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

func (m *Machine) commitRequested(group string, p *partition, o kmsg.OffsetCommitRequestTopicPartition) *kerr.Error {
	if err := checkOffset(o.Metadata); err != nil {
		return err
	}
	offset := requested(o.Offset, o.LeaderEpoch, o.Metadata)
	if !m.roomForGroups(offset.size() + groupOverhead + len(group)) {
		return kerr.PolicyViolation
	}
	m.commitOffset(m.group(group), p, offset)
	return nil
}

// checkCommit says whether a client may commit offsets to a group: a member of
// the present generation may, and anybody while there are no members.
func (m *Machine) checkCommit(req *kmsg.OffsetCommitRequest) *kerr.Error {
	if err := checkGroupName(req.Group); err != nil {
		return err
	}
	g := m.groups.byName[req.Group]
	switch {
	case g == nil && req.Generation < 0:
		return nil
	case g == nil && req.Version >= 9:
		return kerr.GroupIDNotFound
	case g == nil:
		return kerr.IllegalGeneration
	case req.Generation < 0 && g.state == groupEmpty:
		return nil
	}
	if err := g.check(req.MemberID, req.InstanceID, req.Generation); err != nil {
		return err
	}
	if g.state == groupCompleting {
		// The member knows of the generation, but not of its share.
		return kerr.RebalanceInProgress
	}
	mb := g.byID[req.MemberID]
	m.keepAlive(g, mb, mb.session)
	return nil
}

// offsetDelete forgets how far a group has come in some partitions (v0).
func (m *Machine) offsetDelete(r *Request, req *kmsg.OffsetDeleteRequest) {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	g := m.groups.byName[req.Group]
	if err := checkOffsetDelete(g, req.Group); err != nil {
		resp.ErrorCode = err.Code
		m.durable(r, resp)
		return
	}
	subscribed := g.subscribed()
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		for _, o := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = o.Partition
			p, err := m.partition(t.Topic, o.Partition)
			switch {
			case err != nil:
				rp.ErrorCode = err.Code
			case subscribed(t.Topic):
				rp.ErrorCode = kerr.GroupSubscribedToTopic.Code
			default:
				m.dropOffset(g, p)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

func checkOffsetDelete(g *group, name string) *kerr.Error {
	switch {
	case name == "":
		return kerr.InvalidGroupID
	case g == nil:
		return kerr.GroupIDNotFound
	case g.state != groupEmpty && g.protocolType != "consumer":
		return kerr.NonEmptyGroup
	}
	return nil
}

// subscribed tells the topics that the group's members read; all of them, when
// that cannot be known.
func (g *group) subscribed() func(topic string) bool {
	if g.state == groupEmpty {
		return func(string) bool { return false }
	}
	topics := map[string]bool{}
	for _, mb := range g.members {
		meta := kmsg.NewConsumerMemberMetadata()
		if g.protocol == "" || meta.ReadFrom(mb.metadata(g.protocol)) != nil {
			return func(string) bool { return true }
		}
		for _, t := range meta.Topics {
			topics[t] = true
		}
	}
	return func(topic string) bool { return topics[topic] }
}
