package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
)

// produce appends batches. The server has checked their checksums.
func (m *Machine) produce(r *Request, req *kmsg.ProduceRequest) {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, m.producePartition(req, t, p))
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if req.Acks == 0 {
		return
	}
	m.durable(r, resp)
}

func (m *Machine) producePartition(req *kmsg.ProduceRequest, t kmsg.ProduceRequestTopic, rp kmsg.ProduceRequestTopicPartition) kmsg.ProduceResponseTopicPartition {
	resp := kmsg.NewProduceResponseTopicPartition()
	resp.Partition, resp.BaseOffset = rp.Partition, -1
	p, missing := m.partition(t.Topic, rp.Partition)
	if req.Version >= 13 {
		p, missing = m.partitionByID(t.TopicID, rp.Partition)
	}
	if missing != nil {
		resp.ErrorCode = code(missing)
		return resp
	}
	h, err := batch.Parse(rp.Records)
	if err != nil {
		resp.ErrorCode = kerr.CorruptMessage.Code
		resp.ErrorMessage = text(err.Error())
		return resp
	}
	resp.BaseOffset = m.append(p, rp.Records, h)
	resp.LogStartOffset = p.start
	return resp
}
