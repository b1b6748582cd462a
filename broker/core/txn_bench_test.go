package core

import (
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

// What a produce request of one batch costs the machine, without the store, in
// turns of so many requests.
func BenchmarkProduce(b *testing.B) {
	for _, c := range []struct {
		name       string
		turn       int
		idempotent bool
	}{{"alone/plain", 1, false}, {"alone/idempotent", 1, true}, {"16 in a turn/idempotent", 16, true}} {
		b.Run(c.name, func(b *testing.B) {
			r := newTxnRig(b)
			r.topic("t", 1)
			by := nobody
			if c.idempotent {
				by = r.init("", nobody, nil)
			}
			batch := sent{by: by, seq: -1, n: 1, time: r.now.UnixMilli(), value: make([]byte, 200)}.encode()
			req := &Request{Body: produceRequest(9, "", "t", 0, batch), Answer: func(kmsg.Response) {}, Dropped: func() { b.Error("dropped") }}
			b.ReportAllocs()
			seq := uint32(0)
			for b.Loop() {
				for range c.turn {
					if c.idempotent {
						binary.BigEndian.PutUint32(batch[53:], seq)
						seq++
					}
					binary.BigEndian.PutUint64(batch, 0)
					r.m.Handle(r.now, req)
				}
				turn := r.m.Take()
				release(turn.Publish)
				release(turn.Durable)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.turn), "ns/request")
		})
	}
}

// What a transaction costs the machine and the store in memory, without syncs:
// one batch in each of two partitions, offsets, and the end, in the new protocol.
func BenchmarkTransaction(b *testing.B) {
	r := newTxnRig(b)
	r.topic("t", 2)
	by := r.init("x", nobody, nil)
	offsets := kmsg.NewPtrTxnOffsetCommitRequest()
	offsets.Version, offsets.TransactionalID, offsets.Group, offsets.Generation = 5, "x", "g", -1
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic, rt.Partitions = "t", []kmsg.TxnOffsetCommitRequestTopicPartition{kmsg.NewTxnOffsetCommitRequestTopicPartition()}
	offsets.Topics = append(offsets.Topics, rt)
	value := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		for p := range int32(2) {
			r.produce(12, "x", "t", p, sent{by: by, n: 1, transactional: true, time: r.now.UnixMilli(), value: value}, nil)
		}
		offsets.ProducerID, offsets.ProducerEpoch = by.producer, by.epoch
		r.want("offsets", do[*kmsg.TxnOffsetCommitResponse](r, offsets).Topics[0].Partitions[0].ErrorCode, nil)
		by = r.end(5, "x", by, true, nil)
	}
}

var _ Ranger = (*store.Store)(nil)
