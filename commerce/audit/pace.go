package audit

import (
	"context"
	"syscall"
	"time"

	"github.com/comptoir/comptoir/internal/lifecycle"
)

const (
	// paceStretch is the least work between two rests.
	paceStretch = 2 * time.Millisecond
	// paceLook is how often is looked what the rest of the process does.
	paceLook = time.Second
	// paceIdle is the share of one core that may be taken while that is next to
	// nothing.
	paceIdle = 0.1
	// paceYield is the part of the share that is taken while others need the
	// processors.
	paceYield = 0.125
	// paceLongest is the longest rest for their sake: a commit may be half a second
	// of work, and a minute of rest after it would look like a standstill.
	paceLongest = 10 * time.Second
)

// pace keeps work to a share of one core's time. One goroutine uses it.
type pace struct {
	share float64
	now   float64   // the share at present
	began time.Time // of the work since the last rest
	// cpu returns the processor time that the process has had.
	cpu func() time.Duration
	// yield tells whether others need the processors; nil: they do not.
	yield func() bool

	looked time.Time
	used   time.Duration // cpu as of then
	own    time.Duration // of the work since then
}

func newPace(share float64, yield func() bool) *pace {
	return &pace{share: share, now: share, yield: yield, began: time.Now(), cpu: processorTime, looked: time.Now(), used: processorTime()}
}

// work says that now work begins: what came before was waiting.
func (p *pace) work() { p.began = time.Now() }

// rest rests, if there was work enough, for as long as the share asks.
func (p *pace) rest(ctx context.Context) error {
	if p.share >= 1 {
		return nil
	}
	now := time.Now()
	worked := now.Sub(p.began)
	if worked < paceStretch {
		return nil
	}
	p.own += worked
	if past := now.Sub(p.looked); past >= paceLook {
		used := p.cpu()
		p.now = p.allowed(past, used-p.used)
		p.looked, p.used, p.own = now, used, 0
	}
	rest := restFor(worked, p.now)
	if p.yield != nil && p.yield() {
		rest = max(rest, min(restFor(worked, p.share*paceYield), paceLongest))
	}
	if !lifecycle.Sleep(ctx, rest) {
		return ctx.Err()
	}
	p.began = time.Now()
	return nil
}

func restFor(worked time.Duration, share float64) time.Duration {
	return time.Duration(float64(worked) * (1/share - 1))
}

// allowed is the share after a time in which the process has used so much. What
// our work makes others do, as flushing what it wrote, may come to a quarter of it.
// A hundred orders a second are not nothing: their latency would suffer (measured
// embedded, with more allowed: p99 49 ms instead of 7).
func (p *pace) allowed(past, used time.Duration) float64 {
	if others := used - p.own; others < p.own/4+past/33 {
		return max(p.share, paceIdle)
	}
	return p.share
}

// processorTime is what the process has used, 0 if that is not known.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
