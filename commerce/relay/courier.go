package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
)

// The courier is one goroutine, which sends for all shards that we hold: one
// question to the database, one write to Kafka and one mark are for all of them,
// and a turn costs about the same however many messages it has. Shards enrol with
// it while their producers are open.

// enrolled is a shard that the courier sends for, with its producer.
type enrolled struct {
	*shard
	ctx context.Context // ends when what is in hand is to be given up
	p   *producer
	out chan error // holds one; the courier is done with it: nil if it was asked to be

	// Guarded by Relay.mu:
	busy    bool // the courier has it in hand
	leaving bool // it is to be let go of after that
}

// enrol has the courier send for a shard until that fails, or the shard is to end
// (nil). When it returns, the courier is done with shard and producer.
func (r *Relay) enrol(ctx context.Context, s *shard, p *producer) error {
	e := &enrolled{shard: s, ctx: ctx, p: p, out: make(chan error, 1)}
	r.mu.Lock()
	r.enrolled[s.number] = e
	r.mu.Unlock()
	kick(r.news)
	select {
	case err := <-e.out:
		return err
	case <-s.giveUp:
	case <-r.quit:
	case <-ctx.Done():
	}
	r.mu.Lock()
	if e.leaving = true; !e.busy && r.enrolled[s.number] == e {
		delete(r.enrolled, s.number)
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	return <-e.out
}

// gather takes in hand all that are enrolled and not in hand, by their numbers.
func (r *Relay) gather() []*enrolled {
	r.mu.Lock()
	defer r.mu.Unlock()
	var es []*enrolled
	for _, e := range r.enrolled {
		switch {
		case e.busy, e.ctx.Err() != nil: // in a transaction; about to leave
		case e.p.spent():
			delete(r.enrolled, e.number)
			e.out <- nil
		default:
			e.busy = true
			es = append(es, e)
		}
	}
	slices.SortFunc(es, func(a, b *enrolled) int { return a.number - b.number })
	return es
}

// letGo ends the turn of one, and its enrolment if it failed, has to be renewed or
// wants to leave.
func (r *Relay) letGo(e *enrolled, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.busy = false; err != nil || e.leaving || e.p.spent() {
		delete(r.enrolled, e.number)
		e.out <- err
	}
}

// carry is the courier. It may end at any time after the relay's stop has begun,
// between two turns: who is enrolled then lets itself go.
func (r *Relay) carry() {
	var c courier
	defer c.close()
	pace := rate.NewLimiter(rate.Every(turnPace), turnBurst)
	for poll := r.poll; !r.stopping(); {
		n, more := c.turn(r)
		if more {
			continue
		}
		if n > 0 {
			poll = r.poll
			r.pause(pace.Reserve().Delay())
		}
		select {
		case <-r.quit:
		case <-r.news:
			poll = r.poll
		case <-time.After(poll):
			poll = min(2*poll, pollFactor*r.poll)
		}
	}
}

func (r *Relay) stopping() bool {
	select {
	case <-r.quit:
		return true
	default:
		return false
	}
}

func (r *Relay) pause(d time.Duration) {
	select {
	case <-r.quit:
	case <-time.After(d):
	}
}

// courier is what the courier keeps from turn to turn.
type courier struct {
	plain *kgo.Client     // writes without transactions; nil if there is none yet, or it failed
	known map[string]bool // topics that it has written to
}

func (c *courier) close() {
	if c.plain != nil {
		closeClient(c.plain)
		c.plain = nil
	}
}

// lastMark is how long the mark may take of what Kafka has taken from shards that
// are no longer ours.
const lastMark = 500 * time.Millisecond

// job is what of a turn is written together: the messages of one shard, in a
// transaction or, if Kafka has refused one of them, alone; or those of several.
type job struct {
	shards []*enrolled
	msgs   []orderdb.Message
	ends   []int   // of each shard's among msgs
	failed []error // of each shard
}

func (j *job) add(e *enrolled, msgs []orderdb.Message) {
	j.shards, j.msgs, j.failed = append(j.shards, e), append(j.msgs, msgs...), append(j.failed, nil)
	j.ends = append(j.ends, len(j.msgs))
}

func newJob(e *enrolled, msgs []orderdb.Message) *job {
	j := new(job)
	j.add(e, msgs)
	return j
}

// of returns where the messages of a shard are.
func (j *job) of(shard int) (from, to int) {
	if shard > 0 {
		from = j.ends[shard-1]
	}
	return from, j.ends[shard]
}

// fail notes an error of all shards that have none.
func (j *job) fail(err error) {
	for i := range j.failed {
		if j.failed[i] == nil {
			j.failed[i] = err
		}
	}
}

// turn sends one batch of each shard: n messages of repeatable topics in all, and
// more are there if more is true. Transactions go on beside the turns, since those
// of one shard should not hold up what all others have.
func (c *courier) turn(r *Relay) (n int, more bool) {
	all := r.gather()
	if len(all) == 0 {
		return 0, false
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	limits, unhook := map[int]int{}, map[int]func() bool{}
	for _, e := range all {
		// One that is lost, or has waited for its end for too long, ends the turn
		// of all that take part in it: the others begin anew.
		unhook[e.number] = context.AfterFunc(e.ctx, cancel)
		defer unhook[e.number]()
		limits[e.number] = e.limit + len(e.refused)
	}
	unsent, failed := r.unsent(ctx, limits)
	goesOn := map[int]bool{}
	var together job
	var alone []*job
	for _, e := range all {
		msgs, further := e.batch(unsent[e.number], limits[e.number])
		goesOn[e.number] = further
		switch {
		case failed[e.number] != nil:
			unhook[e.number]()
			r.letGo(e, fmt.Errorf("read the outbox: %w", failed[e.number]))
		case len(msgs) == 0:
			unhook[e.number]()
			e.failed = 0
			r.isWell(e.number)
			r.letGo(e, nil)
		case !r.cfg.Repeatable(msgs[0].Topic):
			unhook[e.number]()
			r.wg.Go(func() {
				began := time.Now()
				c.do(e.ctx, r, newJob(e, msgs))
				if !further {
					r.pause(min(time.Since(began), paceMax))
				}
				kick(r.news) // it was left out meanwhile
			})
		case e.aloneUntil > 0:
			alone = append(alone, newJob(e, msgs))
		default:
			together.add(e, msgs)
		}
	}
	writes := alone // each in no batch of another's
	if len(together.shards) > 0 {
		writes = append([]*job{&together}, alone...)
	}
	for _, j := range writes {
		n += c.do(ctx, r, j)
		if slices.ContainsFunc(j.failed, func(err error) bool { return err != nil && !isRefused(err) }) {
			cancel() // it was waited for long enough
		}
	}
	for _, e := range all {
		more = more || goesOn[e.number]
	}
	return n, more && n > 0
}

// unsent asks for what is unsent, and for each shard by itself if that fails: the
// others need not wait for a row that cannot be read.
func (r *Relay) unsent(ctx context.Context, limits map[int]int) (unsent map[int][]orderdb.Message, failed map[int]error) {
	unsent, err := r.cfg.DB.Unsent(ctx, limits)
	if err == nil {
		return unsent, nil
	}
	unsent, failed = map[int][]orderdb.Message{}, map[int]error{}
	for shard, limit := range limits {
		if len(limits) > 1 && ctx.Err() == nil && !errors.Is(err, orderdb.ErrUnavailable) {
			var some map[int][]orderdb.Message
			some, err = r.cfg.DB.Unsent(ctx, map[int]int{shard: limit})
			unsent[shard] = some[shard]
		}
		if err != nil {
			failed[shard] = err
			r.metrics.errors.WithLabelValues(stepRead).Inc()
		}
	}
	return unsent, failed
}

// do writes what belongs together, marks what has come to stand in Kafka, and lets
// go of the shards. It returns how many messages went well.
func (c *courier) do(ctx context.Context, r *Relay, j *job) (n int) {
	began := time.Now()
	var records []*kgo.Record
	step := stepProduce
	switch {
	case ctx.Err() != nil:
		j.fail(ctx.Err())
	case r.cfg.Repeatable(j.msgs[0].Topic):
		records = c.write(ctx, r, j)
	default:
		records, step, j.failed[0] = j.shards[0].p.send(ctx, j.msgs)
	}
	took := time.Since(began)
	for _, err := range j.failed {
		if err != nil {
			r.metrics.errors.WithLabelValues(step).Inc()
		}
	}
	var numbers []int64
	for i, rec := range records {
		if rec == nil {
			continue
		}
		numbers = append(numbers, j.msgs[i].Number)
		if r.cfg.Sent != nil {
			r.cfg.Sent(j.msgs[i], rec, began)
		}
	}
	if len(numbers) > 0 {
		r.metrics.write.Observe(took.Seconds())
		r.metrics.batch.Observe(float64(len(numbers)))
		r.metrics.sent.Add(float64(len(numbers)))
		if err := r.mark(ctx, j, numbers); err != nil {
			j.fail(err)
		}
	}
	for i, e := range j.shards {
		if j.failed[i] == nil {
			from, to := j.of(i)
			n += to - from
			e.failed = 0
			e.learn(j.msgs[from:to])
			r.isWell(e.number)
		}
		r.letGo(e, j.failed[i])
	}
	return n
}

// write writes the messages without a transaction, in their order, and returns the
// records of those that are in Kafka; of others nothing is known. A connection
// that breaks is no failure: the client sends again, and Kafka knows by its numbers
// what it has already. But a broker that is away is not waited for as long as one
// that is slow, since another instance may reach it.
func (c *courier) write(ctx context.Context, r *Relay, j *job) []*kgo.Record {
	if c.plain == nil {
		var err error
		if c.plain, err = r.cfg.Kafka.New(producerOptions(&r.outages)...); err != nil {
			j.fail(err)
			return nil
		}
		c.known = map[string]bool{}
	}
	ctx, stop := context.WithTimeout(ctx, r.timeout)
	defer stop()
	outages := r.outages.Count()
	flush := func() error {
		up, stop := r.outages.Until(ctx, outages)
		defer stop()
		err := c.plain.Flush(up)
		if err != nil && ctx.Err() == nil {
			for _, e := range j.shards {
				r.isTroubled(e.number, kclient.ErrOutage)
			}
			ctx, stop := context.WithTimeout(ctx, r.grace)
			defer stop()
			err = c.plain.Flush(ctx)
		}
		if err != nil && r.outages.Count() != outages {
			err = kclient.ErrOutage
		}
		if err != nil {
			err = fmt.Errorf("produce: %w", err)
		}
		return err
	}
	var mu sync.Mutex
	records, errs := make([]*kgo.Record, len(j.msgs)), make([]error, len(j.msgs))
	var err error
	for i, m := range j.msgs {
		// Not ctx: see producer.send.
		c.plain.Produce(context.Background(), record(m), func(rec *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				records[i] = rec
			} else {
				errs[i] = fmt.Errorf("produce to topic %s: %w", rec.Topic, err)
			}
		})
		if c.known[m.Topic] {
			continue
		}
		// Records of a topic that the client does not know yet are given to their
		// partitions one by one while they are being sent already: one could fail
		// and the next one of its key not. Of one that it knows all are there before
		// the first is sent, and what stands behind a failed one fails with it.
		if err = flush(); err != nil {
			break
		}
		mu.Lock()
		err = errs[i]
		mu.Unlock()
		if err != nil {
			break
		}
		c.known[m.Topic] = true
	}
	if err == nil {
		err = flush()
	}
	if err != nil {
		c.close() // what it still has must not come later
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range j.shards {
		from, to := j.of(i)
		for k := from; k < to && !isRefused(j.failed[i]); k++ {
			switch {
			case records[k] != nil:
			case errs[k] != nil && isForGood(errs[k]):
				j.failed[i] = &refusedError{messages: j.msgs[from:to], alone: len(j.shards) == 1, err: errs[k]}
			case errs[k] != nil && !errors.Is(errs[k], kgo.ErrAborting): // which is ours
				j.failed[i] = errs[k]
			default:
				j.failed[i] = err
			}
		}
	}
	return slices.Clone(records)
}

// mark marks what has come to stand in Kafka as sent, and does not give up while
// the shards are ours: to read again before would be to send it all again.
func (r *Relay) mark(ctx context.Context, j *job, numbers []int64) error {
	for failed := 1; ; failed++ {
		err := r.cfg.DB.Sent(ctx, numbers)
		if err == nil {
			return nil
		}
		r.metrics.errors.WithLabelValues(stepMark).Inc()
		if ctx.Err() != nil {
			// It is true whoever has the shards now.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMark)
			defer cancel()
			if err = r.cfg.DB.Sent(ctx, numbers); err == nil {
				return nil
			}
			return fmt.Errorf("mark messages as sent: %w", err)
		}
		err = fmt.Errorf("mark messages as sent: %w", err)
		for _, e := range j.shards {
			r.isTroubled(e.number, err)
		}
		// Not pause: an orderly end waits for the mark, until the grace is over.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoff(failed)):
		}
	}
}
