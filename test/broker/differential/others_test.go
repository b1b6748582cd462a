package differential

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

var otherCases = []kase{
	{kmsg.ApiVersions, "the version itself", func(s *session) {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "comptoir", "1"
		resp, ok := s.quiet(req).(*kmsg.ApiVersionsResponse)
		s.note("ApiVersions answered=%v, code %d, keys %v", ok, resp.ErrorCode, len(resp.ApiKeys) > 20)
	}},
	{kmsg.ApiVersions, "an illegal name of the client", func(s *session) {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "no spaces!", "1"
		resp, ok := s.quiet(req).(*kmsg.ApiVersionsResponse)
		s.note("ApiVersions answered=%v, code %d, keys %v", ok, resp.ErrorCode, len(resp.ApiKeys) > 0)
	}},
	{kmsg.ApiVersions, "a version of the future", func(s *session) {
		if s.version > 0 {
			s.note("once is enough")
			return
		}
		// Header: key 18, version 99, correlation id 7, no client id.
		s.raw([]byte{0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff}, 10)
	}},
	{kmsg.ElectLeaders, "of a partition that has one", func(s *session) {
		s.send(&kmsg.ElectLeadersRequest{TimeoutMillis: 10_000, Topics: []kmsg.ElectLeadersRequestTopic{{Topic: s.topic("t", 1), Partitions: []int32{0, 4}}}})
		if s.version > 0 {
			s.send(&kmsg.ElectLeadersRequest{TimeoutMillis: 10_000, ElectionType: 9, Topics: []kmsg.ElectLeadersRequestTopic{{Topic: s.name("t"), Partitions: []int32{0}}}})
		}
	}},
	{kmsg.ElectLeaders, "of no topic", func(s *session) {
		s.send(&kmsg.ElectLeadersRequest{TimeoutMillis: 10_000, Topics: []kmsg.ElectLeadersRequestTopic{}})
	}},
	{kmsg.ListPartitionReassignments, "of a topic", func(s *session) {
		s.send(&kmsg.ListPartitionReassignmentsRequest{TimeoutMillis: 10_000, Topics: []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: s.topic("t", 1), Partitions: []int32{0}}}})
	}},
	{kmsg.AlterPartitionAssignments, "to where it is, and absent ones", func(s *session) {
		t, here := s.topic("t", 1), []int32{s.node()}
		for _, p := range []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 0, Replicas: here}, {Partition: 4, Replicas: here}, {Partition: 0}, {Partition: 4},
			{Partition: 0, Replicas: []int32{}}, {Partition: 0, Replicas: append(here, here...)}} {
			for _, topic := range []string{t, s.name("nowhere")} {
				s.send(&kmsg.AlterPartitionAssignmentsRequest{TimeoutMillis: 10_000, Topics: []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: topic,
					Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{p}}}})
			}
		}
	}},
	{kmsg.AlterPartitionAssignments, "to a broker that does not exist", func(s *session) {
		s.send(&kmsg.AlterPartitionAssignmentsRequest{TimeoutMillis: 10_000, Topics: []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: s.topic("t", 1),
			Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 0, Replicas: []int32{99}}}}}})
	}},
	{kmsg.ListConfigResources, "client metrics", func(s *session) {
		s.send(&kmsg.ListConfigResourcesRequest{ResourceTypes: []int8{16}})
	}},
	{kmsg.ListConfigResources, "topics, groups and nothing known", func(s *session) {
		t := s.topic("t", 1)
		for _, kind := range []int8{2, 32, 77} {
			req := &kmsg.ListConfigResourcesRequest{ResourceTypes: []int8{kind}}
			resp, ok := s.quiet(req).(*kmsg.ListConfigResourcesResponse)
			if ok {
				resp.ConfigResources = slices.DeleteFunc(resp.ConfigResources, func(c kmsg.ListConfigResourcesResponseConfigResource) bool { return c.Name != t })
				s.write(req, resp)
			}
		}
	}},
	{kmsg.WriteTxnMarkers, "to an unknown partition", func(s *session) {
		s.send(&kmsg.WriteTxnMarkersRequest{Markers: []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: 1 << 40, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: s.name("nowhere"), Partitions: []int32{0}}}}}})
	}},
	{kmsg.DescribeTopicPartitions, "known and unknown topics", func(s *session) {
		s.send(&kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 100, Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: s.topic("t", 2)}, {Topic: s.name("nowhere")}}})
	}},
	{kmsg.DescribeTopicPartitions, "in pieces", func(s *session) {
		s.topic("a", 2)
		s.topic("b", 2)
		req := &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 3, Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: s.name("b")}, {Topic: s.name("a")}}}
		if resp, ok := s.send(req).(*kmsg.DescribeTopicPartitionsResponse); ok && resp.NextCursor != nil {
			req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
			s.send(req)
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: s.name("a"), Partition: -1}
		s.send(req)
	}},
	{kmsg.Metadata, "a version of the future", func(s *session) { s.raw([]byte{0, 3, 0, 99, 0, 0, 0, 7, 0xff, 0xff}, 4) }},
	{kmsg.Metadata, "an unknown key", func(s *session) { s.raw([]byte{0x70, 3, 0, 0, 0, 0, 0, 7, 0xff, 0xff}, 4) }},
	{kmsg.Metadata, "a body that is too short", func(s *session) {
		s.raw([]byte{0, byte(s.key), 0, byte(s.version), 0, 0, 0, 7, 0xff, 0xff, 0, 0}, 4)
	}},
	{kmsg.Metadata, "an array of a thousand million", func(s *session) {
		s.raw([]byte{0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0x40, 0, 0, 0}, 4)
	}},
}

// raw sends a frame and notes whether an answer came, and its first bytes.
func (s *session) raw(frame []byte, show int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), answerLimit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := c.Write(append([]byte{0, 0, 0, byte(len(frame))}, frame...)); err != nil {
		s.t.Fatal(err)
	}
	body, err := wire.ReadFrame(c)
	if err != nil {
		s.note("raw %x=closed", frame)
		return
	}
	s.note("raw %x=%s", frame, fmt.Sprintf("%x", bytes.TrimSpace(body[:min(show, len(body))])))
}
