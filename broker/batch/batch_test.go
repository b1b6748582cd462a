package batch

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// whole makes a batch of three records, compressed or not.
func whole(t testing.TB, codec kgo.CompressionCodec, attributes int16) []byte {
	t.Helper()
	var records []byte
	for i, kv := range [][2][]byte{{[]byte("k"), []byte("v")}, {nil, []byte("w")}, {[]byte("k2"), nil}} {
		r := kmsg.Record{TimestampDelta64: int64(i), OffsetDelta: int32(i), Key: kv[0], Value: kv[1]}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	if attributes != 0 {
		c, err := kgo.DefaultCompressor(codec)
		if err != nil {
			t.Fatal(err)
		}
		compressed, _ := c.Compress(new(bytes.Buffer), records)
		records = bytes.Clone(compressed)
	}
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: attributes, LastOffsetDelta: 2,
		FirstTimestamp: 1000, MaxTimestamp: 1002, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 3, Records: records,
	}
	raw := b.AppendTo(nil)
	b.Length = int32(len(raw) - lengthEnd)
	raw = b.AppendTo(nil)
	seal(raw)
	return raw
}

func TestRecords(t *testing.T) {
	for name, c := range map[string]struct {
		codec      kgo.CompressionCodec
		attributes int16
	}{
		"none": {}, "gzip": {kgo.GzipCompression(), codecGzip}, "snappy": {kgo.SnappyCompression(), codecSnappy},
		"lz4": {kgo.Lz4Compression(), codecLZ4}, "zstd": {kgo.ZstdCompression(), codecZstd},
	} {
		t.Run(name, func(t *testing.T) {
			b := whole(t, c.codec, c.attributes)
			Place(b, 40, 7)
			h, err := Parse(append(bytes.Clone(b), 1, 2, 3))
			if err != nil {
				t.Fatal(err)
			}
			if !Check(b, h) {
				t.Error("checksum differs after placing")
			}
			if err := Acceptable(h); err != nil {
				t.Error(err)
			}
			if h.BaseOffset != 40 || h.LastOffset() != 42 || h.LeaderEpoch != 7 || h.Size != len(b) {
				t.Errorf("header %+v", h)
			}
			var got []Record
			if err := Records(b, h, func(r Record) bool { got = append(got, r); return true }); err != nil {
				t.Fatal(err)
			}
			if len(got) != 3 || string(got[0].Key) != "k" || got[1].Key != nil || got[2].Value != nil || got[2].Offset != 42 || got[2].Timestamp != 1002 {
				t.Errorf("records %+v", got)
			}
			b[len(b)-1] ^= 1
			if Check(b, h) {
				t.Error("a changed byte is not seen")
			}
		})
	}
}

func TestMarker(t *testing.T) {
	for _, commit := range []bool{false, true} {
		b := Marker(9, 3, commit, 5000)
		h, err := Parse(b)
		if err != nil || !Check(b, h) {
			t.Fatalf("parse: %v, check %v", err, Check(b, h))
		}
		if !h.Control() || !h.Transactional() || h.ProducerID != 9 || h.ProducerEpoch != 3 || h.NumRecords != 1 || h.Size != len(b) {
			t.Errorf("header %+v", h)
		}
		var r Record
		if err := Records(b, h, func(one Record) bool { r = one; return true }); err != nil {
			t.Fatal(err)
		}
		var key kmsg.ControlRecordKey
		if err := key.ReadFrom(r.Key); err != nil {
			t.Fatal(err)
		}
		if want := kmsg.ControlRecordKeyTypeAbort; !commit && key.Type != want || commit && key.Type != kmsg.ControlRecordKeyTypeCommit {
			t.Errorf("commit %v has the type %v", commit, key.Type)
		}
		var value kmsg.EndTxnMarker
		if err := value.ReadFrom(r.Value); err != nil {
			t.Error(err)
		}
	}
}

func TestStampAppendTime(t *testing.T) {
	b := whole(t, kgo.NoCompression(), 0)
	h, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	StampAppendTime(b, h, 9000)
	if h, err = Parse(b); err != nil || !Check(b, h) || !h.LogAppendTime() {
		t.Fatalf("header %+v, %v", h, err)
	}
	if err := Records(b, h, func(r Record) bool {
		if r.Timestamp != 9000 {
			t.Errorf("time %d", r.Timestamp)
		}
		return true
	}); err != nil {
		t.Error(err)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(whole(f, kgo.NoCompression(), 0))
	f.Add(whole(f, kgo.SnappyCompression(), codecSnappy))
	f.Add(whole(f, kgo.ZstdCompression(), codecZstd))
	f.Add(whole(f, kgo.Lz4Compression(), codecLZ4))
	f.Add(whole(f, kgo.GzipCompression(), codecGzip))
	f.Add(Marker(1, 2, true, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse(b)
		if err != nil {
			return
		}
		n := 0
		if err := Records(b, h, func(r Record) bool {
			if r.Offset < h.BaseOffset || r.Offset > h.LastOffset() {
				t.Errorf("offset %d of a batch from %d to %d", r.Offset, h.BaseOffset, h.LastOffset())
			}
			n++
			return true
		}); err == nil && n != int(h.NumRecords) {
			t.Errorf("%d records of %d", n, h.NumRecords)
		}
	})
}
