package differential

import (
	"bytes"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// recordCases are about what stands in a batch.
var recordCases = []kase{
	{kmsg.Produce, "each codec, read again", func(s *session) {
		t := s.topic("t", 1)
		for _, codec := range codecs {
			s.send(s.produce(t, 0, compressed(codec, "a", "b")))
		}
		s.send(s.fetch(t, 0, 0))
		s.send(s.fetch(t, 0, 3))
	}},
	{kmsg.Produce, "a codec that does not exist", func(s *session) {
		t := s.topic("t", 1)
		for codec := int16(5); codec < 8; codec++ {
			b := wire.New([]byte("a"))
			b.Attributes |= codec
			s.send(s.produce(t, 0, b.Encode()))
		}
	}},
	{kmsg.Produce, "bytes that are not compressed as they say", func(s *session) {
		t := s.topic("t", 1)
		for codec := int16(1); codec < 5; codec++ {
			b := wire.New([]byte("a"))
			b.Attributes |= codec
			s.send(s.produce(t, 0, b.Encode()))
		}
	}},
	{kmsg.Produce, "a topic with a codec of its own", func(s *session) {
		t := s.topic("t", 1, "compression.type", "gzip")
		s.send(s.produce(t, 0, batch("a", "b")))
		s.send(s.fetch(t, 0, 0))
	}},
	{kmsg.Produce, "a batch stamped by its client", func(s *session) {
		b := wire.New([]byte("a"))
		b.Attributes |= 8
		s.send(s.produce(s.topic("t", 1), 0, b.Encode()))
		s.send(s.produce(s.topic("stamped", 1, "message.timestamp.type", "LogAppendTime"), 0, b.Encode()))
	}},
	{kmsg.Produce, "unknown attributes", func(s *session) {
		b := wire.New([]byte("a"))
		b.Attributes |= 1 << 9
		t := s.topic("t", 1)
		s.send(s.produce(t, 0, b.Encode()))
	}},
	{kmsg.Produce, "some keys missing in a compacted topic", func(s *session) {
		t := s.topic("t", 1, "cleanup.policy", "compact")
		b := wire.New([]byte("a"), []byte("b"), []byte("c"))
		b.Keys = [][]byte{[]byte("k"), nil, nil}
		s.send(s.produce(t, 0, b.Encode()))
		s.send(s.produce(t, 0, recoded(kgo.GzipCompression(), b)))
	}},
	{kmsg.Produce, "no key in a topic that is compacted and cut", func(s *session) {
		s.send(s.produce(s.topic("t", 1, "cleanup.policy", "compact,delete"), 0, batch("a")))
	}},
	{kmsg.Produce, "a tombstone", func(s *session) {
		t := s.topic("t", 1, "cleanup.policy", "compact")
		b := wire.New(nil)
		b.Keys = [][]byte{[]byte("k")}
		s.send(s.produce(t, 0, b.Encode()))
		s.send(s.fetch(t, 0, 0))
	}},
	{kmsg.Produce, "some times out of bounds", func(s *session) {
		t := s.topic("t", 1, "message.timestamp.before.max.ms", "3600000", "message.timestamp.after.max.ms", "3600000")
		b := wire.New([]byte("a"), []byte("b"), []byte("c"), []byte("d"))
		hours := (2 * time.Hour).Milliseconds()
		b.Deltas = []int64{0, hours, -hours, 1000}
		s.send(s.produce(t, 0, b.Encode()))
		s.send(s.produce(t, 0, recoded(kgo.Lz4Compression(), b)))
	}},
	{kmsg.Produce, "no time", func(s *session) {
		t := s.topic("t", 1, "message.timestamp.before.max.ms", "3600000")
		b := wire.New([]byte("a"))
		b.Time = -1
		s.send(s.produce(t, 0, b.Encode()))
		s.send(s.fetch(t, 0, 0))
		s.aside(func() { s.send(listOffsets(t, 0, -3)) })
	}},
	{kmsg.Produce, "records cut short", func(s *session) {
		b := batch("a", "b")
		s.send(s.produce(s.topic("t", 1), 0, wire.Seal(b[:len(b)-4])))
	}},
	{kmsg.Produce, "bytes after the records", func(s *session) {
		b := append(batch("a", "b"), 0, 0, 0)
		s.send(s.produce(s.topic("t", 1), 0, wire.Seal(b)))
	}},
	{kmsg.Produce, "too large a batch, compressed and not", func(s *session) {
		t := s.topic("t", 1, "max.message.bytes", "500")
		b := wire.New(make([]byte, 2000))
		s.send(s.produce(t, 0, b.Encode()))
		s.send(s.produce(t, 0, recoded(kgo.GzipCompression(), b)))
		s.aside(func() { s.send(s.fetch(t, 0, 0)) })
	}},
	{kmsg.Produce, "no acknowledgement of what is refused", func(s *session) {
		t := s.topic("t", 1)
		req := s.produce(t, 7, batch("a"))
		req.Acks = 0
		s.quiet(req)
		s.aside(func() { s.note("the connection goes on=%v", s.quiet(metadata(t)) != nil) })
	}},
	{kmsg.Fetch, "records of each codec", func(s *session) {
		for _, codec := range codecs {
			t := s.topic(codec.name, 1)
			s.quiet(s.produce(t, 0, compressed(codec, "a", "b")))
			s.send(s.fetch(t, 0, 0))
		}
	}},
	{kmsg.Fetch, "a topic that is to be compressed by zstd", func(s *session) {
		t := s.topic("t", 1, "compression.type", "zstd")
		s.quiet(s.produce(t, 0, compressed(codecs[3], "a", "b")))
		s.send(s.fetch(t, 0, 0))
	}},
	{kmsg.ListOffsets, "times within compressed batches", func(s *session) {
		t := s.topic("t", 1)
		b := wire.New([]byte("a"), []byte("b"), []byte("c"))
		b.Deltas = []int64{0, 100, 50}
		for _, codec := range codecs {
			s.quiet(s.produce(t, 0, recoded(codec.codec, b)))
		}
		for _, at := range []int64{b.Time, b.Time + 40, b.Time + 60, b.Time + 101, -3} {
			s.send(listOffsets(t, 0, at))
		}
	}},
}

type codec struct {
	name  string
	codec kgo.CompressionCodec
}

// codecs are those of the protocol, in the order of their numbers, from 1 on.
var codecs = []codec{{"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()}, {"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()}}

func compressed(c codec, values ...string) []byte {
	var b [][]byte
	for _, v := range values {
		b = append(b, []byte(v))
	}
	return recoded(c.codec, wire.New(b...))
}

// recoded encodes a batch with its records compressed.
func recoded(codec kgo.CompressionCodec, b wire.Batch) []byte {
	compressor, err := kgo.DefaultCompressor(codec)
	if err != nil {
		panic(err) // it is one of ours
	}
	const header = 61
	plain := b.Encode()
	records, number := compressor.Compress(new(bytes.Buffer), plain[header:])
	out := append(bytes.Clone(plain[:header]), records...)
	out[22] |= byte(number)
	return wire.Seal(out)
}
