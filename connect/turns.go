package connect

import (
	"context"
	"time"

	"github.com/comptoir/comptoir/internal/lifecycle"
)

const (
	// longestRest and workTurn alternate while others in the process have more to
	// do than they can do at once (Config.Yield), beginning with a rest. After
	// every restTurns of them rests are half as long: when the pressure lasts, the
	// lag must not grow for ever. So after a minute there is none any more.
	longestRest = 10 * time.Second
	restTurns   = 3
	workTurn    = time.Second
	// restLook is how often a rest looks whether it is still wanted.
	restLook = 100 * time.Millisecond
)

// turns says when a task leaves the processors to others: what it writes can come
// later, in larger batches. One goroutine uses it.
type turns struct {
	pressed func() bool // nil: never
	rests   int         // since the pressure began
	ends    time.Time   // of the rest under way, or the last one; zero without pressure
}

// resting tells whether this is a time to rest.
func (t *turns) resting() bool {
	switch {
	case t.pressed == nil || !t.pressed():
		t.ends = time.Time{}
		return false
	case t.ends.IsZero():
		t.rests, t.ends = 1, time.Now().Add(longestRest)
	case time.Since(t.ends) >= workTurn:
		t.ends = time.Now().Add(longestRest >> min(t.rests/restTurns, 62))
		t.rests++
	}
	return time.Now().Before(t.ends)
}

// rest returns when it is no longer one, or ctx ends.
func (t *turns) rest(ctx context.Context) {
	for t.resting() && lifecycle.Sleep(ctx, restLook) {
	}
}
