package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

const (
	// pollInterval is how often the database is asked while somebody waits, and
	// nudgeGap how often at most when it is nudged.
	pollInterval = 25 * time.Millisecond
	nudgeGap     = 5 * time.Millisecond
	// pollIDs is how many orders one question is about.
	pollIDs = 500
)

// watcher tells those who wait for an order when it has changed. One goroutine
// asks the database for all of them; it runs only while somebody waits.
type watcher struct {
	db  orderdb.DB
	log *slog.Logger

	mu      sync.Mutex
	subs    map[event.ID]map[*subscription]struct{}
	count   int
	running bool
	stopped bool

	nudged chan struct{}
	done   chan struct{}
	ended  sync.WaitGroup
}

// subscription is somebody who waits for an order.
type subscription struct {
	changed chan struct{} // gets a value, at most one at a time
	watcher *watcher
	id      event.ID
	seen    int64 // Changes as the waiter knows them; guarded by watcher.mu
}

func newWatcher(db orderdb.DB, log *slog.Logger) *watcher {
	return &watcher{
		db: db, log: log,
		subs:   map[event.ID]map[*subscription]struct{}{},
		nudged: make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
}

// subscribe waits for changes of an order that was read when its Changes were
// seen. ok is false if most wait already or the watcher has stopped.
func (w *watcher) subscribe(id event.ID, seen int64, most int) (s *subscription, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || w.count >= most {
		return nil, false
	}
	s = &subscription{changed: make(chan struct{}, 1), watcher: w, id: id, seen: seen}
	if w.subs[id] == nil {
		w.subs[id] = map[*subscription]struct{}{}
	}
	w.subs[id][s] = struct{}{}
	w.count++
	if !w.running {
		w.running = true
		w.ended.Go(w.run)
	}
	return s, true
}

// end ends the waiting.
func (s *subscription) end() {
	w := s.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs[s.id], s)
	if len(w.subs[s.id]) == 0 {
		delete(w.subs, s.id)
	}
	w.count--
}

func (w *watcher) nudge() {
	select {
	case w.nudged <- struct{}{}:
	default:
	}
}

// stop ends the goroutine. Nobody is told of changes after it.
func (w *watcher) stop() {
	w.mu.Lock()
	if !w.stopped {
		w.stopped = true
		close(w.done)
	}
	w.mu.Unlock()
	w.ended.Wait()
}

func (w *watcher) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with ctx
		select {
		case <-w.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	failing := false
	for w.sleep() {
		ids, ok := w.watched()
		if !ok {
			return
		}
		switch err := w.poll(ctx, ids); {
		case err != nil && !failing && ctx.Err() == nil:
			failing = true
			w.log.Warn("waiting requests cannot see changes of orders", "error", err)
		case err == nil && failing:
			failing = false
			w.log.Info("waiting requests see changes of orders again")
		}
	}
}

// sleep waits for the next poll; false if the watcher stops.
func (w *watcher) sleep() bool {
	gap := time.NewTimer(nudgeGap)
	defer gap.Stop()
	select {
	case <-gap.C:
	case <-w.done:
		return false
	}
	rest := time.NewTimer(pollInterval - nudgeGap)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-w.nudged:
	case <-w.done:
		return false
	}
	return true
}

// watched returns whom somebody waits for. ok is false if there is nobody: the
// goroutine must end then, since the next one who waits starts another.
func (w *watcher) watched() (ids []event.ID, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == 0 {
		w.running = false
		return nil, false
	}
	ids = make([]event.ID, 0, len(w.subs))
	for id := range w.subs {
		ids = append(ids, id)
	}
	return ids, true
}

func (w *watcher) poll(ctx context.Context, ids []event.ID) error {
	for len(ids) > 0 {
		n := min(len(ids), pollIDs)
		if err := w.ask(ctx, ids[:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

func (w *watcher) ask(ctx context.Context, ids []event.ID) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	changes, err := w.db.Changes(ctx, ids)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, n := range changes {
		for s := range w.subs[id] {
			if s.seen == n {
				continue
			}
			s.seen = n
			select {
			case s.changed <- struct{}{}:
			default: // it has not looked since the last one
			}
		}
	}
	return nil
}
