package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// memoryLimit is what Go's part of the process stays below while less than two
	// thirds of that are alive.
	memoryLimit = 300 << 20
	// memoryBesides is about what Go holds besides its heap's objects: stacks,
	// gaps between objects, its own tables.
	memoryBesides = 40 << 20
)

// smallMemory trades some CPU for a small process, by collecting garbage earlier
// than Go would, unless GOMEMLIMIT says otherwise.
//
// A limit that is near to what is alive would be a trap: Go then collects without
// a pause (measured: 727 µs of CPU per order instead of 406). So each collection
// is followed by a look at what it left, and the limit keeps a distance to that.
func smallMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(memoryLimit)
	afterCollection(func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		// Setting it stops the world, so it is not done for a few bytes.
		want, now := limitFor(int64(live[0].Value.Uint64())), debug.SetMemoryLimit(-1)
		if want > now || want < now-now/8 {
			debug.SetMemoryLimit(want)
		}
	})
}

// limitFor is the limit while so many bytes are alive: room for a third as much
// again before the next collection. (Measured: 13 % more CPU than without a limit.)
func limitFor(live int64) int64 { return max(memoryLimit, memoryBesides+live+live/3) }

// afterCollection calls f after every garbage collection, one call at a time.
func afterCollection(f func()) {
	type sentinel struct{ _ *byte } // a pointer keeps it apart from others
	runtime.AddCleanup(&sentinel{}, func(f func()) {
		f()
		afterCollection(f)
	}, f)
}
