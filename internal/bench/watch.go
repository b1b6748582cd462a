package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// flight are the orders of a series under way. Moments are measured from begin.
type flight struct {
	series
	begin   time.Time
	planned []time.Duration // when each was to be sent
	arrived []time.Duration // when its notification was read; 0: not yet
	done    chan struct{}   // closed when all have arrived
	room    chan struct{}   // holds one for each under way, where these are bounded

	mu      sync.Mutex // over what follows, and arrived until done
	count   int
	refused int           // orders that did not end with a confirmation
	nth     time.Duration // when firstOrders had arrived
	last    time.Duration
	gap     time.Duration // the longest time without an arrival
}

func newFlight(s series, n int) *flight {
	return &flight{series: s, planned: make([]time.Duration, n), arrived: make([]time.Duration, n), done: make(chan struct{})}
}

// land notes that order i arrived now.
func (f *flight) land(i int, now time.Duration, confirmed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i >= len(f.arrived) || f.arrived[i] != 0 {
		return
	}
	f.arrived[i] = max(now, 1)
	f.count++
	if f.room != nil {
		<-f.room
	}
	if !confirmed {
		f.refused++
	}
	if f.count > 1 {
		f.gap = max(f.gap, now-f.last)
	}
	f.last = now
	if f.count == firstOrders {
		f.nth = now
	}
	if f.count == len(f.arrived) {
		close(f.done)
	}
}

// enter waits until one more may be under way. It gives up when none has arrived
// for patience.
func (f *flight) enter(ctx context.Context, patience time.Duration) error {
	select {
	case f.room <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case f.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%d orders are under way, and no notification came for %v: is the pipeline at work?", cap(f.room), patience)
	}
}

// await waits until all have arrived. It gives up when none has for patience.
func (f *flight) await(ctx context.Context, patience time.Duration) error {
	seen := -1
	for {
		timer := time.NewTimer(patience)
		select {
		case <-f.done:
			timer.Stop()
			if f.refused > 0 {
				return fmt.Errorf("%d of %d orders were refused: the products %s… are short of stock or altered", f.refused, len(f.arrived), "BENCH-P")
			}
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		f.mu.Lock()
		count := f.count
		f.mu.Unlock()
		if count == seen {
			return fmt.Errorf("%d of %d orders have no notification, and none came for %v: is the pipeline at work?", len(f.arrived)-count, len(f.arrived), patience)
		}
		seen = count
	}
}

// latencies are the times from each order's planned moment to its notification.
func (f *flight) latencies() []time.Duration {
	out := make([]time.Duration, len(f.planned))
	for i := range out {
		out[i] = f.arrived[i] - f.planned[i]
	}
	return out
}

// watcher reads a target's last topic and tells the flight under way.
type watcher struct {
	cl       *kgo.Client
	stop     context.CancelFunc
	finished chan struct{}
	floor    bool

	mu  sync.Mutex
	now *flight
}

// watch begins at the ends of the topic as they are now.
func watch(ctx context.Context, adm *kadm.Client, t Target) (*watcher, error) {
	from, err := endsOf(ctx, adm, t.out())
	if err != nil {
		return nil, err
	}
	cl, err := t.Kafka.New(kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{cl: cl, stop: cancel, finished: make(chan struct{}), floor: t.Prefix != ""}
	go func() {
		defer close(w.finished)
		w.read(ctx)
	}()
	return w, nil
}

var confirmation = []byte(`"type":"CONFIRMATION"`)

func (w *watcher) read(ctx context.Context) {
	for ctx.Err() == nil {
		fetched := w.cl.PollFetches(ctx)
		now := time.Now()
		w.mu.Lock()
		f := w.now
		w.mu.Unlock()
		if f == nil {
			continue
		}
		at := now.Sub(f.begin)
		fetched.EachRecord(func(r *kgo.Record) {
			if i, ok := f.number(r.Value); ok {
				f.land(i, at, w.floor || bytes.Contains(r.Value, confirmation))
			}
		})
	}
}

func (w *watcher) follow(f *flight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = f
}

func (w *watcher) close() {
	w.stop()
	<-w.finished
	w.cl.Close()
}

// endsOf are the ends of topics, to consume from.
func endsOf(ctx context.Context, adm *kadm.Client, topics ...string) (map[string]map[int32]kgo.Offset, error) {
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ends of %v: %w", topics, err)
	}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if from[o.Topic] == nil {
			from[o.Topic] = map[int32]kgo.Offset{}
		}
		from[o.Topic][o.Partition] = kgo.NewOffset().At(o.Offset)
	})
	if len(from) == 0 {
		return nil, errors.New("the topics of the pipeline are not there: nothing of it was ever started on this cluster")
	}
	return from, nil
}
