package core

import (
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// nodeID is the broker's number in its cluster of one.
const nodeID = 0

// NodeID is the same, for who speaks with clients.
const NodeID = nodeID

// What a client may do, as bits of Kafka's AclOperation: everything, as there
// are no access rules.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	notAsked          = math.MinInt32
)

func operations(asked bool, all int32) int32 {
	if asked {
		return all
	}
	return notAsked
}

// metadata tells of the broker and of topics, and creates those that are asked
// for by name and do not exist, if the client wants that.
func (m *Machine) metadata(r *Request, req *kmsg.MetadataRequest) {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = nodeID, m.cfg.Host, m.cfg.Port
	resp.Brokers = append(resp.Brokers, b)
	resp.ClusterID = text(m.cfg.ClusterID)
	resp.ControllerID = nodeID
	resp.AuthorizedOperations = operations(req.IncludeClusterAuthorizedOperations, clusterOperations)

	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		for _, t := range m.topics.sorted() {
			resp.Topics = append(resp.Topics, m.describe(t))
		}
	}
	type asked struct {
		name string
		id   [16]byte
	}
	seen := map[asked]bool{}
	for _, rt := range req.Topics {
		a := asked{id: rt.TopicID}
		if rt.Topic != nil {
			a = asked{name: *rt.Topic}
		}
		if !seen[a] {
			seen[a] = true
			resp.Topics = append(resp.Topics, m.metadataTopic(req, rt))
		}
	}
	for i := range resp.Topics {
		resp.Topics[i].AuthorizedOperations = operations(req.IncludeTopicAuthorizedOperations, topicOperations)
	}
	m.durable(r, resp)
}

func (m *Machine) metadataTopic(req *kmsg.MetadataRequest, rt kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	resp := kmsg.NewMetadataResponseTopic()
	resp.Topic, resp.TopicID = rt.Topic, rt.TopicID
	if rt.Topic == nil {
		if t := m.topics.byID[rt.TopicID]; t != nil {
			return m.describe(t)
		}
		resp.ErrorCode = kerr.UnknownTopicID.Code
		return resp
	}
	name := *rt.Topic
	if t := m.topics.byName[name]; t != nil {
		return m.describe(t)
	}
	resp.TopicID = [16]byte{}
	resp.IsInternal = internal(name)
	switch {
	case resp.IsInternal:
		resp.ErrorCode = kerr.UnknownTopicOrPartition.Code
	case checkTopicName(name) != nil:
		resp.ErrorCode = kerr.InvalidTopicException.Code
	case req.Version >= 4 && !req.AllowAutoTopicCreation:
		resp.ErrorCode = kerr.UnknownTopicOrPartition.Code
	case m.readOnly != nil:
		resp.ErrorCode = kerr.KafkaStorageError.Code
	case m.topics.byMetric[metricName(name)] != nil:
		resp.ErrorCode = kerr.InvalidTopicException.Code
	case m.topics.partitions+int(m.cfg.DefaultPartitions) > maxPartitions:
		resp.ErrorCode = kerr.PolicyViolation.Code
	default:
		return m.describe(m.create(name, m.cfg.DefaultPartitions, map[string]string{}))
	}
	return resp
}

func (m *Machine) describe(t *topic) kmsg.MetadataResponseTopic {
	resp := kmsg.NewMetadataResponseTopic()
	resp.Topic, resp.TopicID, resp.IsInternal = &t.name, t.id, internal(t.name)
	resp.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.partitions))
	for i, p := range t.partitions {
		rp := kmsg.NewMetadataResponseTopicPartition()
		rp.Partition, rp.Leader, rp.LeaderEpoch = p.index, nodeID, m.identity.epoch
		rp.Replicas, rp.ISR = self, self
		resp.Partitions[i] = rp
	}
	return resp
}

// self is the list of replicas of every partition. Nobody changes it.
var self = []int32{nodeID}
