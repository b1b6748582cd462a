package core

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a request names a thousand times is told once: the answer is no larger
// than what there is.
func TestToldOnce(t *testing.T) {
	const times = 1000
	g := newGroupRig(t)
	g.commit(commitRequest("", -1, "t", 0, 1), nil)
	g.stable(3)

	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.Version = 5
	offsets := kmsg.NewPtrOffsetFetchRequest()
	offsets.Version = 8
	ids := kmsg.NewPtrDescribeTransactionsRequest()
	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.Version = 4
	producers := kmsg.NewPtrDescribeProducersRequest()
	for range times {
		groups.Groups = append(groups.Groups, "g")
		offsets.Groups = append(offsets.Groups, kmsg.OffsetFetchRequestGroup{Group: "g"})
		ids.TransactionalIDs = append(ids.TransactionalIDs, "x")
		configs.Resources = append(configs.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"})
		producers.Topics = append(producers.Topics, kmsg.DescribeProducersRequestTopic{Topic: "t", Partitions: []int32{0, 0}})
	}
	if n := len(g.send(groups).resp.(*kmsg.DescribeGroupsResponse).Groups); n != 1 {
		t.Errorf("a group is described %d times", n)
	}
	if n := len(g.send(offsets).resp.(*kmsg.OffsetFetchResponse).Groups); n != 1 {
		t.Errorf("a group's offsets are told %d times", n)
	}
	if n := len(g.send(ids).resp.(*kmsg.DescribeTransactionsResponse).TransactionStates); n != 1 {
		t.Errorf("a transaction is described %d times", n)
	}
	if n := len(g.send(configs).resp.(*kmsg.DescribeConfigsResponse).Resources); n != 1 {
		t.Errorf("a configuration is described %d times", n)
	}
	n := 0
	for _, rt := range g.send(producers).resp.(*kmsg.DescribeProducersResponse).Topics {
		n += len(rt.Partitions)
	}
	if n != 1 {
		t.Errorf("a partition's producers are told %d times", n)
	}
}
