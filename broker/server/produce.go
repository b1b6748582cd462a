package server

import (
	"context"

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
			refusal := c.server.look(t.Partitions[pi].Records, known != nil && known.Compact)
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

// look is checkRecords, by a few at a time.
func (s *Server) look(b []byte, keyed bool) core.Refusal {
	s.looking <- struct{}{}
	defer func() { <-s.looking }()
	return checkRecords(b, keyed)
}

// checkRecords says what is wrong with a batch's checksum and records: readers
// would stumble over them for ever. The header is the core's to judge.
func checkRecords(b []byte, keyed bool) core.Refusal {
	h, err := batch.Parse(b)
	if err != nil || h.Compression() > batch.LastCodec {
		return core.Refusal{} // the core says so
	}
	if !batch.Check(b, h) {
		return core.Refusal{Err: kerr.CorruptMessage, Text: "the checksum of the record batch is wrong"}
	}
	next, keyless := h.BaseOffset, false
	err = batch.Records(b, h, func(r batch.Record) bool {
		if r.Offset != next {
			return false
		}
		next++
		keyless = keyless || r.Key == nil
		return true
	})
	switch {
	case err != nil:
		return core.Refusal{Err: kerr.InvalidRecord, Text: err.Error()}
	case next != h.BaseOffset+int64(h.NumRecords):
		return core.Refusal{Err: kerr.InvalidRecord, Text: "the offsets of the records do not follow each other"}
	case keyed && keyless:
		return core.Refusal{Err: kerr.InvalidRecord, Text: "a record without key in a compacted topic"}
	}
	return core.Refusal{}
}

// storageError is the code of records that cannot be read.
var storageError = kerr.KafkaStorageError.Code
