package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// nodeID is the broker's number in its cluster of one.
const nodeID = 0

func (m *Machine) metadata(r *Request, req *kmsg.MetadataRequest) {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = nodeID, m.cfg.Host, m.cfg.Port
	resp.Brokers = append(resp.Brokers, b)
	resp.ClusterID = text(m.cfg.ClusterID)
	resp.ControllerID = nodeID

	all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
	if all {
		for _, t := range m.topics.byName {
			resp.Topics = append(resp.Topics, m.describe(t))
		}
	}
	for _, rt := range req.Topics {
		resp.Topics = append(resp.Topics, m.metadataTopic(req, rt))
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
	if t := m.topics.byName[*rt.Topic]; t != nil {
		return m.describe(t)
	}
	if err := checkTopicName(*rt.Topic); err != nil {
		resp.ErrorCode = kerr.InvalidTopicException.Code
		return resp
	}
	if req.Version >= 4 && !req.AllowAutoTopicCreation {
		resp.ErrorCode = kerr.UnknownTopicOrPartition.Code
		return resp
	}
	return m.describe(m.create(*rt.Topic, m.cfg.DefaultPartitions, map[string]string{}))
}

func (m *Machine) describe(t *topic) kmsg.MetadataResponseTopic {
	resp := kmsg.NewMetadataResponseTopic()
	resp.Topic, resp.TopicID = &t.name, t.id
	for _, p := range t.partitions {
		rp := kmsg.NewMetadataResponseTopicPartition()
		rp.Partition, rp.Leader, rp.LeaderEpoch = p.index, nodeID, m.identity.epoch
		rp.Replicas, rp.ISR = []int32{nodeID}, []int32{nodeID}
		resp.Partitions = append(resp.Partitions, rp)
	}
	return resp
}

// createTopics creates topics as asked, or says what is wrong.
func (m *Machine) createTopics(r *Request, req *kmsg.CreateTopicsRequest) {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	for _, t := range req.Topics {
		resp.Topics = append(resp.Topics, m.createTopic(req, t))
	}
	m.durable(r, resp)
}

func (m *Machine) createTopic(req *kmsg.CreateTopicsRequest, t kmsg.CreateTopicsRequestTopic) kmsg.CreateTopicsResponseTopic {
	resp := kmsg.NewCreateTopicsResponseTopic()
	resp.Topic = t.Topic
	if err := checkTopicName(t.Topic); err != nil {
		resp.ErrorCode, resp.ErrorMessage = kerr.InvalidTopicException.Code, text(err.Error())
		return resp
	}
	if m.topics.byName[t.Topic] != nil {
		resp.ErrorCode, resp.ErrorMessage = kerr.TopicAlreadyExists.Code, text("topic "+t.Topic+" exists already")
		return resp
	}
	n := t.NumPartitions
	if n == -1 {
		n = m.cfg.DefaultPartitions
	}
	if n < 1 || n > maxPartitions {
		resp.ErrorCode = kerr.InvalidPartitions.Code
		return resp
	}
	made := m.create(t.Topic, n, map[string]string{})
	resp.TopicID, resp.NumPartitions, resp.ReplicationFactor = made.id, n, 1
	return resp
}
