package server

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// budget is an amount of memory that requests share. Who asks for more than is
// left waits; the first to wait is the first to get.
type budget struct {
	mu      sync.Mutex
	left    int64
	waiting []*share
}

type share struct {
	n    int64
	have chan struct{}
}

func newBudget(n int64) *budget { return &budget{left: n} }

// take waits until n bytes are free and takes them. Who holds some already says
// how long it waits at most: it may be what others wait for. 0 is for ever.
func (b *budget) take(ctx context.Context, n int64, most time.Duration) error {
	b.mu.Lock()
	if len(b.waiting) == 0 && b.left >= n {
		b.left -= n
		b.mu.Unlock()
		return nil
	}
	s := &share{n: n, have: make(chan struct{})}
	b.waiting = append(b.waiting, s)
	b.mu.Unlock()
	var late <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		late = timer.C
	}
	var err error
	select {
	case <-s.have:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-late:
		err = fmt.Errorf("no memory for more of the request: %w", os.ErrDeadlineExceeded)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-s.have: // in the same moment
		b.left += n
	default:
		for i, w := range b.waiting {
			if w == s {
				b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
				break
			}
		}
	}
	b.hand()
	return err
}

// free returns how many bytes are left, and at least none.
func (b *budget) free() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(b.left, 0)
}

// seize takes n bytes, if there are any or not.
func (b *budget) seize(n int64) {
	b.mu.Lock()
	b.left -= n
	b.mu.Unlock()
}

// give gives n bytes back.
func (b *budget) give(n int64) {
	b.mu.Lock()
	b.left += n
	b.hand()
	b.mu.Unlock()
}

func (b *budget) hand() {
	for len(b.waiting) > 0 && b.left >= b.waiting[0].n {
		b.left -= b.waiting[0].n
		close(b.waiting[0].have)
		b.waiting = b.waiting[1:]
	}
}
