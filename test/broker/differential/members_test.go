package differential

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// memberCases are about members of groups that stay the same over restarts, and
// about members that come again.
var memberCases = []kase{
	{kmsg.JoinGroup, "a static member of a stable group, and its twin", func(s *session) {
		if s.version < 5 {
			s.note("static members come with version 5")
			return
		}
		first := s.static("one")
		s.on(1)
		second, _ := s.send(s.joinStatic("", "one")).(*kmsg.JoinGroupResponse)
		s.on(0)
		s.send(first.beat())
		s.send(s.joinStatic(first.id, "one"))
		s.send(first.leaveStatic("", "one", "nobody"))
		if second != nil {
			s.send(s.joinStatic(second.MemberID, "one"))
		}
	}},
	{kmsg.JoinGroup, "a static member with other protocols", func(s *session) {
		if s.version < 5 {
			s.note("static members come with version 5")
			return
		}
		s.static("one")
		s.on(1)
		req := s.joinStatic("", "one")
		req.Protocols = append(req.Protocols, kmsg.JoinGroupRequestProtocol{Name: "sticky", Metadata: subscription})
		s.send(req)
		req = s.joinStatic("", "one")
		req.Protocols[0].Name = "sticky"
		s.send(req)
	}},
	{kmsg.JoinGroup, "an instance under a member id of another's", func(s *session) {
		if s.version < 5 {
			s.note("static members come with version 5")
			return
		}
		one := s.static("one")
		s.send(s.joinStatic(one.id, "two"))
		s.send(s.joinStatic("ghost", "one"))
		s.send(s.joinStatic("ghost", "two"))
	}},
	{kmsg.JoinGroup, "the leader again, the same and another", func(s *session) {
		m := s.member()
		s.send(m.again(s))
		s.send(m.sync([]byte("again")))
		req := s.join(m.id, "consumer", "range", "sticky")
		s.send(req)
	}},
	{kmsg.JoinGroup, "while the shares are awaited", func(s *session) {
		m := s.joined()
		s.send(m.again(s))
		s.send(m.sync([]byte("all")))
	}},
	{kmsg.JoinGroup, "an unknown protocol type of a member", func(s *session) {
		m := s.member()
		s.send(s.join(m.id, "connect", "range"))
		s.send(s.join(m.id, "consumer", "sticky"))
		s.send(s.join(m.id, "consumer"))
	}},
	{kmsg.SyncGroup, "without protocol", func(s *session) {
		m := s.joined()
		req := m.sync([]byte("all"))
		req.ProtocolType, req.Protocol = nil, nil
		s.send(req)
		s.send(m.sync([]byte("all")))
	}},
	{kmsg.SyncGroup, "by a static member and others", func(s *session) {
		if s.version < 3 {
			s.note("instances come with version 3")
			return
		}
		m := s.static("one")
		for _, instance := range []string{"one", "two"} {
			req := m.sync(nil)
			req.InstanceID = &instance
			s.send(req)
			req.MemberID = "ghost"
			s.send(req)
		}
	}},
	{kmsg.Heartbeat, "by a static member and others", func(s *session) {
		if s.version < 3 {
			s.note("instances come with version 3")
			return
		}
		m := s.static("one")
		for _, instance := range []string{"one", "two"} {
			req := m.heartbeat()
			req.InstanceID = &instance
			s.send(req)
			req.MemberID = "ghost"
			s.send(req)
		}
	}},
	{kmsg.LeaveGroup, "static members, by name and by id", func(s *session) {
		if s.version < 3 {
			s.note("instances come with version 3")
			return
		}
		m := s.static("one")
		s.send(m.leaveStatic("ghost", "one"))
		s.send(m.leaveStatic(m.id, "two"))
		s.send(m.leaveStatic("", "two"))
		s.send(m.leaveStatic("", "one"))
		s.send(m.leaveStatic("", "one"))
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{m.group}})
	}},
	{kmsg.LeaveGroup, "one that has only been named", func(s *session) {
		id := ""
		s.aside(func() {
			if j, ok := s.quiet(s.join("", "consumer", "range")).(*kmsg.JoinGroupResponse); ok {
				id = j.MemberID
			}
		})
		m := &member{s.name("g"), id, 0}
		s.send(m.leave())
		s.send(m.leave())
	}},
	{kmsg.DescribeGroups, "a static member", func(s *session) {
		m := s.static("one")
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{m.group}, IncludeAuthorizedOperations: true})
	}},
	{kmsg.DescribeGroups, "the same group twice", func(s *session) {
		m := s.member()
		s.send(&kmsg.DescribeGroupsRequest{Groups: []string{m.group, m.group}})
	}},
	{kmsg.OffsetCommit, "by a static member and others", func(s *session) {
		if s.version < 7 {
			s.note("instances come with version 7")
			return
		}
		t := s.topic("t", 1)
		m := s.static("one")
		for _, instance := range []string{"one", "two"} {
			req := s.commit(t, 0, 9)
			req.MemberID, req.Generation, req.InstanceID = m.id, m.generation, &instance
			s.send(req)
			req.MemberID = "ghost"
			s.send(req)
		}
	}},
	{kmsg.OffsetCommit, "with an epoch, and the same partition twice", func(s *session) {
		t := s.topic("t", 1)
		req := s.commit(t, 0, 5)
		p := &req.Topics[0].Partitions[0]
		p.LeaderEpoch, p.Metadata = 0, nil
		again := *p
		again.Offset = 7
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, again)
		s.send(req)
		s.send(s.fetchOffsets(t, 0))
	}},
	{kmsg.OffsetFetch, "several groups at once", func(s *session) {
		if s.version < 8 {
			s.note("several groups come with version 8")
			return
		}
		t := s.topic("t", 1)
		s.quiet(s.commit(t, 0, 5))
		req := s.fetchOffsets(t, 0)
		other := req.Groups[0]
		other.Group = s.name("nobody")
		req.Groups = append(req.Groups, other)
		s.send(req)
	}},
	{kmsg.OffsetFetch, "by a member of no group", func(s *session) {
		if s.version < 9 {
			s.note("members come with version 9")
			return
		}
		t := s.topic("t", 1)
		s.quiet(s.commit(t, 0, 5))
		req := s.fetchOffsets(t, 0)
		ghost := "ghost"
		req.Groups[0].MemberID, req.Groups[0].MemberEpoch = &ghost, 3
		s.send(req)
	}},
	{kmsg.OffsetDelete, "of a group with a member", func(s *session) {
		t, other := s.topic("t", 1), s.topic("other", 1)
		s.quiet(s.commit(t, 0, 3))
		s.quiet(s.commit(other, 0, 3))
		req := s.join("", "consumer", "range")
		req.Protocols[0].Metadata = subscribed(t)
		j, ok := s.quiet(req).(*kmsg.JoinGroupResponse)
		if ok && j.ErrorCode == 79 {
			req.MemberID = j.MemberID
			j, _ = s.quiet(req).(*kmsg.JoinGroupResponse)
		}
		if j == nil {
			return
		}
		m := &member{s.name("g"), j.MemberID, j.Generation}
		s.quiet(m.sync([]byte("all")))
		for _, topic := range []string{t, other, s.name("nowhere")} {
			s.send(&kmsg.OffsetDeleteRequest{Group: m.group, Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}})
		}
		s.send(s.fetchOffsets(t, 0))
		s.send(s.fetchOffsets(other, 0))
	}},
	{kmsg.DeleteGroups, "while a transaction holds an offset of it", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.commit(t, 0, 3))
		p := s.transactional("x")
		s.quiet(p.addOffsets())
		s.quiet(p.commitOffset(t, 0, 5))
		s.send(&kmsg.DeleteGroupsRequest{Groups: []string{s.name("g")}})
		s.quiet(p.end(false))
	}},
	{kmsg.FindCoordinator, "several at once", func(s *session) {
		if s.version < 4 {
			s.note("several come with version 4")
			return
		}
		s.send(&kmsg.FindCoordinatorRequest{CoordinatorKeys: []string{s.name("a"), s.name("b"), ""}})
		s.send(&kmsg.FindCoordinatorRequest{})
	}},
}

// subscribed is a member's metadata with topics.
func subscribed(topics ...string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = topics
	return m.AppendTo(nil)
}

// staticMember is one with an instance id.
type staticMember struct {
	member
	instance string
}

func (s *session) joinStatic(id, instance string) *kmsg.JoinGroupRequest {
	req := s.join(id, "consumer", "range")
	req.InstanceID = &instance
	return req
}

// static is a synced static member of the case's group.
func (s *session) static(instance string) *staticMember {
	s.t.Helper()
	m := &staticMember{member{group: s.name("g")}, instance}
	s.aside(func() {
		j, ok := s.quiet(s.joinStatic("", instance)).(*kmsg.JoinGroupResponse)
		if !ok || j.ErrorCode != 0 {
			s.note("a static member cannot join: %+v", j)
			return
		}
		m.id, m.generation = j.MemberID, j.Generation
		req := m.sync([]byte("all"))
		req.InstanceID = &instance
		s.quiet(req)
	})
	return m
}

func (m *staticMember) beat() *kmsg.HeartbeatRequest {
	req := m.heartbeat()
	req.InstanceID = &m.instance
	return req
}

func (m *staticMember) leaveStatic(id string, instances ...string) *kmsg.LeaveGroupRequest {
	req := &kmsg.LeaveGroupRequest{Group: m.group}
	for _, i := range instances {
		req.Members = append(req.Members, kmsg.LeaveGroupRequestMember{MemberID: id, InstanceID: &i})
	}
	return req
}
