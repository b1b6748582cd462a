package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/internal/turns"
)

// worker is an App's member of the group: one goroutine that owns its tasks.
//
// It keeps four clients. The group client is a member and fetches nothing: it
// tells the assignment and its generation. The fetch client reads partitions
// from the offsets that the worker gives it, so that what is polled, buffered or
// rewound is never taken for what is done. Two producers, with transactional ids
// of their own, are used in turn (see txn.go).
type worker struct {
	app     *App
	cfg     Config
	top     *Topology
	log     *slog.Logger
	metrics *Metrics

	group *kgo.Client
	fetch *kgo.Client
	prod  producers
	// onProduced and onProducedInside are the methods of these names, made values once.
	onProduced, onProducedInside func(*kgo.Record, error)
	// outages are those that group and fetch client have met, ours or of the chain.
	outages *kclient.Outages
	share   *balancer

	ready     chan struct{} // closed once the first assignment is at work
	readyOnce sync.Once
	closing   chan struct{} // closed when the run goroutine handles no more events
	quit      chan struct{} // closed by stop
	quitOnce  sync.Once

	mu       sync.Mutex
	events   []event
	wakeUp   context.CancelFunc     // ends the poll at work
	inTopics map[partitionKey]int64 // see chain.go

	// What follows belongs to the run goroutine.
	assigned  bool   // has been once
	memberID  string // whose generations our tasks belong to
	member    bool   // of the group, as far as we know
	obstacle  error  // see look
	owned     map[string]map[int32]bool
	tasks     map[int32]*task
	opening   *opening
	standby   []int32 // tasks that the group wants us to have copies of
	copies    *copies
	queues    map[int32]*orderedQueue // of an ordered topology
	txn       txn
	committed map[partitionKey]int64 // offsets the group holds
	behind    map[partitionKey]int64 // see handover.go
	catchBy   time.Time              // see catchUp
	holding   bool                   // back new input
	full      bool                   // the last poll had all that it could
	nextDue   time.Time              // earliest wall-clock work of any task
	trimAt    time.Time
	refreshAt time.Time
	failures  int
	failedAt  time.Time
	batch     int32 // the most bytes of one that we produce; see smallBatch
	outage    int   // of outages, the last that was dealt with
	pace      pace
	ended     bool        // a transaction has, since the last poll
	moreBy    time.Time   // see step
	others    turns.Turns // see yielding

	// See chain.go.
	readers   map[string][]reader
	readersAt int64
	by        *worker // whom we are lent to
	lent      []*worker
	ways      map[way]bool
	wroteAs   struct {
		producer int64
		epoch    int16
	}
	spoilt error // of a transaction that we were part of
	owes   bool  // others wait for the outcome of a transaction of ours
	spread int   // see pick

	// turn holds one while what belongs to the run goroutine may be borrowed.
	turn chan struct{}
	calm atomic.Bool // we were lendable when we last gave it

	background sync.WaitGroup // whatever else runs; it has clients of ours in use
	takenOver  chan struct{}  // holds at most one: see endVanished
}

// event is a change of assignment, from the group client's goroutine.
type event struct {
	kind       string // assigned, revoked, lost, opened, standby
	partitions map[string][]int32
	member     string // of the group's, who we were then
	opened     *opening
	standby    []int32
	done       chan struct{}
}

// trimEvery is how often handled records are deleted from repartition topics. A
// variable for the tests.
var trimEvery = 30 * time.Second

// errOutage makes the worker open its producers anew after a broker could not be
// reached: a transaction that had ended just before may hang (see
// kclient.EndHanging), and must be dealt with before the next one of its id.
var errOutage = errors.New("a broker could not be reached: what the last transactions left there is looked at before the next")

// maxPoll bounds the records of one poll.
const maxPoll = 2000

func newWorker(a *App) (*worker, error) {
	w := &worker{
		app: a, cfg: a.cfg, top: a.cfg.Topology, log: a.cfg.Logger, metrics: a.cfg.Metrics,
		ready: make(chan struct{}), quit: make(chan struct{}), closing: make(chan struct{}),
		owned: map[string]map[int32]bool{}, tasks: map[int32]*task{}, queues: map[int32]*orderedQueue{},
		committed: map[partitionKey]int64{}, behind: map[partitionKey]int64{}, takenOver: make(chan struct{}, 1),
		copies: noCopies(), batch: smallBatch, turn: make(chan struct{}, 1), inTopics: map[partitionKey]int64{},
	}
	w.onProduced, w.onProducedInside = w.produced, w.producedInside
	if w.top.unhurried() {
		w.others.Pressed = w.cfg.Load.High
	}
	if w.outages = new(kclient.Outages); w.cfg.Chain != nil {
		w.outages = &w.cfg.Chain.outages
	}
	w.outage = w.outages.Count()
	w.metrics.init(w.top.app)
	var err error
	w.fetch, err = w.cfg.Kafka.New(append(readerOptions(),
		// A position that its log no longer holds is an error: opening the task
		// anew finds where to go on.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// A fetch that waits for records of some partitions is in the way of
		// others that are added or resumed: not for franz-go's 5 s.
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.WithHooks(w.outages),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{}))...)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// join makes the group client, which joins at once.
func (w *worker) join() error {
	var topics []string
	for _, s := range w.top.sources {
		topics = append(topics, s.topic)
	}
	share := &balancer{standby: func(tasks []int32) { w.post(event{kind: "standby", standby: tasks}) }}
	if w.top.stateful() {
		share.copies, share.changelog = w.cfg.StandbyCopies, w.top.changelog()
	}
	w.share = share
	on := func(kind string, wait bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, cl *kgo.Client, ps map[string][]int32) {
			w.metrics.rebalances.WithLabelValues(w.top.app, kind).Inc()
			if kind == "lost" {
				share.hadLost(ps)
			} else {
				share.hadLost(nil)
			}
			id, _ := cl.GroupMetadata()
			e := event{kind: kind, partitions: ps, member: id, done: make(chan struct{})}
			w.post(e)
			if wait {
				// The group waits for us: what is open is committed first.
				select {
				case <-e.done:
				case <-w.closing:
				}
			}
		}
	}
	var err error
	w.group, err = w.cfg.Kafka.New(
		kgo.ConsumerGroup(w.top.app),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(share),
		kgo.InstanceID(w.app.instance()),
		kgo.DisableAutoCommit(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.SessionTimeout(w.cfg.SessionTimeout),
		kgo.RebalanceTimeout(2*w.cfg.SessionTimeout),
		kgo.HeartbeatInterval(w.cfg.SessionTimeout/10),
		kgo.WithHooks(w.outages, share),
		kgo.OnPartitionsAssigned(on("assigned", false)),
		kgo.OnPartitionsRevoked(on("revoked", true)),
		kgo.OnPartitionsLost(on("lost", true)),
	)
	if err == nil {
		w.group.PauseFetchTopics(topics...)
	}
	return err
}

// post hands an event to the run goroutine and ends its poll.
func (w *worker) post(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	if w.wakeUp != nil {
		w.wakeUp()
	}
}

// nudge ends the run goroutine's poll.
func (w *worker) nudge() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wakeUp != nil {
		w.wakeUp()
	}
}

// stop asks the run goroutine to commit and end.
func (w *worker) stop() {
	w.quitOnce.Do(func() { close(w.quit) })
	w.nudge()
}

func (w *worker) stopping() bool {
	select {
	case <-w.quit:
		return true
	default:
		return false
	}
}

// run works until stop or the end of ctx, which cuts short.
func (w *worker) run(ctx context.Context) {
	defer w.close()
	if err := w.join(); err != nil {
		w.app.setHealth(err)
		return
	}
	vctx, cancel := context.WithCancel(ctx)
	defer cancel() // before close, which waits for it
	w.background.Go(func() { w.endVanished(vctx) })
	if w.cfg.Chain != nil {
		w.cfg.Chain.started(w)
	}
	for ctx.Err() == nil {
		if err := w.spoilt; err != nil {
			w.spoilt = nil
			w.fail(ctx, fmt.Errorf("as part of another's transaction: %w", err))
			continue
		}
		if w.stopping() {
			w.passBeyond(ctx)
			if err := w.commit(ctx, false); err != nil {
				w.log.Warn("last transaction aborted, it will be done again at the next start", "err", err)
			}
			return
		}
		err := w.step(ctx)
		if err != nil && ctx.Err() == nil {
			w.fail(ctx, err)
		}
	}
}

// step handles what has changed, polls once and works on what came.
func (w *worker) step(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := w.handleEvents(ctx); err != nil {
		return err
	}
	if w.outages.Count() != w.outage {
		return errOutage
	}
	w.openMissing(ctx)
	w.watchOpening()
	w.catchUp()
	if yielded, err := w.yielding(ctx); yielded || err != nil {
		return err
	}
	if w.resting(ctx) {
		return nil
	}
	//lint:ignore SA1012 a nil context makes franz-go return what is there already
	fetches := w.fetch.PollRecords(nil, maxPoll)
	switch {
	case len(fetches) > 0 && w.ended:
		// This was fetched early in the transaction that has ended. What has come
		// since, later in it, is one fetch behind: the next one is to have it too.
		w.moreBy = time.Now().Add(w.pace.linger())
	case len(fetches) == 0:
		if wait := w.idleWait(); wait > 0 {
			// Nothing is there, and nothing is due.
			if fetches = w.poll(ctx, wait); len(fetches) > 0 {
				w.moreBy = time.Time{}
			}
		}
	}
	w.ended = false
	if w.spoilt != nil {
		return nil
	}
	dry := true
	if w.full = fetches.NumRecords() >= maxPoll; w.full {
		w.noteLoad() // the end of the transaction would tell it, too late for a short backlog
	}
	for _, f := range fetches {
		for i := range f.Topics {
			for j := range f.Topics[i].Partitions {
				p := &f.Topics[i].Partitions[j]
				if p.Err != nil && !interrupted(p.Err) {
					return &fetchError{partitionKey{f.Topics[i].Topic, p.Partition}, p.Err}
				}
				if len(p.Records) > 0 {
					dry = false
					if err := w.work(ctx, f.Topics[i].Topic, p.Partition, p.Records); err != nil {
						return err
					}
				}
			}
		}
	}
	if w.top.ordered {
		if err := w.workOrdered(ctx); err != nil {
			return err
		}
	}
	w.punctuate()
	if w.due(dry) {
		if !dry {
			w.noteLoad()
		}
		if err := w.commit(ctx, dry); err != nil {
			return err
		}
	}
	w.trim()
	w.refresh(ctx)
	return nil
}

// resting waits, for an application that is in no hurry, until what is open may be
// committed, without asking for more meanwhile: a fetch costs the broker as much
// as the records in it. It tells whether something else has come up. With much to
// do there is no rest.
func (w *worker) resting(ctx context.Context) bool {
	if !w.top.unhurried() || w.full || w.txn.hurried || !w.txn.pending() {
		return false
	}
	rest := min(w.commitIn(), time.Until(w.nextDue))
	if rest <= 0 {
		return false
	}
	return !w.waiting(ctx, rest, func(ctx context.Context) { <-ctx.Done() }) || w.interrupted()
}

// noteLoad notes that there is more to do than is done. What an application in no
// hurry has left does not count: others are not to give way to it, and a rest of
// its own always leaves something.
func (w *worker) noteLoad() {
	if !w.top.unhurried() {
		w.cfg.Load.note()
	}
}

// yielding leaves the processors to others while they have more to do than they
// can do, for an application that is in no hurry: what its records bring about
// comes later then, and theirs sooner. It tells whether it has, for a moment; what
// was open is committed before, and what the clocks say is done.
func (w *worker) yielding(ctx context.Context) (bool, error) {
	if w.holding || !w.others.Resting() { // what is held back has a time of its own
		return false, nil
	}
	w.punctuate()
	if err := w.commit(ctx, false); err != nil {
		return true, err
	}
	w.waiting(ctx, turns.Look, func(ctx context.Context) { <-ctx.Done() })
	return true, nil
}

// waiting calls f with a context that ends after a time, or before if an event
// or the stop comes. It tells false, without a call, if one is there already.
func (w *worker) waiting(ctx context.Context, wait time.Duration, f func(context.Context)) bool {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	w.mu.Lock()
	if len(w.events) > 0 || w.stopping() {
		w.mu.Unlock()
		return false
	}
	w.wakeUp = cancel
	w.mu.Unlock()
	w.calm.Store(w.lendable())
	w.turn <- struct{}{}
	f(ctx)
	<-w.turn
	w.mu.Lock()
	w.wakeUp = nil
	w.mu.Unlock()
	return true
}

// interrupted tells whether an event or the stop is there.
func (w *worker) interrupted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.events) > 0 || w.stopping()
}

// poll waits for records, an event, or the time.
func (w *worker) poll(ctx context.Context, wait time.Duration) (fetches kgo.Fetches) {
	w.waiting(ctx, wait, func(ctx context.Context) { fetches = w.fetch.PollRecords(ctx, maxPoll) })
	return fetches
}

// idleWait is how long the worker may wait for records: until the next work by
// the clock or, when something is open, until it must be committed.
func (w *worker) idleWait() time.Duration {
	wait := 5 * time.Second
	if len(w.tasks) > 0 {
		wait = min(wait, time.Until(w.nextDue), time.Until(w.trimAt), time.Until(w.refreshAt))
	}
	if w.txn.pending() {
		wait = min(wait, w.commitIn())
	}
	if w.holding {
		wait = min(wait, time.Until(w.catchBy))
	}
	if w.opening != nil {
		wait = min(wait, time.Until(w.opening.watch.next))
	}
	return max(wait, 0)
}

// commitIn is how long a commit waits when the input is dry.
func (w *worker) commitIn() time.Duration {
	if !w.txn.open() || !w.txn.hurried {
		// Only markers, ignored records or changes of state, or input that is in
		// no hurry: nobody downstream waits for them.
		return max(0, w.cfg.CommitInterval-time.Since(w.txn.since))
	}
	limit := w.cfg.MinCommitInterval
	return max(w.pace.wait(time.Now(), limit), min(time.Until(w.moreBy), limit))
}

// due tells whether to commit now: when the input has run dry, at the latest
// after the interval or when the buffer is full.
func (w *worker) due(dry bool) bool {
	if !w.txn.pending() {
		return false
	}
	if dry && w.commitIn() <= 0 {
		return true
	}
	if time.Since(w.txn.since) >= w.cfg.CommitInterval {
		return true
	}
	return w.txn.bytes+w.stateBytes() >= w.cfg.BufferBytes
}

func (w *worker) stateBytes() int {
	n := 0
	for _, t := range w.tasks {
		n += t.size()
	}
	return n
}

// work handles records of one partition.
func (w *worker) work(ctx context.Context, topic string, partition int32, records []*kgo.Record) error {
	t := w.tasks[partition]
	src := w.top.source(topic)
	if t == nil || src == nil {
		return nil // taken away meanwhile
	}
	w.freshen()
	if q := w.queues[partition]; q != nil {
		q.push(src, records)
		return nil
	}
	for _, r := range records {
		if err := w.handle(ctx, t, src, r); err != nil {
			return err
		}
	}
	return nil
}

// handle gives one record to its task.
func (w *worker) handle(ctx context.Context, t *task, src *source, r *kgo.Record) error {
	w.begin(t)
	w.txn.moved = true
	if t.passes(src, r) {
		return nil
	}
	w.txn.hurried = w.txn.hurried || !src.unhurried
	w.give(t, src, r.Offset, r.Timestamp, r.Key, r.Value, r.Headers, r)
	w.handOver()
	if w.txn.bytes+t.size() >= w.cfg.BufferBytes {
		w.noteLoad()
		return w.commit(ctx, false)
	}
	return nil
}

// give has a task process a record of a public or repartition topic; offset is -1
// for one that was handed over. rec has its offset once the transaction is committed.
func (w *worker) give(t *task, src *source, offset int64, at time.Time, key, value []byte, headers []Header, rec *kgo.Record) {
	var began time.Time
	if w.cfg.Trace != nil && sampled(headers) {
		began = time.Now()
	}
	err := t.process(src, offset, at, key, value, headers)
	if err != nil && !skipped(err) {
		w.metrics.decodeErrors.WithLabelValues(w.top.app, src.topic).Inc()
		w.log.Warn("record passed over: it does not decode", "topic", src.topic, "partition", t.partition, "offset", offset, "err", err)
	}
	if err == nil && !began.IsZero() {
		w.txn.trace(Processed{Topic: src.topic, Partition: t.partition, Group: w.top.app, Headers: headers, Start: began}, rec)
	}
}

// freshen takes the time, once per batch of fetched records: a record must not
// count as one from the future because the transaction it joins is older.
func (w *worker) freshen() { w.txn.now = time.Now().UTC().Truncate(time.Millisecond) }

// begin opens the transaction in memory; in Kafka it begins with the first
// record produced.
func (w *worker) begin(t *task) {
	if w.txn.since.IsZero() {
		w.txn.since = time.Now()
		w.freshen()
		w.lookAround()
	}
	t.begin(w.txn.now)
}

// punctuate runs what is due by the clocks of the tasks. Stream time is looked
// at after every poll, the wall clock when something is due.
func (w *worker) punctuate() {
	now := time.Now()
	// Or the clock was set back.
	wall := !now.Before(w.nextDue) || w.nextDue.After(now.Add(2*sweepEvery))
	if !wall && (len(w.top.clocks) == 0 || w.txn.since.IsZero()) {
		return
	}
	w.freshen() // what is due by now must see that it is
	w.nextDue = now.Add(sweepEvery)
	for _, t := range w.tasks {
		opened := w.txn.since.IsZero()
		w.begin(t)
		if next := t.punctuate(); next.Before(w.nextDue) {
			w.nextDue = next
		}
		w.handOver()
		if opened && !t.touched && !w.txn.open() && !w.txn.moved {
			w.txn.since = time.Time{} // it had nothing to do
			t.reads.Close()
		} else if opened {
			w.txn.hurried = true
		}
	}
}

// fail throws open work away and starts the tasks anew from what is committed.
func (w *worker) fail(ctx context.Context, err error) {
	if time.Since(w.failedAt) > time.Minute {
		w.failures = 0
	}
	w.failures++
	w.failedAt = time.Now()
	w.app.setHealth(err)
	pause := 50 * time.Millisecond << min(w.failures, 4)
	if w.failures > 20 {
		pause = 5 * time.Second // longer than a broker takes to be replaced
	}
	w.log.Warn("transaction thrown away, its records will be handled again", "err", err, "retry_in", pause)
	w.reset()
	select {
	case <-ctx.Done():
	case <-w.quit:
	case <-time.After(pause):
	}
}

// reset closes every task without committing. openMissing opens them again, with
// producers whose predecessors' transactions are settled.
func (w *worker) reset() {
	if w.opening != nil {
		// What it opens counts on producers that are gone, or on a place in
		// the group that is.
		w.opening.stale = true
		w.opening.cancel()
	}
	w.calm.Store(false)
	w.outage = w.outages.Count() // what is opened after this deals with those so far
	// What is open, or was left hanging, may be of others' groups: even without
	// tasks we must look, which is what opening the producers does.
	w.owes = w.owes || w.cfg.Chain != nil && w.prod.open()
	w.prod.close() // first, since its promises belong to the transaction
	w.txn.reset()
	for p := range w.tasks {
		w.closeTask(p)
	}
	clear(w.behind)
}

func (w *worker) closeTask(p int32) {
	if t := w.tasks[p]; t != nil {
		t.close()
	}
	delete(w.tasks, p)
	delete(w.queues, p)
	parts := map[string][]int32{}
	for _, s := range w.top.sources {
		if p < w.app.counts[s.topic] {
			parts[s.topic] = []int32{p}
			delete(w.committed, partitionKey{s.topic, p})
		}
	}
	w.fetch.RemoveConsumePartitions(parts)
	w.metrics.tasks.WithLabelValues(w.top.app).Set(float64(len(w.tasks)))
}

func (w *worker) handleEvents(ctx context.Context) error {
	w.mu.Lock()
	events := w.events
	w.events = nil
	w.mu.Unlock()
	var errs []error
	for _, e := range events {
		if e.done != nil && e.member != w.memberID {
			// franz-go joins anew, without a word, when the group has forgotten us.
			if w.memberID != "" {
				w.reset()
			}
			w.memberID = e.member
		}
		switch e.kind {
		case "assigned":
			w.assigned, w.member = true, true
			for topic, ps := range e.partitions {
				if w.owned[topic] == nil {
					w.owned[topic] = map[int32]bool{}
				}
				for _, p := range ps {
					w.owned[topic][p] = true
					if p >= w.app.counts[topic] {
						w.log.Error("topic has more partitions than the application was started with: they are not read", "topic", topic, "partition", p, "known", w.app.counts[topic])
					}
				}
			}
		case "revoked":
			if err := w.commit(ctx, false); err != nil {
				errs = append(errs, err)
				w.reset()
			}
			w.disown(e.partitions)
		case "lost":
			if w.member {
				w.log.Warn("out of the group: its tasks go to others", "partitions", e.partitions)
			}
			w.member = false
			w.reset()
			w.disown(e.partitions)
		case "opened":
			errs = append(errs, w.takeOpened(e.opened))
		case "standby":
			w.standby = e.standby
		}
		if e.done != nil {
			close(e.done)
		}
	}
	if len(events) > 0 && w.assigned {
		w.look()
	}
	return errors.Join(errs...)
}

func (w *worker) disown(partitions map[string][]int32) {
	for topic, ps := range partitions {
		for _, p := range ps {
			delete(w.owned[topic], p)
			if w.tasks[p] != nil {
				w.closeTask(p)
			}
		}
	}
	if w.opening != nil {
		// What it opens may not be ours any more, or ours again later.
		w.opening.stale = true
		w.opening.cancel()
	}
}

// leaving tells whether the group has taken something from us that is not
// handled yet: its goroutine waits for that before it goes on.
func (w *worker) leaving() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.kind == "lost" {
			return true
		}
	}
	return false
}

// ours tells whether every input partition of a task is assigned to us. A
// foreign member of the group may hold one of them: the task then waits.
func (w *worker) ours(p int32) (missing []string) {
	for _, s := range w.top.sources {
		if p < w.app.counts[s.topic] && !w.owned[s.topic][p] {
			missing = append(missing, s.topic)
		}
	}
	return missing
}

// close ends everything, leaving the group so that another member takes over at
// once instead of after the session's end.
func (w *worker) close() {
	close(w.closing)
	w.reset()
	if w.opening != nil {
		w.opening.cancel()
		<-w.opening.done
		w.opening.prod.close()
	}
	w.copies.stop()
	w.background.Wait()
	defer w.fetch.Close()
	if w.group == nil {
		return
	}
	w.group.CloseAllowingRebalance()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// A static member does not leave by closing.
	adm := kadm.NewClient(w.fetch)
	if _, err := adm.LeaveGroup(ctx, kadm.LeaveGroup(w.top.app).InstanceIDs(w.app.instance()).Reason("stopped")); err != nil {
		w.log.Warn("could not leave the group: its tasks are taken over when the session ends", "err", err)
	}
}

// trim deletes handled records from the repartition topics, in the background.
// It is no matter if it fails: the next one catches up.
func (w *worker) trim() {
	if time.Now().Before(w.trimAt) {
		return
	}
	first := w.trimAt.IsZero()
	w.trimAt = time.Now().Add(trimEvery)
	if first || w.cfg.keepRepartitioned {
		return
	}
	var offsets kadm.Offsets
	for k, off := range w.committed {
		if s := w.top.source(k.topic); s != nil && s.internal != nil && off > 0 {
			offsets.AddOffset(k.topic, k.partition, off, -1)
		}
	}
	if len(offsets) == 0 {
		return
	}
	w.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if _, err := kadm.NewClient(w.fetch).DeleteRecords(ctx, offsets); err != nil {
			w.log.Debug("repartition topics not trimmed", "err", err)
		}
	})
}
