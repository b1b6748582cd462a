package differential

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var metadataCases = []kase{
	{kmsg.Metadata, "a topic", func(s *session) { s.send(metadata(s.topic("t", 3))) }},
	{kmsg.Metadata, "an unknown topic", func(s *session) {
		if s.version < 4 { // which creates what it asks for
			resp, ok := s.quiet(metadata(s.name("nowhere"))).(*kmsg.MetadataResponse)
			s.note("created by the question=%v", ok && resp.Topics[0].ErrorCode == 0)
			s.until("the topic is there", func() bool {
				resp, ok := s.quiet(metadata(s.name("nowhere"))).(*kmsg.MetadataResponse)
				return ok && resp.Topics[0].ErrorCode == 0 && len(resp.Topics[0].Partitions) > 0
			})
		}
		resp, ok := s.quiet(metadata(s.name("nowhere"))).(*kmsg.MetadataResponse)
		if ok && s.version < 4 {
			resp.Topics[0].Partitions = resp.Topics[0].Partitions[:1] // whose number is a default
		}
		s.write(metadata(), resp)
	}},
	{kmsg.Metadata, "an unknown topic among others", func(s *session) {
		if s.version < 4 {
			s.note("it would be created")
			return
		}
		s.send(metadata(s.topic("t", 1), s.name("nowhere")))
	}},
	{kmsg.Metadata, "all topics, of which two are ours", func(s *session) {
		s.topic("a", 1)
		s.topic("b", 2)
		req := metadata()
		resp, ok := s.quiet(req).(*kmsg.MetadataResponse)
		if ok {
			resp.Topics = slices.DeleteFunc(resp.Topics, func(t kmsg.MetadataResponseTopic) bool {
				return t.Topic == nil || !strings.HasPrefix(*t.Topic, s.prefix)
			})
			s.write(req, resp)
		}
	}},
	{kmsg.Metadata, "a topic twice", func(s *session) {
		t := s.topic("t", 1)
		s.send(metadata(t, t))
	}},
	{kmsg.Metadata, "illegal names", func(s *session) {
		for _, n := range []string{"", ".", "..", "a b", "é", strings.Repeat("x", 250)} {
			s.send(metadata(n))
		}
	}},
	{kmsg.Metadata, "no topics", func(s *session) {
		req := metadata()
		req.Topics = []kmsg.MetadataRequestTopic{}
		if s.version == 0 {
			s.note("version 0 takes no topics for all of them")
			return
		}
		s.send(req)
	}},
	{kmsg.Metadata, "created by asking", func(s *session) {
		req := metadata(s.name("auto"))
		req.AllowAutoTopicCreation = true
		s.quiet(req)
		s.until("the topic is there", func() bool {
			resp, ok := s.quiet(metadata(s.name("auto"))).(*kmsg.MetadataResponse)
			return ok && resp.Topics[0].ErrorCode == 0
		})
		s.send(metadata(s.name("auto")))
	}},
	{kmsg.Metadata, "an illegal name that would be created", func(s *session) {
		req := metadata("not a topic!")
		req.AllowAutoTopicCreation = true
		s.send(req)
	}},
	{kmsg.Metadata, "by id", func(s *session) {
		if s.version < 12 {
			s.note("ids come with version 12")
			return
		}
		req := metadata()
		req.Topics = []kmsg.MetadataRequestTopic{{TopicID: s.topicID(s.topic("t", 1))}}
		s.send(req)
		req.Topics[0].TopicID = [16]byte{1, 2, 3}
		s.send(req)
	}},
	{kmsg.Metadata, "authorized operations", func(s *session) {
		req := metadata(s.topic("t", 1))
		req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = true, true
		s.send(req)
	}},
	{kmsg.DescribeCluster, "the cluster", func(s *session) { s.send(&kmsg.DescribeClusterRequest{EndpointType: 1}) }},
	{kmsg.DescribeCluster, "authorized operations", func(s *session) {
		s.send(&kmsg.DescribeClusterRequest{EndpointType: 1, IncludeClusterAuthorizedOperations: true})
	}},
	{kmsg.DescribeCluster, "an unknown kind of endpoint", func(s *session) { s.send(&kmsg.DescribeClusterRequest{EndpointType: 9}) }},
}

func metadata(topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	for _, t := range topics {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &t})
	}
	return req
}
