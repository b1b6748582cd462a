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
		go func() {
			time.Sleep(3*time.Second - Look/2)
			pressing.Store(false)
		}()
		rests("pressed for nearly three seconds", 3*time.Second)
		pressing.Store(true)
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
