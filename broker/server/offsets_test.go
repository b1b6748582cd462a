package server

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestListOffsets(t *testing.T) {
	s, run := testBroker(t, Limits{})
	createTopic(t, run)
	list := func(version int16, partition int32, at ...int64) []kmsg.ListOffsetsResponseTopicPartition {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = "t"
		for _, ms := range at {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = partition, ms
			rt.Partitions = append(rt.Partitions, rp)
		}
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version, req.Topics = version, append(req.Topics, rt)
		return s.listOffsets(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions
	}
	for _, c := range []struct {
		at    int64
		since int16
	}{{latest, 1}, {earliest, 1}, {maxTimestamp, 7}, {earliestLocal, 8}, {-5, 99}, {-99, 99}} {
		for version := int16(1); version <= 8; version++ {
			var want *kerr.Error
			if version < c.since {
				want = kerr.UnsupportedVersion
			}
			if got := list(version, 0, c.at)[0]; kerr.TypedErrorForCode(got.ErrorCode) != want {
				t.Errorf("time %d in version %d: code %d, want %v", c.at, version, got.ErrorCode, want)
			}
		}
	}
	if got := list(8, 5, -5)[0]; got.ErrorCode != kerr.UnsupportedVersion.Code {
		t.Errorf("an unknown time of an unknown partition: code %d", got.ErrorCode)
	}
	// Where the next record will come has the present epoch, whatever has been written.
	for _, at := range []int64{latest, earliest} {
		if got := list(8, 0, at)[0]; got.Offset != 0 || got.LeaderEpoch != 0 {
			t.Errorf("time %d of an empty log: offset %d of epoch %d, want 0 of 0", at, got.Offset, got.LeaderEpoch)
		}
	}
	if got := list(8, 0, 0)[0]; got.Offset != -1 || got.LeaderEpoch != -1 {
		t.Errorf("the first record of an empty log: offset %d of epoch %d", got.Offset, got.LeaderEpoch)
	}
	if got := list(8, 0, latest, earliest); len(got) != 1 || got[0].ErrorCode != kerr.InvalidRequest.Code || got[0].Offset != -1 {
		t.Errorf("asked for twice: %+v", got)
	}
}

// Of a partition that cannot be read from there, nothing is said but that.
func TestFetchOutOfRange(t *testing.T) {
	s, run := testBroker(t, Limits{})
	createTopic(t, run)
	produceOne(t, run)
	for _, offset := range []int64{-3, 5} {
		for _, isolation := range []int8{0, readCommitted} {
			req := testFetch(offset)
			req.IsolationLevel = isolation
			got := s.fetch(t.Context(), req, &held{budget: s.answers}).(*kmsg.FetchResponse).Topics[0].Partitions[0]
			if got.ErrorCode != kerr.OffsetOutOfRange.Code || got.HighWatermark != -1 || got.LastStableOffset != -1 || got.LogStartOffset != -1 || got.AbortedTransactions != nil {
				t.Errorf("from %d: %+v", offset, got)
			}
		}
	}
}

// There are no replicas: a broker that would follow is told who leads.
func TestFetchByFollower(t *testing.T) {
	s, run := testBroker(t, Limits{})
	createTopic(t, run)
	produceOne(t, run)
	for id, want := range map[int32]*kerr.Error{-1: nil, -2: nil, 0: kerr.NotLeaderForPartition, 9: kerr.NotLeaderForPartition} {
		for _, byState := range []bool{false, true} {
			req := testFetch(0)
			if byState {
				req.ReplicaState.ID = id
			} else {
				req.ReplicaID = id
			}
			got := s.fetch(t.Context(), req, &held{budget: s.answers}).(*kmsg.FetchResponse).Topics[0].Partitions[0]
			if kerr.TypedErrorForCode(got.ErrorCode) != want || (len(got.RecordBatches) > 0) != (want == nil) {
				t.Errorf("replica %d: code %d, %d bytes, want %v", id, got.ErrorCode, len(got.RecordBatches), want)
			}
			if want != nil && (got.CurrentLeader.LeaderID != 0 || got.CurrentLeader.LeaderEpoch != 0 || got.HighWatermark != -1) {
				t.Errorf("replica %d: %+v", id, got)
			}
		}
	}
}

func TestApiVersionsIntroduction(t *testing.T) {
	for _, c := range []struct {
		name, software string
		version        int16
		want           *kerr.Error
	}{
		{"franz-go", "v1.22.2", 4, nil},
		{"a", "1", 3, nil},
		{"", "1", 3, kerr.InvalidRequest},
		{"a", "", 4, kerr.InvalidRequest},
		{"no spaces!", "1", 3, kerr.InvalidRequest},
		{"-a", "1", 3, kerr.InvalidRequest},
		{"a", "1.", 3, kerr.InvalidRequest},
		{"", "", 2, nil}, // it cannot say
	} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = c.version, c.name, c.software
		got := introduced(req).(*kmsg.ApiVersionsResponse)
		if kerr.TypedErrorForCode(got.ErrorCode) != c.want || (len(got.ApiKeys) > 0) != (c.want == nil) || got.Version != c.version {
			t.Errorf("%q %q in version %d: code %d, %d keys, version %d", c.name, c.software, c.version, got.ErrorCode, len(got.ApiKeys), got.Version)
		}
	}
}
