// Package relay brings the rows of the outbox to Kafka. It owns which instance
// works which shard, how rows are produced, and what
// happens while Kafka or the order database is away. It must not know what the
// messages mean, and it changes nothing in the database but that a row was sent.
//
// What it promises: every row reaches Kafka at least once. A row is sent twice
// only if Kafka's answer was lost or could not be marked before the shard changed
// hands. Rows of a shard are sent in the order of their numbers, one batch after
// the other, and what is sent again is sent in order too. The one exception is a
// row that Kafka refuses for good, which is left unsent and passed over until the
// next start.
//
// A batch is a transaction, and who takes a shard over fences its former holder
// before it reads what is unsent: so the last record of a key is that of its last
// row. Rows of topics whose readers know what comes twice (Config.Repeatable) do
// without, see decision 0012: of these a holder that was asleep, or whose network
// was, may write its last batch once more, late.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
)

const (
	// shareEvery is how often an instance looks whether its share of the shards
	// has changed and whether shards have become free.
	shareEvery = time.Second
	// stopGrace is how long a batch in hand may take to its end when the
	// shard is given up. What is cut off is sent again by the next holder.
	stopGrace = 3 * time.Second
)

// DB is the part of an orderdb.DB that a Relay uses.
type DB interface {
	Shards() int
	Hold(ctx context.Context, shard int) (lock orderdb.Lock, ok bool, err error)
	Relays(ctx context.Context) (int, error)
	Leave(ctx context.Context) error
	Unsent(ctx context.Context, limits map[int]int) (map[int][]orderdb.Message, error)
	Sent(ctx context.Context, numbers []int64) error
	Wake() <-chan struct{}
}

// Config sets a Relay up. DB and Kafka are required.
type Config struct {
	DB    DB
	Kafka kclient.Config
	// Logger defaults to discarding.
	Logger *slog.Logger
	// Registerer receives the metrics; nil means nowhere.
	Registerer prometheus.Registerer
	// Repeatable tells of a topic whose readers take a record that comes again,
	// at any time later, for what it is: its messages are written without a
	// transaction, which a lone one would spend most of its time in. nil means
	// none is.
	Repeatable func(topic string) bool
	// Sent is called for each message once its record is in Kafka, with the
	// record as it stands there and the time at which its batch was begun;
	// again for a message that is sent again. It is called by several goroutines
	// at once and holds its batch up. nil means nothing.
	Sent func(m orderdb.Message, r *kgo.Record, began time.Time)
}

// Relay works the shards of an outbox that are this instance's share. It is a
// lifecycle.Component. Its methods are safe for concurrent use.
type Relay struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// prefix of the transactional ids. All instances on a database must have
	// the same one.
	prefix  string
	timeout time.Duration // of a transaction
	grace   time.Duration // stopGrace
	poll    time.Duration // pollMin
	outages kclient.Outages
	answers atomic.Bool // Kafka has answered the last question
	rest    rest

	ctx  context.Context // ends when what is in hand is to be given up
	kill context.CancelFunc
	quit chan struct{} // closed when Stop is called
	wg   sync.WaitGroup

	news chan struct{} // holds one, for the courier

	mu       sync.Mutex
	started  bool
	stopped  bool
	held     map[int]*shard
	enrolled map[int]*enrolled
	trouble  map[int]error     // by shard; -1 stands for the sharing of shards
	closed   map[int]time.Time // shards whose producer cannot be opened, and since when
}

// New makes a Relay. It contacts nobody.
func New(cfg Config) (*Relay, error) {
	if cfg.DB == nil {
		return nil, errors.New("relay: no order database given")
	}
	if len(cfg.Kafka.Brokers) == 0 {
		return nil, errors.New("relay: no brokers given")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Repeatable == nil {
		cfg.Repeatable = func(string) bool { return false }
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	r := &Relay{
		cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Registerer), prefix: "comptoir-outbox-", timeout: transactionTimeout, grace: stopGrace, poll: pollMin,
		quit: make(chan struct{}), held: map[int]*shard{}, enrolled: map[int]*enrolled{}, news: make(chan struct{}, 1), trouble: map[int]error{}, closed: map[int]time.Time{},
		rest: rest{after: restAfter, least: restLeast},
	}
	r.ctx, r.kill = context.WithCancel(context.Background())
	return r, nil
}

// Start begins to relay and returns at once: neither Kafka nor the database need
// to be there. A Relay is started once.
func (r *Relay) Start(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.stopped {
		return errors.New("relay: started twice, or after its stop")
	}
	probe, err := r.cfg.Kafka.New(kgo.WithHooks(&r.outages))
	if err != nil {
		return err
	}
	r.started = true
	wake := r.cfg.DB.Wake()
	r.wg.Go(func() { r.share() })
	r.wg.Go(func() { r.carry() })
	r.wg.Go(func() { r.passOn(wake) })
	r.wg.Go(func() { r.listen(probe) })
	return nil
}

// Stop finishes the batches in hand, releases the shards and joins every
// goroutine. What does not end within 3 s, or before ctx, is given up: its rows
// are sent by the next holder. It returns nil and may be called twice.
func (r *Relay) Stop(ctx context.Context) error {
	r.mu.Lock()
	if !r.stopped {
		r.stopped = true
		close(r.quit)
	}
	r.mu.Unlock()
	defer context.AfterFunc(ctx, r.kill)()
	r.wg.Wait()
	r.kill()
	return nil
}

// Health returns nil while what is in the shards we hold can go out, or what
// keeps it from that.
func (r *Relay) Health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.trouble {
		return err
	}
	return nil
}

// kick puts something into a channel that holds one.
func kick(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is there already
	}
}

// passOn wakes the courier when the database has something new.
func (r *Relay) passOn(wake <-chan struct{}) {
	for {
		select {
		case <-r.quit:
			return
		case <-wake:
		}
		// First the next one: it tells of all that comes after the courier looks.
		wake = r.cfg.DB.Wake()
		kick(r.news)
	}
}

// listen asks Kafka for a sign of life, so that shards that have nothing to send
// learn of an outage too: see kclient.EndHanging.
func (r *Relay) listen(probe *kgo.Client) {
	defer probe.Close()
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(r.ctx, shareEvery)
		r.answers.Store(probe.Ping(ctx) == nil) // the hook has seen it too
		cancel()
	}
}

// share takes and gives up shards until the stop.
func (r *Relay) share() {
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	// A database that hangs must not hold up the stop.
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	r.wg.Go(func() {
		select {
		case <-r.quit:
			cancel()
		case <-ctx.Done():
		}
	})
	for {
		if err := r.balance(ctx); err == nil {
			r.isWell(noShard)
		} else if errors.Is(err, errResting) {
			r.isTroubled(noShard, err)
		} else if ctx.Err() == nil {
			r.metrics.errors.WithLabelValues(stepShare).Inc()
			r.isTroubled(noShard, err)
		}
		select {
		case <-r.quit:
			return // each shard sees the same
		case <-tick.C:
		}
	}
}

// noShard stands for the sharing itself among the troubles.
const noShard = -1

// balance brings what we hold to our fair share, as far as shards are free.
func (r *Relay) balance(ctx context.Context) error {
	if r.rest.goesOn(r.answers.Load()) {
		return r.leave(ctx)
	}
	relays, err := r.cfg.DB.Relays(ctx)
	if err != nil {
		return err
	}
	if relays > 1 && r.outOfReach() {
		r.rest.begin()
		return r.leave(ctx)
	}
	shards, relays := r.cfg.DB.Shards(), max(relays, 1)
	fair := (shards + relays - 1) / relays
	held := r.holding()
	for ; len(held) > fair; held = held[:len(held)-1] {
		held[len(held)-1].release()
	}
	n := len(held)
	for i := 0; i < shards && n < fair; i++ {
		if r.has(i) {
			continue
		}
		lock, ok, err := r.cfg.DB.Hold(ctx, i)
		if err != nil {
			return err
		}
		if ok {
			r.take(i, lock)
			n++
		}
	}
	return nil
}

// holding returns the shards that we hold and are not giving up, by number.
func (r *Relay) holding() []*shard {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*shard
	for _, s := range r.held {
		if !s.ending() {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *shard) int { return a.number - b.number })
	return out
}

func (r *Relay) has(number int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[number] != nil
}

// take begins to work a shard.
func (r *Relay) take(number int, lock orderdb.Lock) {
	s := newShard(r, number, lock)
	r.mu.Lock()
	r.held[number] = s
	r.metrics.held.Set(float64(len(r.held)))
	r.mu.Unlock()
	r.log.Debug("outbox shard taken", "shard", number)
	r.wg.Go(func() {
		s.run()
		r.isWell(number) // no longer ours to tell
		r.mu.Lock()
		delete(r.held, number)
		delete(r.closed, number)
		r.metrics.held.Set(float64(len(r.held)))
		r.mu.Unlock()
		r.log.Debug("outbox shard given up", "shard", number)
		// Last of all: from here on somebody else may have it.
		lock.Release()
	})
}

// isTroubled notes what keeps a shard from being relayed. The first of them is
// logged, and so is the end of the last: in between it is one story.
func (r *Relay) isTroubled(shard int, err error) {
	r.mu.Lock()
	first := len(r.trouble) == 0
	r.trouble[shard] = err
	r.mu.Unlock()
	if first {
		r.log.Warn("outbox is held up; messages wait in the order database", "error", err)
	}
}

func (r *Relay) isWell(shard int) {
	r.mu.Lock()
	_, was := r.trouble[shard]
	delete(r.trouble, shard)
	over := was && len(r.trouble) == 0 && !r.stopped // a stop heals nothing
	r.mu.Unlock()
	if over {
		r.log.Info("outbox goes out again")
	}
}
