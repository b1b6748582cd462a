package server

import (
	"context"
	"errors"
	"testing"
)

func TestBudget(t *testing.T) {
	b := newBudget(10)
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.take(ctx, 8, 0); err != nil {
		t.Fatal(err)
	}
	large, small := make(chan error, 1), make(chan error, 1)
	go func() { large <- b.take(ctx, 10, 0) }()
	for waiting := 0; waiting < 1; {
		b.mu.Lock()
		waiting = len(b.waiting)
		b.mu.Unlock()
	}
	// A small one that comes later does not overtake.
	go func() { small <- b.take(context.Background(), 1, 0) }()
	for waiting := 0; waiting < 2; {
		b.mu.Lock()
		waiting = len(b.waiting)
		b.mu.Unlock()
	}
	cancel()
	if err := <-large; !errors.Is(err, context.Canceled) {
		t.Errorf("the large one: %v", err)
	}
	if err := <-small; err != nil {
		t.Errorf("the small one behind it: %v", err)
	}
	b.give(9)
	if b.left != 10 {
		t.Errorf("%d left of 10", b.left)
	}
}
