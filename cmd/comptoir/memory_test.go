package main

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestLimitKeepsItsDistance(t *testing.T) {
	for _, c := range []struct{ live, outside, want int64 }{
		{0, 0, memoryLimit},
		{100, 30, memoryLimit},
		{80, 175, 180 << 20},
		{150, 175, 455 << 19}, // a quarter, 227.5
		{210, 60, 318 << 20},  // a third would be 320
		{220, 80, 315 << 20},  // a quarter
		{240, 0, 360 << 20},
		{3000, 300, 3790 << 20},
	} {
		if got := limitFor(c.live<<20, c.outside<<20); got != c.want {
			t.Errorf("limit for %d MiB alive and %d outside: %d MiB, want %d", c.live, c.outside, got>>20, c.want>>20)
		}
	}
}

func TestResident(t *testing.T) {
	least, most := int64(1<<20), int64(1<<40)
	if _, err := os.Stat("/proc/self/statm"); errors.Is(err, fs.ErrNotExist) {
		least, most = 0, 0 // the system does not tell
	}
	if got := resident(); got < least || got > most {
		t.Errorf("%d bytes are in memory, want %d to %d", got, least, most)
	}
}

func TestAfterCollection(t *testing.T) {
	calls := make(chan struct{})
	afterCollection(func() { calls <- struct{}{} })
	deadline := time.After(10 * time.Second)
	for n := 0; n < 3; { // it is called again and again
		runtime.GC()
		select {
		case <-calls:
			n++
		case <-time.After(time.Millisecond): // not looked at again yet
		case <-deadline:
			t.Fatalf("called after %d collections", n)
		}
	}
}

func TestBusyFor(t *testing.T) {
	for _, c := range []struct {
		mib  uint64
		d    time.Duration
		want bool
	}{
		{0, 0, false},
		{63, time.Second, false},
		{65, time.Second, true},
		{30, 60 * time.Millisecond, true},   // a backlog, with little alive
		{100, 300 * time.Millisecond, true}, // the same as it goes on
		{300, time.Minute, false},           // all that comes before a backlog
	} {
		if got := busyFor(c.mib<<20, c.d); got != c.want {
			t.Errorf("%d MiB in %v: busy %v", c.mib, c.d, got)
		}
	}
}

// TestPercentFollowsAllocation: Go's percentage is raised by work that allocates
// much, and falls back without a further collection.
func TestPercentFollowsAllocation(t *testing.T) {
	before := debug.SetGCPercent(idlePercent)
	defer debug.SetGCPercent(before)
	now := func() int {
		m := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(m)
		return int(m[0].Value.Uint64())
	}
	var p percent
	p.look()
	await := func(percent int, what string, step func()) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); now() != percent; step() {
			if time.Now().After(end) {
				t.Fatalf("%s: %d per cent", what, now())
			}
		}
	}
	await(busyPercent, "busy", func() {
		for range 4 {
			garbage = make([]byte, 32<<20)
		}
		p.look()
	})
	garbage = nil
	await(idlePercent, "idle", func() { time.Sleep(time.Millisecond) })
}

var garbage []byte
