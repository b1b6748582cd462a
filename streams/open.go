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

	"github.com/comptoir/comptoir/streams/state"
)

// opening is the work of bringing tasks up, beside those that run: producers,
// the group's offsets, the changelog.
type opening struct {
	cancel context.CancelFunc
	done   chan struct{}

	wanted    []int32
	producers bool // make them too
	stale     bool // of no use any more; belongs to the run goroutine

	// Set when done.
	err   error
	prod  producers
	tasks map[int32]*task
	start map[partitionKey]int64
	held  map[partitionKey]int64
	ends  map[partitionKey]int64 // of the inputs' partitions, ours or not
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
	if len(wanted) == 0 {
		if w.obstacle == nil {
			w.atWork()
		}
		return
	}
	octx, cancel := context.WithCancel(ctx)
	o := &opening{cancel: cancel, done: make(chan struct{}), wanted: wanted, producers: !w.prod.open()}
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
	if o.err != nil || o.stale {
		o.prod.close()
		if o.stale || errors.Is(o.err, context.Canceled) {
			return nil // the assignment changed meanwhile
		}
		return fmt.Errorf("open tasks: %w", o.err)
	}
	if o.producers {
		w.prod = o.prod
	}
	for k, end := range o.ends {
		w.behind[k] = max(w.behind[k], end)
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
			if w.committed[k] != at {
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
		var err error
		if o.prod, err = openProducers(ctx, w.cfg, w.instance(), w.fetch); err != nil {
			return err
		}
	}
	adm := kadm.NewClient(w.fetch)
	ids, starts, ends, err := w.describeInputs(ctx, adm)
	if err != nil {
		return err
	}
	// The group's offsets before the changelog's end: a transaction that is in
	// neither cannot commit any more, since the generation has changed.
	held, err := w.groupOffsets(ctx, o.wanted, ids)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	o.ends = ends
	o.tasks, o.start, o.held = map[int32]*task{}, map[partitionKey]int64{}, map[partitionKey]int64{}
	if w.top.stateful() {
		if err := w.restore(ctx, o.wanted, ids[w.top.changelog()]); err != nil {
			return err
		}
	}
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
				stored = -1
			}
			t.topicIDs[i] = ids[s.topic]
			h, ours := held[k], false
			if h.at >= 0 {
				ours = h.metadata == mark(ids[s.topic]) || h.metadata == resetMark
				o.held[k] = h.at
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

// restoreBatch is how much of a changelog is applied to the local state at once.
const restoreBatch = 1 << 20

// restore brings the local state of tasks up to the ends of their changelogs. It
// reads what is committed, up to the end of everything: the last stable offset
// would miss a transaction that the previous owner has just ended.
func (w *worker) restore(ctx context.Context, tasks []int32, id [16]byte) error {
	topic := w.top.changelog()
	adm := kadm.NewClient(w.fetch)
	listed := func(f func(context.Context, ...string) (kadm.ListedOffsets, error)) (kadm.ListedOffsets, error) {
		l, err := f(ctx, topic)
		if err == nil {
			err = l.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("offsets of changelog %s: %w", topic, err)
		}
		return l, nil
	}
	starts, err := listed(adm.ListStartOffsets)
	if err != nil {
		return err
	}
	ends, err := listed(adm.ListEndOffsets)
	if err != nil {
		return err
	}
	positions, targets := map[partitionKey]int64{}, map[partitionKey]int64{}
	restoring := map[int32]*restoring{}
	consume := map[int32]kgo.Offset{}
	var total int64
	for _, p := range tasks {
		k := partitionKey{topic, p}
		start, _ := starts.Lookup(topic, p)
		end, _ := ends.Lookup(topic, p)
		r, err := w.restoreFrom(p, id, start.Offset, end.Offset)
		if err != nil {
			return err
		}
		if r.at < end.Offset {
			positions[k], targets[k] = r.at, end.Offset
			consume[p] = kgo.NewOffset().At(r.at)
			restoring[p] = r
			total += end.Offset - r.at
		} else if err := r.save(); err != nil {
			return err
		}
	}
	if len(consume) == 0 {
		return nil
	}
	began, read := time.Now(), int64(0)
	w.log.Info("restoring state", "partitions", len(consume), "offsets", total)
	cl, err := w.cfg.Kafka.New(append(readerOptions(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: consume}),
		// A position that the changelog no longer holds is an error: it is
		// wiped and read from its start at the next try.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	defer w.metrics.restoring.WithLabelValues(w.top.app).Set(0)
	said := began
	err = readTo(ctx, cl, positions, targets, func(r *kgo.Record) error {
		read++
		if read%10000 == 0 {
			left := int64(0)
			for k, end := range targets {
				left += max(0, end-positions[k])
			}
			w.metrics.restoring.WithLabelValues(w.top.app).Set(float64(left))
			if time.Since(said) > 5*time.Second {
				said = time.Now()
				w.log.Info("restoring state", "read", read, "remaining_offsets", left)
			}
		}
		return restoring[r.Partition].put(r)
	}, func(k partitionKey) error {
		// A record of our own behind whatever cannot be seen: it is given to us
		// once all before it is settled.
		end, err := w.barrier(ctx, k)
		if err == nil {
			targets[k] = end
		}
		return err
	})
	w.metrics.restored.WithLabelValues(w.top.app).Add(float64(read))
	if err != nil {
		var fe *fetchError
		if errors.As(err, &fe) && errors.Is(err, kerr.OffsetOutOfRange) {
			if r := restoring[fe.partition]; r != nil {
				w.log.Warn("local state is older than its changelog's start: wiped, to be restored anew", "partition", fe.partition)
				r.wipe(0)
				err = errors.Join(err, r.save())
			}
		}
		return fmt.Errorf("restore: %w", err)
	}
	for p, r := range restoring {
		r.at = positions[partitionKey{topic, p}]
		if err := r.save(); err != nil {
			return err
		}
	}
	w.log.Info("state restored", "records", read, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// keyBarrier is the changelog key of a barrier, which is a tombstone.
var keyBarrier = []byte{0, 2}

// barrier writes a record that changes nothing to the end of a changelog, and
// returns the offset after it.
func (w *worker) barrier(ctx context.Context, k partitionKey) (int64, error) {
	cl, err := w.cfg.Kafka.New(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	r, err := cl.ProduceSync(ctx, &kgo.Record{Topic: k.topic, Partition: k.partition, Key: keyBarrier}).First()
	if err != nil {
		return 0, fmt.Errorf("barrier in %s/%d: %w", k.topic, k.partition, err)
	}
	w.log.Debug("changelog ends with what cannot be seen: barrier written", "partition", k.partition, "offset", r.Offset)
	return r.Offset + 1, nil
}

// restoring is the local state of one task while it catches up.
type restoring struct {
	t     *task
	db    *state.DB
	batch *state.Batch
	at    int64
}

// restoreFrom finds where the local state of a task stands in the changelog. It
// is wiped when it cannot be caught up: another changelog, older than its start,
// or ahead of its end (a broker that lost its tail).
func (w *worker) restoreFrom(p int32, id [16]byte, start, end int64) (*restoring, error) {
	t, err := newTask(w.top, p, w.cfg.State, w.app.globals, w.app.counts, w.log, time.Now())
	if err != nil {
		// Unreadable positions: the changelog has them.
		w.log.Warn("local state cannot be read: wiped, to be restored", "partition", p, "err", err)
		space, serr := w.cfg.State.Space(w.top.app, "state", p)
		if serr != nil {
			return nil, serr
		}
		b := w.cfg.State.NewBatch()
		b.Wipe(space)
		if err := b.Apply(); err != nil {
			return nil, err
		}
		if t, err = newTask(w.top, p, w.cfg.State, w.app.globals, w.app.counts, w.log, time.Now()); err != nil {
			return nil, err
		}
	}
	r := &restoring{t: t, db: w.cfg.State, batch: w.cfg.State.NewBatch(), at: t.changelog}
	var why string
	switch {
	case t.changelog == 0 && t.changeID == [16]byte{}:
		r.at = start
	case t.changeID != id:
		why = "its changelog was re-created"
	case t.changelog < start:
		why = "it is older than its changelog's start"
	case t.changelog > end:
		why = "it is ahead of its changelog's end"
	case t.changelog < end && time.Since(t.changeAt) > w.app.deletions/2:
		// What was deleted since may have left the changelog without a trace.
		why = "it is older than the changelog's tombstones"
	}
	if why != "" {
		w.log.Warn("local state wiped, to be restored", "partition", p, "why", why, "position", t.changelog, "start", start, "end", end)
		r.wipe(start)
	}
	t.changeID = id
	return r, nil
}

func (r *restoring) wipe(start int64) {
	r.batch.Wipe(r.t.space)
	r.at = start
}

func (r *restoring) put(rec *kgo.Record) error {
	key := append(append(make([]byte, 0, len(r.t.space)+len(rec.Key)), r.t.space[:]...), rec.Key...)
	if rec.Value == nil {
		r.batch.Delete(key)
	} else {
		r.batch.Set(key, rec.Value)
	}
	if r.batch.Size() < restoreBatch {
		return nil
	}
	// A read that ends here is caught up from here. The records of a
	// transaction lie in one stretch, but its changes apply one by one: a task
	// never runs before all are there.
	r.at = rec.Offset + 1
	return r.save()
}

// save applies what was read, with the position.
func (r *restoring) save() error {
	r.t.setChangelog(r.batch, r.at, r.t.changeID)
	err := r.batch.Apply()
	r.batch = r.db.NewBatch()
	return err
}
