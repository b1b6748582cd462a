package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// memoryLimit is the most that Go's part of the process takes while less than
	// some 195 MiB of it are alive.
	memoryLimit = 300 << 20
	// memoryBudget is what the process takes at most then: Go's part, SQLite's
	// memory, which Go does not see, and what is in memory of the program's file.
	memoryBudget = 355 << 20
	// memoryMost is what it takes at most while some 225 MiB are alive: there the room
	// for garbage shrinks from a third to a quarter of that.
	memoryMost = 378 << 20
	// memoryBesides is about what Go holds besides its heap's objects: stacks,
	// gaps between objects, its own tables.
	memoryBesides = 40 << 20

	// A process that allocates more than busyAllocation bytes a second is at work on
	// a backlog: it lets its garbage grow to busyPercent of what is alive before it
	// collects, as far as the limit lets it, and to Go's usual hundred otherwise.
	busyAllocation = 64 << 20
	busyPercent    = 400
	idlePercent    = 100
	// busyLook is after what time without a collection it looks whether that is over,
	// and shortLook is too short to tell.
	busyLook  = time.Second
	shortLook = 50 * time.Millisecond
)

// smallMemory trades some CPU for a small process, by a limit to what Go holds,
// unless GOMEMLIMIT says otherwise. A GOGC that is set stays.
//
// A limit that is near to what is alive would be a trap: Go then collects without
// a pause (measured: 727 µs of CPU per order instead of 406). So each collection
// is followed by a look at what it left, and the limit keeps a distance to that.
func smallMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(memoryLimit)
	m := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	var p percent
	theirs := os.Getenv("GOGC") != ""
	afterCollection(func() {
		if !theirs {
			p.look()
		}
		metrics.Read(m)
		live, held := int64(m[0].Value.Uint64()), int64(m[1].Value.Uint64()-m[2].Value.Uint64())
		// Setting it stops the world, so it is not done for a few bytes.
		want, now := limitFor(live, max(0, resident()-held)), debug.SetMemoryLimit(-1)
		if want > now || want < now-now/32 {
			debug.SetMemoryLimit(want)
		}
	})
}

// percent follows how much is allocated. With little alive Go would collect some
// twenty times a second under a backlog, each time for 30 MB.
type percent struct {
	mu        sync.Mutex
	at        time.Time // of the last look
	allocated uint64    // by then
	busy      bool
	timer     *time.Timer
}

// look is called after each collection, and busyLook after the last one for as
// long as the process is busy.
func (p *percent) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(m)
	now, allocated := time.Now(), m[0].Value.Uint64()
	if now.Sub(p.at) < shortLook {
		return
	}
	busy := busyFor(allocated-p.allocated, now.Sub(p.at))
	p.at, p.allocated = now, allocated
	if busy != p.busy {
		p.busy = busy
		if busy {
			debug.SetGCPercent(busyPercent)
		} else {
			debug.SetGCPercent(idlePercent)
		}
	}
	switch {
	case !busy && p.timer != nil:
		p.timer.Stop()
	case busy && p.timer == nil:
		p.timer = time.AfterFunc(busyLook, p.look)
	case busy:
		p.timer.Reset(busyLook)
	}
}

// busyFor tells whether so many bytes in so much time are much.
func busyFor(bytes uint64, d time.Duration) bool {
	return float64(bytes) > busyAllocation*d.Seconds()
}

// limitFor is the limit while so many bytes are alive, and so many are in memory
// that Go does not know of: room for a third as much again as is alive before the
// next collection, though the process then takes more than its budget, and at
// least for a quarter. (With a fifth, beside a million orders in the history,
// 242 µs of CPU per order instead of 134.)
func limitFor(live, outside int64) int64 {
	third, quarter := memoryBesides+live+live/3, memoryBesides+live+live/4
	return max(min(memoryLimit, memoryBudget-outside), min(third, memoryMost-outside), quarter)
}

// resident is how many bytes of the process are in memory; 0 if the system does
// not tell.
func resident() int64 {
	var size, pages int64
	if b, err := os.ReadFile("/proc/self/statm"); err != nil {
		return 0
	} else if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// afterCollection calls f after every garbage collection, one call at a time.
func afterCollection(f func()) {
	type sentinel struct{ _ *byte } // a pointer keeps it apart from others
	runtime.AddCleanup(&sentinel{}, func(f func()) {
		f()
		afterCollection(f)
	}, f)
}
