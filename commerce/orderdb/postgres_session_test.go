package orderdb

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
)

// waitedFor is a context that tells when somebody begins to wait for its end.
type waitedFor struct {
	context.Context
	once  *sync.Once
	asked chan struct{}
}

func (c waitedFor) Done() <-chan struct{} {
	c.once.Do(func() { close(c.asked) })
	return c.Context.Done()
}

func waited(t *testing.T) (waitedFor, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	return waitedFor{ctx, new(sync.Once), make(chan struct{})}, cancel
}

// TestHoldIsGivenUp: who waits behind a connection that does not answer may give
// up, and what the server then gives is given back.
func TestHoldIsGivenUp(t *testing.T) {
	t.Run("no server", func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		s := newSession(life, nil, slog.New(slog.DiscardHandler))
		d := &postgresDB{session: s}
		s.turn <- struct{}{} // somebody waits for an answer
		ctx, cancel := waited(t)
		done := make(chan error)
		go func() { _, _, err := d.Hold(ctx, 0); done <- err }()
		<-ctx.asked
		cancel()
		if err := <-done; !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("hold: %v", err)
		}
		// Release waits for nothing but its own limit.
		l := &postgresLock{s: s, lost: make(chan struct{})}
		s.held[0] = l
		l.Release()
		delete(s.held, 0) // what the one who waits for its turn will find
		<-s.turn
		end()
		s.watch()
		if _, _, err := d.Hold(t.Context(), 0); !errors.Is(err, errClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		p := postgresPlace(t)
		db, other := p.open(t), p.open(t)
		s := db.(*postgresDB).session
		s.turn <- struct{}{}
		ctx, cancel := waited(t)
		done := make(chan error)
		go func() { _, _, err := db.Hold(ctx, 0); done <- err }()
		<-ctx.asked
		cancel()
		if err := <-done; !errors.Is(err, ErrUnavailable) {
			t.Errorf("hold: %v", err)
		}
		<-s.turn
		// The session does what was asked of it, one after the other.
		if _, ok, err := db.Hold(t.Context(), 1); !ok || err != nil {
			t.Fatal(ok, err)
		}
		eventually(t, "the shard that nobody waited for is free", func() bool {
			_, ok, err := other.Hold(t.Context(), 0)
			return ok && err == nil
		})
	})
}
