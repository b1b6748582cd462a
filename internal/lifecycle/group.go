// Package lifecycle starts the parts of a process in order and stops them in
// the order of the data. It owns the deadlines of a stop and must not know
// what the parts do.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Component is a part of a process with goroutines of its own.
type Component interface {
	// Start returns when the component is ready. After an error it has
	// left nothing running.
	Start(ctx context.Context) error
	// Stop finishes what is under way, joins every goroutine and returns. If
	// ctx ends first it gives up what is unfinished, but still joins and
	// releases. It may be called twice.
	Stop(ctx context.Context) error
}

// Func makes a Component of two functions; a nil one does nothing.
func Func(start, stop func(context.Context) error) Component { return funcs{start, stop} }

type funcs struct{ start, stop func(context.Context) error }

func (f funcs) Start(ctx context.Context) error { return call(f.start, ctx) }
func (f funcs) Stop(ctx context.Context) error  { return call(f.stop, ctx) }

func call(f func(context.Context) error, ctx context.Context) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

// ErrStopTimeout is in the error of a Stop whose deadline passed while a
// component was still stopping.
var ErrStopTimeout = errors.New("not stopped in time")

type member struct {
	name      string
	component Component
}

// Group is a list of named components. Add before Start; Start and Stop may
// be called by different goroutines.
type Group struct {
	log     *slog.Logger
	members []member
	order   []string // of stopping; empty means reverse

	mu      sync.Mutex
	started []member
}

// NewGroup returns an empty group that logs to log.
func NewGroup(log *slog.Logger) *Group { return &Group{log: log} }

// Add appends a component. Names are unique: they stand in logs and errors.
func (g *Group) Add(name string, c Component) {
	if slices.ContainsFunc(g.members, func(m member) bool { return m.name == name }) {
		panic(fmt.Sprintf("lifecycle: component %q added twice", name))
	}
	g.members = append(g.members, member{name, c})
}

// StopOrder sets the order in which components stop, instead of the reverse of
// their start. Those not named stop afterwards, in reverse.
func (g *Group) StopOrder(names ...string) { g.order = names }

// Start starts the components one after the other. If one fails, those that
// had started are stopped and the errors are joined.
func (g *Group) Start(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.started != nil {
		return errors.New("lifecycle: group started twice")
	}
	for _, m := range g.members {
		begin := time.Now()
		err := ctx.Err()
		if err == nil {
			err = m.component.Start(ctx)
		}
		if err != nil {
			err = fmt.Errorf("start %s: %w", m.name, err)
			// ctx may be what failed, so the stop has its own time.
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startFailedStop)
			defer cancel()
			return errors.Join(err, g.stop(stopCtx))
		}
		g.started = append(g.started, m)
		g.log.Debug("component started", "component", m.name, "duration", time.Since(begin))
	}
	return nil
}

// startFailedStop bounds the stop after a failed start.
const startFailedStop = 10 * time.Second

// Stop stops what was started. Components may work gracefully until three
// quarters of ctx's deadline, then their own context ends and they must give
// up; cancelling ctx does the same at once. At the deadline Stop no longer
// waits for a component that has not returned, and its error, with
// ErrStopTimeout, names it. Every component is called, whatever the others
// answer. A second Stop returns nil.
func (g *Group) Stop(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stop(ctx)
}

func (g *Group) stop(ctx context.Context) error {
	started := g.started
	g.started = nil
	graceful := ctx
	var giveUp <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		c, cancel := context.WithTimeout(ctx, left*3/4)
		defer cancel()
		graceful = c
		t := time.NewTimer(left)
		defer t.Stop()
		giveUp = t.C
	}
	var errs []error
	late := false
	for _, m := range g.stopping(started) {
		begin := time.Now()
		done := make(chan error, 1)
		go func() { done <- m.component.Stop(graceful) }()
		err := error(nil)
		if late {
			// The deadline has passed for an earlier one; this one had no
			// part in it and gets the moment it needs to release.
			giveUp = time.After(lateGrace)
		}
		select {
		case err = <-done:
		case <-giveUp:
			late = true
			select {
			case err = <-done: // both were ready
			default:
				err = ErrStopTimeout
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", m.name, err))
		}
		g.log.Debug("component stopped", "component", m.name, "duration", time.Since(begin))
	}
	return errors.Join(errs...)
}

// lateGrace is what a component gets to release when the deadline passed
// before its turn came.
const lateGrace = 100 * time.Millisecond

func (g *Group) stopping(started []member) []member {
	rank := func(m member) int {
		if i := slices.Index(g.order, m.name); i >= 0 {
			return i
		}
		return len(g.order)
	}
	out := slices.Clone(started)
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b member) int { return rank(a) - rank(b) })
	return out
}
