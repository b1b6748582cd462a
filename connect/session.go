package connect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/internal/lifecycle"
	"github.com/comptoir/comptoir/internal/turns"
)

// protocolName is our own, so that a console consumer started with a
// connector's group is refused instead of being given a partition.
const protocolName = "comptoir-connect"

type balancer struct{ kgo.GroupBalancer }

func (balancer) ProtocolName() string { return protocolName }

const (
	// pollRecords is the most records of one Put.
	pollRecords = 2000
	// gatherShare is how many times as long as a batch took the next one gathers,
	// and longestGather the most of it: under load a batch's own cost is shared by
	// many records.
	gatherShare   = 9
	longestGather = 50 * time.Millisecond
	// drainWait is how long after the last record the input counts as dry, which
	// commits to Kafka.
	drainWait = 50 * time.Millisecond
	// troubleWait without a complaint of the client means that trouble is over.
	troubleWait = 5 * time.Second
	// commitInterval bounds how far Kafka's offsets trail under load.
	commitInterval = time.Second
	// offsetsTimeout bounds one commit. Its failure costs nothing: the sink's own
	// offsets or a later commit make up for it.
	offsetsTimeout = 5 * time.Second
)

// session is one membership in the connector's group with one sink. Partitions
// come and go in the client's callbacks; everything else is the task's
// goroutine.
type session struct {
	t     *task
	sink  Sink
	owner PartitionOwner // nil if the sink keeps no offsets
	cl    *kgo.Client
	ctx   context.Context
	fail  context.CancelCauseFunc
	wrote bool
	// trouble is what the client last said of Kafka, and when.
	trouble  string
	troubled time.Time

	mu        sync.Mutex
	open      map[TopicPartition]*openPartition
	committed map[TopicPartition]committed // as last fetched from the group
}

// openPartition is a partition that may be delivered. A revoked and returned
// one is another object, which tells records of before from those of after.
type openPartition struct {
	next  int64 // behind the last record handled, control records included
	dirty bool  // next is not committed to Kafka yet
	id    string
}

type committed struct {
	offset   int64
	metadata string
}

func (t *task) session() (wrote bool, err error) {
	s := &session{t: t, open: make(map[TopicPartition]*openPartition), committed: make(map[TopicPartition]committed)}
	s.ctx, s.fail = context.WithCancelCause(t.ctx)
	defer s.fail(nil)
	s.sink, err = t.spec.plugin.NewSink(TaskContext{
		Connector: t.c.name, Task: t.id, Values: t.spec.values, Logger: t.logger, Report: t.report,
	})
	if err != nil {
		return false, err
	}
	s.owner, _ = s.sink.(PartitionOwner)
	if err := s.sink.Start(t.ctx); err != nil {
		return false, err
	}
	// However the session ends, the sink is released; hung systems are given up
	// with the connector's hard context.
	defer func() {
		ctx, cancel := context.WithTimeout(t.c.hard, stopGrace)
		defer cancel()
		if e := s.sink.Stop(ctx); e != nil {
			t.logger.Warn("sink did not stop cleanly", "error", e)
		}
	}()
	if s.cl, err = t.c.w.cfg.Kafka.New(s.options()...); err != nil {
		return false, err
	}
	err = s.loop()
	if t.ctx.Err() == nil {
		if cause := context.Cause(s.ctx); cause != nil {
			err = cause
		}
	}
	s.commit(t.c.hard)
	leave, cancel := context.WithTimeout(t.c.hard, offsetsTimeout)
	defer cancel()
	s.fail(nil) // callbacks that wait for the sink end now
	if e := s.cl.LeaveGroupContext(leave); e != nil {
		t.logger.Warn("cannot leave the consumer group", "error", e)
	}
	s.cl.Close()
	return s.wrote, err
}

func (s *session) options() []kgo.Opt {
	spec := s.t.spec
	opts := []kgo.Opt{
		kgo.ConsumerGroup("connect-" + s.t.c.name),
		kgo.Balancers(balancer{kgo.CooperativeStickyBalancer()}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Markers at the end of a partition must be seen, or the group would show
		// a lag of one for ever.
		kgo.KeepControlRecords(),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(10 * time.Second),
		kgo.HeartbeatInterval(3 * time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// What is new to us waits for the fetch under way: Kafka's own default.
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.revoked),
		kgo.OnOffsetsFetched(s.fetched),
		kgo.AdjustFetchOffsetsFn(s.assigned),
	}
	if spec.pattern != "" {
		return append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics(spec.pattern))
	}
	return append(opts, kgo.ConsumeTopics(spec.topics...))
}

func (s *session) revoked(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, parts := range lost {
		for _, p := range parts {
			delete(s.open, TopicPartition{topic, p})
		}
	}
}

func (s *session) fetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	note := func(topic string, p int32, offset int64, metadata *string) {
		c := committed{offset: offset}
		if metadata != nil {
			c.metadata = *metadata
		}
		s.committed[TopicPartition{topic, p}] = c
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				note(t.Topic, p.Partition, p.Offset, p.Metadata)
			}
		}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			note(t.Topic, p.Partition, p.Offset, p.Metadata)
		}
	}
	return nil
}

func (s *session) loop() error {
	lastCommit := time.Now()
	others := turns.Turns{Pressed: s.t.c.w.cfg.Yield}
	for s.ctx.Err() == nil {
		if others.Resting() {
			s.commit(s.ctx) // others are told how far we are before we rest
			others.Rest(s.ctx)
			continue
		}
		wait := time.Minute
		switch {
		case s.dirty():
			wait = drainWait
		case s.trouble != "":
			wait = troubleWait
		}
		pctx, cancel := context.WithTimeout(s.ctx, wait)
		fetches := s.cl.PollRecords(pctx, pollRecords)
		cancel()
		if fetches.IsClientClosed() {
			return errors.New("kafka client closed")
		}
		s.fetchErrors(fetches)
		batch, ends := s.take(fetches)
		began := time.Now()
		if len(batch) > 0 {
			if err := s.deliver(batch); err != nil {
				return err
			}
			s.wrote = true
		}
		s.advance(ends)
		took := time.Since(began)
		if fetches.NumRecords() == 0 || time.Since(lastCommit) > commitInterval {
			s.commit(s.ctx)
			lastCommit = time.Now()
		}
		if len(batch) > 0 {
			lifecycle.Sleep(s.ctx, min(gatherShare*took, longestGather))
		}
	}
	return s.ctx.Err()
}

func (s *session) dirty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.open {
		if p.dirty {
			return true
		}
	}
	return false
}

func (s *session) fetchErrors(fetches kgo.Fetches) {
	trouble := ""
	fetches.EachError(func(topic string, partition int32, err error) {
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			trouble = fmt.Sprintf("topic %s does not exist yet; create it, or correct the option topics", topic)
		case topic == "":
			trouble = fmt.Sprintf("cannot work with Kafka, trying again: %v", err)
		default:
			trouble = fmt.Sprintf("cannot read topic %s partition %d, trying again: %v", topic, partition, err)
		}
	})
	// The client tells of lasting trouble every second, and not of its end.
	switch {
	case trouble != "" && trouble != s.trouble:
		s.t.note(trouble)
		s.t.logger.Warn("task waits for kafka", "reason", trouble)
	case trouble == "" && s.trouble != "" && time.Since(s.troubled) >= troubleWait:
		s.t.note("")
		s.t.logger.Info("task reads from kafka again")
		s.trouble = ""
	}
	if trouble != "" {
		s.trouble, s.troubled = trouble, time.Now()
	}
}

// item is a polled record with the partition it belongs to.
type item struct {
	rec  *Record
	part *openPartition
}

// take turns what was polled into records of partitions that are open, and
// says how far each partition then is.
func (s *session) take(fetches kgo.Fetches) ([]item, map[*openPartition]int64) {
	if fetches.NumRecords() == 0 {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	items := make([]item, 0, fetches.NumRecords())
	ends := make(map[*openPartition]int64)
	fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
		tp := TopicPartition{ftp.Topic, ftp.Partition}
		p := s.open[tp]
		if p == nil || len(ftp.Records) == 0 {
			return
		}
		for _, r := range ftp.Records {
			if r.Offset < p.next {
				continue
			}
			ends[p] = r.Offset + 1
			if r.Attrs.IsControl() {
				continue
			}
			rec := &Record{TopicPartition: tp, Offset: r.Offset, Timestamp: r.Timestamp, RawKey: r.Key, RawValue: r.Value, key: s.t.spec.key}
			if len(r.Headers) > 0 {
				rec.Headers = make([]Header, len(r.Headers))
				for i, h := range r.Headers {
					rec.Headers[i] = Header(h)
				}
			}
			items = append(items, item{rec, p})
		}
	})
	return items, ends
}

// deliver gives a batch to the sink until it is written, it fails for good, or
// the session ends.
func (s *session) deliver(items []item) error {
	if err := s.t.retry(s.ctx, "hand over to the dead-letter topic", func() error { return s.convert(&items) }); err != nil {
		var refused *refusedError
		if !errors.As(err, &refused) {
			return err
		}
		// What came before the refused record is written first.
		if e := s.put(items); e != nil {
			return e
		}
		return err
	}
	return s.put(items)
}

// convert decodes the values. A refused one cuts the batch short.
func (s *session) convert(items *[]item) error {
	for i := range *items {
		r := (*items)[i].rec
		if r.Skip || r.Value.Kind != Null {
			continue
		}
		v, err := s.t.spec.value(r.RawValue)
		if err == nil {
			r.Value = v
			continue
		}
		err = s.t.reportStage(s.ctx, r, fmt.Errorf("value: %w; correct the producer, or set value.converter to what it writes", err), stageValue)
		if IsRetriable(err) {
			return err
		}
		if err != nil {
			*items = (*items)[:i]
			return err
		}
		r.Skip = true
	}
	return nil
}

func (s *session) put(items []item) error {
	hard := s.t.c.hard
	return s.t.retry(s.ctx, "write a batch", func() error {
		batch := make([]*Record, 0, len(items))
		s.mu.Lock()
		for _, it := range items {
			// Partitions can be lost while a batch waits for its turn.
			if s.open[it.rec.TopicPartition] == it.part && (s.owner != nil || !it.rec.Skip) {
				batch = append(batch, it.rec)
			}
		}
		s.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		ctx, cancel := s.putContext(hard)
		defer cancel()
		begin := time.Now()
		err := s.sink.Put(ctx, batch)
		if errors.Is(err, ErrFenced) {
			return errRejoin
		}
		if err == nil {
			m := s.t.c.w.metrics
			m.puts.WithLabelValues(s.t.c.name).Observe(time.Since(begin).Seconds())
			ok := 0
			for _, r := range batch {
				if !r.Skip {
					ok++
				}
				s.t.readFrom(r.Topic)
			}
			m.records.WithLabelValues(s.t.c.name, outcomeOK).Add(float64(ok))
		}
		return err
	})
}

// putContext lets a batch finish for a while after the task was told to stop.
func (s *session) putContext(hard context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(hard)
	release := context.AfterFunc(s.ctx, func() {
		timer := time.AfterFunc(stopGrace, cancel)
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ctx, func() { release(); cancel() }
}

func (s *session) advance(ends map[*openPartition]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, next := range ends {
		if next > p.next {
			p.next, p.dirty = next, true
		}
	}
}

// commitMark at the head of the metadata marks our commits: with it, an offset without
// its row in the database means a database that was lost or replaced.
const commitMark = "comptoir:"

// commit tells Kafka how far the partitions are.
func (s *session) commit(ctx context.Context) {
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	ids := make(map[string]string)
	was := make(map[*openPartition]int64)
	s.mu.Lock()
	for tp, p := range s.open {
		if !p.dirty {
			continue
		}
		if offsets[tp.Topic] == nil {
			offsets[tp.Topic] = make(map[int32]kgo.EpochOffset)
		}
		offsets[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: -1, Offset: p.next}
		ids[tp.Topic] = p.id
		was[p] = p.next
	}
	s.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, offsetsTimeout)
	defer cancel()
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			mark := commitMark + ids[req.Topics[i].Topic]
			for j := range req.Topics[i].Partitions {
				req.Topics[i].Partitions[j].Metadata = &mark
			}
		}
		return nil
	})
	failed := false
	s.cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err == nil {
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
						err = e
					}
				}
			}
		}
		if err != nil {
			failed = true
			s.t.logger.Debug("offsets not committed to kafka, trying again later", "error", err)
		}
	})
	if failed {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, next := range was {
		p.dirty = p.next != next
	}
}
