package anomaly

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestRecent(t *testing.T) {
	type order struct {
		ms   int64
		over bool
	}
	tests := []struct {
		name   string
		limit  int
		orders []order // the window is 1,000 ms
	}{
		{"one too many", 2, []order{{0, false}, {1, false}, {2, true}, {3, true}}},
		{"both ends count", 2, []order{{0, false}, {500, false}, {1000, true}}},
		{"just outside", 2, []order{{0, false}, {500, false}, {1001, false}, {1500, true}}},
		{"slow", 2, []order{{0, false}, {600, false}, {1200, false}, {1800, false}, {2400, false}}},
		{"at the same time", 2, []order{{5, false}, {5, false}, {5, true}, {5, true}}},
		{"calm again", 2, []order{{0, false}, {0, false}, {0, true}, {5000, false}, {5001, false}, {5002, true}}},
		{"late by less than the window", 2, []order{{1000, false}, {1100, false}, {900, true}, {5000, false}}},
		{"late, between", 2, []order{{0, false}, {1000, false}, {500, true}}},
		{"late, only the run without the newest is short", 2, []order{{0, false}, {900, false}, {500, true}, {100, true}}},
		{"late and alone", 2, []order{{9000, false}, {9001, false}, {0, false}, {9002, true}}},
		{"limit 0", 0, []order{{0, true}, {5000, true}}},
		{"before 1970", 1, []order{{-2000, false}, {-1000, true}, {1, false}, {2, true}}},
		{"extremes", 1, []order{{math.MinInt64, false}, {math.MaxInt64, false}, {math.MaxInt64, true}, {0, false}}},
	}
	for _, tt := range tests {
		var r Recent
		for i, o := range tt.orders {
			if got := r.Add(time.UnixMilli(o.ms), time.Second, tt.limit); got != o.over {
				t.Errorf("%s: order %d at %d: over = %v", tt.name, i, o.ms, got)
			}
			if len(r.times) > tt.limit+1 {
				t.Errorf("%s: %d times are kept", tt.name, len(r.times))
			}
			// It must survive being stored.
			var again Recent
			if err := again.ParseBinary(r.AppendBinary(nil)); err != nil || !slices.Equal(again.times, r.times) {
				t.Fatalf("%s: %v became %v, %v", tt.name, r.times, again.times, err)
			}
			r = again
		}
	}
}

// TestRecentContract: the 51st order within 60 s is the first to be told.
func TestRecentContract(t *testing.T) {
	cfg := DefaultThresholds()
	var r Recent
	for i := range 60 {
		if got, want := r.Add(now.Add(time.Duration(i)*time.Second), cfg.Window, cfg.Orders), i >= 50; got != want {
			t.Errorf("order %d: over = %v", i+1, got)
		}
	}
	if b := r.AppendBinary(nil); len(b) > 120 {
		t.Errorf("51 times take %d bytes", len(b))
	}
	if last, ok := r.Last(); !ok || !last.Equal(now.Add(59*time.Second)) {
		t.Errorf("last %v, %v", last, ok)
	}
	if _, ok := new(Recent).Last(); ok {
		t.Error("a new Recent has a last order")
	}
}

// TestRecentAgainstHistory compares with the definition over the whole
// history, for orders in order.
func TestRecentAgainstHistory(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		limit, window := rnd.IntN(8), rnd.Int64N(200)
		var r Recent
		var history []int64
		ms := int64(0)
		for range 100 {
			ms += rnd.Int64N(50)
			history = append(history, ms)
			n := 0
			for _, h := range history {
				if ms-h <= window {
					n++
				}
			}
			if got := r.Add(time.UnixMilli(ms), time.Duration(window)*time.Millisecond, limit); got != (n > limit) {
				t.Fatalf("limit %d, window %d, history %v: over = %v with %d", limit, window, history, got, n)
			}
		}
	}
}

func TestRecentShrinksWithTheLimit(t *testing.T) {
	var r Recent
	for range 10 {
		r.Add(now, time.Minute, 9)
	}
	if !r.Add(now, time.Minute, 3) || len(r.times) != 4 {
		t.Errorf("%d times", len(r.times))
	}
}

func FuzzRecent(f *testing.F) {
	var r Recent
	f.Add(r.AppendBinary(nil))
	for i := range 5 {
		r.Add(now.Add(time.Duration(i)*time.Second), time.Minute, 50)
	}
	f.Add(r.AppendBinary(nil))
	f.Add([]byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Add([]byte{1, 0x80, 0})
	f.Add(bytes.Repeat([]byte{0xff}, 11))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Recent
		if err := r.ParseBinary(b); err != nil {
			if len(r.times) > 0 {
				t.Fatalf("%v with an error", r.times)
			}
			return
		}
		if !slices.IsSorted(r.times) || len(r.times) > maxRecent {
			t.Fatalf("%v", r.times)
		}
		if again := r.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x written as %x", b, again)
		}
		before := len(r.times)
		r.Add(now, time.Minute, 50)
		if len(r.times) > 51 || len(r.times) > before+1 || len(r.times) == 0 {
			t.Fatalf("%d times, then %d", before, len(r.times))
		}
	})
}
