package turns

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: a task rests while others press, shorter and
// shorter, works for a second in between, and goes on as soon as they no longer do.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pressing atomic.Bool
		turns := Turns{Pressed: pressing.Load}
		rests := func(when string, want time.Duration) {
			t.Helper()
			began := time.Now()
			turns.Rest(t.Context())
			if got := time.Since(began); got != want {
				t.Errorf("%s: rests for %v, not %v", when, got, want)
			}
		}
		rests("nobody presses", 0)
		pressing.Store(true)
		rests("pressed", longestRest)
		time.Sleep(workTurn - time.Millisecond)
		rests("its turn", 0)
		time.Sleep(time.Millisecond)
		rests("after its turn", longestRest)
		time.Sleep(workTurn)
		rests("after another", longestRest)
		time.Sleep(workTurn)
		rests("after three", longestRest/2)
		for range 100 * restTurns {
			turns.Rest(t.Context())
			time.Sleep(workTurn)
		}
		rests("after many", 0)
		pressing.Store(false)
		rests("no longer pressed", 0)
		pressing.Store(true)
		rests("after a moment without pressure", 0)
		pressing.Store(false)
		time.Sleep(longestRest)
		pressing.Store(true)
		go func() {
			time.Sleep(3*time.Second - Look/2)
			pressing.Store(false)
		}()
		rests("pressed for nearly three seconds", 3*time.Second)
		pressing.Store(true)
		rests("its turn after a rest cut short", 0)
		time.Sleep(workTurn)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		turns.Rest(ctx)
		if got := time.Since(began); got != time.Second {
			t.Errorf("stopped: rests for %v", got)
		}
		turns.Pressed = nil
		rests("without others", 0)
	})
}

// TestBlinking: pressure that ends for a moment again and again does not keep a
// task from its turns.
func TestBlinking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		turns := Turns{Pressed: func() bool { return time.Since(began)%(2100*time.Millisecond) < 2*time.Second }}
		rested, late := 0, 0
		for range 3 * 60 * time.Second / Look {
			if turns.Resting() {
				rested++
				if time.Since(began) > 2*time.Minute {
					late++
				}
			}
			time.Sleep(Look)
		}
		if all := time.Duration(rested) * Look; all == 0 || all > time.Minute {
			t.Errorf("it rests for %v in all", all)
		}
		if late > 0 {
			t.Errorf("after two minutes it still rests, %d times", late)
		}
	})
}
