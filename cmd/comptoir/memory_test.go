package main

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestLimitKeepsItsDistance(t *testing.T) {
	for _, c := range []struct{ live, outside, want int64 }{
		{0, 0, memoryLimit},
		{100, 30, memoryLimit},
		{80, 175, 180 << 20},
		{150, 175, 240 << 20},
		{300, 0, 440 << 20},
		{3000, 300, 4040 << 20},
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
