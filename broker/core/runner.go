package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comptoir/comptoir/broker/store"
)

// Clock is the time of day, in a form that tests can turn.
type Clock interface {
	Now() time.Time
	// After returns a channel that gets a value once d has passed.
	After(d time.Duration) <-chan time.Time
}

// Disk is the store, as the runner uses it.
type Disk interface {
	State
	Write(*store.Commit) (store.Mark, error)
	Written() store.Mark
	Sync(store.Mark) error
	Health() error
	Unclean() bool
	PowerLost() bool
}

const (
	// queue is how many requests may wait for the runner before connections do.
	queue = 1024
	// turnRequests bounds the requests of one turn, so that answers do not wait
	// long for each other.
	turnRequests = 256
	// lazySync is how long what nobody waits for may stay unsynced.
	lazySync = 5 * time.Millisecond
	// reviveAfter is how long a runner without a machine waits before it tries
	// to load one again.
	reviveAfter = time.Second
)

// ErrClosed is the error of Submit once the runner has ended.
var ErrClosed = errors.New("broker is closed")

// Runner is the goroutine that a machine belongs to, and the one that syncs
// behind it.
type Runner struct {
	cfg   Config
	disk  Disk
	view  *View
	clock Clock
	log   *slog.Logger
	// dropAll closes every connection.
	dropAll func()

	// machine is nil while it cannot be loaded: then nothing is known for sure,
	// and every request is dropped.
	machine *Machine
	turns   uint64 // number of the last turn that was taken
	// shown is the number of the last turn that is on the disk and published.
	shown   atomic.Uint64
	in      chan *Request
	written chan written
	done    chan struct{}
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// written is a turn on its way to the disk.
type written struct {
	mark store.Mark
	turn Turn
	// lazy says that nobody waits for it.
	lazy bool
	// reads says that the turn has only read: nothing could be written.
	reads bool
}

// Start loads a machine from the disk and runs it until Close. dropAll closes
// every connection: it is called when the machine had to be loaded anew.
func Start(cfg Config, disk Disk, view *View, clock Clock, dropAll func()) (*Runner, error) {
	ctx, stop := context.WithCancel(context.Background())
	r := &Runner{
		cfg: cfg, disk: disk, view: view, clock: clock, log: cfg.Logger, dropAll: dropAll,
		in: make(chan *Request, queue), written: make(chan written, 64),
		done: make(chan struct{}), stop: stop,
	}
	first, err := r.load(disk.Unclean(), disk.PowerLost())
	if err == nil {
		err = disk.Sync(first.mark)
	}
	if err != nil {
		stop()
		return nil, err
	}
	release(first.turn.Publish)
	r.shown.Store(first.turn.number)
	r.ended.Add(2)
	go r.run(ctx)
	go r.syncLoop()
	return r, nil
}

// Submit hands a request to the machine. It blocks while too many wait.
func (r *Runner) Submit(ctx context.Context, req *Request) error {
	select {
	case r.in <- req:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return ErrClosed
	}
}

// Close ends the machine, after the turn under way. What was decided is
// written and synced; requests that wait are dropped.
func (r *Runner) Close() {
	r.stop()
	r.ended.Wait()
}

// load makes the machine anew of what is written, and writes what it decides
// then.
func (r *Runner) load(unclean, powerLost bool) (written, error) {
	r.machine = nil
	cfg := r.cfg
	cfg.turns, cfg.shown = r.turns, &r.shown
	m, err := Load(cfg, r.view, r.disk, r.clock.Now(), unclean, powerLost)
	if err != nil {
		return written{}, err
	}
	t := m.Take()
	r.turns = t.number
	mark := r.disk.Written()
	if !t.Commit.Empty() {
		if mark, err = r.disk.Write(&t.Commit); err != nil {
			return written{}, fmt.Errorf("write the first state: %w", err)
		}
	}
	r.machine = m
	return written{mark: mark, turn: t}, nil
}

func (r *Runner) run(ctx context.Context) {
	defer r.ended.Done()
	defer close(r.written)
	defer close(r.done)
	for {
		var due <-chan time.Time
		if r.machine == nil {
			due = r.clock.After(reviveAfter)
		} else if at, ok := r.machine.Due(); ok {
			due = r.clock.After(at.Sub(r.clock.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-due:
			r.step(nil)
		case req := <-r.in:
			r.step(req)
		}
	}
}

// step is one turn: what waits is handled, written as one, and passed on.
func (r *Runner) step(first *Request) {
	if r.machine == nil && !r.revive() {
		if first != nil {
			first.Dropped()
		}
		return
	}
	t, ok := r.handle(first)
	if !ok {
		return
	}
	r.turns = t.number
	mark := r.disk.Written()
	release(t.Before)
	if !t.Commit.Empty() {
		var err error
		if mark, err = r.disk.Write(&t.Commit); err != nil {
			r.log.Error("broker cannot write", "err", err)
			r.reload(t.Requests)
			return
		}
	}
	release(t.Early)
	release(t.Relaxed)
	if len(t.Durable) > 0 || len(t.Publish) > 0 || len(t.Early) > 0 {
		r.written <- written{mark: mark, turn: t, lazy: len(t.Durable) == 0, reads: r.machine.readOnly != nil && t.Commit.Empty()}
	}
}

// handle makes a turn of the requests that wait, from first on. It reports
// whether the turn stands. A request that breaks the machine is left out, and
// its connection closed: the others are handled anew by a machine that is loaded
// again, since nothing of the turn was written.
func (r *Runner) handle(first *Request) (Turn, bool) {
	requests := r.gatherRequests(first)
	for {
		t, broke := r.attempt(requests)
		switch {
		case broke == noRequest:
			return t, true
		case broke == len(requests):
			// It was no request's fault, and would come again.
			r.reload(requests)
			return Turn{}, false
		}
		requests[broke].Dropped()
		requests = slices.Delete(requests, broke, broke+1)
		r.machine.abandon(requests)
		if !r.revive() {
			drop(requests)
			return Turn{}, false
		}
	}
}

// gatherRequests returns the requests of a turn: first, if there is one, and
// what else waits.
func (r *Runner) gatherRequests(first *Request) []*Request {
	var requests []*Request
	if first != nil {
		requests = append(requests, first)
	}
	for len(requests) < turnRequests {
		select {
		case req := <-r.in:
			requests = append(requests, req)
		default:
			return requests
		}
	}
	return requests
}

// noRequest is what broke in a turn that stands.
const noRequest = -1

// attempt runs the requests of a turn. It returns the number of the one that made
// the machine panic, or len(requests) when it was none of them. What is due by
// the clock comes last: a heartbeat that waited while the disk was slow is not
// late.
func (r *Runner) attempt(requests []*Request) (t Turn, broke int) {
	at := len(requests)
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a request broke the broker's rules", "panic", p, "stack", string(debug.Stack()))
			if r.cfg.Panicked != nil {
				r.cfg.Panicked()
			}
			t, broke = Turn{}, at
		}
	}()
	now := r.clock.Now()
	r.machine.readOnly = r.disk.Health()
	for i, req := range requests {
		at = i
		r.machine.Handle(now, req)
	}
	at = len(requests)
	r.machine.Tick(now)
	return r.machine.Take(), noRequest
}

// reload gives up a turn: nobody learns what became of its requests, and the
// machine goes back to what is written. If that fails there is none: the one
// that was is ahead of the disk, and must not answer anybody.
func (r *Runner) reload(requests []*Request) {
	drop(requests)
	r.dropAll() // those who wait for a group, too
	r.revive()
}

// revive loads the machine anew. It reports whether there is one.
func (r *Runner) revive() bool {
	first, err := r.load(false, false)
	if err != nil {
		r.log.Error("broker cannot go on", "err", err)
		return false
	}
	r.written <- first
	return true
}

// syncLoop forces turns to the disk, all that wait at once, and lets their
// answers and news out in order.
func (r *Runner) syncLoop() {
	defer r.ended.Done()
	for {
		turns, more := r.gather()
		if len(turns) > 0 {
			r.settle(turns)
		}
		if !more {
			return
		}
	}
}

// gather returns the turns that wait, at least one; if nobody waits for their
// answers, it gives others the time to join. more is false after the last.
func (r *Runner) gather() (turns []written, more bool) {
	w, more := <-r.written
	if !more {
		return nil, false
	}
	turns = []written{w}
	urgent := !w.lazy
	late := r.clock.After(lazySync)
	for more {
		if urgent {
			select {
			case w, more = <-r.written:
			default:
				return turns, true
			}
		} else {
			select {
			case w, more = <-r.written:
			case <-late:
				return turns, true
			}
		}
		if more {
			turns = append(turns, w)
			urgent = urgent || !w.lazy
		}
	}
	return turns, false
}

// settle syncs turns and lets go what waited for it.
func (r *Runner) settle(turns []written) {
	if err := r.disk.Sync(turns[len(turns)-1].mark); err != nil {
		for _, w := range turns {
			if w.reads {
				// Reads go on. What they tell of may be lost with the machine's
				// power, but nothing that builds on it will be acknowledged.
				release(w.turn.Durable)
				continue
			}
			r.log.Error("broker cannot sync", "err", err)
			drop(w.turn.Requests)
		}
		return
	}
	answers := 0
	for _, w := range turns {
		release(w.turn.Publish)
		// What comes now may rely on it.
		r.shown.Store(w.turn.number)
		release(w.turn.Durable)
		answers += len(w.turn.Durable)
	}
	if answers > 0 && r.cfg.Settled != nil {
		r.cfg.Settled(answers)
	}
}

func drop(requests []*Request) {
	for _, req := range requests {
		req.Dropped()
	}
}

func release(all []func()) {
	for _, f := range all {
		f()
	}
}
