package track

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

// protocolName is our own, so that a console consumer started with our group is
// refused instead of being given a partition.
const protocolName = "comptoir-track"

type balancer struct{ kgo.GroupBalancer }

func (balancer) ProtocolName() string { return protocolName }

const (
	// batchBytes is how much memory a batch takes that is full, about: some 10,000
	// orders.
	batchBytes = 12 << 20
	// gatherShare is how many times as long as a batch took the next one gathers,
	// unless it is full before, and longestGather the most of it.
	gatherShare   = 3
	longestGather = 100 * time.Millisecond
	// After a batch of busyRecords the next one gathers for busyGather from when
	// that one began: under a backlog an order's records stand some tenths of a
	// second apart, and each batch that has one of them reads and writes the order.
	busyRecords = 2000
	busyGather  = time.Second
	// pollRecords is the most that is read before the next look whether the stages
	// press: a busy batch, and the markers in between.
	pollRecords = busyRecords + busyRecords/4
	// fetchPause is between the fetches of a batch that gathers: each costs the
	// broker as much as the records do, unless it has many.
	fetchPause  = 20 * time.Millisecond
	manyRecords = 500
	// drainWait is how long after the last record the input counts as dry, which
	// commits to Kafka.
	drainWait = 50 * time.Millisecond
	// commitInterval bounds how far Kafka's offsets trail under load.
	commitInterval = time.Second
	// offsetsTimeout bounds one commit. Its failure costs nothing: the database's
	// positions rule, and a later commit makes up for it.
	offsetsTimeout = 5 * time.Second
)

// session is one membership in the group. Partitions come and go in the
// client's callbacks; batches are read by the session's goroutine while the one
// before is applied by another; the watch looks at the topics.
type session struct {
	t    *Tracker
	cl   *kgo.Client
	ctx  context.Context
	fail context.CancelCauseFunc
	// poke makes the watch look at once.
	poke chan struct{}
	step step

	mu     sync.Mutex
	open   map[orderdb.Partition]*openPartition
	flight *flight // what is being applied, nil if nothing is
}

// openPartition is a partition that may be tracked. A revoked and returned one
// is another object, which tells records of before from those of after. Fields
// without a lock belong to the session's goroutine.
type openPartition struct {
	topic  [16]byte
	stored orderdb.Position // in the database, once the batch under way is
	read   atomic.Int64     // behind the last record read, markers included
	// applied is where the database is, trailing markers included; committed is
	// what the group was told.
	applied, committed int64
	place
}

// full says that a batch shall not grow.
func (s *session) full(b *batch) bool { return b != nil && b.size() >= s.t.cfg.batchBytes }

func (p *openPartition) dirty() bool { return p.applied > p.committed }

func (t *Tracker) session() error {
	s := &session{t: t, open: make(map[orderdb.Partition]*openPartition), poke: make(chan struct{}, 1), step: step{length: firstSlice}}
	s.ctx, s.fail = context.WithCancelCause(t.soft)
	defer s.fail(nil)
	var err error
	if s.cl, err = t.cfg.Kafka.New(s.options()...); err != nil {
		return err
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch()
	}()
	err = s.loop()
	if cause := context.Cause(s.ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	s.fail(nil) // callbacks that wait for the database end now
	s.commit(t.hard)
	s.leave()
	s.cl.Close()
	<-watched
	return err
}

// leave leaves the group, so that others need not wait for our session to end.
func (s *session) leave() {
	t := s.t
	ctx, cancel := context.WithTimeout(t.hard, offsetsTimeout)
	defer cancel()
	err := s.cl.LeaveGroupContext(ctx)
	if t.cfg.Instance != "" && t.soft.Err() != nil {
		// A static member stays unless it is removed (KIP-345); it stays when only
		// a session ends.
		_, err = kadm.NewClient(s.cl).LeaveGroup(ctx, kadm.LeaveGroup(Group).InstanceIDs(s.instance()).Reason("stopped"))
	}
	if err != nil && t.hard.Err() == nil {
		t.log.Warn("cannot leave the consumer group", "error", err)
	}
}

func (s *session) instance() string { return Group + "-" + s.t.cfg.Instance }

func (s *session) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumerGroup(Group),
		kgo.Balancers(balancer{kgo.CooperativeStickyBalancer()}),
		kgo.ConsumeTopics(topics...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Markers at the end of a partition must be seen, or the group would show
		// a lag of one for ever.
		kgo.KeepControlRecords(),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(10 * time.Second),
		kgo.HeartbeatInterval(s.t.cfg.checkInterval),
		// New topics and partitions are found by this.
		kgo.MetadataMaxAge(s.t.cfg.checkInterval),
		// A log that went back is told by records that come again: see take.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// Partitions that are new to us wait for the fetch under way.
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.FetchMaxPartitionBytes(stepBytes),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			if len(added) == 0 {
				s.t.health.set(causeMember, nil)
			}
		}),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.revoked),
		kgo.AdjustFetchOffsetsFn(s.assigned),
		kgo.WithHooks(memberHook{s.t}),
	}
	if s.t.cfg.Instance != "" {
		opts = append(opts, kgo.InstanceID(s.instance()))
	}
	return opts
}

// memberHook hears why the group does not have us.
type memberHook struct{ t *Tracker }

var _ kgo.HookGroupManageError = memberHook{}

// OnGroupManageError is called when a membership ends by an error.
func (h memberHook) OnGroupManageError(err error) {
	if h.t.soft.Err() == nil && !errors.Is(err, context.Canceled) {
		h.t.health.set(causeMember, err)
	}
}

// assigned decides where partitions that came to us begin: where the database
// says, whatever the group's offsets are. It runs in the client's own goroutine
// while heartbeats go on, so that a database that is down costs neither the
// membership nor our other partitions; ctx ends when the group rebalances.
func (s *session) assigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var topics []string
	for topic := range offsets {
		topics = append(topics, topic)
	}
	if len(topics) == 0 {
		return offsets, nil
	}
	err := retry(ctx, func(ctx context.Context) error {
		at, err := s.t.place(ctx, topics)
		if err != nil {
			return err
		}
		for topic, parts := range offsets {
			for n := range parts {
				if _, ok := at[orderdb.Partition{Topic: topic, Partition: n}]; !ok {
					err := fmt.Errorf("topic %s partition %d has no leader that answers", topic, n)
					s.t.health.set(causeMember, err)
					return err
				}
			}
		}
		s.take(offsets, at)
		s.t.health.set(causeMember, nil)
		return nil
	})
	return offsets, err
}

// take opens the partitions of offsets, and puts there where they begin.
func (s *session) take(offsets map[string]map[int32]kgo.Offset, at map[orderdb.Partition]placed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, parts := range offsets {
		for n, group := range parts {
			tp := orderdb.Partition{Topic: topic, Partition: n}
			a := at[tp]
			p := &openPartition{topic: a.topic, stored: a.stored, applied: a.next, committed: group.EpochOffset().Offset,
				place: place{end: a.end, heard: time.Now()}}
			p.read.Store(a.next)
			if p.committed > a.end {
				p.committed = -1 // of a log that is no more
			}
			parts[n] = kgo.NewOffset().At(a.next)
			s.open[tp] = p
			s.t.log.Debug("partition opened", "topic", topic, "partition", n, "offset", a.next)
		}
	}
}

// revokeWait is how long a revoked partition waits for the batch under way, so
// that who gets it next finds the positions where we left them. One that takes
// longer is fenced by the positions themselves.
const revokeWait = 3 * time.Second

func (s *session) revoked(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	s.mu.Lock()
	for topic, parts := range lost {
		for _, n := range parts {
			delete(s.open, orderdb.Partition{Topic: topic, Partition: n})
		}
	}
	f := s.flight
	s.mu.Unlock()
	if f == nil {
		return
	}
	timer := time.NewTimer(revokeWait)
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	}
}

// loop gathers batches, and applies each while it gathers the next.
func (s *session) loop() error {
	lastCommit := time.Now()
	var due time.Time // of the next batch, unless it is full
	var rest pause    // before a full one
	grown := growth{}
	var next *batch
	var f *flight
	many := false
	for s.ctx.Err() == nil {
		rest.look(s.t.cfg.Yield)
		fetches := s.poll(f, next, due, &rest, many)
		many = fetches.NumRecords() >= manyRecords
		if fetches.IsClientClosed() {
			return errors.New("kafka client closed")
		}
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				s.look()
			}
		})
		grown.look(fetches)
		var back *lapse
		if next, back = s.index(next, fetches); back == nil && fetches != nil {
			begins := s.step.end == 0
			s.keepStep()
			if !begins { // else the stages may press by now
				next, back = s.index(next, s.rest())
			}
		}
		read := s.step.done && fetches.NumRecords() == 0 // the slice
		if read && next == nil {
			s.step.next(0)
		}
		dry := f == nil && next == nil
		if f != nil && (f.landed() || back != nil || s.full(next) || read) {
			if err := s.land(f); err != nil {
				return err
			}
			due = time.Now().Add(min(gatherShare*f.took, longestGather))
			if busy := f.began.Add(busyGather); f.b.records >= busyRecords && due.Before(busy) {
				due = busy
			}
			rest.landed(f.took, grown.taken())
			f = nil
		}
		switch {
		case back != nil:
			return s.wentBack(back)
		case next == nil || f != nil:
		case next.empty():
			next.advance()
			next = nil
		case s.step.end > 0 && !s.full(next) && !read: // the slice goes on
		case s.step.end > 0 || s.full(next):
			if rest.left() > 0 {
				break
			}
			if read {
				s.step.next(next.size())
			}
			f, next = s.launch(next), nil
		case rest.presses && rest.left() > 0:
		case !time.Now().Before(due):
			f, next = s.launch(next), nil
		}
		if dry || time.Since(lastCommit) > commitInterval {
			s.commit(s.ctx)
			lastCommit = time.Now()
		}
	}
	if f != nil {
		return s.land(f)
	}
	return nil
}

// growth tells whether the topics have grown between looks at them.
type growth struct {
	ends map[orderdb.Partition]int64
	seen bool
}

func (g *growth) look(fetches kgo.Fetches) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if g.ends == nil {
			g.ends = make(map[orderdb.Partition]int64)
		}
		tp := orderdb.Partition{Topic: p.Topic, Partition: p.Partition}
		end, known := g.ends[tp]
		g.seen = g.seen || known && p.HighWatermark > end
		g.ends[tp] = p.HighWatermark
	})
}

// taken tells whether they have since it was last asked.
func (g *growth) taken() bool {
	seen := g.seen
	g.seen = false
	return seen
}

// poll waits for records, for the batch under way to be applied, for the next
// one to be due, or for the input to be dry while the group is to be told
// something. It returns nil if nothing was to be fetched: a batch that is full
// stays as it is until it may be applied, and while the stages press none is begun
// before its time, or grows.
func (s *session) poll(f *flight, next *batch, due time.Time, rest *pause, many bool) kgo.Fetches {
	if (rest.presses || f == nil && (s.full(next) || s.step.done)) && rest.left() > 0 {
		ctx := s.ctx
		if f != nil {
			ctx = f.landing
		}
		lifecycle.Sleep(ctx, min(rest.left(), pauseLook))
		if !s.step.done {
			s.mu.Lock()
			listen(s.open)
			s.mu.Unlock()
		}
		return nil
	}
	if s.step.end == 0 && len(s.step.held) > 0 {
		s.keepStep() // nothing was fetched since the slice has ended
	}
	wait := time.Minute
	switch {
	case s.step.done:
		wait = lastFetch
	case s.step.end > 0:
		wait = slicePatience / 4
	case next != nil && many:
		wait = fetchPause
	case next != nil && f != nil:
		lifecycle.Sleep(s.ctx, fetchPause)
	case next != nil:
		lifecycle.Sleep(s.ctx, min(fetchPause, time.Until(due)))
		wait = time.Until(due)
	case f == nil && s.dirty():
		wait = drainWait
	}
	ctx, cancel := context.WithTimeout(s.ctx, wait)
	defer cancel()
	if f != nil {
		defer context.AfterFunc(f.landing, cancel)()
	}
	return s.fetch(ctx)
}

func (s *session) dirty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.open {
		if p.dirty() {
			return true
		}
	}
	return false
}

// look makes the watch look at the topics soon.
func (s *session) look() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// commit tells Kafka how far the partitions are.
func (s *session) commit(ctx context.Context) {
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	was := make(map[*openPartition]int64)
	s.mu.Lock()
	for tp, p := range s.open {
		if !p.dirty() {
			continue
		}
		if offsets[tp.Topic] == nil {
			offsets[tp.Topic] = make(map[int32]kgo.EpochOffset)
		}
		offsets[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: -1, Offset: p.applied}
		was[p] = p.applied
	}
	s.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, offsetsTimeout)
	defer cancel()
	if err := commitOffsets(ctx, s.cl, offsets); err != nil {
		s.t.log.Debug("offsets not committed to kafka, trying again later", "error", err)
		return
	}
	for p, at := range was {
		p.committed = at
	}
}
