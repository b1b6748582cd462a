package server

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/core"
)

// produce looks into the records of a produce request, here and not in the
// core, where one request works at a time. What it refuses the core tells the
// client, among what else is wrong.
func (c *conn) produce(ctx context.Context, s *slot, req *kmsg.ProduceRequest) error {
	s.produces = true
	r := c.request(s, req)
	for ti := range req.Topics {
		t := &req.Topics[ti]
		known, _ := c.server.topic(t.Topic, t.TopicID, req.Version >= 13)
		for pi := range t.Partitions {
			refusal := c.server.look(t.Partitions[pi].Records, known)
			if refusal.Err == nil {
				continue
			}
			if r.Refused == nil {
				r.Refused = map[core.Place]core.Refusal{}
			}
			r.Refused[core.Place{Topic: ti, Partition: pi}] = refusal
		}
	}
	if req.Acks != 0 {
		s.answer = make(chan kmsg.Response, 1)
		return c.submit(ctx, s, r)
	}
	// Nobody waits in line.
	err := c.submit(ctx, s, r)
	if err == nil {
		c.server.cfg.Metrics.answered(s.header.key, 0)
	}
	return err
}

// unknownTopic has no rules of its own: if the core knows the topic, it has just
// been created.
var unknownTopic = &core.ViewTopic{AppendTime: true}

// look is checkRecords, by a few at a time.
func (s *Server) look(b []byte, topic *core.ViewTopic) core.Refusal {
	if topic == nil {
		topic = unknownTopic
	}
	s.looking <- struct{}{}
	defer func() { <-s.looking }()
	return checkRecords(b, topic, time.Now().UnixMilli())
}

// namedRecords is how many records of a batch are named as bad at most, so that a
// small batch, well compressed, has no large answer.
const namedRecords = 100

// checkRecords says what is wrong with a batch's checksum and records: readers
// would stumble over them for ever. The header is the core's to judge. now is the
// clock, in milliseconds since 1970.
func checkRecords(b []byte, topic *core.ViewTopic, now int64) core.Refusal {
	h, err := batch.Parse(b)
	if err != nil || h.Compression() > batch.LastCodec {
		return core.Refusal{} // the core says so
	}
	if !batch.Check(b, h) {
		return core.Refusal{Err: kerr.CorruptMessage, Text: "the checksum of the record batch is wrong"}
	}
	next, bad := h.BaseOffset, badRecords{topic: topic, now: now}
	err = batch.Records(b, h, func(r batch.Record) bool {
		if r.Offset != next {
			return false
		}
		bad.look(int32(next-h.BaseOffset), r)
		next++
		return len(bad.records) < namedRecords
	})
	switch {
	case err != nil:
		return core.Refusal{Err: kerr.InvalidRecord, Text: err.Error()}
	case len(bad.records) == 0 && next != h.BaseOffset+int64(h.NumRecords):
		return core.Refusal{Err: kerr.InvalidRecord, Text: "the offsets of the records do not follow each other"}
	}
	return bad.refusal()
}

// badRecords are those of a batch that their topic does not take.
type badRecords struct {
	topic   *core.ViewTopic
	now     int64
	keyless bool
	undated bool // one has a time out of bounds
	records []core.BadRecord
}

func (bad *badRecords) look(index int32, r batch.Record) {
	const noTime = -1
	t := bad.topic
	switch {
	case t.Compact && r.Key == nil:
		bad.keyless = true
		bad.name(index, "a record without key in a compacted topic")
	case t.AppendTime || r.Timestamp == noTime:
	case bad.now-r.Timestamp > t.Before:
		bad.undated = true
		bad.name(index, fmt.Sprintf("it is dated %d ms before the broker's clock, the limit is %d", bad.now-r.Timestamp, t.Before))
	case r.Timestamp-bad.now > t.After:
		bad.undated = true
		bad.name(index, fmt.Sprintf("it is dated %d ms ahead of the broker's clock, the limit is %d", r.Timestamp-bad.now, t.After))
	}
}

func (bad *badRecords) name(index int32, why string) {
	bad.records = append(bad.records, core.BadRecord{Index: index, Text: why})
}

func (bad *badRecords) refusal() core.Refusal {
	switch {
	case bad.undated:
		return core.Refusal{Err: kerr.InvalidTimestamp, Text: "one or more records have a time out of bounds", Records: bad.records}
	case bad.keyless:
		return core.Refusal{Err: kerr.InvalidRecord, Text: "one or more records have no key, in a compacted topic", Records: bad.records}
	}
	return core.Refusal{}
}

// storageError is the code of records that cannot be read.
var storageError = kerr.KafkaStorageError.Code
