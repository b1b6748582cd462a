package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/comptoir/comptoir/internal/lifecycle"
)

// task is one member of a connector's consumer group with its sink.
type task struct {
	c      *connector
	spec   *spec
	id     int
	logger *slog.Logger

	// ctx ends when the task shall end after its current batch; the
	// connector's hard context ends the batch too.
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	st     State
	trace  string
	topics map[string]bool // topics read from
}

// stopGrace is how long a task may take for its current batch when it is
// stopped for a new configuration. Nothing is lost after it: the batch is
// rolled back and read again.
const stopGrace = 10 * time.Second

func newTask(c *connector, s *spec, id int) *task {
	t := &task{c: c, spec: s, id: id, done: make(chan struct{}), st: StateUnassigned, topics: make(map[string]bool),
		logger: c.w.logger.With("connector", c.name, "task", id)}
	t.ctx, t.cancel = context.WithCancel(c.hard)
	return t
}

func (t *task) start() {
	t.show(StateRunning, "")
	go t.run()
}

// idle makes the task one that does nothing but show a state.
func (t *task) idle(s State) {
	t.show(s, "")
	close(t.done)
}

func (t *task) wait() { <-t.done }

func (t *task) state() State {
	s, _ := t.shown()
	return s
}

func (t *task) shown() (State, string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.st, t.trace
}

func (t *task) show(s State, trace string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.st, t.trace = s, trace
}

// note changes the trace of a running task.
func (t *task) note(trace string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.st == StateRunning {
		t.trace = trace
	}
}

// errRejoin makes the task leave its group and join again with a fresh sink.
var errRejoin = errors.New("partition taken over by another task")

const maxRestartBackoff = 10 * time.Minute

// run lives as long as the task: sessions with the group, one after the other.
func (t *task) run() {
	defer close(t.done)
	failed := t.c.w.metrics.failed.WithLabelValues(t.c.name)
	first := time.Duration(t.spec.values.Int("errors.restart.backoff.ms")) * time.Millisecond
	backoff := first
	for {
		wrote, err := t.session()
		if t.ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRejoin) {
			t.logger.Warn("partition was taken over by another task, joining the group again")
			continue
		}
		t.show(StateFailed, err.Error())
		failed.Inc()
		t.logger.Error("task failed", "error", err, "restart_in", backoff.String())
		if first == 0 {
			// The task stays as it is until someone restarts it.
			<-t.ctx.Done()
			failed.Dec()
			return
		}
		if wrote {
			backoff = first
		}
		ok := lifecycle.Sleep(t.ctx, backoff)
		failed.Dec()
		if !ok {
			return
		}
		backoff = min(2*backoff, maxRestartBackoff)
		t.show(StateRunning, "")
	}
}

// retry calls f until it succeeds, fails for good, or ctx ends, and shows what
// it waits for in the status meanwhile.
func (t *task) retry(ctx context.Context, what string, f func() error) error {
	const first, longest = 250 * time.Millisecond, 5 * time.Second
	retrying := t.c.w.metrics.retrying.WithLabelValues(t.c.name)
	var since time.Time
	for wait := first; ; wait = min(2*wait, longest) {
		err := f()
		if err == nil || !IsRetriable(err) || ctx.Err() != nil {
			if !since.IsZero() {
				retrying.Dec()
			}
			if err == nil && !since.IsZero() {
				t.note("")
				t.logger.Info("task goes on", "after", what, "outage", time.Since(since).Round(time.Millisecond).String())
			}
			if ctx.Err() != nil && err != nil {
				return ctx.Err()
			}
			return err
		}
		t.c.w.metrics.retries.WithLabelValues(t.c.name).Inc()
		if since.IsZero() {
			since = time.Now()
			retrying.Inc()
			t.logger.Warn("task waits and tries again", "while", what, "error", err)
		}
		t.note(fmt.Sprintf("Waiting since %s to %s; nothing is lost, the task goes on by itself once this is repaired: %v",
			since.UTC().Format("2006-01-02T15:04:05.000Z"), what, err))
		if !lifecycle.Sleep(ctx, wait) {
			retrying.Dec()
			return ctx.Err()
		}
	}
}

func (t *task) readFrom(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.topics[topic] = true
}
