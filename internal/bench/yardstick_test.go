package bench

import (
	"runtime"
	"testing"
	"time"
)

// TestYardstick: while it runs pieces are measured, and end says what they took.
func TestYardstick(t *testing.T) {
	y := newYardstick()
	began := time.Now()
	for time.Since(began) < 4*yardstickEvery {
		runtime.Gosched()
	}
	got := y.end()
	if runtime.GOOS != "linux" {
		if got != 0 {
			t.Errorf("%v µs of a thread whose time is not known", got)
		}
		return
	}
	if len(y.took) == 0 || got <= 0 || got > 1e6*yardstickEvery.Seconds()/2 {
		t.Errorf("a piece took %v µs, of %v", got, y.took)
	}
	if testing.Short() {
		t.Skip("the race detector, with which short tests run, empties the pool of package json")
	}
	memory := make([]uint64, 1)
	if allocs := testing.AllocsPerRun(10, func() { piece(memory) }); allocs > 0 {
		t.Errorf("a piece allocates %v objects", allocs)
	}
}

// TestThreadTime: a thread that waits has no processor time.
func TestThreadTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, ok := threadTime()
	if !ok {
		t.Skip("this system does not tell the time of a thread")
	}
	const wait = 100 * time.Millisecond
	<-time.After(wait)
	if after, _ := threadTime(); after < before || after-before > wait/2 {
		t.Errorf("%v of processor time in %v of waiting", after-before, wait)
	}
}

func BenchmarkYardstick(b *testing.B) {
	memory := make([]uint64, yardstickMemory/8)
	for b.Loop() {
		piece(memory)
	}
}
