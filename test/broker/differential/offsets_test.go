package differential

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

var offsetCases = []kase{
	{kmsg.ListOffsets, "start, end and times", func(s *session) {
		t := s.topic("t", 1)
		now := time.Now().UnixMilli()
		for n, at := range []int64{now - 3000, now - 1000, now - 2000} {
			b := wire.New([]byte{byte('a' + n)})
			b.Time = at
			s.quiet(s.produce(t, 0, b.Encode()))
		}
		for _, at := range []int64{-1, -2, -3, now - 9000, now - 3000, now - 2999, now - 1500, now - 999, now + 9000} {
			s.send(listOffsets(t, 0, at))
		}
	}},
	{kmsg.ListOffsets, "special times", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a")))
		for _, at := range []int64{-4, -5, -6, -99} {
			s.send(listOffsets(t, 0, at))
		}
	}},
	{kmsg.ListOffsets, "an empty log", func(s *session) {
		t := s.topic("t", 1)
		for _, at := range []int64{-1, -2, -3, 0, 1000} {
			s.send(listOffsets(t, 0, at))
		}
	}},
	{kmsg.ListOffsets, "an unknown topic", func(s *session) { s.send(listOffsets(s.name("nowhere"), 0, -1)) }},
	{kmsg.ListOffsets, "an unknown partition", func(s *session) { s.send(listOffsets(s.topic("t", 1), 3, -1)) }},
	{kmsg.ListOffsets, "the same partition twice", func(s *session) {
		req := listOffsets(s.topic("t", 1), 0, -1)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, req.Topics[0].Partitions[0])
		s.send(req)
	}},
	{kmsg.ListOffsets, "a wrong leader epoch", func(s *session) {
		t := s.topic("t", 1)
		for _, epoch := range []int32{0, 5} {
			req := listOffsets(t, 0, -1)
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
			s.send(req)
		}
	}},
	{kmsg.ListOffsets, "the stable end of an open transaction", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a")))
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "b"))
		s.reaches(t, 2)
		for _, level := range []int8{0, 1} {
			req := listOffsets(t, 0, -1)
			req.IsolationLevel = level
			s.send(req)
		}
	}},
	{kmsg.ListOffsets, "after records were deleted", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a", "b", "c")))
		s.quiet(deleteRecords(t, 0, 2))
		for _, at := range []int64{-2, -1, 0} {
			s.send(listOffsets(t, 0, at))
		}
	}},
	{kmsg.OffsetForLeaderEpoch, "epochs known and unknown", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a", "b")))
		for _, epoch := range []int32{0, 1, 9, -1} {
			s.send(forEpoch(t, 0, -1, epoch))
		}
		s.send(forEpoch(t, 0, 5, 0))
	}},
	{kmsg.OffsetForLeaderEpoch, "an unknown partition", func(s *session) {
		s.send(forEpoch(s.name("nowhere"), 0, -1, 0))
		s.send(forEpoch(s.topic("t", 1), 4, -1, 0))
	}},
	{kmsg.DeleteRecords, "up to an offset, and to the end", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a", "b", "c")))
		for _, to := range []int64{0, 2, 1, -1, 3} {
			s.send(deleteRecords(t, 0, to))
		}
	}},
	{kmsg.DeleteRecords, "impossible offsets", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a")))
		for _, to := range []int64{2, -2} {
			s.send(deleteRecords(t, 0, to))
		}
	}},
	{kmsg.DeleteRecords, "an unknown partition", func(s *session) {
		s.send(deleteRecords(s.name("nowhere"), 0, 0))
		s.send(deleteRecords(s.topic("t", 1), 4, 0))
	}},
	{kmsg.DeleteRecords, "a topic that is compacted and cut", func(s *session) {
		s.send(deleteRecords(s.topic("t", 1, "cleanup.policy", "compact,delete"), 0, 0))
	}},
	{kmsg.DeleteRecords, "within an open transaction", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, batch("a")))
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "b"))
		s.reaches(t, 2)
		s.send(deleteRecords(t, 0, 2))
		s.send(s.fetchCommitted(t, 0, 2))
	}},
	{kmsg.DeleteRecords, "a compacted topic", func(s *session) {
		s.send(deleteRecords(s.topic("t", 1, "cleanup.policy", "compact"), 0, 0))
	}},
}

func forEpoch(topic string, partition, current, epoch int32) *kmsg.OffsetForLeaderEpochRequest {
	return &kmsg.OffsetForLeaderEpochRequest{ReplicaID: -1, Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic,
		Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: partition, CurrentLeaderEpoch: current, LeaderEpoch: epoch}}}}}
}

func deleteRecords(topic string, partition int32, to int64) *kmsg.DeleteRecordsRequest {
	return &kmsg.DeleteRecordsRequest{TimeoutMillis: 10_000, Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: topic,
		Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: to}}}}}
}
