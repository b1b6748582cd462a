package bench

import (
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"time"
)

// A yardstick is a piece of work that is always the same. The processor time that
// it takes while orders are worked off tells how fast the machine was meanwhile:
// one that is shared with others, or that has to cool, differs by a quarter from
// one minute to the next, and an order's cost with it.
type yardstick struct {
	stop, done chan struct{}
	took       []time.Duration
}

const (
	// Each piece takes a millisecond, and two under load, so all of them a hundredth
	// of one processor.
	yardstickEvery = 200 * time.Millisecond
	// yardstickTexts and yardstickSteps make a piece: half of it JSON that is
	// checked, half of it memory beyond the nearer caches.
	yardstickTexts  = 1000
	yardstickSteps  = 75_000
	yardstickMemory = 8 << 20
)

var yardstickText = []byte(`{"commande":"0b8f3c1e-1111-4222-8333-123456789abc","client":"client-000123","lignes":[{"produit":"BENCH-P0001","quantite":3,"prix":12.50},{"produit":"BENCH-P0022","quantite":1,"prix":7.99}]}`)

// newYardstick begins to measure; end ends it.
func newYardstick() *yardstick {
	y := &yardstick{stop: make(chan struct{}), done: make(chan struct{})}
	go y.measure()
	return y
}

// end gives the median of the pieces, in microseconds; 0 if the system does not
// tell the time of a thread, or none was measured.
func (y *yardstick) end() float64 {
	close(y.stop)
	<-y.done
	var all []float64
	for _, d := range y.took {
		all = append(all, float64(d.Nanoseconds())/1e3)
	}
	return median(all)
}

func (y *yardstick) measure() {
	defer close(y.done)
	runtime.LockOSThread() // whose time it is
	defer runtime.UnlockOSThread()
	if _, ok := threadTime(); !ok {
		return
	}
	memory := make([]uint64, yardstickMemory/8)
	piece(memory) // not measured, since it meets memory that is new
	every := time.NewTicker(yardstickEvery)
	defer every.Stop()
	for {
		select {
		case <-y.stop:
			return
		case <-every.C:
		}
		before, _ := threadTime()
		piece(memory)
		after, _ := threadTime()
		y.took = append(y.took, after-before)
	}
}

// piece allocates nothing, so that collections of its process are not in it.
func piece(memory []uint64) {
	for range yardstickTexts {
		if !json.Valid(yardstickText) {
			panic("the yardstick is no JSON")
		}
	}
	at := rand.NewPCG(1, 2)
	for range yardstickSteps {
		memory[at.Uint64()%uint64(len(memory))]++
	}
}
