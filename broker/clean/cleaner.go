// Package clean lets old records go: retention by time and by size, and
// compaction. It owns the choice of what goes and when. It must not change
// anything itself: it reads the store, and hands each step to the machine of
// package core, which makes it durable if it still stands.
//
// A crash at any instant, between steps or within one, loses no record that a
// reader should see: a step is whole or not there, and each is right by itself.
package clean

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// Machine is the owner of the partitions: core.Runner.
type Machine interface {
	Cleanables(context.Context) ([]core.Cleanable, error)
	Clean(context.Context, core.Cleaned) (bool, error)
}

// Store has the records: store.Store.
type Store interface {
	core.Ranger
	Read(p store.Partition, from, below int64, max int, dst []byte) ([]byte, error)
	Batches(p store.Partition, from, below int64, fn func(store.BatchInfo) error) error
	Size(p store.Partition) int64
}

// Config is what a Cleaner is made of.
type Config struct {
	Machine Machine
	Store   Store
	Clock   core.Clock
	// Every is the time between two rounds. Defaults to 15 seconds.
	Every time.Duration
	// Keys is how many keys a pass of compaction keeps in memory at most, at
	// about 50 bytes each. Defaults to 512 Ki.
	Keys int
	// Share is the part of one core that cleaning takes at most. Defaults to a
	// quarter.
	Share float64
	// Yield, if there is one, tells whether others in the process need the
	// processors: cleaning takes an eighth of its share then.
	Yield      func() bool
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil for no metrics
}

// Cleaner cleans, in rounds. Its methods but Round are safe for concurrent use.
type Cleaner struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// ends remembers where compacted partitions ended a while ago.
	ends map[store.Partition]end

	stop  context.CancelFunc
	ended sync.WaitGroup
}

// New returns a cleaner that does nothing before Start.
func New(cfg Config) *Cleaner {
	if cfg.Every <= 0 {
		cfg.Every = 15 * time.Second
	}
	if cfg.Keys <= 0 {
		cfg.Keys = 512 << 10
	}
	if cfg.Share <= 0 || cfg.Share > 1 {
		cfg.Share = 0.25
	}
	return &Cleaner{cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Registerer), ends: map[store.Partition]end{}}
}

// Start begins the rounds.
func (c *Cleaner) Start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.ended.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.cfg.Clock.After(c.cfg.Every):
			}
			if err := c.Round(ctx); err != nil && ctx.Err() == nil {
				c.log.Warn("cleaning was cut short", "err", err)
			}
		}
	})
}

// Close ends the rounds. What was decided and not handed over is decided again
// another time.
func (c *Cleaner) Close() {
	c.stop()
	c.ended.Wait()
}

// Round looks at every partition once and cleans those that are due. A partition
// that cannot be cleaned is logged, counted and left as it is.
func (c *Cleaner) Round(ctx context.Context) error {
	all, err := c.cfg.Machine.Cleanables(ctx)
	if err != nil {
		return err
	}
	c.forget(all)
	for _, p := range all {
		err := c.clean(ctx, p)
		switch {
		case err == nil || errors.Is(err, errStale):
		case ctx.Err() != nil || errors.Is(err, core.ErrClosed):
			return err
		default:
			c.metrics.failures.Inc()
			c.log.Error("partition cannot be cleaned", "topic", p.Topic, "partition", p.Index, "err", err)
		}
	}
	return nil
}

func (c *Cleaner) clean(ctx context.Context, p core.Cleanable) error {
	if p.Policy.Delete {
		start, err := c.retain(ctx, p)
		if err != nil {
			return err
		}
		p.Start = start
	}
	if p.Policy.Compact {
		return c.compact(ctx, p)
	}
	return nil
}

// errStale says that the machine has refused a step: things have changed since it
// was decided, and the next round sees them as they are.
var errStale = errors.New("no longer as it was")

func (c *Cleaner) step(ctx context.Context, s core.Cleaned) error {
	stands, err := c.cfg.Machine.Clean(ctx, s)
	if err == nil && !stands {
		return errStale
	}
	return err
}

// yieldShare divides the share while others need the processors.
const yieldShare = 8

// pace rests after work that began at begun, so that cleaning takes its share of
// a core and no more.
func (c *Cleaner) pace(ctx context.Context, begun time.Time) error {
	worked := c.cfg.Clock.Now().Sub(begun)
	share := c.cfg.Share
	if c.cfg.Yield != nil && c.cfg.Yield() {
		share /= yieldShare
	}
	rest := time.Duration(float64(worked) * (1/share - 1))
	if rest <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.cfg.Clock.After(rest):
		return nil
	}
}
