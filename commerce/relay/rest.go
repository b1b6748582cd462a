package relay

import (
	"context"
	"errors"
	"time"
)

// An instance that cannot reach Kafka, while the database shows that there are
// others, leaves its shards to those. It does not count among the relays then, so
// that its share is theirs, and comes back once Kafka answers it.

const (
	// restAfter is how long all of our shards must have failed to reach Kafka.
	restAfter = 10 * time.Second
	// restLeast is how long we leave them at least, for others to take them.
	restLeast = 3 * time.Second
)

// errResting is the trouble of an instance that rests.
var errResting = errors.New("this instance cannot reach kafka and leaves its share of the outbox to others")

// rest is the state of it, of the goroutine that shares.
type rest struct {
	after, least time.Duration
	since        time.Time // zero if we do not rest
	left         bool      // the database knows
}

func (s *rest) begin() { s.since = time.Now() }

// goesOn says whether we rest, and ends that when it is time.
func (s *rest) goesOn(answers bool) bool {
	if !s.since.IsZero() && s.left && answers && time.Since(s.since) >= s.least {
		s.since, s.left = time.Time{}, false
	}
	return !s.since.IsZero()
}

// leave gives all shards up and, once they are, leaves the other relays. It
// returns errResting if that is done or under way.
func (r *Relay) leave(ctx context.Context) error {
	r.isTroubled(noShard, errResting) // before the shards' own troubles end with them
	for _, s := range r.holding() {
		s.release()
	}
	r.mu.Lock()
	n := len(r.held)
	r.mu.Unlock()
	if n == 0 && !r.rest.left {
		if err := r.cfg.DB.Leave(ctx); err != nil {
			return err
		}
		r.rest.left = true
	}
	return errResting
}

// cannotOpen notes that a shard's producer could not be opened, and when that
// was tried.
func (r *Relay) cannotOpen(shard int, tried time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed[shard].IsZero() {
		r.closed[shard] = tried
	}
}

func (r *Relay) hasOpened(shard int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.closed, shard)
}

// outOfReach says whether Kafka has been away from all of our shards for long.
func (r *Relay) outOfReach() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for number := range r.held {
		if since := r.closed[number]; since.IsZero() || time.Since(since) < r.rest.after {
			return false
		}
	}
	return len(r.held) > 0
}
