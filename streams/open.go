package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// opening is the work of bringing tasks up, beside those that run: producers,
// the group's offsets, the changelog.
type opening struct {
	cancel context.CancelFunc
	done   chan struct{}

	wanted    []int32
	producers bool            // make them too
	batch     int32           // their batches' most bytes
	stale     bool            // of no use any more; belongs to the run goroutine
	copied    <-chan struct{} // closed when no copy is being made of what is wanted
	watch     watch

	// Set when done.
	err   error
	prod  producers
	tasks map[int32]*task
	start map[partitionKey]int64
	held  map[partitionKey]int64
	ends  map[partitionKey]int64 // of the inputs' partitions, ours or not
	wrote map[partitionKey]int64 // ends of what others of the chain read of us
}

// openMissing starts to open the tasks that are ours and not at work, unless it
// is being done.
func (w *worker) openMissing(ctx context.Context) {
	if w.opening != nil || !w.assigned {
		return
	}
	var wanted []int32
	for p := range w.app.tasks {
		if w.tasks[p] == nil && len(w.ours(p)) == 0 {
			wanted = append(wanted, p)
		}
	}
	copied := w.keepCopies(ctx)
	if len(wanted) == 0 && !w.owes { // else it is for the producers
		if w.obstacle == nil {
			w.atWork()
		}
		return
	}
	octx, cancel := context.WithCancel(ctx)
	o := &opening{cancel: cancel, done: make(chan struct{}), wanted: wanted, copied: copied, producers: !w.prod.open(), batch: w.batch}
	o.watch.begin()
	w.opening = o
	select {
	case w.takenOver <- struct{}{}:
	default:
	}
	go func() {
		defer close(o.done)
		defer cancel()
		o.err = w.open(octx, o)
		w.post(event{kind: "opened", opened: o})
	}()
}

// look finds what keeps part of the work from being done although the rest goes
// on. It is the App's health until it is gone.
func (w *worker) look() {
	before := w.obstacle
	w.obstacle = w.findObstacle()
	switch {
	case w.obstacle != nil && (before == nil || before.Error() != w.obstacle.Error()):
		w.log.Warn("part of the work waits", "err", w.obstacle)
		w.app.setHealth(w.obstacle)
	case w.obstacle == nil && before != nil:
		w.app.setHealth(nil)
	}
}

func (w *worker) findObstacle() error {
	if !w.member {
		return fmt.Errorf("out of group %s, whose coordinator does not hear of us: joining again", w.top.app)
	}
	if o := w.opening; o != nil && o.watch.late(w.cfg.SessionTimeout) {
		return o.slow()
	}
	for p := range w.app.tasks {
		all := 0
		for _, s := range w.top.sources {
			if p < w.app.counts[s.topic] {
				all++
			}
		}
		if missing := w.ours(p); len(missing) > 0 && len(missing) < all {
			return fmt.Errorf("task %d waits: another member of group %s, not one of ours, holds partition %d of %s: stop it", p, w.top.app, p, strings.Join(missing, ", "))
		}
	}
	for _, s := range w.top.sources {
		for p := range w.owned[s.topic] {
			if p >= w.app.counts[s.topic] {
				return fmt.Errorf("topic %s has grown beyond the %d partitions that it had when the application started, and what is in the new ones is not read: restart the application", s.topic, w.app.counts[s.topic])
			}
		}
	}
	return nil
}

// atWork says that all that is ours runs.
func (w *worker) atWork() {
	if errors.Is(w.app.Health(), ErrNotRunning) {
		w.app.setHealth(w.obstacle)
	}
	w.readyOnce.Do(func() { close(w.ready) })
}

// takeOpened puts opened tasks to work, if they still are ours.
func (w *worker) takeOpened(o *opening) error {
	w.opening = nil
	w.metrics.opening.WithLabelValues(w.top.app).Set(0)
	if o.err != nil || o.stale {
		o.prod.close()
		if o.stale || errors.Is(o.err, context.Canceled) {
			return nil // the assignment changed meanwhile
		}
		return fmt.Errorf("open tasks: %w", o.err)
	}
	if o.producers {
		w.prod, w.owes = o.prod, false
	}
	for k, end := range o.ends {
		w.behind[k] = max(w.behind[k], end)
		w.lieTo(k, end)
	}
	readers := w.readersNow()
	for k, end := range o.wrote {
		for _, r := range readers[k.topic] {
			r.lieTo(k, end)
		}
	}
	if !w.top.ordered && !w.cfg.farOnly {
		w.catchBy = time.Now().Add(catchUpFor)
	}
	add := map[string]map[int32]kgo.Offset{}
	for p, t := range o.tasks {
		if len(w.ours(p)) > 0 {
			continue
		}
		t.emit = w.send
		w.tasks[p] = t
		if w.top.ordered {
			w.queues[p] = newOrderedQueue(w.top, t, w.app.counts)
		}
		for i, s := range w.top.sources {
			k := partitionKey{s.topic, p}
			at, ok := o.start[k]
			if !ok {
				continue
			}
			t.positions[i] = at
			if held, ok := o.held[k]; ok {
				w.committed[k] = held
			} else {
				w.committed[k] = -1
			}
			if w.committed[k] != at || t.ahead[i].fresh {
				// The group is told where we are, records or not.
				w.begin(t)
				w.txn.moved = true
			}
			if add[s.topic] == nil {
				add[s.topic] = map[int32]kgo.Offset{}
			}
			add[s.topic][p] = kgo.NewOffset().At(at)
		}
	}
	w.nextDue = time.Now()
	w.fetch.AddConsumePartitions(add)
	w.metrics.tasks.WithLabelValues(w.top.app).Set(float64(len(w.tasks)))
	w.app.setHealth(w.obstacle)
	w.log.Debug("tasks at work", "tasks", len(w.tasks))
	return nil
}

// open does the work, in a goroutine of its own: it touches nothing of the
// worker's but its configuration and clients.
func (w *worker) open(ctx context.Context, o *opening) error {
	if o.producers {
		// First, since this settles what our last transaction left open.
		o.watch.at("settling what our last transactions left")
		var err error
		if o.prod, err = openProducers(ctx, w.cfg, o.batch, w.app.hanging, w.app.transactionalID, w.fetch); err != nil {
			return err
		}
	}
	if len(o.wanted) == 0 {
		return nil
	}
	o.watch.at("looking at the topics")
	adm := kadm.NewClient(w.fetch)
	ids, starts, ends, err := w.describeInputs(ctx, adm)
	if err != nil {
		return err
	}
	if o.wrote, err = w.chainEnds(ctx, adm); err != nil {
		return err
	}
	// The group's offsets before the changelog's end: a transaction that is in
	// neither cannot commit any more, since the generation has changed.
	o.watch.at("asking for the group's offsets")
	held, err := w.groupOffsets(ctx, o.wanted, ids)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	o.ends = ends
	o.tasks, o.start, o.held = map[int32]*task{}, map[partitionKey]int64{}, map[partitionKey]int64{}
	if w.top.stateful() {
		o.watch.at("waiting for copies to come to rest")
		select {
		case <-o.copied:
		case <-ctx.Done():
			return ctx.Err()
		}
		o.watch.at("looking at the changelog")
		if err := w.restore(ctx, o.wanted, ids[w.top.changelog()], &o.watch); err != nil {
			return err
		}
	}
	o.watch.at("reading the local state")
	for _, p := range o.wanted {
		t, err := newTask(w.top, p, w.cfg.State, w.app.globals, w.app.counts, w.log, now)
		if err != nil {
			return err
		}
		t.changeID = ids[w.top.changelog()]
		for i, s := range w.top.sources {
			if p >= w.app.counts[s.topic] {
				t.positions[i] = -1
				continue
			}
			k := partitionKey{s.topic, p}
			stored := t.positions[i]
			if t.topicIDs[i] != ids[s.topic] && t.topicIDs[i] != [16]byte{} {
				w.log.Warn("topic was re-created: reading it from its start", "topic", s.topic, "partition", p)
				stored, t.ahead[i] = -1, ahead{}
			}
			t.topicIDs[i] = ids[s.topic]
			h, ours := held[k], false
			if h.at >= 0 {
				var beyond map[int64]int16
				beyond, ours = parseMark(h.metadata, ids[s.topic])
				o.held[k] = h.at
				if h.metadata == resetMark {
					ours, t.touched = true, t.touched || len(t.ahead[i].epochs) > 0
					t.ahead[i] = ahead{}
				}
				// Either may know what the other does not, and what has once
				// been handled beyond a position stays so.
				t.ahead[i].join(beyond)
			}
			at := h.at
			if ours && h.metadata != resetMark && stored > at {
				// The state holds what the group does not: a commit whose end
				// the group has not heard of (see groupOffsets). The state's
				// position came with its changes, in one transaction.
				at = stored
			}
			if !ours {
				// Missing, expired, foreign, or of a topic that is gone.
				if at = stored; at < 0 {
					at = starts[k]
				}
				if h.at >= 0 || stored >= 0 {
					w.metrics.foreign.WithLabelValues(w.top.app).Inc()
					w.log.Warn("the group's offset is not ours: going on from the store's position", "topic", s.topic, "partition", p, "group_offset", h.at, "position", at)
				}
			}
			if start, end := starts[k], ends[k]; at > end || at < start {
				w.log.Warn("the topic does not hold our position: going on at the nearest one", "topic", s.topic, "partition", p, "position", at, "start", start, "end", end)
				if at > end && stored >= 0 {
					// A tail that was lost may be that of the state as well.
					at = stored
				}
				at = min(max(at, start), end)
			}
			t.ahead[i].until = ends[k]
			t.ahead[i].pass(at)
			if at != stored && w.top.stateful() {
				t.touched = true // the store is told with the next commit
			}
			o.start[k] = at
		}
		o.tasks[p] = t
	}
	return nil
}

// resetMark is the metadata of a deliberate reset of the group's offsets.
const resetMark = "comptoir:reset"

// describeInputs returns the topic ids of sources and changelog, and the start
// and end offsets of the sources.
func (w *worker) describeInputs(ctx context.Context, adm *kadm.Client) (ids map[string][16]byte, starts, ends map[partitionKey]int64, err error) {
	topics := make([]string, 0, len(w.top.sources)+1)
	for _, s := range w.top.sources {
		topics = append(topics, s.topic)
	}
	all := topics
	if w.top.stateful() {
		all = append(all[:len(all):len(all)], w.top.changelog())
	}
	details, err := adm.ListTopics(ctx, all...)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("topics: %w", err)
	}
	ids = map[string][16]byte{}
	for _, d := range details {
		ids[d.Topic] = d.ID
	}
	if starts, err = listOffsets(ctx, adm.ListStartOffsets, topics...); err != nil {
		return nil, nil, nil, err
	}
	ends, err = listOffsets(ctx, adm.ListEndOffsets, topics...)
	return ids, starts, ends, err
}

// groupOffset is what the group holds for a partition; at is -1 if nothing.
type groupOffset struct {
	at       int64
	metadata string
}

// groupOffsets asks for the group's offsets of the tasks' inputs, and waits for
// transactions that are about to change them.
//
// A broker that is stopped at a bad moment may forget to tell the group how a
// transaction ended (seen on Apache Kafka 4.3.1: the transaction complete, its
// marker missing in __consumer_offsets). Its offsets then stay pending for ever.
// With state there is a way out: after all transactions must have ended, the
// offsets without the pending ones are taken, and the store's positions rule
// where they are further. The restore before them waits for the same
// transactions in the changelog, so whatever was committed is there.
func (w *worker) groupOffsets(ctx context.Context, tasks []int32, ids map[string][16]byte) (map[partitionKey]groupOffset, error) {
	held := map[partitionKey]groupOffset{}
	for _, p := range tasks {
		for _, s := range w.top.sources {
			held[partitionKey{s.topic, p}] = groupOffset{at: -1}
		}
	}
	begin, stable := time.Now(), true
	for {
		err := w.fetchGroupOffsets(ctx, tasks, ids, held, stable)
		if err == nil {
			return held, nil
		}
		unstable := errors.Is(err, kerr.UnstableOffsetCommit)
		if !unstable && !kerr.IsRetriable(err) || time.Since(begin) > 3*w.cfg.SessionTimeout {
			return nil, fmt.Errorf("offsets of group %s: %w", w.top.app, err)
		}
		if unstable && w.top.stateful() && time.Since(begin) > 2*w.cfg.SessionTimeout {
			w.log.Warn("the group's offsets have been pending for longer than a transaction lasts: going on from the store's positions", "waited", time.Since(begin).Round(time.Second).String())
			stable = false
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *worker) fetchGroupOffsets(ctx context.Context, tasks []int32, ids map[string][16]byte, held map[partitionKey]groupOffset, stable bool) error {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = stable
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = w.top.app
	for _, s := range w.top.sources {
		rt := kmsg.NewOffsetFetchRequestGroupTopic()
		// From v10 on the wire has the id only.
		rt.Topic, rt.TopicID = s.topic, ids[s.topic]
		for _, p := range tasks {
			if p < w.app.counts[s.topic] {
				rt.Partitions = append(rt.Partitions, p)
			}
		}
		if len(rt.Partitions) > 0 {
			g.Topics = append(g.Topics, rt)
		}
	}
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, w.fetch)
	if err != nil {
		return err
	}
	for _, rg := range resp.Groups {
		if err := kerr.ErrorForCode(rg.ErrorCode); err != nil {
			return err
		}
		for _, t := range rg.Topics {
			if t.Topic == "" {
				for _, s := range w.top.sources {
					if ids[s.topic] == t.TopicID {
						t.Topic = s.topic
					}
				}
			}
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return err
				}
				o := groupOffset{at: p.Offset}
				if p.Metadata != nil {
					o.metadata = *p.Metadata
				}
				held[partitionKey{t.Topic, p.Partition}] = o
			}
		}
	}
	return nil
}
