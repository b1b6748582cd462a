package core

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

// refuse answers a request that would write while nothing can be written, with
// a code upon which clients try again. It reports whether r was one. On a disk
// that is nearly full deletions are no such requests.
func (m *Machine) refuse(r *Request) bool {
	why := text(m.readOnly.Error())
	var resp kmsg.Response
	switch req := r.Body.(type) {
	case *kmsg.ProduceRequest:
		if req.Acks == 0 {
			// There is no other way to tell the client.
			m.turn.Relaxed = append(m.turn.Relaxed, r.Dropped)
			return true
		}
		resp = refuseProduce(req, why)
	case *kmsg.OffsetCommitRequest:
		resp = refuseOffsetCommit(req)
	case *kmsg.CreateTopicsRequest:
		resp = refuseCreateTopics(req, why)
	case *kmsg.DeleteTopicsRequest:
		if m.makesRoom() {
			return false
		}
		resp = refuseDeleteTopics(req, why)
	case *kmsg.DeleteRecordsRequest:
		if m.makesRoom() {
			return false
		}
		resp = refuseDeleteRecords(req)
	case *kmsg.AlterConfigsRequest:
		resp = refuseAlterConfigs(req, why)
	case *kmsg.CreatePartitionsRequest:
		resp = refuseCreatePartitions(req, why)
	case *kmsg.DeleteGroupsRequest:
		resp = refuseDeleteGroups(req)
	case *kmsg.IncrementalAlterConfigsRequest:
		resp = refuseIncrementalAlterConfigs(req, why)
	case *kmsg.OffsetDeleteRequest:
		resp = refuseOffsetDelete(req)
	default:
		if resp = refuseTransaction(r.Body); resp == nil {
			return false
		}
	}
	m.relaxed(r, resp)
	return true
}

// makesRoom tells whether what makes room, or takes next to none, may be written,
// since it is room that is missing; the turn may then use what is kept for that.
func (m *Machine) makesRoom() bool {
	if !errors.Is(m.readOnly, store.ErrLowSpace) {
		return false
	}
	m.turn.Commit.Urgent()
	return true
}

var storageError = kerr.KafkaStorageError.Code

func refuseProduce(req *kmsg.ProduceRequest, why *string) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.BaseOffset = p.Partition, -1
			rp.ErrorCode, rp.ErrorMessage = storageError, why
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func refuseCreateTopics(req *kmsg.CreateTopicsRequest, why *string) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	for _, t := range req.Topics {
		rt := notCreated(t.Topic, refused(kerr.KafkaStorageError, "%s", *why))
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func refuseDeleteTopics(req *kmsg.DeleteTopicsRequest, why *string) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	for _, a := range namedTopics(req) {
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID, rt.ErrorCode, rt.ErrorMessage = a.Topic, a.TopicID, storageError, why
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func refuseDeleteRecords(req *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition, rp.LowWatermark, rp.ErrorCode = p.Partition, -1, storageError
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func refuseAlterConfigs(req *kmsg.AlterConfigsRequest, why *string) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	for _, a := range req.Resources {
		rr := kmsg.NewAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName, rr.ErrorCode, rr.ErrorMessage = a.ResourceType, a.ResourceName, storageError, why
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

func refuseIncrementalAlterConfigs(req *kmsg.IncrementalAlterConfigsRequest, why *string) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	for _, a := range req.Resources {
		rr := kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName, rr.ErrorCode, rr.ErrorMessage = a.ResourceType, a.ResourceName, storageError, why
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

func refuseCreatePartitions(req *kmsg.CreatePartitionsRequest, why *string) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic, rt.ErrorCode, rt.ErrorMessage = t.Topic, storageError, why
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
