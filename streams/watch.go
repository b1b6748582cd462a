package streams

import (
	"fmt"
	"sync/atomic"
	"time"
)

// An opening waits for others: the brokers, transactions of others in the
// changelog, the disk. One that takes long keeps its partitions from everybody
// else, so it is told of, and one that does not get on at all is begun anew. Both
// limits follow the session: who is away for longer than that is replaced.
const (
	// openingTold is how many sessions an opening may take until it is told of, and
	// how often then.
	openingTold = 1
	// openingStuck is how many sessions it may stand still.
	openingStuck = 12
)

// watch is what the run goroutine sees of an opening.
type watch struct {
	doing atomic.Pointer[string]
	beats atomic.Uint64 // grows while the opening gets on

	// Of the run goroutine.
	began time.Time
	next  time.Time // to look; the first look sets it
	seen  uint64
	alive time.Time // when it was last seen to get on
}

func (w *watch) begin() {
	w.began = time.Now()
	w.next, w.alive = w.began, w.began
}

// at notes what is done now.
func (w *watch) at(what string) {
	w.doing.Store(&what)
	w.beat()
}

// beat notes that the opening gets on.
func (w *watch) beat() { w.beats.Add(1) }

// late tells whether the opening is to be told of.
func (w *watch) late(session time.Duration) bool { return time.Since(w.began) >= openingTold*session }

// slow is what is told.
func (o *opening) slow() error {
	what := "beginning"
	if doing := o.watch.doing.Load(); doing != nil {
		what = *doing
	}
	return fmt.Errorf("tasks %v are being opened for %v: %s", o.wanted, time.Since(o.watch.began).Round(time.Second), what)
}

// watchOpening tells of an opening that takes long, and gives up one that stands
// still: it is begun anew.
func (w *worker) watchOpening() {
	o, session := w.opening, w.cfg.SessionTimeout
	if o == nil || time.Now().Before(o.watch.next) {
		return
	}
	o.watch.next = time.Now().Add(openingTold * session)
	if beats := o.watch.beats.Load(); beats != o.watch.seen {
		o.watch.seen, o.watch.alive = beats, time.Now()
	}
	if time.Since(o.watch.alive) >= openingStuck*session {
		w.log.Warn("tasks are opened anew: the opening stands still", "err", o.slow())
		o.cancel()
		o.watch.alive = time.Now()
	}
	if o.watch.late(session) {
		w.metrics.opening.WithLabelValues(w.top.app).Set(time.Since(o.watch.began).Seconds())
		w.look()
	}
}
