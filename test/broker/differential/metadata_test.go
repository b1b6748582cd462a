package differential

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var metadataCases = []kase{
	{kmsg.Metadata, "a topic", func(s *session) { s.send(metadata(s.topic("t", 3))) }},
	{kmsg.Metadata, "an unknown topic", func(s *session) { s.send(metadata(s.name("nowhere"))) }},
	{kmsg.Metadata, "an unknown topic among others", func(s *session) { s.send(metadata(s.topic("t", 1), s.name("nowhere"))) }},
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
