package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refuseTransaction refuses what writes for producers and transactions; it
// returns nil for other requests. Clients look for another coordinator, and come
// again.
func refuseTransaction(body kmsg.Request) kmsg.Response {
	refusal := kerr.CoordinatorNotAvailable
	switch req := body.(type) {
	case *kmsg.InitProducerIDRequest:
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = refusal.Code, -1, -1
		return resp
	case *kmsg.AddPartitionsToTxnRequest:
		return answerAddPartitions(req, func(x kmsg.AddPartitionsToTxnRequestTransaction) []*kerr.Error {
			return everyPartition(x, refusal)
		})
	case *kmsg.AddOffsetsToTxnRequest:
		resp := req.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
		resp.ErrorCode = refusal.Code
		return resp
	case *kmsg.EndTxnRequest:
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = refusal.Code, -1, -1
		return resp
	case *kmsg.WriteTxnMarkersRequest:
		return answerMarkers(req, func(kmsg.WriteTxnMarkersRequestMarker, string, int32) *kerr.Error { return kerr.KafkaStorageError })
	case *kmsg.TxnOffsetCommitRequest:
		return answerTxnOffsets(req, func(string, kmsg.TxnOffsetCommitRequestTopicPartition) *kerr.Error { return refusal })
	}
	return nil
}
