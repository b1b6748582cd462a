package batch

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestRebuild(t *testing.T) {
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
			before := bytes.Clone(b)
			h, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			const horizon = 77_000
			out, err := Rebuild(b, h, func(r Record) bool { return r.Offset != 41 }, horizon)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, before) {
				t.Error("the old batch is changed")
			}
			n, err := Parse(out)
			if err != nil || !Check(out, n) {
				t.Fatalf("header %+v, checksum %v: %v", n, Check(out, n), err)
			}
			if ms, ok := n.DeleteHorizon(); !ok || ms != horizon {
				t.Errorf("delete horizon %d %v", ms, ok)
			}
			if _, ok := h.DeleteHorizon(); ok {
				t.Error("a delete horizon from nowhere")
			}
			if n.BaseOffset != 40 || n.LastOffset() != 42 || n.LeaderEpoch != 7 || n.Compression() != h.Compression() || n.NumRecords != 2 || n.MaxTimestamp != 1002 {
				t.Errorf("header %+v", n)
			}
			var got []Record
			if err := Records(out, n, func(r Record) bool { got = append(got, r); return true }); err != nil {
				t.Fatal(err)
			}
			if len(got) != 2 || got[0].Offset != 40 || got[0].Timestamp != 1000 || string(got[0].Key) != "k" ||
				got[1].Offset != 42 || got[1].Timestamp != 1002 || got[1].Value != nil {
				t.Errorf("records %+v", got)
			}

			empty, err := Rebuild(out, n, func(Record) bool { return false }, 0)
			if err != nil {
				t.Fatal(err)
			}
			e, err := Parse(empty)
			if err != nil || !Check(empty, e) || e.NumRecords != 0 || e.LastOffset() != 42 || len(empty) != HeaderSize {
				t.Errorf("empty batch: %+v, %v", e, err)
			}
		})
	}
}

func TestParseMarker(t *testing.T) {
	for _, commit := range []bool{false, true} {
		b := Marker(9, 3, commit, 5000)
		h, _ := Parse(b)
		out, err := Rebuild(b, h, func(Record) bool { return true }, 9000)
		if err != nil {
			t.Fatal(err)
		}
		n, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := ParseMarker(out, n); !ok || got != commit || n.ProducerID != 9 || n.ProducerEpoch != 3 {
			t.Errorf("commit %v: %v %v, %+v", commit, got, ok, n)
		}
	}
	b := whole(t, kgo.NoCompression(), 0)
	h, _ := Parse(b)
	if _, ok := ParseMarker(b, h); ok {
		t.Error("a client's batch is taken for a marker")
	}
}

func FuzzRebuild(f *testing.F) {
	f.Add(whole(f, kgo.NoCompression(), 0), uint8(1), int64(5))
	f.Add(whole(f, kgo.ZstdCompression(), codecZstd), uint8(2), int64(0))
	f.Add(Marker(1, 2, true, 3), uint8(255), int64(1<<40))
	f.Fuzz(func(t *testing.T, b []byte, mask uint8, horizon int64) {
		h, err := Parse(b)
		if err != nil {
			return
		}
		ParseMarker(b, h)
		var want []Record
		keep := func(r Record) bool { return mask>>(uint(r.Offset-h.BaseOffset)%8)&1 == 1 }
		out, err := Rebuild(b, h, func(r Record) bool {
			if keep(r) {
				want = append(want, r)
				return true
			}
			return false
		}, horizon)
		if err != nil {
			return
		}
		n, err := Parse(out)
		if err != nil || !Check(out, n) {
			t.Fatalf("what is rebuilt is no batch: %v", err)
		}
		i := 0
		if err := Records(out, n, func(r Record) bool {
			w := want[i]
			if r.Offset != w.Offset || !h.LogAppendTime() && r.Timestamp != w.Timestamp || !bytes.Equal(r.Key, w.Key) || !bytes.Equal(r.Value, w.Value) || (r.Value == nil) != (w.Value == nil) {
				t.Errorf("record %+v, was %+v", r, w)
			}
			i++
			return true
		}); err != nil || i != len(want) {
			t.Fatalf("%d records of %d: %v", i, len(want), err)
		}
	})
}
