package core

import (
	"cmp"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetFetch tells how far groups have come (v1–10). A group that does not
// exist has come nowhere.
func (m *Machine) offsetFetch(r *Request, req *kmsg.OffsetFetchRequest) {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if req.Version >= 8 {
		whole := map[string]bool{} // those of which all offsets are told
		for _, g := range req.Groups {
			if g.Topics == nil && whole[g.Group] {
				continue // see once
			}
			whole[g.Group] = whole[g.Group] || g.Topics == nil
			resp.Groups = append(resp.Groups, m.fetchOffsets(g, req.Version >= 10, req.RequireStable))
		}
		m.durable(r, resp)
		return
	}
	group := kmsg.OffsetFetchRequestGroup{Group: req.Group}
	if req.Topics != nil {
		group.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range req.Topics {
		group.Topics = append(group.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	fetched := m.fetchOffsets(group, false, req.RequireStable)
	resp.ErrorCode = fetched.ErrorCode
	for _, t := range fetched.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch = p.Partition, p.Offset, p.LeaderEpoch
			rp.Metadata, rp.ErrorCode = p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

// fetchOffsets looks up one group's offsets: of the named partitions, or all.
func (m *Machine) fetchOffsets(req kmsg.OffsetFetchRequestGroup, byID, stable bool) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = req.Group
	g := m.groups.byName[req.Group]
	if g == nil {
		g = &group{name: req.Group}
	}
	if req.Topics == nil {
		resp.Topics = m.allOffsets(g, stable)
		return resp
	}
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, index := range t.Partitions {
			p, err := m.partition(t.Topic, index)
			if byID {
				p, err = m.partitionByID(t.TopicID, index)
			}
			rp := m.fetchOffset(g, p, index, stable)
			if byID && m.topics.byID[t.TopicID] == nil {
				rp.ErrorCode = err.Code
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// fetchOffset looks up one offset. p is nil for a partition that does not exist.
func (m *Machine) fetchOffset(g *group, p *partition, index int32, stable bool) kmsg.OffsetFetchResponseGroupTopicPartition {
	rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	rp.Partition, rp.Offset, rp.Metadata = index, -1, new(string)
	if p == nil {
		return rp
	}
	if stable && m.offsetsPending(g.name, p) {
		rp.ErrorCode = kerr.UnstableOffsetCommit.Code
		return rp
	}
	if o, ok := g.offsets[p]; ok {
		rp.Offset, rp.LeaderEpoch, rp.Metadata = o.offset, o.leaderEpoch, &o.metadata
	}
	return rp
}

func (m *Machine) allOffsets(g *group, stable bool) []kmsg.OffsetFetchResponseGroupTopic {
	topics := []kmsg.OffsetFetchResponseGroupTopic{}
	for _, p := range slices.SortedFunc(maps.Keys(g.offsets), func(a, b *partition) int {
		return cmp.Or(cmp.Compare(a.topic.name, b.topic.name), cmp.Compare(a.index, b.index))
	}) {
		if n := len(topics); n == 0 || topics[n-1].Topic != p.topic.name {
			rt := kmsg.NewOffsetFetchResponseGroupTopic()
			rt.Topic, rt.TopicID = p.topic.name, p.topic.id
			topics = append(topics, rt)
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, m.fetchOffset(g, p, p.index, stable))
	}
	return topics
}
