package streamstest_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

var number = streams.Serde[uint64]{
	Append: func(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) },
	Parse:  func(d []byte) (uint64, error) { v, _ := binary.Uvarint(d); return v, nil },
}

var (
	lines  = streams.Topic[string, string]{Name: "lines", Key: streams.Text, Value: streams.Text}
	counts = streams.Topic[string, uint64]{Name: "counts", Key: streams.Text, Value: number}
)

func wordCount(b *streams.Builder) {
	out, words := streams.Repartition(b, "words", streams.Text, streams.Text, streams.PartitionsOf("lines"))
	sink := streams.To(b, counts)
	store := streams.NewKeyValue(b, "counts", streams.Text, number)
	streams.From(b, lines).Process("split", func(c *streams.Context, r streams.Record[string, string]) {
		for w := range strings.FieldsSeq(r.Value) {
			out.Send(c, streams.Record[string, string]{Key: w, Value: w})
		}
	}, out)
	words.Process("count", func(c *streams.Context, r streams.Record[string, string]) {
		n, _ := store.Get(c, r.Key)
		store.Put(c, r.Key, n+1)
		sink.Send(c, streams.Record[string, uint64]{Key: r.Key, Value: n + 1})
	}, store, sink)
}

func TestWordCountSurvivesRestart(t *testing.T) {
	d := streamstest.New(t, "wc", wordCount)
	d.Pipe("lines", "", "a b a")
	d.Restart()
	d.Pipe("lines", "", "b a")
	got := map[string]uint64{}
	for _, r := range d.Read("counts") {
		got[string(r.Key)], _ = number.Parse(r.Value)
	}
	if got["a"] != 3 || got["b"] != 2 {
		t.Fatalf("counts %v, want a 3 and b 2", got)
	}
}

func TestWindowExpiresByStreamTime(t *testing.T) {
	var seen []uint64
	d := streamstest.New(t, "win", func(b *streams.Builder) {
		w := streams.NewWindow(b, "w", streams.Text, number, time.Minute, time.Minute)
		streams.From(b, lines).Process("count", func(c *streams.Context, r streams.Record[string, string]) {
			n, _ := w.Get(c, r.Key, r.Time)
			if w.Put(c, r.Key, r.Time, n+1) {
				seen = append(seen, n+1)
			} else {
				seen = append(seen, 0)
			}
		}, w)
	}, streamstest.Partitions(1))
	at := func(off time.Duration) {
		d.PipeRaw(streams.RawRecord{Topic: "lines", Key: []byte("k"), Value: []byte("x"), Time: streamstest.Start.Add(off)})
	}
	d.Advance(time.Hour)
	at(0)
	at(time.Second)
	d.Restart()
	at(2 * time.Second)
	at(10 * time.Minute) // the first window is gone
	at(3 * time.Second)  // and stays closed
	if want := []uint64{1, 2, 3, 1, 0}; !slices.Equal(seen, want) {
		t.Fatalf("counts %v, want %v", seen, want)
	}
}

func TestRule16RecordFromTheFutureCountsAsNow(t *testing.T) {
	var at time.Time
	d := streamstest.New(t, "fut", func(b *streams.Builder) {
		streams.From(b, lines).Process("see", func(c *streams.Context, r streams.Record[string, string]) { at = r.Time })
	})
	d.PipeRaw(streams.RawRecord{Topic: "lines", Key: []byte("k"), Value: []byte("x"), Time: streamstest.Start.AddDate(73, 0, 0)})
	if !at.Equal(streamstest.Start) {
		t.Fatalf("record time %v, want the clock's %v", at, streamstest.Start)
	}
}

func TestWallClockAndExpiry(t *testing.T) {
	runs := 0
	var store *streams.KeyValue[string, uint64]
	left := -1
	d := streamstest.New(t, "exp", func(b *streams.Builder) {
		store = streams.NewKeyValue(b, "s", streams.Text, number).
			Expire(time.Hour, func(v uint64) time.Time { return time.Unix(int64(v), 0) })
		streams.From(b, lines).Process("put", func(c *streams.Context, r streams.Record[string, string]) {
			store.Put(c, r.Key, uint64(c.Now().Unix()))
		}, store)
		b.WallClock("tick", 10*time.Minute, func(c *streams.Context, _ time.Time) {
			runs++
			left = 0
			store.Scan(c, func(string, uint64) bool { left++; return true })
		}, store)
	}, streamstest.Partitions(1))
	d.Pipe("lines", "a", "x")
	d.Advance(50 * time.Minute)
	d.Pipe("lines", "b", "x")
	if runs != 1 || left != 1 {
		t.Fatalf("runs %d, entries %d at 50 min, want 1 and 1 (the tick runs before b)", runs, left)
	}
	d.Advance(20 * time.Minute) // a is 70 minutes old, swept after the tick
	d.Advance(10 * time.Minute)
	if left != 1 {
		t.Fatalf("%d entries left, want 1", left)
	}
}

func TestUndeclaredUsePanics(t *testing.T) {
	d := streamstest.New(t, "undeclared", func(b *streams.Builder) {
		s := streams.NewKeyValue(b, "s", streams.Text, number)
		streams.From(b, lines).Process("put", func(c *streams.Context, r streams.Record[string, string]) { s.Put(c, r.Key, 1) })
	})
	defer func() {
		if e := recover(); e == nil {
			t.Fatal("no panic")
		}
	}()
	d.Pipe("lines", "a", "x")
}
