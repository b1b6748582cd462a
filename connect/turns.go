package connect

import (
	"context"
	"time"
)

const (
	// longestRest and workTurn alternate while others in the process have more to
	// do than they can do at once (Config.Yield), beginning with a rest.
	longestRest = 10 * time.Second
	workTurn    = time.Second
	// restLook is how often a rest looks whether it is still wanted.
	restLook = 100 * time.Millisecond
)

// turns says when a task leaves the processors to others: what it writes can come
// later, in larger batches. One goroutine uses it.
type turns struct {
	pressed func() bool // nil: never
	since   time.Time   // when the pressure began; zero without
}

// resting tells whether this is a time to rest.
func (t *turns) resting() bool {
	switch {
	case t.pressed == nil || !t.pressed():
		t.since = time.Time{}
		return false
	case t.since.IsZero():
		t.since = time.Now()
	}
	return time.Since(t.since)%(longestRest+workTurn) < longestRest
}

// rest returns when it is no longer one, or ctx ends.
func (t *turns) rest(ctx context.Context) {
	for t.resting() && sleep(ctx, restLook) {
	}
}
