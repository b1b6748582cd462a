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
}

// TestPiece: a piece allocates nothing.
func TestPiece(t *testing.T) {
	if testing.Short() {
		t.Skip("short tests run with the race detector, which empties the pool of package json")
	}
	memory := make([]uint64, 1)
	if allocs := testing.AllocsPerRun(10, func() { piece(memory) }); allocs > 0 {
		t.Errorf("a piece allocates %v objects", allocs)
	}
}

func BenchmarkYardstick(b *testing.B) {
	memory := make([]uint64, yardstickMemory/8)
	for b.Loop() {
		piece(memory)
	}
}
