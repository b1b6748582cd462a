// Package turns says when work that nobody waits for leaves the processors to
// work that somebody waits for.
package turns

import (
	"context"
	"time"

	"github.com/comptoir/comptoir/internal/lifecycle"
)

const (
	// longestRest and workTurn alternate while others in the process have more to
	// do than they can do at once (Turns.Pressed), beginning with a rest. After
	// every restTurns of them rests are half as long: when the pressure lasts, the
	// lag must not grow for ever. So after a minute there is none any more.
	longestRest = 10 * time.Second
	restTurns   = 3
	workTurn    = time.Second
)

// Look is how often a rest looks whether it is still wanted.
const Look = 100 * time.Millisecond

// Turns alternate between rest and work under pressure: what is done can be done
// later, in larger portions. One goroutine uses it.
type Turns struct {
	// Pressed tells whether others have more to do than they can do at once. Nil:
	// they never have. It is called from that goroutine.
	Pressed func() bool

	rests int       // since the pressure began
	ends  time.Time // of the rest under way, or the last one; zero without pressure
}

// Resting tells whether this is a time to rest.
func (t *Turns) Resting() bool {
	switch {
	case t.Pressed == nil || !t.Pressed():
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

// Rest returns when it is no longer a time to rest, or ctx ends.
func (t *Turns) Rest(ctx context.Context) {
	for t.Resting() && lifecycle.Sleep(ctx, Look) {
	}
}
