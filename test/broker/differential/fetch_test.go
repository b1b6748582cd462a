package differential

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

var fetchCases = []kase{
	{kmsg.Fetch, "from the middle of a batch", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a", "b", "c")))
		s.quiet(s.produce(t, 0, batch("d")))
		for offset := range int64(5) {
			s.send(s.fetch(t, 0, offset))
		}
	}},
	{kmsg.Fetch, "beyond the end", func(s *session) { s.send(s.fetch(s.topic("t", 1), 0, 5)) }},
	{kmsg.Fetch, "before the start", func(s *session) { s.send(s.fetch(s.topic("t", 1), 0, -3)) }},
	{kmsg.Fetch, "before a start that has moved", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a", "b")))
		s.quiet(s.produce(t, 0, batch("c", "d")))
		s.quiet(deleteRecords(t, 0, 3))
		s.send(s.fetch(t, 0, 1))
		s.send(s.fetch(t, 0, 3))
	}},
	{kmsg.Fetch, "an unknown topic", func(s *session) { s.send(s.fetch(s.name("nowhere"), 0, 0)) }},
	{kmsg.Fetch, "an unknown partition", func(s *session) { s.send(s.fetch(s.topic("t", 1), 4, 0)) }},
	{kmsg.Fetch, "good and bad partitions at once", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a")))
		req := s.fetch(t, 0, 0)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, s.fetch(t, 2, 0).Topics[0].Partitions[0])
		s.send(req)
	}},
	{kmsg.Fetch, "a wrong leader epoch", func(s *session) {
		t := s.topic("t", 1)
		for _, epoch := range []int32{0, 7, -2} {
			req := s.fetch(t, 0, 0)
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
			s.send(req)
		}
	}},
	{kmsg.Fetch, "nothing to say, with a wait", func(s *session) {
		req := s.fetch(s.topic("t", 1), 0, 0)
		req.MaxWaitMillis, req.MinBytes = 50, 1
		s.send(req)
	}},
	{kmsg.Fetch, "a wait that a record ends", func(s *session) {
		t := s.topic("t", 1)
		req := s.fetch(t, 0, 0)
		req.MaxWaitMillis, req.MinBytes = 10_000, 1
		wait := s.later(req)
		s.on(1)
		s.quiet(s.produce(t, 0, batch("a")))
		wait()
	}},
	{kmsg.Fetch, "less room than a batch needs", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a batch of some bytes")))
		s.quiet(s.produce(t, 0, batch("another batch of some bytes")))
		for _, most := range []int32{0, 1, 90, 170} {
			req := s.fetch(t, 0, 0)
			req.Topics[0].Partitions[0].PartitionMaxBytes = most
			s.send(req)
			req = s.fetch(t, 0, 0)
			req.MaxBytes = most
			s.send(req)
		}
	}},
	{kmsg.Fetch, "a session that nobody has", func(s *session) {
		req := s.fetch(s.topic("t", 1), 0, 0)
		req.SessionID, req.SessionEpoch = 77, 5
		s.send(req)
	}},
	{kmsg.Fetch, "a session of its own", func(s *session) {
		if s.version < 7 {
			s.note("sessions come with version 7")
			return
		}
		req := s.fetch(s.topic("t", 1), 0, 0)
		req.SessionEpoch = 0
		s.send(req)
	}},
	{kmsg.Fetch, "aborted ones, from each offset", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		for range 2 {
			for _, commit := range []bool{false, true} {
				s.quiet(p.add(t, 0))
				s.quiet(p.produce(t, 0, p.sequence, "a"))
				s.quiet(p.produce(t, 0, p.sequence+1, "b"))
				p.sequence += 2
				s.quiet(p.end(commit))
				p.follow()
				s.stable(t, 0)
			}
		}
		for offset := range int64(13) {
			req := s.fetchCommitted(t, 0, offset)
			req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = 150, 150
			s.send(req)
		}
	}},
	{kmsg.Fetch, "a topic id that nobody has", func(s *session) {
		req := s.fetch(s.topic("t", 1), 0, 0)
		req.Topics[0].TopicID = [16]byte{1, 2, 3}
		s.send(req)
	}},
	{kmsg.Fetch, "no topics", func(s *session) {
		req := s.fetch("", 0, 0)
		req.Topics = nil
		s.send(req)
	}},
	{kmsg.Fetch, "by a follower that does not exist", func(s *session) {
		req := s.fetch(s.topic("t", 1), 0, 0)
		req.ReplicaID = 9
		req.ReplicaState.ID = 9
		s.send(req)
	}},
	{kmsg.Fetch, "transactions that ended and one that is open", func(s *session) {
		t := s.topic("t", 1)
		a, b := s.transactional("a"), s.transactional("b")
		for _, commit := range []bool{true, false} {
			s.quiet(a.add(t, 0))
			s.quiet(a.produce(t, 0, a.sequence, "a"))
			a.sequence++
			s.quiet(a.end(commit))
			a.follow()
			s.stable(t, 0)
		}
		s.quiet(b.add(t, 0))
		s.quiet(b.produce(t, 0, 0, "open"))
		s.quiet(s.produce(t, 0, batch("after")))
		for offset := range int64(7) {
			s.send(s.fetch(t, 0, offset))
			s.send(s.fetchCommitted(t, 0, offset))
		}
	}},
}

// fetch is a request that does not wait, by name and by id.
func (s *session) fetch(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	t := kmsg.NewFetchRequestTopic()
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	if s.key == kmsg.Fetch && s.version >= 13 {
		t.TopicID = s.topicID(topic)
	}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes, req.SessionEpoch = -1, 1<<20, -1
	req.Topics = append(req.Topics, t)
	return req
}

func (s *session) fetchCommitted(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := s.fetch(topic, partition, offset)
	req.IsolationLevel = 1
	return req
}
