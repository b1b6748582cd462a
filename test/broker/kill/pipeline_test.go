package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// pipeline consumes, transforms and produces, with the consumed offsets in the
// transaction: each input is output exactly once.
type pipeline struct {
	run     *run
	in      *topicLog
	inputs  *rand.Rand
	workers []*rand.Rand
	drain   chan struct{} // closed when the workers may end
	ended   chan struct{} // closed when they have

	next map[int32]int64
	out  map[uint64]int // how often each input is seen, by read_committed
}

const (
	pipePartitions = 3
	pipeOut        = "pipe-out"
)

func newPipeline(r *run, seed uint64) *pipeline {
	a := &pipeline{run: r, in: newTopicLog(r, "pipe-in", pipePartitions, duplicate), inputs: source(seed, "inputs"), drain: make(chan struct{}), ended: make(chan struct{})}
	for n := range 2 {
		a.workers = append(a.workers, source(seed, fmt.Sprint("worker", n)))
	}
	a.forget()
	return a
}

func (a *pipeline) forget() {
	a.next, a.out = map[int32]int64{}, map[uint64]int{}
	for p := range int32(pipePartitions) {
		a.next[p] = 0
	}
}

func (a *pipeline) prepare(ctx context.Context) error {
	if err := a.run.create(ctx, a.in.name, pipePartitions); err != nil {
		return err
	}
	return a.run.create(ctx, pipeOut, pipePartitions)
}

// work returns when the inputs end; the workers go on until check has seen that
// all inputs are through.
func (a *pipeline) work(ctx context.Context) {
	go func() {
		defer close(a.ended)
		var wait sync.WaitGroup
		for n, rng := range a.workers {
			wait.Go(func() { a.worker(n, rng) })
		}
		wait.Wait()
	}()
	produce(ctx, a.run, a.in, 1, a.inputs, 300)
}

// worker is a member of the group. Now and then it leaves and another one comes.
// It is an eager one: a cooperative one of franz-go may go on with partitions that
// another member has had meanwhile, see TestForgottenMember.
func (a *pipeline) worker(number int, rng *rand.Rand) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-a.drain:
			cancel()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		s, err := kgo.NewGroupTransactSession(a.run.options(
			kgo.TransactionalID(fmt.Sprint("pipe-", number)), kgo.TransactionTimeout(20*time.Second),
			kgo.ConsumerGroup("pipe"), kgo.ConsumeTopics(a.in.name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.Balancers(kgo.RangeBalancer()),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(200*time.Millisecond))...)
		if err != nil {
			a.run.t.Error(err)
			return
		}
		for range 20 + rng.IntN(200) {
			if err := a.turn(ctx, s, rng); err != nil || ctx.Err() != nil {
				break
			}
		}
		s.Close()
	}
}

// turn is one transaction of a worker.
func (a *pipeline) turn(ctx context.Context, s *kgo.GroupTransactSession, rng *rand.Rand) error {
	poll, cancel := context.WithTimeout(ctx, 2*time.Second)
	fetched := s.PollRecords(poll, 1+rng.IntN(100))
	cancel()
	if fetched.NumRecords() == 0 {
		return nil
	}
	end, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Begin(); err != nil {
		return err
	}
	var mu sync.Mutex
	var failed error
	fetched.EachRecord(func(r *kgo.Record) {
		out := &kgo.Record{Topic: pipeOut, Partition: int32(rng.IntN(pipePartitions)), Value: r.Value}
		s.Produce(end, out, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
		})
	})
	if err := s.Client().Flush(end); err != nil {
		return err
	}
	done, err := s.End(end, kgo.TransactionEndTry(failed == nil && rng.IntN(10) > 0))
	if done && err == nil {
		a.run.tally.did("pipeline transactions", 1)
	}
	return err
}

func (a *pipeline) check(ctx context.Context, last bool) error {
	if err := a.in.check(ctx, last); err != nil {
		return err
	}
	if !last {
		return a.readOut(ctx)
	}
	// All inputs come through while the workers go on.
	_ = until(ctx, func() error {
		if err := a.readOut(ctx); err != nil {
			return err
		}
		for id := range a.in.seen {
			if a.out[id] == 0 {
				return fmt.Errorf("input %x has no output", id)
			}
		}
		return nil
	})
	close(a.drain)
	<-a.ended
	a.forget()
	if err := a.readOut(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	for id := range a.in.seen {
		if a.out[id] == 0 {
			a.run.tally.fault(never, "input %x at %v", id, a.in.seen[id])
		}
	}
	a.run.tally.did("inputs output", len(a.out))
	return nil
}

func (a *pipeline) readOut(ctx context.Context) error {
	conn, err := wire.Dial(ctx, a.run.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for p, from := range a.next {
		next, err := read(ctx, conn, pipeOut, p, from, committed, func(r *kgo.Record) {
			if r.Attrs.IsControl() {
				return
			}
			id := identity(r.Value)
			if a.out[id]++; a.out[id] == 2 {
				a.run.tally.fault(twice, "input %x, the second time at %d/%d", id, r.Partition, r.Offset)
			}
		})
		if err != nil {
			return err
		}
		a.next[p] = next
	}
	return nil
}
