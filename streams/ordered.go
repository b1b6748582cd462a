package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// orderedQueue holds the records that an ordered task has been given and not
// handled: it takes the one with the lowest time among the heads, once every
// input has a head or is known to be empty.
type orderedQueue struct {
	sources []*source
	heads   [][]*kgo.Record // by source index
	// drained is the last stable end of each input that was asked for; an input
	// whose position has reached it is empty.
	drained []int64
	asked   time.Time
	t       *task
}

// askEvery bounds how often the ends of idle inputs are asked for.
const askEvery = 100 * time.Millisecond

func newOrderedQueue(top *Topology, t *task, counts map[string]int32) *orderedQueue {
	q := &orderedQueue{t: t, heads: make([][]*kgo.Record, len(top.sources)), drained: make([]int64, len(top.sources))}
	for i, s := range top.sources {
		q.drained[i] = -1
		if t.partition < counts[s.topic] {
			q.sources = append(q.sources, s)
		}
	}
	return q
}

func (q *orderedQueue) push(s *source, records []*kgo.Record) {
	q.heads[s.index] = append(q.heads[s.index], records...)
}

func (q *orderedQueue) empty() bool {
	for _, h := range q.heads {
		if len(h) > 0 {
			return false
		}
	}
	return true
}

// next returns the source whose head is the next record, or the inputs that it
// has to wait for.
func (q *orderedQueue) next() (*source, []*source) {
	var best *source
	var waiting []*source
	for _, s := range q.sources {
		h := q.heads[s.index]
		if len(h) == 0 {
			if q.drained[s.index] < 0 || q.t.positions[s.index] < q.drained[s.index] {
				waiting = append(waiting, s)
			}
			continue
		}
		if h[0].Attrs.IsControl() {
			return s, nil // a marker has no time
		}
		if best == nil || h[0].Timestamp.Before(q.heads[best.index][0].Timestamp) {
			best = s
		}
	}
	if len(waiting) > 0 {
		return nil, waiting
	}
	return best, nil
}

func (q *orderedQueue) pop(s *source) *kgo.Record {
	r := q.heads[s.index][0]
	q.heads[s.index] = q.heads[s.index][1:]
	// What was empty may have got records since: ask again before waiting ends.
	for _, o := range q.sources {
		if o != s && len(q.heads[o.index]) == 0 && time.Since(q.asked) > askEvery {
			q.drained[o.index] = -1
		}
	}
	return r
}

// workOrdered handles what can be handled of every ordered task.
func (w *worker) workOrdered(ctx context.Context) error {
	for _, q := range w.queues {
		for !q.empty() {
			s, waiting := q.next()
			if s == nil {
				if time.Since(q.asked) < askEvery {
					w.dueIn(askEvery)
					break
				}
				if err := w.askEnds(ctx, q, waiting); err != nil {
					return err
				}
				if s, _ = q.next(); s == nil {
					w.dueIn(askEvery)
					break
				}
			}
			w.begin(q.t)
			if err := w.handle(ctx, q.t, s, q.pop(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// dueIn makes the worker look again after d, if nothing makes it look before.
func (w *worker) dueIn(d time.Duration) {
	if at := time.Now().Add(d); at.Before(w.nextDue) {
		w.nextDue = at
	}
}

// askEnds asks for the last stable ends of inputs that are empty here: without
// the answer an idle one would hold back the others for ever.
func (w *worker) askEnds(ctx context.Context, q *orderedQueue, waiting []*source) error {
	q.asked = time.Now()
	var topics []string
	for _, s := range waiting {
		topics = append(topics, s.topic)
	}
	ends, err := kadm.NewClient(w.fetch).ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("ends of idle inputs: %w", err)
	}
	for _, s := range waiting {
		if o, ok := ends.Lookup(s.topic, q.t.partition); ok {
			q.drained[s.index] = o.Offset
		}
	}
	return nil
}
