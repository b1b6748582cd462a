package streams

import (
	"testing"
	"time"
)

// TestPace: a transaction goes at once while there is credit, then waits until its
// cost is a quarter of the time; what its end has waited for costs nothing, and one
// slow commit is soon forgotten.
func TestPace(t *testing.T) {
	const limit = time.Second
	var p pace
	now := time.Unix(1, 0)
	shared := func(workers int, took, waited time.Duration) {
		start := now
		now = now.Add(took)
		p.waited = waited
		p.spent(start, now, workers)
	}
	commit := func(took, waited time.Duration) { shared(1, took, waited) }
	wait := func(when string, want time.Duration) {
		t.Helper()
		if got := p.wait(now, limit); got != want {
			t.Errorf("%s: waits for %v, not %v", when, got, want)
		}
	}
	wait("at first", 0)
	commit(paceBurst, 0)
	wait("the burst is used", 0)
	commit(4*time.Millisecond, 0)
	wait("without credit", 12*time.Millisecond)
	now = now.Add(12 * time.Millisecond)
	wait("after it", 0)
	commit(4*time.Millisecond, 3*time.Millisecond)
	wait("an end that took most of it", 0)
	commit(4*time.Millisecond, 0)
	wait("and one that did not", 12*time.Millisecond)
	commit(time.Minute, 0)
	wait("after a slow one", paceShare*paceBurst)
	if got := p.wait(now, time.Millisecond); got != time.Millisecond {
		t.Errorf("waits for %v beyond the limit", got)
	}
	now = now.Add(time.Minute)
	wait("after a pause", 0)
	commit(paceBurst, 0)
	wait("what was saved is bounded", 0)
	commit(time.Millisecond, 0)
	wait("and used", 3*time.Millisecond)
	now = now.Add(time.Minute)
	shared(4, 4*paceBurst, 0)
	wait("one of four workers, of whom each has an allowance", 0)
	shared(4, 4*time.Millisecond, 0)
	wait("and one more", 0) // a millisecond each, which it took four to earn
	commit(8*time.Millisecond, 0)
	if got := p.linger(); got != time.Millisecond {
		t.Errorf("lingers for %v after a commit of 8 ms", got)
	}
	if commit(time.Second, 0); p.linger() != lingerMost {
		t.Errorf("lingers for %v after a commit of a second", p.linger())
	}
}
