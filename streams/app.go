package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/streams/state"
)

// Config sets up an App. Topology, Kafka and State are required.
type Config struct {
	Topology *Topology
	// Kafka is the cluster.
	Kafka kclient.Config
	// State is the instance's local state; several Apps may share one.
	State *state.DB
	// CommitInterval is the longest time that a transaction stays open while
	// records keep coming. Defaults to 100 ms.
	CommitInterval time.Duration
	// MinCommitInterval is the longest that a commit waits for more records
	// when the input is dry but transactions have taken up much of the time
	// lately: it keeps a busy worker from making many small ones. A record that
	// arrives after a pause does not wait. Defaults to 10 ms; negative means
	// none.
	MinCommitInterval time.Duration
	// BufferBytes caps what an open transaction holds in memory; at the cap it
	// is committed. Defaults to 4 MiB.
	BufferBytes int
	// SessionTimeout is how long a dead instance keeps its tasks, and
	// transactions stay open after their producer is gone. Defaults to 10 s.
	SessionTimeout time.Duration
	// StandbyCopies is how many instances besides its owner keep a copy of each
	// task's state, so that they can take it over at once. Of the members of a
	// group the one that leads it decides. Defaults to 0.
	StandbyCopies int
	// ReplicationFactor is that of internal topics; 0 means the cluster's default.
	ReplicationFactor int16
	// keepRepartitioned leaves handled records in the repartition topics, for
	// tests that look at them.
	keepRepartitioned bool
	// farOnly sends everything to repartition topics, for tests of what happens there.
	farOnly bool
	// Trace is called for every record with a sampled trace context, once the
	// transaction that holds it has committed: see Processed. It runs on the
	// App's goroutine, or on that of another App of its Chain, and must return at
	// once. Nil means no tracing, at no cost.
	Trace func(Processed)
	// Chain joins the Apps of a process that hand over records to each other.
	// Nil means that everything goes through the topics.
	Chain *Chain
	// Load is told when the App has more to do than it can do at once; several
	// Apps may share one. One that nobody waits for (Stream.Unhurried) tells
	// nothing, and rests while the others have. Nil means nobody is told.
	Load *Load
	// Metrics counts what the App does; nil means nowhere.
	Metrics *Metrics
	// Logger defaults to discarding.
	Logger *slog.Logger
}

func (c *Config) defaults() error {
	if c.Topology == nil || c.State == nil {
		return errors.New("streams: Topology and State are required")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.CommitInterval, 100*time.Millisecond)
	def(&c.MinCommitInterval, 10*time.Millisecond)
	def(&c.SessionTimeout, 10*time.Second)
	if c.BufferBytes == 0 {
		c.BufferBytes = 4 << 20
	}
	if c.ReplicationFactor == 0 {
		c.ReplicationFactor = -1
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	c.Logger = c.Logger.With("app", c.Topology.app)
	return nil
}

// App runs a topology: one member of the consumer group. Start it once, Stop it
// once or more; Health may be called at any time.
type App struct {
	cfg    Config
	place  int // in cfg.Chain
	counts map[string]int32
	tasks  int32
	// deletions is how long the changelog keeps tombstones: a local state that
	// was away for longer cannot be caught up.
	deletions time.Duration
	globals   []*globalState
	reader    *globalReader
	worker    *worker
	cancel    context.CancelFunc
	done      chan struct{}

	mu     sync.Mutex
	health error
}

// instance is the identity of this member, the same at every start, so that a
// restart gets its tasks back at once.
func (a *App) instance() string { return a.cfg.Topology.app + "-" + a.cfg.State.Instance() }

// transactionalID names one of the two producers: unique to this instance, since
// two that shared one would fence each other.
func (a *App) transactionalID(turn int) string { return fmt.Sprintf("%s-%d", a.instance(), turn) }

// ErrNotRunning is the health of an App that has not reached its first task yet
// or is stopped.
var ErrNotRunning = errors.New("not running")

// NewApp checks the configuration.
func NewApp(cfg Config) (*App, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, health: ErrNotRunning}
	if cfg.Chain != nil {
		a.place = cfg.Chain.add(cfg.Topology)
	}
	return a, nil
}

// line returns the topologies whose work a transaction of the App may hold.
func (a *App) line() []*Topology {
	if a.cfg.Chain == nil {
		return []*Topology{a.cfg.Topology}
	}
	return a.cfg.Chain.from(a.place)
}

// Start checks the topics, creates the internal ones, loads the global tables,
// joins the group and returns once the group has answered and the tasks it gave
// (perhaps none) are restored. It keeps trying while the cluster cannot be
// reached, until ctx is done. After an error the App is stopped.
func (a *App) Start(ctx context.Context) error {
	if err := a.start(ctx); err != nil {
		a.setHealth(err)
		return errors.Join(fmt.Errorf("start %s: %w", a.cfg.Topology.app, err), a.Stop(context.Background()))
	}
	return nil
}

func (a *App) start(ctx context.Context) error {
	var err error
	if a.counts, a.tasks, a.deletions, err = prepareTopics(ctx, a.cfg); err != nil {
		return err
	}
	for _, g := range a.cfg.Topology.globals {
		a.globals = append(a.globals, g.open())
	}
	if len(a.globals) > 0 {
		if a.reader, err = startGlobals(ctx, a.cfg, a.globals); err != nil {
			return err
		}
	}
	run, cancel := context.WithCancel(context.Background())
	a.cancel, a.done = cancel, make(chan struct{})
	a.worker, err = newWorker(a)
	if err != nil {
		cancel()
		close(a.done)
		return err
	}
	go func() {
		defer close(a.done)
		a.worker.run(run)
	}()
	select {
	case <-a.worker.ready:
		return nil
	case <-a.done:
		return a.Health()
	case <-ctx.Done():
		return fmt.Errorf("no assignment from the group: %w", errors.Join(ctx.Err(), a.Health()))
	}
}

// Stop commits what is open, leaves the group, so that another instance takes
// over at once, and returns when all is closed. At the end of ctx it stops
// waiting for the commit, which is then aborted; for one of another App of its
// Chain that holds its work it waits on, for two sessions at most.
func (a *App) Stop(ctx context.Context) error {
	if a.worker != nil {
		a.worker.stop()
		select {
		case <-a.done:
		case <-ctx.Done():
		}
	}
	if a.cancel != nil {
		a.cancel()
		<-a.done
		a.cancel = nil
	}
	if a.reader != nil {
		a.reader.stop()
		a.reader = nil
	}
	a.setHealth(ErrNotRunning)
	return nil
}

// Health returns nil while the App works, or what keeps it from working.
func (a *App) Health() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.health
}

func (a *App) setHealth(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.health = err
}
