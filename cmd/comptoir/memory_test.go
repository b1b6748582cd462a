package main

import (
	"runtime"
	"testing"
	"time"
)

func TestLimitKeepsItsDistance(t *testing.T) {
	for live, want := range map[int64]int64{
		0:         memoryLimit,
		100 << 20: memoryLimit,
		300 << 20: 440 << 20,
		3 << 30:   4<<30 + 40<<20,
	} {
		if got := limitFor(live); got != want {
			t.Errorf("limit for %d MiB alive: %d MiB, want %d", live>>20, got>>20, want>>20)
		}
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
