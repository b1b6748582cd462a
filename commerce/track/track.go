// Package track is service-suivi: it reads every public topic that concerns
// orders and keeps the order database true, so that nobody ever has to search a
// topic for an order. What a record says is one pure function (Index); the
// Tracker brings it into the database together with the positions it has read
// to; the Fetcher gets the payloads of a timeline from Kafka, by offset.
//
// It must not decide what a state means or which content of an order wins
// (package orderdb does), answer requests, or write to a topic.
package track

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

// Group is the consumer group in which Trackers share the partitions.
const Group = "service-suivi"

// topics are what is read: all public topics but those of visitors' behaviour,
// which know no orders.
var topics = func() (names []string) {
	for _, s := range event.Topics {
		if s.Name != event.TopicViews && s.Name != event.TopicCartItems {
			names = append(names, s.Name)
		}
	}
	return names
}()

// DB is the part of the order database (orderdb.DB) that a Tracker uses.
type DB interface {
	Positions(ctx context.Context) (map[orderdb.Partition]orderdb.Position, error)
	Apply(ctx context.Context, b orderdb.Batch) error
	Forget(ctx context.Context, p orderdb.Partition, to orderdb.Position) error
}

// Config is what a Tracker needs. Kafka and DB are required.
type Config struct {
	Kafka kclient.Config
	DB    DB
	// Instance, if not empty, tells this Tracker from others of the group and is
	// the same after a restart, which then gets its partitions back at once, also
	// after a crash.
	Instance string
	// Yield, if there is one, tells whether the orders themselves need the
	// processors: what is told of them then waits longer.
	Yield func() bool
	// Applied, if there is one, is called after each batch that is in the
	// database, by the Tracker's goroutine: it must return at once.
	Applied func()
	// Logger defaults to none.
	Logger *slog.Logger
	// Registerer takes the metrics; nil means none.
	Registerer prometheus.Registerer

	// checkInterval and batchBytes override the constants in tests, which are less
	// patient and smaller.
	checkInterval time.Duration
	batchBytes    int
}

// checkInterval is how often the topics are looked at: whether they are still
// the same, how far behind we are, and whether there are new partitions. The
// group hears of us as often.
const checkInterval = 3 * time.Second

// Tracker reads the topics into the order database, each record once. Any
// number of Trackers, in one process or many, share the partitions. It is a
// lifecycle.Component; its methods are safe for concurrent use.
type Tracker struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	health  health
	admin   *kgo.Client

	// soft ends when the Tracker shall stop after what is under way, hard when
	// it shall give that up too.
	soft, hard context.Context
	stop, kill context.CancelFunc
	done       chan struct{}
}

// adminTimeout is how long a question about topics is tried again.
const adminTimeout = 4 * time.Second

var errNotMember = errors.New("not a member yet")

// New makes a Tracker, which does not contact anything before Start.
func New(cfg Config) (*Tracker, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.checkInterval == 0 {
		cfg.checkInterval = checkInterval
	}
	if cfg.batchBytes == 0 {
		cfg.batchBytes = batchBytes
	}
	t := &Tracker{cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Registerer), health: health{log: cfg.Logger}}
	t.health.errs[causeMember] = errNotMember
	var err error
	if t.admin, err = cfg.Kafka.New(kgo.MetadataMinAge(10*time.Millisecond), kgo.RetryTimeout(adminTimeout)); err != nil {
		return nil, fmt.Errorf("track: %w", err)
	}
	t.hard, t.kill = context.WithCancel(context.Background())
	t.soft, t.stop = context.WithCancel(t.hard)
	return t, nil
}

// Health returns what keeps the Tracker from its work, nil if nothing does. It
// heals by itself.
func (t *Tracker) Health() error { return t.health.err() }

// settleTimeout bounds how long Start waits for Kafka and the database.
const settleTimeout = 5 * time.Second

// Start begins to track. Before that it compares the database's positions with
// the ends of the topics: where a broker has lost the end of a partition, what
// the database knows of it is forgotten. Later the gap may have been filled by
// other records, so whatever writes to topics should start after the Tracker of
// an embedded broker. If Kafka or the database does not answer within 5 s,
// Start goes on without: that is no error, and Health tells.
func (t *Tracker) Start(ctx context.Context) error {
	sctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if _, err := t.place(sctx, topics); err != nil {
		if ctx.Err() != nil {
			t.admin.Close()
			return fmt.Errorf("start tracking: %w", err)
		}
		t.log.Warn("tracking starts without a look at the topics", "error", err)
	}
	t.done = make(chan struct{})
	go t.run()
	return nil
}

// Stop ends tracking after the batch under way, tells the group how far it is
// and leaves it. If ctx ends, the batch is given up; nothing is lost by it. It
// may be called twice.
func (t *Tracker) Stop(ctx context.Context) error {
	t.stop()
	if t.done == nil {
		t.admin.Close()
		return nil
	}
	release := context.AfterFunc(ctx, t.kill)
	<-t.done
	release()
	t.kill()
	return nil
}

// errReopen ends a session whose picture of the partitions is wrong: another
// one reads the positions anew.
var errReopen = errors.New("positions are to be read again")

// settled is how long a session lasts that ended by something new.
const settled = 10 * time.Second

// run lives as long as the Tracker: sessions with the group, one after the
// other.
func (t *Tracker) run() {
	defer close(t.done)
	defer t.admin.Close()
	wait := firstWait
	for {
		t.metrics.again.Inc()
		begin := time.Now()
		err := t.session()
		t.health.set(causeMember, errNotMember)
		if t.soft.Err() != nil {
			return
		}
		t.log.Warn("tracking begins anew", "reason", err)
		if wait = min(2*wait, longestWait); time.Since(begin) > settled {
			wait = firstWait
		}
		// Two Trackers that fight over a partition must not do so in step.
		if !lifecycle.Sleep(t.soft, wait+rand.N(wait)) {
			return
		}
	}
}
