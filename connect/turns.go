package connect

import (
	"context"
	"time"
)

const (
	// longestRest and workTurn alternate while others in the process have more to
	// do than they can do at once (Config.Yield), beginning with a rest. Each rest
	// is half of the one before: when the pressure lasts, its lag must not grow for
	// ever.
	longestRest = 10 * time.Second
	workTurn    = time.Second
	// restLook is how often a rest looks whether it is still wanted.
	restLook = 100 * time.Millisecond
)

// turns says when a task leaves the processors to others: what it writes can come
// later, in larger batches. One goroutine uses it.
type turns struct {
	pressed func() bool // nil: never
	length  time.Duration
	ends    time.Time // of the rest under way, or the last one; zero without pressure
}

// resting tells whether this is a time to rest.
func (t *turns) resting() bool {
	switch {
	case t.pressed == nil || !t.pressed():
		t.ends = time.Time{}
		return false
	case t.ends.IsZero():
		t.length = longestRest
		t.ends = time.Now().Add(t.length)
	case time.Since(t.ends) >= workTurn:
		t.length /= 2
		t.ends = time.Now().Add(t.length)
	}
	return time.Now().Before(t.ends)
}

// rest returns when it is no longer one, or ctx ends.
func (t *turns) rest(ctx context.Context) {
	for t.resting() && sleep(ctx, restLook) {
	}
}
