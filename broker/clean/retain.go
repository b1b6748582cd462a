package clean

import (
	"context"
	"errors"

	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// stepBatches is how many batches one step takes away at most: the machine's turn
// waits for the store meanwhile.
const stepBatches = 4096

var errEnough = errors.New("enough")

// retain takes away, from the start on, batches whose latest record is older than
// the topic keeps them, and those beyond its bytes. It stops at the first that
// stays, and at open transactions. It returns the partition's start.
func (c *Cleaner) retain(ctx context.Context, p core.Cleanable) (start int64, err error) {
	start = p.Start
	for {
		var removed, bytes int64
		spare := int64(0) // bytes more than are kept
		if p.Policy.RetainBytes >= 0 {
			spare = c.cfg.Store.Size(p.Partition) - p.Policy.RetainBytes
		}
		oldest := int64(0) // the time before which records go
		if p.Policy.Retain >= 0 {
			oldest = c.cfg.Clock.Now().Add(-p.Policy.Retain).UnixMilli()
		}
		next := start
		err := c.cfg.Store.Batches(p.Partition, start, p.Stable, func(b store.BatchInfo) error {
			old := p.Policy.Retain >= 0 && b.MaxTimestamp < oldest
			if !old && int64(b.Size) > spare || b.Last >= p.Stable || removed == stepBatches {
				return errEnough
			}
			spare -= int64(b.Size)
			next = b.Last + 1
			removed++
			bytes += int64(b.Size)
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return start, err
		}
		if removed == 0 {
			return start, nil
		}
		if err := c.step(ctx, core.Cleaned{Of: p, Start: next}); err != nil {
			return start, err
		}
		start = next
		c.metrics.retained.Add(float64(bytes))
		c.log.Info("old records deleted", "topic", p.Topic, "partition", p.Index, "start", next, "bytes", bytes)
	}
}
