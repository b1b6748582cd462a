package clean

import (
	"context"
	"math"
	"time"

	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// restless is how long the end of a partition stays untouched, counted from when
// a round has first seen it: readers close behind see every record, and a record
// that is soon replaced is not copied first. Apache Kafka leaves its last segment
// alone; a topic's segment.ms, if shorter, is taken here.
const restless = time.Minute

// end remembers where a partition ended.
type end struct {
	offset  int64
	at      time.Time
	settled int64 // what lies below has been there for long enough
}

// settled returns the offset below which a partition may be compacted.
func (c *Cleaner) settled(p core.Cleanable) int64 {
	now := c.cfg.Clock.Now()
	e, ok := c.ends[p.Partition]
	if !ok {
		e = end{offset: p.Stable, at: now}
	}
	if now.Sub(e.at) >= min(restless, p.Policy.Segment) {
		e = end{offset: p.Stable, at: now, settled: e.offset}
	}
	c.ends[p.Partition] = e
	return min(e.settled, p.Stable)
}

// forget drops what is remembered of partitions that are gone.
func (c *Cleaner) forget(all []core.Cleanable) {
	there := make(map[store.Partition]bool, len(all))
	for _, p := range all {
		there[p.Partition] = p.Policy.Compact
	}
	for id := range c.ends {
		if !there[id] {
			delete(c.ends, id)
		}
	}
}

// compact makes passes over a partition until it is clean: one, unless it has
// more keys than fit in memory.
func (c *Cleaner) compact(ctx context.Context, p core.Cleanable) error {
	below, err := c.due(p)
	if err != nil || below == 0 {
		return err
	}
	for {
		done, err := c.pass(ctx, &p, below)
		if err != nil || done {
			return err
		}
	}
}

// due returns the offset below which a partition is to be compacted now; 0 for
// not at all.
func (c *Cleaner) due(p core.Cleanable) (below int64, err error) {
	below = c.settled(p)
	now := c.cfg.Clock.Now()
	from := max(p.Compacted.Below, p.Start)
	var dirty, rest int64
	oldest := int64(math.MaxInt64)
	fresh := false // a batch that is too young was met
	err = c.cfg.Store.Batches(p.Partition, from, math.MaxInt64, func(b store.BatchInfo) error {
		if p.Policy.MinLag > 0 && b.MaxTimestamp > now.Add(-p.Policy.MinLag).UnixMilli() {
			fresh = true
		}
		if fresh && b.Last < below {
			below = b.Base
		}
		if b.Last >= below {
			rest += int64(b.Size)
			return nil
		}
		if b.Base >= from { // and not one that was partly compacted
			dirty += int64(b.Size)
			oldest = min(oldest, b.MaxTimestamp)
		}
		return nil
	})
	// What was compacted once has been there for long enough.
	below = max(below, p.Compacted.Below)
	if err != nil || below <= p.Start {
		return 0, err
	}
	total := c.cfg.Store.Size(p.Partition) - rest
	switch {
	case dirty > 0 && float64(dirty) > p.Policy.DirtyRatio*float64(total):
	case dirty > 0 && oldest < now.Add(-p.Policy.MaxLag).UnixMilli():
	case !p.Compacted.Due.IsZero() && !p.Compacted.Due.After(now):
	default:
		return 0, nil
	}
	return below, nil
}
