package state

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// memTable is how much is gathered in memory before it is written.
	memTable = 8 << 20
	// maxMemory bounds what is in memory alone, and maxLevels the sorted runs at
	// the top of Pebble's tree: beyond, batches wait.
	maxMemory = 4 * memTable
	maxLevels = 40
	// patience is how long a batch, or a write of a table, waits for a disk that takes
	// nothing.
	patience = 5 * time.Second
)

// room knows whether there is room for more batches.
type room struct {
	memory atomic.Int64 // bytes that Pebble has in memory alone, about
	levels atomic.Int64
	look   chan struct{} // Pebble has done something
	stop   chan struct{}
	done   chan struct{}

	mu    sync.Mutex
	waits chan struct{} // closed when there may be room
}

func newRoom() room {
	return room{look: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

func (r *room) kick() {
	select {
	case r.look <- struct{}{}:
	default: // it is about to look
	}
}

// watch looks at what Pebble has to do whenever it has done something. That waits
// for a manifest that is being written, which on a full disk takes its time: so
// nobody else may look.
func (db *DB) watch() {
	defer close(db.room.done)
	for {
		select {
		case <-db.room.stop:
			return
		case <-db.room.look:
		}
		m := db.p.Metrics()
		db.room.memory.Store(int64(m.MemTable.Size))
		db.room.levels.Store(int64(m.Levels[0].Sublevels))
		db.room.mu.Lock()
		if db.room.waits != nil {
			close(db.room.waits)
			db.room.waits = nil
		}
		db.room.mu.Unlock()
	}
}

// next is closed when there may be room.
func (r *room) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waits == nil {
		r.waits = make(chan struct{})
	}
	return r.waits
}

// take takes room if there is some.
func (r *room) take(bytes int) bool {
	ok := r.memory.Load() < maxMemory && r.levels.Load() < maxLevels
	if ok {
		r.memory.Add(int64(bytes))
	}
	return ok
}

// makeRoom waits until there is room for a batch.
func (db *DB) makeRoom(bytes int) error {
	if err := db.disk.broken(); err != nil {
		return fmt.Errorf("state: apply: %w", db.disk.health())
	}
	for !db.room.take(bytes) {
		next := db.room.next()
		if db.room.take(bytes) {
			break
		}
		timer := time.NewTimer(db.patience)
		select {
		case <-next:
			timer.Stop()
		case <-timer.C:
			if err := db.disk.health(); err != nil {
				return fmt.Errorf("state: apply: %w", err)
			}
		}
	}
	return nil
}

// flush writes to the disk what is in memory alone, unless the disk cannot take
// it now.
func (db *DB) flush() error {
	done, err := db.p.AsyncFlush()
	if err != nil {
		return fmt.Errorf("state: flush: %w", err)
	}
	for {
		select {
		case <-done:
			return nil
		case <-db.disk.stuck:
			if err := db.disk.health(); err != nil {
				return fmt.Errorf("state: flush: %w", err)
			}
		}
	}
}

// Health returns why nothing can be written to the disk at the moment, or nil.
// The state goes on in memory meanwhile.
func (db *DB) Health() error { return db.disk.health() }
