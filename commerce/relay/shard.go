package relay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

const (
	// maxBatch is the most messages of a shard at once, and firstBatch of the first
	// one: after a long outage rows may be many and large, so their size is
	// learned before thousands of them are read into memory.
	maxBatch   = 1000
	firstBatch = 100
	// largeBatch is the size, in bytes of keys and values, above which the next
	// batch has half the messages.
	largeBatch = 8 << 20

	// An idle shard is looked at after pollMin, then less and less often: the
	// database wakes us, but may not know of what another process wrote. It waits
	// at most pollFactor times as long.
	pollMin    = 50 * time.Millisecond
	pollFactor = 10

	// After an error the next try waits backoffMin, doubled each time.
	backoffMin = 100 * time.Millisecond
	backoffMax = 2 * time.Second

	// A turn costs about the same however few messages it has, so those that send
	// any begin turnPace apart at least, unless more is there. But turnBurst of them
	// may come sooner: few messages go at once. One that takes longer has gathered
	// what comes meanwhile, and needs no rest.
	turnPace  = 10 * time.Millisecond
	turnBurst = 5
	// After a shard's transaction the courier is called when as much time has gone
	// by as it took, at most paceMax.
	paceMax = 10 * time.Millisecond
)

// shard is a shard that we hold. A goroutine of its own keeps its producer open.
type shard struct {
	relay  *Relay
	number int
	lock   orderdb.Lock
	giveUp chan struct{} // closed by release

	// Of the goroutine, or of the courier while that has it in hand:
	limit      int            // of the next batch
	aloneUntil int64          // it is written by itself up to this number: Kafka has refused one of them
	refused    map[int64]bool // numbers that Kafka does not take
	failed     int            // tries in a row
}

func newShard(r *Relay, number int, lock orderdb.Lock) *shard {
	return &shard{
		relay: r, number: number, lock: lock, limit: firstBatch, refused: map[int64]bool{},
		giveUp: make(chan struct{}),
	}
}

// release asks for the end after the batch in hand. It is called once, by
// the goroutine that shares.
func (s *shard) release() { close(s.giveUp) }

// ending says whether the shard is being given up, for whatever reason.
func (s *shard) ending() bool {
	select {
	case <-s.giveUp:
	case <-s.lock.Lost():
	case <-s.relay.quit:
	default:
		return false
	}
	return true
}

// run works the shard until it is released or lost, or the relay stops.
func (s *shard) run() {
	ctx, cancel := context.WithCancel(s.relay.ctx)
	defer cancel()
	s.relay.wg.Go(func() {
		select {
		case <-s.giveUp:
		case <-s.relay.quit:
		case <-s.lock.Lost():
			cancel() // somebody else may be at it
			return
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(s.relay.grace):
		case <-s.lock.Lost():
		case <-ctx.Done():
		}
		cancel()
	})
	for !s.ending() {
		err := s.session(ctx)
		var refused *refusedError
		switch {
		case err == nil:
		case errors.As(err, &refused):
			s.passOver(refused)
		case !s.ending():
			s.relay.isTroubled(s.number, err)
			wait := s.backoff()
			if isFenced(err) {
				// If somebody else works the shard, the database is about to
				// tell us that it is lost: not to fence them in turn.
				wait = backoffMax
			}
			s.sleep(ctx, wait)
		}
	}
}

// session makes a producer, which fences whoever had the shard before, and has the
// courier send what is unsent until it is asked to end or the session has to be
// renewed (nil), or something fails. After a failure nothing is known but what the
// database says: the producer is thrown away, and the next session begins by
// reading.
func (s *shard) session(ctx context.Context) error {
	began := time.Now()
	p, err := openProducer(ctx, s.relay.cfg.Kafka, s.relay.transactionalID(s.number), s.relay.timeout, s.relay.log, &s.relay.outages)
	if err != nil {
		s.relay.metrics.errors.WithLabelValues(stepOpen).Inc()
		s.relay.cannotOpen(s.number, began)
		return err
	}
	defer p.close()
	s.relay.hasOpened(s.number)
	return s.relay.enrol(ctx, s, p)
}

// batch returns which of the unsent messages go next, all of one kind, repeatable
// or not, and whether there is more; limit is how many were asked for.
func (s *shard) batch(unsent []orderdb.Message, limit int) (msgs []orderdb.Message, more bool) {
	more = len(unsent) == limit
	msgs = slices.DeleteFunc(unsent, func(m orderdb.Message) bool { return s.refused[m.Number] })
	if len(msgs) == 0 {
		return nil, false
	}
	n := min(len(msgs), s.limit)
	repeatable := s.relay.cfg.Repeatable
	for i, m := range msgs[:n] {
		if repeatable(m.Topic) != repeatable(msgs[0].Topic) {
			return msgs[:i], true
		}
	}
	return msgs[:n], more
}

// learn sets the size of the next batch after one that went well.
func (s *shard) learn(msgs []orderdb.Message) {
	s.passed(msgs[len(msgs)-1])
	size := 0
	for _, m := range msgs {
		size += len(m.Key) + len(m.Value)
	}
	if size > largeBatch {
		s.limit = max(1, len(msgs)/2)
		return
	}
	// No more than what comes: what is read beyond a batch is read again.
	s.limit = min(2*max(len(msgs), min(s.limit, firstBatch)), maxBatch)
}

// passed notes that a message, and so all before it, is done with.
func (s *shard) passed(m orderdb.Message) {
	if m.Number >= s.aloneUntil {
		s.aloneUntil = 0
	}
}

// passOver narrows down which message it is that Kafka refuses: a batch with one
// is tried again by halves, with none of other shards beside it, and a message that
// is refused alone is left out from now on. It stays unsent in the database, and is
// tried again by the next holder.
func (s *shard) passOver(refused *refusedError) {
	if len(refused.messages) > 1 || !refused.alone {
		s.limit = max(1, len(refused.messages)/2)
		s.aloneUntil = max(s.aloneUntil, refused.messages[len(refused.messages)-1].Number)
		return
	}
	m := refused.messages[0]
	s.refused[m.Number] = true
	s.passed(m)
	s.relay.metrics.refused.Inc()
	s.relay.log.Error("kafka refuses a message of the outbox; it is passed over until the next start",
		"number", m.Number, "topic", m.Topic, "shard", s.number, "error", refused.err)
}

// backoff is how long to wait after another failure.
func (s *shard) backoff() time.Duration {
	s.failed++
	return backoff(s.failed)
}

// backoff is how long to wait after so many failures in a row.
func backoff(failed int) time.Duration { return min(backoffMin<<min(failed-1, 10), backoffMax) }

// sleep waits, or less if the shard is to be given up.
func (s *shard) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-s.giveUp:
	case <-s.relay.quit:
	case <-ctx.Done():
	case <-time.After(d):
	}
}
