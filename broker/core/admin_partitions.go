package core

import (
	"slices"
	"sort"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describedPartitions is how many partitions one answer describes at most.
const describedPartitions = 2000

// describeTopicPartitions describes topics by name, in pieces that a cursor
// joins (KIP-966).
func (m *Machine) describeTopicPartitions(r *Request, req *kmsg.DescribeTopicPartitionsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	all := len(names) == 0
	if all {
		for _, t := range m.topics.sorted() {
			names = append(names, t.name)
		}
	}
	sort.Strings(names)
	names = slices.Compact(names)

	from := int32(0) // of the first topic
	if c := req.Cursor; c != nil {
		at, found := slices.BinarySearch(names, c.Topic)
		if c.Partition < 0 || !found && !all {
			for _, t := range req.Topics {
				rt := unknownPartitions(t.Topic, kerr.InvalidRequest)
				rt.AuthorizedOperations = notAsked
				resp.Topics = append(resp.Topics, rt)
			}
			m.durable(r, resp)
			return
		}
		names = names[at:]
		if found {
			from = c.Partition
		}
	}
	left := describedPartitions
	if n := int(req.ResponsePartitionLimit); n > 0 {
		left = min(left, n)
	}
	for _, name := range names {
		if left == 0 {
			resp.NextCursor = cursor(name, 0)
			break
		}
		rt, next := m.describePartitions(name, from, &left)
		resp.Topics = append(resp.Topics, rt)
		if next >= 0 {
			resp.NextCursor = cursor(name, next)
			break
		}
		from = 0
	}
	m.durable(r, resp)
}

func cursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, partition
	return &c
}

// describePartitions describes those of a topic from from on, and takes them off
// left; next is the first that is left out, or negative.
func (m *Machine) describePartitions(name string, from int32, left *int) (rt kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	t := m.topics.byName[name]
	if t == nil {
		err := kerr.UnknownTopicOrPartition
		if checkTopicName(name) != nil {
			err = kerr.InvalidTopicException
		}
		return unknownPartitions(name, err), -1
	}
	rt = kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal, rt.AuthorizedOperations = &t.name, t.id, internal(t.name), topicOperations
	for _, p := range t.partitions[min(int(from), len(t.partitions)):] {
		if *left == 0 {
			return rt, p.index
		}
		*left--
		rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		rp.Partition, rp.LeaderID, rp.LeaderEpoch = p.index, nodeID, m.identity.epoch
		rp.Replicas, rp.ISR = self, self
		rp.EligibleLeaderReplicas, rp.LastKnownELR = []int32{}, []int32{}
		rt.Partitions = append(rt.Partitions, rp)
	}
	return rt, -1
}

func unknownPartitions(name string, err *kerr.Error) kmsg.DescribeTopicPartitionsResponseTopic {
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.ErrorCode, rt.AuthorizedOperations = &name, err.Code, topicOperations
	return rt
}
