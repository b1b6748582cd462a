package differential

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var topicCases = []kase{
	{kmsg.CreateTopics, "a topic, and again", func(s *session) {
		s.send(createTopics(s.name("t"), 3))
		s.until("the topic is there", func() bool { return s.end(s.name("t"), 2) == 0 })
		s.send(createTopics(s.name("t"), 3))
		s.send(metadata(s.name("t")))
	}},
	{kmsg.CreateTopics, "by default", func(s *session) {
		if s.version < 4 {
			s.note("defaults come with version 4")
			return
		}
		s.send(createTopics(s.name("t"), -1))
	}},
	{kmsg.CreateTopics, "only validated", func(s *session) {
		req := createTopics(s.name("t"), 3)
		req.ValidateOnly = true
		s.send(req)
		s.send(metadata(s.name("t")))
		req.Topics[0].NumPartitions = 0
		s.send(req)
	}},
	{kmsg.CreateTopics, "impossible numbers", func(s *session) {
		for _, n := range []int32{0, -2} {
			s.send(createTopics(s.name("t"), n))
		}
		req := createTopics(s.name("t"), 1)
		for _, n := range []int16{0, 2, -3} {
			req.Topics[0].ReplicationFactor = n
			s.send(req)
		}
	}},
	{kmsg.CreateTopics, "illegal names", func(s *session) {
		for _, n := range []string{"", ".", "..", "a b", "a/b", "é", strings.Repeat("x", 250)} {
			s.send(createTopics(n, 1))
		}
	}},
	{kmsg.CreateTopics, "a name that collides", func(s *session) {
		s.topic("a.b", 1)
		s.send(createTopics(s.name("a_b"), 1))
	}},
	{kmsg.CreateTopics, "the same name twice", func(s *session) {
		req := createTopics(s.name("t"), 1)
		req.Topics = append(req.Topics, req.Topics[0])
		s.send(req)
	}},
	{kmsg.CreateTopics, "internal names", func(s *session) { s.send(createTopics("__consumer_offsets", 1)) }},
	{kmsg.CreateTopics, "settings, good and bad", func(s *session) {
		for n, c := range [][2]string{
			{"retention.ms", "1000"}, {"retention.ms", "abc"}, {"retention.ms", "-2"}, {"cleanup.policy", "compact"}, {"cleanup.policy", "compact,delete"},
			{"cleanup.policy", "burn"}, {"no.such.setting", "1"}, {"max.message.bytes", "-1"}, {"min.cleanable.dirty.ratio", "2"},
			{"compression.type", "zstd"}, {"compression.type", "rar"}, {"message.timestamp.type", "LogAppendTime"}, {"segment.bytes", "10"}, {"unclean.leader.election.enable", "perhaps"},
			{"min.insync.replicas", "2"}, {"delete.retention.ms", "5"}, {"segment.ms", "1000"}, {"retention.bytes", "1000000"},
		} {
			s.send(createTopics(s.name("t")+string(rune('a'+n)), 1, c[0], c[1]))
		}
	}},
	{kmsg.CreateTopics, "a setting without value", func(s *session) {
		req := createTopics(s.name("t"), 1)
		req.Topics[0].Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
		s.send(req)
	}},
	{kmsg.CreateTopics, "by assignment", func(s *session) {
		req := createTopics(s.name("t"), -1)
		req.Topics[0].ReplicationFactor = -1
		req.Topics[0].ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{s.node()}}, {Partition: 1, Replicas: []int32{s.node()}}}
		s.send(req)
		req.Topics[0].Topic += "-gap"
		req.Topics[0].ReplicaAssignment[1].Partition = 2
		s.send(req)
		req.Topics[0].Topic += "-nobody"
		req.Topics[0].ReplicaAssignment = req.Topics[0].ReplicaAssignment[:1]
		req.Topics[0].ReplicaAssignment[0].Replicas = []int32{99}
		s.send(req)
	}},
	{kmsg.DeleteTopics, "a topic, and again", func(s *session) {
		t := s.topic("t", 1)
		s.send(deleteTopics(t))
		s.until("the topic is gone", func() bool {
			resp, ok := s.quiet(metadata(t)).(*kmsg.MetadataResponse)
			return ok && resp.Topics[0].ErrorCode == 3
		})
		s.send(deleteTopics(t))
	}},
	{kmsg.DeleteTopics, "good and bad at once", func(s *session) { s.send(deleteTopics(s.topic("t", 1), s.name("nowhere"), "not a topic!")) }},
	{kmsg.DeleteTopics, "the same name twice", func(s *session) {
		t := s.topic("t", 1)
		s.send(deleteTopics(t, t))
	}},
	{kmsg.DeleteTopics, "by id", func(s *session) {
		if s.version < 6 {
			s.note("ids come with version 6")
			return
		}
		req := &kmsg.DeleteTopicsRequest{TimeoutMillis: 10_000, Topics: []kmsg.DeleteTopicsRequestTopic{{TopicID: s.topicID(s.topic("t", 1))}, {TopicID: [16]byte{9, 9}}}}
		s.send(req)
	}},
	{kmsg.CreatePartitions, "more, as many, fewer", func(s *session) {
		t := s.topic("t", 2)
		for _, n := range []int32{3, 3, 1, 0, -1} {
			s.send(createPartitions(t, n))
		}
	}},
	{kmsg.CreatePartitions, "only validated", func(s *session) {
		t := s.topic("t", 2)
		req := createPartitions(t, 4)
		req.ValidateOnly = true
		s.send(req)
		s.send(metadata(t))
	}},
	{kmsg.CreatePartitions, "an unknown topic", func(s *session) { s.send(createPartitions(s.name("nowhere"), 4)) }},
	{kmsg.CreatePartitions, "the same topic twice", func(s *session) {
		req := createPartitions(s.topic("t", 1), 4)
		req.Topics = append(req.Topics, req.Topics[0])
		s.send(req)
	}},
	{kmsg.CreatePartitions, "assignments of the wrong number", func(s *session) {
		req := createPartitions(s.topic("t", 1), 3)
		req.Topics[0].Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{s.node()}}}
		s.send(req)
	}},
	{kmsg.DescribeLogDirs, "a topic's size", func(s *session) {
		t := s.topic("t", 2)
		s.quiet(s.produce(t, 1, batch("a")))
		s.send(&kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{{Topic: t, Partitions: []int32{0, 1}}}})
	}},
	{kmsg.DescribeLogDirs, "an unknown topic", func(s *session) {
		s.send(&kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{{Topic: s.name("nowhere"), Partitions: []int32{0}}}})
	}},
}

// node is the broker's id.
func (s *session) node() (id int32) {
	s.aside(func() {
		if resp, ok := s.quiet(metadata()).(*kmsg.MetadataResponse); ok {
			id = resp.Brokers[0].NodeID
		}
	})
	return id
}

func createTopics(name string, partitions int32, settings ...string) *kmsg.CreateTopicsRequest {
	t := kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: partitions, ReplicationFactor: 1}
	for i := 0; i < len(settings); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: settings[i], Value: &settings[i+1]})
	}
	return &kmsg.CreateTopicsRequest{TimeoutMillis: 10_000, Topics: []kmsg.CreateTopicsRequestTopic{t}}
}

func deleteTopics(names ...string) *kmsg.DeleteTopicsRequest {
	req := &kmsg.DeleteTopicsRequest{TimeoutMillis: 10_000, TopicNames: names}
	for _, n := range names {
		req.Topics = append(req.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &n})
	}
	return req
}

func createPartitions(name string, partitions int32) *kmsg.CreatePartitionsRequest {
	return &kmsg.CreatePartitionsRequest{TimeoutMillis: 10_000, Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: partitions}}}
}
