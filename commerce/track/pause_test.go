package track

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPause: tracking rests after a batch while the topics grow, and longer while
// the stages press, but not for ever, and not after they have ceased to.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pause
		var pressing bool
		left := func(when string, want time.Duration) {
			t.Helper()
			p.look(func() bool { return pressing })
			if got := max(p.left(), 0); got != want {
				t.Errorf("%s: %v are left, not %v", when, got, want)
			}
		}
		p.look(nil)
		left("at first", 0)
		p.landed(300*time.Millisecond, false)
		left("nothing more came", 0)
		p.landed(300*time.Millisecond, true)
		left("more came", yieldShare*300*time.Millisecond)
		p.landed(time.Minute, true)
		left("a long batch", longestYield)
		time.Sleep(longestYield)
		left("after the rest", 0)

		p.landed(time.Second, true)
		time.Sleep(time.Hour)
		pressing = true
		left("pressed, long after a batch", pressedRest)
		time.Sleep(time.Second)
		left("a second later", pressedRest-time.Second)
		pressing = false
		left("no longer pressed", 0)
		pressing = true
		left("pressed again", pressedRest-time.Second)
		pressing = false
		left("calm", 0)
		time.Sleep(pressedRest)
		pressing = true
		left("pressed anew", pressedRest)
		time.Sleep(pressedRest)
		left("pressed for long", 0)
		p.landed(time.Minute, true)
		left("after a batch", pressedRest)
		p.landed(time.Minute, true)
		p.landed(time.Minute, true)
		left("after three", pressedRest/2)
		for range 100 {
			p.landed(time.Minute, true)
		}
		left("after many", 0)

		// Pressure that blinks is one that lasts.
		pressing = false
		left("calm again", longestYield)
		time.Sleep(pressedRest)
		applied := 0
		for begin := time.Now(); time.Since(begin) < 5*time.Minute; time.Sleep(100 * time.Millisecond) {
			pressing = time.Since(begin)%(2100*time.Millisecond) < 2*time.Second
			p.look(func() bool { return pressing })
			if pressing && p.left() <= 0 {
				p.landed(100*time.Millisecond, false)
				applied++
			}
		}
		if applied < 1000 {
			t.Errorf("%d batches in five minutes under pressure that blinks", applied)
		}
	})
}

// TestBatchesBetween: what is applied while nobody presses does not shorten the
// rests of the pressure that follows soon.
func TestBatchesBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pause
		p.look(func() bool { return true })
		p.look(nil)
		for range 100 {
			p.landed(time.Millisecond, false)
		}
		time.Sleep(time.Second)
		p.look(func() bool { return true })
		if got, want := p.left(), pressedRest-time.Second; got != want {
			t.Errorf("%v are left, not %v", got, want)
		}
	})
}
