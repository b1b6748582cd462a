package store

import (
	"fmt"
	"time"
)

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
func (s *Store) writable() error {
	if s.closed {
		return ErrClosed
	}
	return s.failure()
}

// Health returns why the store refuses writes, or nil.
func (s *Store) Health() error { return s.failure() }

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
	}
}
