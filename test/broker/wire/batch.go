package wire

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Batch is a record batch to be encoded. New gives the one of a producer without
// id; the fields are then the caller's to spoil.
type Batch struct {
	Offset     int64
	Attributes int16
	Time       int64   // of the records, in milliseconds
	Deltas     []int64 // to be added to the records' times, in milliseconds; may be shorter than Values
	ProducerID int64
	Epoch      int16
	Sequence   int32
	Keys       [][]byte // may be shorter than Values
	Values     [][]byte
}

// Attributes of a batch.
const (
	Transactional = int16(1 << 4)
	Control       = int16(1 << 5)
)

// New is a batch of values, now, without producer.
func New(values ...[]byte) Batch {
	return Batch{Time: time.Now().UnixMilli(), ProducerID: -1, Epoch: -1, Sequence: -1, Values: values}
}

// By makes it a batch of a producer.
func (b Batch) By(id int64, epoch int16, sequence int32) Batch {
	b.ProducerID, b.Epoch, b.Sequence = id, epoch, sequence
	return b
}

// InTransaction marks it as part of a transaction.
func (b Batch) InTransaction() Batch {
	b.Attributes |= Transactional
	return b
}

// Encode returns the batch in format 2, uncompressed, with its checksum.
func (b Batch) Encode() []byte {
	var records []byte
	latest := b.Time
	for n, v := range b.Values {
		var r []byte
		r = append(r, 0) // attributes
		delta := int64(0)
		if n < len(b.Deltas) {
			delta = b.Deltas[n]
		}
		latest = max(latest, b.Time+delta)
		r = kbin.AppendVarlong(r, delta)
		r = kbin.AppendVarint(r, int32(n))
		if n < len(b.Keys) && b.Keys[n] != nil {
			r = kbin.AppendVarintBytes(r, b.Keys[n])
		} else {
			r = kbin.AppendVarint(r, -1)
		}
		if v != nil {
			r = kbin.AppendVarintBytes(r, v)
		} else {
			r = kbin.AppendVarint(r, -1)
		}
		r = kbin.AppendVarint(r, 0) // headers
		records = append(kbin.AppendVarint(records, int32(len(r))), r...)
	}
	batch := kmsg.RecordBatch{
		FirstOffset: b.Offset, PartitionLeaderEpoch: -1, Magic: 2, Attributes: b.Attributes,
		LastOffsetDelta: int32(len(b.Values) - 1), FirstTimestamp: b.Time, MaxTimestamp: latest,
		ProducerID: b.ProducerID, ProducerEpoch: b.Epoch, FirstSequence: b.Sequence,
		NumRecords: int32(len(b.Values)), Records: records,
	}
	return Seal(batch.AppendTo(nil))
}

// Seal writes the length and checksum that an encoded batch should have.
func Seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// Produce is a request that writes encoded batches to one partition with acks=all.
func Produce(version int16, topic string, partition int32, batches []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batches
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}
