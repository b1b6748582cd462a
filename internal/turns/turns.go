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
	// every restTurns of them rests are half as long, until none is worth it: when
	// the pressure lasts, the lag must not grow for ever. That is a minute of rests
	// in all, and more may come only after the pressure was gone for longestRest.
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
	ends  time.Time // of the rest under way, or the last one; zero before the first
	seen  time.Time // when there was pressure last
}

// Resting tells whether this is a time to rest.
func (t *Turns) Resting() bool {
	now := time.Now()
	if t.Pressed == nil || !t.Pressed() {
		if now.Before(t.ends) {
			t.ends = now // it is over, and a turn of work begins
		}
		return false
	}
	if now.Sub(t.seen) >= longestRest {
		t.rests, t.ends = 0, time.Time{}
	}
	t.seen = now
	if now.Sub(t.ends) >= workTurn {
		if rest := longestRest >> min(t.rests/restTurns, 62); rest >= Look {
			t.ends = now.Add(rest)
			t.rests++
		}
	}
	return now.Before(t.ends)
}

// Rest returns when it is no longer a time to rest, or ctx ends.
func (t *Turns) Rest(ctx context.Context) {
	for t.Resting() && lifecycle.Sleep(ctx, Look) {
	}
}
