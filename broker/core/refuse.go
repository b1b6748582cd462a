package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refuse answers a request that would write while nothing can be written. It
// reports whether r was one.
func (m *Machine) refuse(r *Request) bool {
	switch req := r.Body.(type) {
	case *kmsg.ProduceRequest:
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.BaseOffset = p.Partition, -1
				rp.ErrorCode, rp.ErrorMessage = kerr.KafkaStorageError.Code, text(m.readOnly.Error())
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		if req.Acks != 0 {
			m.relaxed(r, resp)
		}
		return true
	}
	return false
}
