package differential

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

var groupCases = []kase{
	{kmsg.FindCoordinator, "of groups and transactions", func(s *session) {
		for _, kind := range []int8{0, 1} {
			s.send(coordinator(kind, s.name("g")))
		}
	}},
	{kmsg.FindCoordinator, "of something else", func(s *session) {
		if s.version == 0 {
			s.note("version 0 knows groups alone")
			return
		}
		s.send(coordinator(7, s.name("g")))
	}},
	{kmsg.FindCoordinator, "no name", func(s *session) { s.send(coordinator(0, "")) }},

	{kmsg.JoinGroup, "a first member", func(s *session) {
		resp := s.send(s.join("", "consumer", "range"))
		if j, ok := resp.(*kmsg.JoinGroupResponse); ok && j.ErrorCode == 79 {
			s.send(s.join(j.MemberID, "consumer", "range"))
		}
	}},
	{kmsg.JoinGroup, "a member that nobody knows", func(s *session) { s.send(s.join("ghost", "consumer", "range")) }},
	{kmsg.JoinGroup, "no group", func(s *session) {
		req := s.join("", "consumer", "range")
		req.Group = ""
		s.send(req)
	}},
	{kmsg.JoinGroup, "session times out of bounds", func(s *session) {
		for _, ms := range []int32{0, 1, 2_000_000_000} {
			req := s.join("", "consumer", "range")
			req.SessionTimeoutMillis = ms
			s.send(req)
		}
	}},
	{kmsg.JoinGroup, "no protocols", func(s *session) {
		req := s.join("", "consumer")
		s.send(req)
		req = s.join("", "", "range")
		s.send(req)
	}},
	{kmsg.JoinGroup, "another protocol type or name", func(s *session) {
		s.member()
		s.on(1)
		s.send(s.join("", "connect", "range"))
		s.send(s.join("", "consumer", "sticky"))
	}},
	{kmsg.JoinGroup, "a second member", func(s *session) {
		a := s.member()
		s.on(1)
		b, wait := s.joining("")
		s.on(0)
		s.until("the first member is told", func() bool {
			h, ok := s.quiet(a.heartbeat()).(*kmsg.HeartbeatResponse)
			return ok && h.ErrorCode == 27
		})
		s.send(a.again(s))
		wait()
		if s.version >= 4 {
			s.on(1)
			s.send(b.leave())
		}
	}},
	{kmsg.JoinGroup, "a static member, and its twin", func(s *session) {
		if s.version < 5 {
			s.note("static members come with version 5")
			return
		}
		one := "one"
		req := s.join("", "consumer", "range")
		req.InstanceID = &one
		first, _ := s.send(req).(*kmsg.JoinGroupResponse)
		if first == nil {
			return
		}
		s.send(&kmsg.SyncGroupRequest{Group: s.name("g"), Generation: first.Generation, MemberID: first.MemberID, InstanceID: &one,
			GroupAssignment: []kmsg.SyncGroupRequestGroupAssignment{{MemberID: first.MemberID, MemberAssignment: []byte("all")}}})
		s.on(1)
		s.send(req)
		s.on(0)
		s.send(&kmsg.HeartbeatRequest{Group: s.name("g"), Generation: first.Generation, MemberID: first.MemberID, InstanceID: &one})
	}},

	{kmsg.SyncGroup, "the leader's assignment", func(s *session) {
		m := s.joined()
		s.send(m.sync([]byte("all of it")))
		s.send(m.sync([]byte("something else")))
	}},
	{kmsg.SyncGroup, "a wrong generation, member, group", func(s *session) {
		m := s.joined()
		s.send((&member{m.group, m.id, m.generation + 1}).sync(nil))
		s.send((&member{m.group, "ghost", m.generation}).sync(nil))
		s.send((&member{s.name("nobody"), m.id, m.generation}).sync(nil))
		s.send((&member{"", m.id, m.generation}).sync(nil))
	}},
	{kmsg.SyncGroup, "another protocol", func(s *session) {
		if s.version < 5 {
			s.note("the protocol travels since version 5")
			return
		}
		m := s.joined()
		kind, name := "connect", "range"
		req := m.sync(nil)
		req.ProtocolType, req.Protocol = &kind, &name
		s.send(req)
		kind, name = "consumer", "sticky"
		s.send(req)
		kind, name = "consumer", "range"
		s.send(req)
	}},
	{kmsg.Heartbeat, "a member, a wrong generation, member, group", func(s *session) {
		m := s.member()
		s.send(m.heartbeat())
		s.send((&member{m.group, m.id, m.generation + 1}).heartbeat())
		s.send((&member{m.group, m.id, m.generation - 1}).heartbeat())
		s.send((&member{m.group, "ghost", m.generation}).heartbeat())
		s.send((&member{s.name("nobody"), m.id, m.generation}).heartbeat())
		s.send((&member{"", m.id, m.generation}).heartbeat())
	}},
	{kmsg.Heartbeat, "before the group is synced", func(s *session) {
		s.send(s.joined().heartbeat())
	}},
	{kmsg.LeaveGroup, "a member, and again", func(s *session) {
		m := s.member()
		s.send(m.leave())
		s.send(m.leave())
		s.send(m.heartbeat())
	}},
	{kmsg.LeaveGroup, "nobody, of nothing", func(s *session) {
		s.send((&member{s.name("nobody"), "ghost", 0}).leave())
		s.send((&member{"", "ghost", 0}).leave())
	}},
	{kmsg.DescribeGroups, "a member", func(s *session) {
		s.member()
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{s.name("g")}})
	}},
	{kmsg.DescribeGroups, "while it is joined", func(s *session) {
		s.joined()
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{s.name("g")}})
	}},
	{kmsg.DescribeGroups, "empty, unknown, without name", func(s *session) {
		m := s.member()
		s.quiet(m.leave())
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{s.name("g"), s.name("nobody")}, IncludeAuthorizedOperations: true})
	}},
	{kmsg.DescribeGroups, "one with offsets alone", func(s *session) {
		s.quiet(s.commit(s.topic("t", 1), 0, 3))
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{s.name("g")}})
	}},
	{kmsg.ListGroups, "one of each state", func(s *session) {
		s.member()
		s.quiet(s.commitOf(s.name("empty"), s.topic("t", 1), 0, 3))
		s.listGroups(nil, nil)
		if s.version >= 4 {
			s.listGroups([]string{"Stable"}, nil)
			s.listGroups([]string{"Empty", "Dead"}, nil)
			s.listGroups([]string{"no such state"}, nil)
		}
		if s.version >= 5 {
			s.listGroups(nil, []string{"classic"})
			s.listGroups(nil, []string{"Classic"})
			s.listGroups(nil, []string{"consumer"})
			s.listGroups(nil, []string{"no such type"})
		}
	}},
	{kmsg.DeleteGroups, "a group that nobody knows", func(s *session) {
		s.send(&kmsg.DeleteGroupsRequest{Groups: []string{s.name("nobody")}})
	}},
	{kmsg.DeleteGroups, "with a member, and empty", func(s *session) {
		m := s.member()
		s.send(&kmsg.DeleteGroupsRequest{Groups: []string{m.group}})
		s.quiet(m.leave())
		s.send(&kmsg.DeleteGroupsRequest{Groups: []string{m.group}})
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{m.group}})
	}},
	{kmsg.DeleteGroups, "and its offsets", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.commit(t, 0, 3))
		s.send(&kmsg.DeleteGroupsRequest{Groups: []string{s.name("g")}})
		s.send(s.fetchOffsets(t, 0))
	}},
	{kmsg.OffsetDelete, "offsets of a topic", func(s *session) {
		t := s.topic("t", 2)
		s.quiet(s.commit(t, 0, 3))
		req := &kmsg.OffsetDeleteRequest{Group: s.name("g"), Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: t, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}}
		s.send(req)
		s.send(s.fetchOffsets(t, 0))
		req.Group = s.name("nobody")
		s.send(req)
	}},

	{kmsg.OffsetCommit, "of a group without members", func(s *session) {
		t := s.topic("t", 1)
		s.send(s.commit(t, 0, 5))
		s.send(s.fetchOffsets(t, 0))
		s.send(s.commit(t, 0, 2))
		s.send(s.fetchOffsets(t, 0))
	}},
	{kmsg.OffsetCommit, "of an unknown topic or partition", func(s *session) {
		s.send(s.commit(s.name("nowhere"), 0, 5))
		s.send(s.commit(s.topic("t", 1), 4, 5))
	}},
	{kmsg.OffsetCommit, "a negative offset", func(s *session) { s.send(s.commit(s.topic("t", 1), 0, -5)) }},
	{kmsg.OffsetCommit, "long metadata", func(s *session) {
		text := string(make([]byte, 5000))
		req := s.commit(s.topic("t", 1), 0, 5)
		req.Topics[0].Partitions[0].Metadata = &text
		s.send(req)
	}},
	{kmsg.OffsetCommit, "without group", func(s *session) {
		t := s.topic("t", 1)
		req := s.commit(t, 0, 5)
		req.Group = ""
		s.send(req)
		// Here, since no other case makes the group without name.
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{""}})
		s.send(&kmsg.OffsetDeleteRequest{Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: t, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}})
		s.send(&kmsg.DeleteGroupsRequest{Groups: []string{""}})
	}},
	{kmsg.OffsetCommit, "by a member, and by others", func(s *session) {
		t := s.topic("t", 1)
		m := s.member()
		for _, who := range []member{*m, {m.group, m.id, m.generation + 1}, {m.group, "ghost", m.generation}, {m.group, "", -1}, {m.group, m.id, -1}, {s.name("nobody"), m.id, 3}} {
			req := s.commitOf(who.group, t, 0, 9)
			req.MemberID, req.Generation = who.id, who.generation
			s.send(req)
		}
	}},
	{kmsg.OffsetCommit, "while the group is joined", func(s *session) {
		t := s.topic("t", 1)
		m := s.joined()
		req := s.commit(t, 0, 9)
		req.MemberID, req.Generation = m.id, m.generation
		s.send(req)
	}},
	{kmsg.OffsetFetch, "committed, not committed, unknown", func(s *session) {
		t := s.topic("t", 2)
		s.quiet(s.commit(t, 0, 5))
		s.send(s.fetchOffsets(t, 0, 1, 7))
		s.send(s.fetchOffsets(s.name("nowhere"), 0))
	}},
	{kmsg.OffsetFetch, "all of a group", func(s *session) {
		if s.version < 2 {
			s.note("all topics can be asked for since version 2")
			return
		}
		s.quiet(s.commit(s.topic("t", 2), 1, 5))
		req := s.fetchOffsets("")
		req.Topics, req.Groups[0].Topics = nil, nil
		s.send(req)
	}},
	{kmsg.OffsetFetch, "of a group that nobody knows", func(s *session) {
		req := s.fetchOffsets(s.topic("t", 1), 0)
		req.Group, req.Groups[0].Group = s.name("nobody"), s.name("nobody")
		s.send(req)
		req.Topics, req.Groups[0].Topics = nil, nil
		if s.version >= 2 {
			s.send(req)
		}
	}},
	{kmsg.OffsetFetch, "while a transaction holds an offset", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.addOffsets())
		s.quiet(p.commitOffset(t, 0, 5))
		req := s.fetchOffsets(t, 0)
		s.send(req)
		if s.version >= 7 {
			req.RequireStable = true
			s.send(req)
		}
		s.quiet(p.end(true))
		s.until("the offset is there", func() bool {
			return s.committed(t, 0) == 5
		})
		s.send(req)
	}},
}

func coordinator(kind int8, name string) *kmsg.FindCoordinatorRequest {
	return &kmsg.FindCoordinatorRequest{CoordinatorKey: name, CoordinatorType: kind, CoordinatorKeys: []string{name}}
}

// subscription is to no topics, in version 0. It must be well-formed: of one that
// announces more topics than it has, Apache Kafka 4.3.1 never answers the request.
var subscription = []byte{0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}

// member is one of a group.
type member struct {
	group, id  string
	generation int32
}

func (s *session) join(id, kind string, protocols ...string) *kmsg.JoinGroupRequest {
	req := &kmsg.JoinGroupRequest{Group: s.name("g"), SessionTimeoutMillis: 10_000, RebalanceTimeoutMillis: 10_000, MemberID: id, ProtocolType: kind}
	for _, p := range protocols {
		req.Protocols = append(req.Protocols, kmsg.JoinGroupRequestProtocol{Name: p, Metadata: subscription})
	}
	return req
}

// joined is a new member of the case's group, which is not synced.
func (s *session) joined() *member {
	s.t.Helper()
	j, ok := s.quiet(s.join("", "consumer", "range")).(*kmsg.JoinGroupResponse)
	if ok && j.ErrorCode == 79 { // MEMBER_ID_REQUIRED
		j, ok = s.quiet(s.join(j.MemberID, "consumer", "range")).(*kmsg.JoinGroupResponse)
	}
	if !ok || j.ErrorCode != 0 {
		s.note("a member cannot join: %+v", j)
		return &member{group: s.name("g")}
	}
	return &member{s.name("g"), j.MemberID, j.Generation}
}

// joining begins to join a group that has members; wait notes the answer.
func (s *session) joining(id string) (m *member, wait func()) {
	s.t.Helper()
	m = &member{group: s.name("g"), id: id}
	if s.version >= 4 { // before, the first request waits already
		if j, ok := s.quiet(s.join("", "consumer", "range")).(*kmsg.JoinGroupResponse); ok {
			m.id = j.MemberID
		}
	}
	answer := s.later(s.join(m.id, "consumer", "range"))
	return m, func() { answer() }
}

// member is a synced member of the case's group.
func (s *session) member() *member {
	s.t.Helper()
	m := s.joined()
	s.quiet(m.sync([]byte("all")))
	return m
}

func (m *member) again(s *session) *kmsg.JoinGroupRequest { return s.join(m.id, "consumer", "range") }

func (m *member) sync(assignment []byte) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.Generation, req.MemberID = m.group, m.generation, m.id
	kind, name := "consumer", "range"
	req.ProtocolType, req.Protocol = &kind, &name
	if assignment != nil {
		req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: m.id, MemberAssignment: assignment}}
	}
	return req
}

func (m *member) heartbeat() *kmsg.HeartbeatRequest {
	return &kmsg.HeartbeatRequest{Group: m.group, Generation: m.generation, MemberID: m.id}
}

func (m *member) leave() *kmsg.LeaveGroupRequest {
	return &kmsg.LeaveGroupRequest{Group: m.group, MemberID: m.id, Members: []kmsg.LeaveGroupRequestMember{{MemberID: m.id}}}
}

func (s *session) commit(topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	return s.commitOf(s.name("g"), topic, partition, offset)
}

func (s *session) commitOf(group, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	text := "text"
	t := kmsg.OffsetCommitRequestTopic{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: partition, Offset: offset, Metadata: &text, LeaderEpoch: -1, Timestamp: -1}}}
	if s.key == kmsg.OffsetCommit && s.version >= 10 {
		t.TopicID = s.topicID(topic)
	}
	return &kmsg.OffsetCommitRequest{Group: group, Generation: -1, RetentionTimeMillis: -1, Topics: []kmsg.OffsetCommitRequestTopic{t}}
}

func (s *session) fetchOffsets(topic string, partitions ...int32) *kmsg.OffsetFetchRequest {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = s.name("g")
	t := kmsg.OffsetFetchRequestGroupTopic{Topic: topic, Partitions: partitions}
	if s.key == kmsg.OffsetFetch && s.version >= 10 {
		t.TopicID = s.topicID(topic)
	}
	g.Topics = append(g.Topics, t)
	return &kmsg.OffsetFetchRequest{Group: s.name("g"), Topics: []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: partitions}}, Groups: []kmsg.OffsetFetchRequestGroup{g}}
}

// committed is the group's offset.
func (s *session) committed(topic string, partition int32) (offset int64) {
	offset = -1
	s.aside(func() {
		if resp, ok := s.quiet(s.fetchOffsets(topic, partition)).(*kmsg.OffsetFetchResponse); ok && len(resp.Topics) == 1 {
			offset = resp.Topics[0].Partitions[0].Offset
		}
	})
	return offset
}

// listGroups notes the groups of this case.
func (s *session) listGroups(states, types []string) {
	req := &kmsg.ListGroupsRequest{StatesFilter: states, TypesFilter: types}
	resp, ok := s.quiet(req).(*kmsg.ListGroupsResponse)
	if ok {
		var own []kmsg.ListGroupsResponseGroup
		for _, g := range resp.Groups {
			if len(g.Group) > len(s.prefix) && g.Group[:len(s.prefix)] == s.prefix {
				own = append(own, g)
			}
		}
		resp.Groups = own
		s.write(req, resp)
	}
}
