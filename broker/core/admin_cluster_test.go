package core

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/store"
)

func metadataRequest(auto bool, names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = auto
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &n
		req.Topics = append(req.Topics, t)
	}
	return req
}

func TestMetadata(t *testing.T) {
	for version := int16(0); version <= 13; version++ {
		a := newAdmin(t)
		made := a.mustCreate("b", 3)
		a.mustCreate("a", 1)

		req := metadataRequest(false, "b", "no", "bad name", "b")
		req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = true, true
		resp := ask[*kmsg.MetadataResponse](a, req, version)
		if len(resp.Brokers) != 1 || resp.Brokers[0].Port != 9092 || version >= 1 && resp.ControllerID != nodeID || version >= 2 && *resp.ClusterID != "c" {
			t.Errorf("v%d: %+v", version, resp)
		}
		want := []int16{0, kerr.UnknownTopicOrPartition.Code, kerr.InvalidTopicException.Code}
		if version < 4 {
			want[1] = 0 // there is no way not to create it
		}
		var got []int16
		for _, rt := range resp.Topics {
			got = append(got, rt.ErrorCode)
		}
		if !slices.Equal(got, want) {
			t.Errorf("v%d: codes %v, want %v", version, got, want)
		}
		b := resp.Topics[0]
		if len(b.Partitions) != 3 || b.Partitions[2].Partition != 2 || b.Partitions[2].Leader != nodeID || !slices.Equal(b.Partitions[2].ISR, self) {
			t.Errorf("v%d: %+v", version, b)
		}
		if version >= 8 && b.AuthorizedOperations != topicOperations || version >= 8 && version <= 10 && resp.AuthorizedOperations != clusterOperations {
			t.Errorf("v%d: operations %d, %d", version, b.AuthorizedOperations, resp.AuthorizedOperations)
		}
		if version >= 10 {
			req := kmsg.NewPtrMetadataRequest()
			req.Topics = []kmsg.MetadataRequestTopic{{TopicID: made.id}, {TopicID: [16]byte{1}}}
			got := ask[*kmsg.MetadataResponse](a, req, version).Topics
			if b.TopicID != made.id || *got[0].Topic != "b" || got[0].ErrorCode != 0 || got[1].ErrorCode != kerr.UnknownTopicID.Code {
				t.Errorf("v%d: by id: %+v", version, got)
			}
		}
		// All topics: null, and in version 0 an empty list; else that is none.
		n := len(a.m.topics.byName)
		if all := ask[*kmsg.MetadataResponse](a, &kmsg.MetadataRequest{}, version).Topics; len(all) != n || *all[0].Topic != "a" {
			t.Errorf("v%d: %d topics of %d", version, len(all), n)
		}
		if none := ask[*kmsg.MetadataResponse](a, &kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{}}, version).Topics; version > 0 && len(none) > 0 {
			t.Errorf("v%d: %d topics", version, len(none))
		}
	}
}

func TestAutomaticCreation(t *testing.T) {
	a := newAdmin(t)
	a.mustCreate("a.b", 1)
	a.m.topics.partitions = maxPartitions - 3 // as if there were as many
	got := ask[*kmsg.MetadataResponse](a, metadataRequest(true, "new", "a_b", "__consumer_offsets", "last", "one.too.many"), 12).Topics
	want := []int16{0, kerr.InvalidTopicException.Code, kerr.UnknownTopicOrPartition.Code, kerr.PolicyViolation.Code, kerr.PolicyViolation.Code}
	for i, rt := range got {
		if rt.ErrorCode != want[i] {
			t.Errorf("%s: %v", *rt.Topic, kerr.ErrorForCode(rt.ErrorCode))
		}
	}
	if made := a.m.topics.byName["new"]; made == nil || len(made.partitions) != 2 || got[0].TopicID != made.id {
		t.Errorf("new: %+v", made)
	}
	if v, ok := a.m.view.Topic("new"); !ok || len(v.Partitions) != 2 {
		t.Error("readers do not see the new topic")
	}

	a.m.topics.partitions = 0
	a.m.readOnly = errors.New("full")
	if got := ask[*kmsg.MetadataResponse](a, metadataRequest(true, "other", "new"), 12).Topics; got[0].ErrorCode != kerr.KafkaStorageError.Code || got[1].ErrorCode != 0 {
		t.Errorf("while nothing can be written: %+v", got)
	}
}

func TestDeleteTopics(t *testing.T) {
	a := newAdmin(t)
	kept, byID, byName, twice := a.mustCreate("kept", 1), a.mustCreate("by.id", 2), a.mustCreate("by.name", 1), a.mustCreate("twice", 1)
	name := func(s string) kmsg.DeleteTopicsRequestTopic { return kmsg.DeleteTopicsRequestTopic{Topic: &s} }
	req := kmsg.NewPtrDeleteTopicsRequest()
	both := name("kept")
	both.TopicID = kept.id
	req.Topics = []kmsg.DeleteTopicsRequestTopic{
		{TopicID: byID.id}, name("by.name"), name("no"), {TopicID: [16]byte{1}}, {}, name("twice"), {TopicID: twice.id}, both,
	}
	var got []int16
	for _, rt := range ask[*kmsg.DeleteTopicsResponse](a, req, 6).Topics {
		got = append(got, rt.ErrorCode)
	}
	bad := kerr.InvalidRequest.Code
	if want := []int16{0, 0, kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicID.Code, bad, bad, bad, bad}; !slices.Equal(got, want) {
		t.Errorf("codes %v, want %v", got, want)
	}
	if len(a.m.topics.byName) != 2 || len(a.m.topics.byID) != 2 || len(a.m.topics.byMetric) != 2 || a.m.topics.partitions != 2 {
		t.Errorf("left: %+v", a.m.topics)
	}
	if _, ok := a.m.view.TopicByID(byName.id); ok {
		t.Error("readers see a deleted topic")
	}
	again := a.mustCreate("by.name", 1)
	if again.id == byName.id || again.partitions[0].id == byName.partitions[0].id {
		t.Error("a topic made anew has old numbers")
	}
	if got := ask[*kmsg.DeleteTopicsResponse](a, &kmsg.DeleteTopicsRequest{TopicNames: []string{"kept", "no"}}, 5).Topics; got[0].ErrorCode != 0 || got[1].ErrorCode == 0 {
		t.Errorf("v5: %+v", got)
	}
}

func TestCreatePartitions(t *testing.T) {
	for name, test := range map[string]struct {
		topic  string
		count  int32
		assign [][]int32
		want   *kerr.Error
	}{
		"more":            {"a", 5, nil, nil},
		"as many":         {"a", 2, nil, kerr.InvalidPartitions},
		"fewer":           {"a", -1, nil, kerr.InvalidPartitions},
		"unknown":         {"b", 5, nil, kerr.UnknownTopicOrPartition},
		"assigned":        {"a", 4, [][]int32{{0}, {0}}, nil},
		"assigned partly": {"a", 4, [][]int32{{0}}, kerr.InvalidReplicaAssignment},
		"elsewhere":       {"a", 3, [][]int32{{1}}, kerr.InvalidReplicaAssignment},
		"too many":        {"a", maxPartitions + 1, nil, kerr.PolicyViolation},
	} {
		a := newAdmin(t)
		made := a.mustCreate("a", 2)
		for _, validateOnly := range []bool{true, false} {
			req := kmsg.NewPtrCreatePartitionsRequest()
			rt := kmsg.CreatePartitionsRequestTopic{Topic: test.topic, Count: test.count}
			for _, r := range test.assign {
				rt.Assignment = append(rt.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: r})
			}
			req.Topics, req.ValidateOnly = append(req.Topics, rt), validateOnly
			got := ask[*kmsg.CreatePartitionsResponse](a, req, 3).Topics[0]
			want := int32(2)
			if test.want == nil && !validateOnly {
				want = test.count
			}
			if got.ErrorCode != code(test.want) || len(made.partitions) != int(want) {
				t.Errorf("%s, validate only %v: %v, %d partitions", name, validateOnly, kerr.ErrorForCode(got.ErrorCode), len(made.partitions))
			}
		}
	}
}

func TestDeleteRecords(t *testing.T) {
	a := newAdmin(t)
	p := a.mustCreate("a", 1).partitions[0]
	a.mustCreate("compacted", 1, optCleanup, "compact")
	p.epochs, p.start, p.end = []EpochStart{{0, 0}, {1, 10}, {2, 20}}, 0, 30
	del := func(topic string, partition int32, offset int64) (int64, *kerr.Error) {
		req := kmsg.NewPtrDeleteRecordsRequest()
		rt := kmsg.DeleteRecordsRequestTopic{Topic: topic}
		rt.Partitions = append(rt.Partitions, kmsg.DeleteRecordsRequestTopicPartition{Partition: partition, Offset: offset})
		req.Topics = append(req.Topics, rt)
		got := ask[*kmsg.DeleteRecordsResponse](a, req, 2).Topics[0].Partitions[0]
		return got.LowWatermark, kerr.TypedErrorForCode(got.ErrorCode)
	}
	for _, test := range []struct {
		topic     string
		partition int32
		offset    int64
		low       int64
		err       *kerr.Error
		epochs    []EpochStart
	}{
		{"a", 0, 31, -1, kerr.OffsetOutOfRange, nil},
		{"a", 0, -2, -1, kerr.OffsetOutOfRange, nil},
		{"a", 1, 0, -1, kerr.UnknownTopicOrPartition, nil},
		{"b", 0, 0, -1, kerr.UnknownTopicOrPartition, nil},
		{"compacted", 0, 0, -1, kerr.PolicyViolation, nil},
		{"a", 0, 5, 5, nil, []EpochStart{{0, 5}, {1, 10}, {2, 20}}},
		{"a", 0, 3, 5, nil, []EpochStart{{0, 5}, {1, 10}, {2, 20}}},
		{"a", 0, 20, 20, nil, []EpochStart{{2, 20}}},
		{"a", 0, -1, 30, nil, []EpochStart{{2, 30}}},
	} {
		low, err := del(test.topic, test.partition, test.offset)
		if low != test.low || err != test.err || test.epochs != nil && !slices.Equal(p.epochs, test.epochs) {
			t.Errorf("%s %d up to %d: %d, %v, %v", test.topic, test.partition, test.offset, low, err, p.epochs)
		}
	}
	if s := p.log.State(); s.Start != 30 || s.End != 30 {
		t.Errorf("readers see %+v", s)
	}
	// An emptied partition goes on at its end.
	m := batch.Marker(1, 0, true, 0)
	h, err := batch.Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	if base := a.m.append(p, m, h); base != 30 {
		t.Errorf("the next batch begins at %d", base)
	}
}

func TestDescribeCluster(t *testing.T) {
	a := newAdmin(t)
	for endpoint, want := range map[int8]*kerr.Error{1: nil, 2: kerr.MismatchedEndpointType, 3: kerr.UnsupportedEndpointType} {
		got := ask[*kmsg.DescribeClusterResponse](a, &kmsg.DescribeClusterRequest{EndpointType: endpoint, IncludeClusterAuthorizedOperations: true}, 1)
		if got.ErrorCode != code(want) || want == nil && (got.ClusterID != "c" || len(got.Brokers) != 1 || got.ClusterAuthorizedOperations != clusterOperations) {
			t.Errorf("endpoint %d: %+v", endpoint, got)
		}
	}
}

func TestDescribeLogDirs(t *testing.T) {
	a := newAdmin(t)
	a.mustCreate("a", 2)
	a.mustCreate("b", 1)
	a.m.cfg.Dir, a.m.cfg.Size = "/data", func(p store.Partition) int64 { return 100 + int64(p) }
	a.m.cfg.Space = func() (total, free int64) { return 1000, 500 }
	req := kmsg.NewPtrDescribeLogDirsRequest()
	all := ask[*kmsg.DescribeLogDirsResponse](a, req, 4).Dirs[0]
	if all.Dir != "/data" || all.UsableBytes != 500 || len(all.Topics) != 2 || len(all.Topics[0].Partitions) != 2 || all.Topics[1].Partitions[0].Size != 103 {
		t.Errorf("%+v", all)
	}
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "a", Partitions: []int32{1, 7}}, {Topic: "no", Partitions: []int32{0}}}
	if got := ask[*kmsg.DescribeLogDirsResponse](a, req, 4).Dirs[0].Topics; len(got) != 1 || len(got[0].Partitions) != 1 || got[0].Partitions[0].Partition != 1 {
		t.Errorf("%+v", got)
	}
}

func TestDescribeTopicPartitions(t *testing.T) {
	a := newAdmin(t)
	a.mustCreate("b", 1)
	a.mustCreate("a", 3)
	type piece struct {
		topic string
		code  int16
		parts []int32
	}
	read := func(limit int32, names ...string) (all []piece, answers int) {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = limit
		for _, n := range names {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: n})
		}
		for {
			resp := ask[*kmsg.DescribeTopicPartitionsResponse](a, req, 0)
			answers++
			for _, rt := range resp.Topics {
				p := piece{topic: *rt.Topic, code: rt.ErrorCode}
				for _, rp := range rt.Partitions {
					p.parts = append(p.parts, rp.Partition)
				}
				all = append(all, p)
			}
			if resp.NextCursor == nil || answers == 20 {
				return all, answers
			}
			req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
		}
	}
	same := func(got, want []piece) bool {
		return slices.EqualFunc(got, want, func(a, b piece) bool { return a.topic == b.topic && a.code == b.code && slices.Equal(a.parts, b.parts) })
	}
	if got, n := read(2); !same(got, []piece{{"a", 0, []int32{0, 1}}, {"a", 0, []int32{2}}, {"b", 0, []int32{0}}}) || n != 2 {
		t.Errorf("all, two at a time: %+v in %d answers", got, n)
	}
	if got, n := read(3); !same(got, []piece{{"a", 0, []int32{0, 1, 2}}, {"b", 0, []int32{0}}}) || n != 2 {
		t.Errorf("all, three at a time: %+v in %d answers", got, n)
	}
	got, _ := read(0, "b", "no", "bad name", "b")
	if !same(got, []piece{{"b", 0, []int32{0}}, {"bad name", kerr.InvalidTopicException.Code, nil}, {"no", kerr.UnknownTopicOrPartition.Code, nil}}) {
		t.Errorf("some: %+v", got)
	}
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "b"}}
	for _, c := range []kmsg.DescribeTopicPartitionsRequestCursor{{Topic: "b", Partition: -1}, {Topic: "a"}} {
		req.Cursor = &c
		if got := ask[*kmsg.DescribeTopicPartitionsResponse](a, req, 0).Topics[0]; got.ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("cursor %+v: %+v", c, got)
		}
	}
	req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "b", Partition: 99} // it had more when the cursor was given
	if got := ask[*kmsg.DescribeTopicPartitionsResponse](a, req, 0); len(got.Topics[0].Partitions) > 0 || got.NextCursor != nil {
		t.Errorf("%+v", got)
	}
}

func TestElectionsAndMoves(t *testing.T) {
	a := newAdmin(t)
	a.mustCreate("a", 4)
	elect := kmsg.NewPtrElectLeadersRequest()
	if got := ask[*kmsg.ElectLeadersResponse](a, elect, 2); len(got.Topics) != 1 || len(got.Topics[0].Partitions) > 0 {
		t.Errorf("all: %+v", got)
	}
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "a", Partitions: []int32{0, 9}}}
	if got := ask[*kmsg.ElectLeadersResponse](a, elect, 2).Topics[0].Partitions; got[0].ErrorCode != kerr.ElectionNotNeeded.Code || got[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%+v", got)
	}
	elect.ElectionType = 7
	if got := ask[*kmsg.ElectLeadersResponse](a, elect, 2); got.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("%+v", got)
	}
	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	rt.Topic = "a"
	for i, r := range [][]int32{{0}, {1}, nil, {}, {0}} {
		rt.Partitions = append(rt.Partitions, kmsg.AlterPartitionAssignmentsRequestTopicPartition{Partition: int32(i), Replicas: r})
	}
	move.Topics = append(move.Topics, rt)
	var got []int16
	for _, p := range ask[*kmsg.AlterPartitionAssignmentsResponse](a, move, 0).Topics[0].Partitions {
		got = append(got, p.ErrorCode)
	}
	wrong := kerr.InvalidReplicaAssignment.Code
	if want := []int16{0, wrong, kerr.NoReassignmentInProgress.Code, wrong, kerr.UnknownTopicOrPartition.Code}; !slices.Equal(got, want) {
		t.Errorf("codes %v, want %v", got, want)
	}
	if got := ask[*kmsg.ListPartitionReassignmentsResponse](a, kmsg.NewPtrListPartitionReassignmentsRequest(), 0); got.ErrorCode != 0 || len(got.Topics) > 0 {
		t.Errorf("%+v", got)
	}
}

func TestRefusedWhileReadOnly(t *testing.T) {
	a := newAdmin(t)
	a.mustCreate("a", 1)
	a.m.readOnly = errors.New("the disk is full")
	name := "a"
	storage := kerr.KafkaStorageError.Code
	if got := a.create(newTopic("b", 1))[0]; got.ErrorCode != storage {
		t.Errorf("create: %+v", got)
	}
	if got := ask[*kmsg.DeleteTopicsResponse](a, &kmsg.DeleteTopicsRequest{Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}}, 6).Topics[0]; got.ErrorCode != storage {
		t.Errorf("delete: %+v", got)
	}
	if got := ask[*kmsg.CreatePartitionsResponse](a, &kmsg.CreatePartitionsRequest{Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: "a", Count: 5}}}, 3).Topics[0]; got.ErrorCode != storage {
		t.Errorf("partitions: %+v", got)
	}
	records := kmsg.DeleteRecordsRequestTopic{Topic: "a", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{}}}
	if got := ask[*kmsg.DeleteRecordsResponse](a, &kmsg.DeleteRecordsRequest{Topics: []kmsg.DeleteRecordsRequestTopic{records}}, 2).Topics[0].Partitions[0]; got.ErrorCode != storage || got.LowWatermark != -1 {
		t.Errorf("records: %+v", got)
	}
	if got := ask[*kmsg.AlterConfigsResponse](a, &kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "a"}}}, 2).Resources[0]; got.ErrorCode != storage {
		t.Errorf("configs: %+v", got)
	}
	if got := ask[*kmsg.IncrementalAlterConfigsResponse](a, &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: "a"}}}, 1).Resources[0]; got.ErrorCode != storage {
		t.Errorf("incremental configs: %+v", got)
	}
	if len(a.m.topics.byName) != 1 || len(a.m.topics.byName["a"].partitions) != 1 {
		t.Error("something was done nevertheless")
	}
}

// TestDeletionsWhileNearlyFull: what makes room is done while the rest is refused.
func TestDeletionsWhileNearlyFull(t *testing.T) {
	a := newAdmin(t)
	a.mustCreate("a", 1)
	a.mustCreate("b", 1)
	a.m.readOnly = fmt.Errorf("now: %w", store.ErrLowSpace)
	storage := kerr.KafkaStorageError.Code
	if got := a.create(newTopic("c", 1))[0]; got.ErrorCode != storage {
		t.Errorf("create: %+v", got)
	}
	records := kmsg.DeleteRecordsRequestTopic{Topic: "b", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{}}}
	if got := ask[*kmsg.DeleteRecordsResponse](a, &kmsg.DeleteRecordsRequest{Topics: []kmsg.DeleteRecordsRequestTopic{records}}, 2).Topics[0].Partitions[0]; got.ErrorCode != 0 {
		t.Errorf("records: %+v", got)
	}
	name := "a"
	if got := ask[*kmsg.DeleteTopicsResponse](a, &kmsg.DeleteTopicsRequest{Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}}, 6).Topics[0]; got.ErrorCode != 0 {
		t.Errorf("delete: %+v", got)
	}
	if len(a.m.topics.byName) != 1 || a.m.topics.byName["b"] == nil {
		t.Error("the topic is still there, or another one")
	}
}
