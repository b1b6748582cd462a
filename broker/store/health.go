package store

import (
	"errors"
	"fmt"
	"time"
)

// ErrLowSpace says that the disk has less room left than Options.LowSpace.
var ErrLowSpace = errors.New("disk is nearly full: free some space or give it more")

// ErrNoSpace says that the disk has no room at all, not even for what makes some,
// and that none is kept.
var ErrNoSpace = errors.New("disk is full: free some space or give it more")

// leastSpace is what an urgent write needs, roughly.
const leastSpace = 16 << 10

// fail ends the writing. What is there can still be read.
func (s *Store) fail(err error) {
	err = fmt.Errorf("store takes no more writes until it is opened again: %w", err)
	if s.failed.CompareAndSwap(nil, &err) {
		s.log.Error("store takes no more writes", "error", err)
	}
}

// failure is why nothing can be written any more, or nil.
func (s *Store) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	if err := s.journal.failure(); err != nil {
		s.fail(err)
		return *s.failed.Load()
	}
	return nil
}

// writable is called with the lock.
func (s *Store) writable(c *Commit) error {
	if s.closed {
		return ErrClosed
	}
	err := s.Health()
	if c.urgent && (errors.Is(err, ErrLowSpace) || errors.Is(err, ErrNoSpace)) {
		return nil // it is tried
	}
	return err
}

// Health returns why the store refuses writes, or nil. A full disk is looked at
// again from time to time; what else fails stays so until the store is opened
// again.
func (s *Store) Health() error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.room.check(s)
}

// Space returns the bytes that the disk has room for; ok is false if it does not
// tell.
func (s *Store) Space() (free uint64, ok bool) {
	u, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
	return u.AvailBytes, err == nil
}

// lookEvery is how old a look at the free space gets.
const lookEvery = 250 * time.Millisecond

// check looks at the free space if that was not done just now.
func (r *room) check(s *Store) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.looked) > lookEvery {
		r.looked = now
		var err error
		if free, ok := s.Space(); ok && free < s.opts.LowSpace {
			if err = ErrLowSpace; free < leastSpace && !s.reserve.there() {
				err = ErrNoSpace
			}
		} else if ok && free-s.opts.LowSpace > 2*s.opts.Reserve {
			s.reserve.take()
		}
		if (err == nil) != (r.err == nil) {
			s.log.Warn("free space of the disk", "writes_refused", err != nil)
		}
		r.err = err
	}
	return r.err
}

// refuse has writes refused until the next look: one has just failed.
func (r *room) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if noRoom(err) {
		err = fmt.Errorf("%w: %w", ErrLowSpace, err)
	} else {
		err = fmt.Errorf("last write failed: %w", err)
	}
	r.looked, r.err = time.Now(), err
}

// background syncs what nobody waits for.
func (s *Store) background() {
	timer := time.NewTimer(s.opts.Interval)
	timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		}
		timer.Reset(s.opts.Interval)
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		if s.journal.flush() != nil {
			_ = s.failure() // notes it
			return
		}
		select {
		case s.tidy <- struct{}{}:
		default: // it is at it
		}
	}
}

// sweeper frees space and the system's memory, apart from the background since
// that may take its time.
func (s *Store) sweeper() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.tidy:
		}
		if err := s.letGo(); err != nil {
			s.log.Debug("cannot let go of the journal's pages", "error", err)
		}
		if err := s.sweep(); err != nil && err != ErrClosed && s.failure() == nil {
			s.log.Error("cannot free space of the journal", "error", err)
		}
	}
}

// Stats counts what the store did since it was opened and what it holds.
type Stats struct {
	Frames     int64 // written
	Bytes      int64 // written to the journal
	Files      int   // of the journal
	FileBytes  int64 // of those
	LiveBytes  int64 // of record batches that can be read
	IndexBytes int64 // on the disk
}

// Stats returns them as they are.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Frames: s.frames, Bytes: int64(s.Written() - s.began),
		Files:      len(s.applier.files),
		IndexBytes: s.index.bytes.Load(),
	}
	for n, r := range s.applier.files {
		st.LiveBytes += r.live
		if at := s.journal.end(); n == at.file {
			st.FileBytes += at.offset
		} else {
			st.FileBytes += r.end
		}
	}
	return st
}
