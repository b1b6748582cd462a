package differential

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

var produceCases = []kase{
	{kmsg.Produce, "two batches, read again", func(s *session) {
		t := s.topic("t", 2)
		s.send(s.produce(t, 0, batch("a", "b")))
		s.send(s.produce(t, 0, batch("c")))
		s.send(s.fetch(t, 0, 0))
		s.send(s.fetch(t, 0, 1))
	}},
	{kmsg.Produce, "one acknowledgement", func(s *session) {
		req := s.produce(s.topic("t", 1), 0, batch("a"))
		req.Acks = 1
		s.send(req)
	}},
	{kmsg.Produce, "no acknowledgement", func(s *session) {
		t := s.topic("t", 1)
		req := s.produce(t, 0, batch("a"))
		req.Acks = 0
		s.send(req)
		s.until("the record is there", func() bool { return s.end(t, 0) == 1 })
		s.send(s.fetch(t, 0, 0))
	}},
	{kmsg.Produce, "an impossible number of acknowledgements", func(s *session) {
		req := s.produce(s.topic("t", 1), 0, batch("a"))
		req.Acks = 7
		s.send(req)
	}},
	{kmsg.Produce, "an unknown partition", func(s *session) { s.send(s.produce(s.topic("t", 1), 5, batch("a"))) }},
	{kmsg.Produce, "a negative partition", func(s *session) { s.send(s.produce(s.topic("t", 1), -1, batch("a"))) }},
	{kmsg.Produce, "an unknown topic", func(s *session) { s.send(s.produce(s.name("nowhere"), 0, batch("a"))) }},
	{kmsg.Produce, "an illegal topic name", func(s *session) { s.send(s.produce("not a topic!", 0, batch("a"))) }},
	{kmsg.Produce, "an internal topic", func(s *session) { s.send(s.produce("__consumer_offsets", 0, batch("a"))) }},
	{kmsg.Produce, "good and bad partitions at once", func(s *session) {
		t := s.topic("t", 1)
		req := s.produce(t, 0, batch("a"))
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, s.produce(t, 3, batch("b")).Topics[0].Partitions[0])
		s.send(req)
	}},
	{kmsg.Produce, "no batch", func(s *session) {
		if s.version < s.ranges[s.key].high {
			s.note("once is enough, since it takes long")
			return
		}
		s.patience = 3 * time.Second
		s.send(s.produce(s.topic("t", 1), 0, nil))
	}},
	{kmsg.Produce, "an empty batch", func(s *session) { s.send(s.produce(s.topic("t", 1), 0, wire.New().Encode())) }},
	{kmsg.Produce, "two batches in one request", func(s *session) {
		s.send(s.produce(s.topic("t", 1), 0, append(batch("a"), batch("b")...)))
	}},
	{kmsg.Produce, "a wrong checksum", func(s *session) {
		b := batch("a")
		b[len(b)-1] ^= 1
		s.send(s.produce(s.topic("t", 1), 0, b))
	}},
	{kmsg.Produce, "a batch cut short", func(s *session) {
		b := batch("a")
		s.send(s.produce(s.topic("t", 1), 0, b[:len(b)-3]))
	}},
	{kmsg.Produce, "bytes that are no batch", func(s *session) {
		s.send(s.produce(s.topic("t", 1), 0, bytes.Repeat([]byte("rubbish "), 20)))
	}},
	{kmsg.Produce, "an old message format", func(s *session) {
		b := batch("a")
		b[16] = 1
		s.send(s.produce(s.topic("t", 1), 0, b))
	}},
	{kmsg.Produce, "a number of records that is wrong", func(s *session) {
		b := batch("a")
		binary.BigEndian.PutUint32(b[57:], 3)
		s.send(s.produce(s.topic("t", 1), 0, wire.Seal(b)))
	}},
	{kmsg.Produce, "a control batch", func(s *session) {
		b := wire.New([]byte("\x00\x00\x00\x00\x00\x00"))
		b.Attributes |= wire.Control
		s.send(s.produce(s.topic("t", 1), 0, b.Encode()))
	}},
	{kmsg.Produce, "a base offset that is not 0", func(s *session) {
		b := wire.New([]byte("a"))
		b.Offset = 100
		t := s.topic("t", 1)
		s.send(s.produce(t, 0, b.Encode()))
		s.send(s.fetch(t, 0, 0))
	}},
	{kmsg.Produce, "too large a record", func(s *session) {
		s.send(s.produce(s.topic("t", 1), 0, wire.New(make([]byte, 1<<20+1000)).Encode()))
	}},
	{kmsg.Produce, "too large for this topic", func(s *session) {
		s.send(s.produce(s.topic("t", 1, "max.message.bytes", "1000"), 0, wire.New(make([]byte, 2000)).Encode()))
	}},
	{kmsg.Produce, "no key in a compacted topic", func(s *session) {
		s.send(s.produce(s.topic("t", 1, "cleanup.policy", "compact"), 0, batch("a")))
	}},
	{kmsg.Produce, "a key in a compacted topic", func(s *session) {
		b := wire.New([]byte("a"))
		b.Keys = [][]byte{[]byte("k")}
		s.send(s.produce(s.topic("t", 1, "cleanup.policy", "compact"), 0, b.Encode()))
	}},
	{kmsg.Produce, "a time far ahead", func(s *session) {
		b := wire.New([]byte("a"))
		b.Time = time.Now().Add(48 * time.Hour).UnixMilli()
		s.send(s.produce(s.topic("t", 1), 0, b.Encode()))
		s.send(s.produce(s.topic("limited", 1, "message.timestamp.after.max.ms", "3600000"), 0, b.Encode()))
	}},
	{kmsg.Produce, "a time long ago", func(s *session) {
		b := wire.New([]byte("a"))
		b.Time = 1000
		s.send(s.produce(s.topic("t", 1), 0, b.Encode()))
		s.send(s.produce(s.topic("limited", 1, "message.timestamp.before.max.ms", "3600000"), 0, b.Encode()))
	}},
	{kmsg.Produce, "the time of appending", func(s *session) {
		t := s.topic("t", 1, "message.timestamp.type", "LogAppendTime")
		b := wire.New([]byte("a"))
		b.Time = 1000
		s.send(s.produce(t, 0, b.Encode()))
		s.send(s.fetch(t, 0, 0))
	}},

	// Idempotent producers.
	{kmsg.Produce, "sequences in order and again", func(s *session) {
		t, id := s.topic("t", 1), s.producerID()
		for _, seq := range []int32{0, 2, 4, 4, 2, 0} {
			s.send(s.produce(t, 0, wire.New([]byte("a"), []byte("b")).By(id, 0, seq).Encode()))
		}
		s.send(s.fetch(t, 0, 0))
	}},
	{kmsg.Produce, "a sequence left out", func(s *session) {
		t, id := s.topic("t", 1), s.producerID()
		s.send(s.produce(t, 0, wire.New([]byte("a")).By(id, 0, 0).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("c")).By(id, 0, 2).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("b")).By(id, 0, 1).Encode()))
	}},
	{kmsg.Produce, "a first sequence that is not 0", func(s *session) {
		s.send(s.produce(s.topic("t", 1), 0, wire.New([]byte("a")).By(s.producerID(), 0, 7).Encode()))
	}},
	{kmsg.Produce, "a duplicate that is long ago", func(s *session) {
		t, id := s.topic("t", 1), s.producerID()
		for seq := range int32(8) {
			s.quiet(s.produce(t, 0, wire.New([]byte("a")).By(id, 0, seq).Encode()))
		}
		s.send(s.produce(t, 0, wire.New([]byte("a")).By(id, 0, 0).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("a")).By(id, 0, 3).Encode()))
	}},
	{kmsg.Produce, "a duplicate of another length", func(s *session) {
		t, id := s.topic("t", 1), s.producerID()
		s.send(s.produce(t, 0, wire.New([]byte("a"), []byte("b")).By(id, 0, 0).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("a")).By(id, 0, 0).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("a"), []byte("b"), []byte("c")).By(id, 0, 0).Encode()))
	}},
	{kmsg.Produce, "the next epoch and the former one", func(s *session) {
		t, id := s.topic("t", 1), s.producerID()
		s.send(s.produce(t, 0, wire.New([]byte("a")).By(id, 0, 0).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("b")).By(id, 1, 0).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("c")).By(id, 0, 1).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("d")).By(id, 2, 5).Encode()))
	}},
	{kmsg.Produce, "sequences that wrap around", func(s *session) {
		t, id := s.topic("t", 1), s.producerID()
		s.send(s.produce(t, 0, wire.New([]byte("a")).By(id, 0, 1<<31-1).Encode()))
		s.send(s.produce(t, 0, wire.New([]byte("b")).By(id, 0, 0).Encode()))
	}},
	{kmsg.Produce, "a producer without sequence", func(s *session) {
		s.send(s.produce(s.topic("t", 1), 0, wire.New([]byte("a")).By(s.producerID(), 0, -1).Encode()))
	}},
	{kmsg.Produce, "a producer that nobody gave out", func(s *session) {
		s.send(s.produce(s.topic("t", 1), 0, wire.New([]byte("a")).By(1<<40, 0, 0).Encode()))
	}},
	{kmsg.Produce, "two batches of one producer in one request", func(s *session) {
		id := s.producerID()
		s.send(s.produce(s.topic("t", 1), 0, append(wire.New([]byte("a")).By(id, 0, 0).Encode(), wire.New([]byte("b")).By(id, 0, 1).Encode()...)))
	}},

	// Transactional produce.
	{kmsg.Produce, "a transaction that has no such partition", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		if resp, ok := s.send(p.produce(t, 0, 0, "a")).(*kmsg.ProduceResponse); ok && resp.Topics[0].Partitions[0].ErrorCode == 0 {
			s.reaches(t, 1)
		}
		s.send(s.fetch(t, 0, 0))
	}},
	{kmsg.Produce, "in a transaction", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.send(p.produce(t, 0, 0, "a"))
		s.reaches(t, 1)
		s.send(s.fetch(t, 0, 0))
		s.send(s.fetchCommitted(t, 0, 0))
	}},
	{kmsg.Produce, "a transaction's batch without the transactional id", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		req := p.produce(t, 0, 0, "a")
		req.TransactionID = nil
		s.send(req)
	}},
	{kmsg.Produce, "a plain batch of a transactional producer in a transaction", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "a"))
		s.send(s.produce(t, 0, wire.New([]byte("b")).By(p.id, p.epoch, 1).Encode()))
	}},
	{kmsg.Produce, "a fenced producer", func(s *session) {
		t := s.topic("t", 1)
		old := s.transactional("x")
		s.quiet(old.add(t, 0))
		s.quiet(old.produce(t, 0, 0, "a"))
		p := s.transactional("x")
		s.stable(t, 0)
		s.send(old.produce(t, 0, 1, "b"))
		s.quiet(p.add(t, 0))
		s.send(p.produce(t, 0, 0, "c"))
		s.send(old.produce(t, 0, 1, "d"))
	}},
}

func batch(values ...string) []byte {
	var b [][]byte
	for _, v := range values {
		b = append(b, []byte(v))
	}
	return wire.New(b...).Encode()
}

// produce is a request by name and by id: the version decides which is sent.
func (s *session) produce(topic string, partition int32, batches []byte) *kmsg.ProduceRequest {
	req := wire.Produce(0, topic, partition, batches)
	if s.key == kmsg.Produce && s.version >= 13 {
		req.Topics[0].TopicID = s.topicID(topic)
	}
	return req
}

// end is where a partition ends.
func (s *session) end(topic string, partition int32) (end int64) {
	end = -1
	s.aside(func() {
		if resp, ok := s.quiet(listOffsets(topic, partition, -1)).(*kmsg.ListOffsetsResponse); ok {
			end = resp.Topics[0].Partitions[0].Offset
		}
	})
	return end
}

// reaches waits until the first partition ends there: a transaction's records may
// be acknowledged a moment before they can be read.
func (s *session) reaches(topic string, end int64) {
	s.t.Helper()
	s.until("the records can be read", func() bool { return s.end(topic, 0) >= end })
}

// stable waits until a partition has no open transaction.
func (s *session) stable(topic string, partition int32) {
	s.t.Helper()
	s.aside(func() {
		s.until("no transaction is open", func() bool {
			resp, ok := s.quiet(s.fetch(topic, partition, 0)).(*kmsg.FetchResponse)
			return ok && resp.Topics[0].Partitions[0].LastStableOffset == resp.Topics[0].Partitions[0].HighWatermark
		})
	})
}
