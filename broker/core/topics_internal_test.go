package core

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// coordinator asks for one of a kind: 0 for groups, 1 for transactional ids.
func coordinator(r *txnRig, kind int8) int16 {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorType, req.CoordinatorKeys = 4, kind, []string{"key"}
	return do[*kmsg.FindCoordinatorResponse](r, req).Coordinators[0].ErrorCode
}

func TestInternalTopics(t *testing.T) {
	for kind, name := range map[int8]string{0: "__consumer_offsets", 1: "__transaction_state"} {
		t.Run(name, func(t *testing.T) {
			r := newTxnRig(t)
			metadata := func() kmsg.MetadataResponseTopic {
				req := metadataRequest(true, name)
				req.Version = 12
				return do[*kmsg.MetadataResponse](r, req).Topics[0]
			}
			create := func() int16 {
				req := kmsg.NewPtrCreateTopicsRequest()
				req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{newTopic(name, 1)}
				return do[*kmsg.CreateTopicsResponse](r, req).Topics[0].ErrorCode
			}
			r.want("metadata before", metadata().ErrorCode, kerr.UnknownTopicOrPartition)
			r.want("creation before", create(), kerr.InvalidTopicException)

			r.m.readOnly = errors.New("full")
			if got := coordinator(r, kind); got != 0 || len(r.m.topics.byName) != 0 {
				t.Errorf("while nothing can be written: code %d, %d topics", got, len(r.m.topics.byName))
			}
			r.m.readOnly = nil
			for range 2 {
				if got := coordinator(r, kind); got != 0 {
					t.Errorf("coordinator: %v", kerr.ErrorForCode(got))
				}
			}
			r.load(true, false) // it is kept
			there := metadata()
			if there.ErrorCode != 0 || !there.IsInternal || len(there.Partitions) != 1 || len(r.m.topics.byName) != 1 {
				t.Fatalf("metadata: %+v", there)
			}
			described := kmsg.NewPtrDescribeTopicPartitionsRequest()
			if got := do[*kmsg.DescribeTopicPartitionsResponse](r, described).Topics; len(got) != 1 || !got[0].IsInternal {
				t.Errorf("partitions: %+v", got)
			}
			if v, ok := r.view.Topic(name); !ok || !v.Compact || len(v.Partitions) != 1 {
				t.Errorf("readers see %+v", v)
			}
			producers := kmsg.NewPtrDescribeProducersRequest()
			producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: name, Partitions: []int32{0}}}
			if got := do[*kmsg.DescribeProducersResponse](r, producers).Topics[0].Partitions[0]; got.ErrorCode != 0 || len(got.ActiveProducers) != 0 {
				t.Errorf("producers: %+v", got)
			}
			r.topic("plain", 1)
			if got := do[*kmsg.MetadataResponse](r, metadataRequest(false, "plain")).Topics[0]; got.IsInternal {
				t.Error("any topic is internal")
			}

			r.want("creation", create(), kerr.TopicAlreadyExists)
			remove := kmsg.NewPtrDeleteTopicsRequest()
			remove.Version, remove.Topics = 6, []kmsg.DeleteTopicsRequestTopic{{TopicID: there.TopicID}}
			r.want("deletion", do[*kmsg.DeleteTopicsResponse](r, remove).Topics[0].ErrorCode, kerr.PolicyViolation)
			r.produce(9, "", name, 0, sent{by: nobody, n: 1, key: []byte("k")}, kerr.InvalidTopicException)
			r.add("x", r.init("x", nobody, nil), name, 0, kerr.TopicAuthorizationFailed)
		})
	}
}
