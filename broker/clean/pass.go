package clean

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/core"
)

const (
	// chunk is how many bytes of batches are read at a time.
	chunk = 1 << 20
	// stepReplaced and stepBytes bound what one step replaces.
	stepReplaced = 256
	stepBytes    = 1 << 20
)

// keyHash stands for a key: 128 bits of SHA-256, which nobody can make collide.
type keyHash [16]byte

func hashOf(key []byte) keyHash {
	sum := sha256.Sum256(key)
	return keyHash(sum[:16])
}

// pass is one pass of compaction over a partition. It goes over the batches
// twice: where records are new since the last pass, to learn each key's last
// offset; then over all, to take away the records that a later one replaces.
//
// It works upwards, and each step leaves a log in which every key's last record
// stands: what a record makes superfluous lies below it. So a pass may be killed
// at any step. A tombstone goes only when all below it that it replaces is gone,
// which is so from the second pass over it on.
type pass struct {
	*Cleaner
	of   core.Cleanable
	from int64 // records are new from here on
	end  int64 // and known up to here
	keys map[keyHash]int64
	tx   *transactions
	now  time.Time

	step    core.Cleaned
	bytes   int // of step
	due     time.Time
	opaque  bool // a batch was met whose keys are unknown
	read    int64
	freed   int64
	dropped int64
	told    struct{ freed, dropped int64 } // to the metrics
	buf     []byte
	hashes  []located
}

type located struct {
	key    keyHash
	offset int64
}

// pass compacts p up to below, or as far as its keys fit in memory. It notes in
// p how far it came, and returns true when that is all.
func (c *Cleaner) pass(ctx context.Context, p *core.Cleanable, below int64) (done bool, err error) {
	w := &pass{
		Cleaner: c, of: *p, from: max(p.Compacted.Below, p.Start), end: below,
		keys: map[keyHash]int64{}, now: c.cfg.Clock.Now(),
	}
	if w.from < below {
		if err := w.walk(ctx, w.from, below, w.learn); err != nil {
			return false, err
		}
	}
	if err := w.walk(ctx, p.Start, w.end, w.rewrite); err != nil {
		return false, err
	}
	p.Compacted = core.Compacted{Below: w.end, Due: w.due}
	w.step.Compacted = &p.Compacted
	if err := w.flush(ctx); err != nil {
		return false, err
	}
	c.metrics.passes.Inc()
	c.log.Info("partition compacted", "topic", p.Topic, "partition", p.Index, "below", w.end,
		"keys", len(w.keys), "read_bytes", w.read, "freed_bytes", w.freed, "dropped_records", w.dropped)
	return w.end >= below, nil
}

// walk calls do for the batches from from on, up to below, until it returns
// false. It begins the transactions anew.
func (w *pass) walk(ctx context.Context, from, below int64, do func(context.Context, []byte, batch.Header) (bool, error)) error {
	aborted, err := core.Aborted(w.cfg.Store, w.of.Partition, from, below)
	if err != nil {
		return fmt.Errorf("read aborted transactions: %w", err)
	}
	w.tx = newTransactions(aborted)
	for from < below {
		begun := w.cfg.Clock.Now()
		w.buf, err = w.cfg.Store.Read(w.of.Partition, from, below, chunk, w.buf[:0])
		if err != nil {
			return fmt.Errorf("read batches from offset %d: %w", from, err)
		}
		if len(w.buf) == 0 {
			return nil
		}
		for b := w.buf; len(b) > 0; {
			h, err := batch.Parse(b)
			if err != nil {
				return fmt.Errorf("batch behind offset %d: %w", from, err)
			}
			if h.LastOffset() >= below {
				return nil
			}
			from = h.LastOffset() + 1
			more, err := do(ctx, b[:h.Size], h)
			if err != nil || !more {
				return err
			}
			b = b[h.Size:]
		}
		w.read += int64(len(w.buf))
		w.metrics.read.Add(float64(len(w.buf)))
		if err := w.pace(ctx, begun); err != nil {
			return err
		}
	}
	return nil
}

// learn notes the offsets of a batch's keys. When no more fit, the pass ends
// before it.
func (w *pass) learn(_ context.Context, b []byte, h batch.Header) (more bool, err error) {
	if h.Control() || w.tx.discards(h) {
		return true, nil
	}
	w.hashes = w.hashes[:0]
	if !w.readable(b, h, func(r batch.Record) {
		if r.Key != nil {
			w.hashes = append(w.hashes, located{hashOf(r.Key), r.Offset})
		}
	}) {
		return true, nil
	}
	if len(w.keys)+len(w.hashes) > w.cfg.Keys {
		w.end = h.BaseOffset
		return false, nil
	}
	for _, l := range w.hashes {
		w.keys[l.key] = l.offset
	}
	return true, nil
}

// readable calls fn for a batch's records. It returns false for a batch that
// stays as it is for ever: its records cannot be read, or are more than may be in
// memory.
func (w *pass) readable(b []byte, h batch.Header, fn func(batch.Record)) bool {
	if int64(h.NumRecords) > int64(w.cfg.Keys) {
		return false
	}
	return batch.Records(b, h, func(r batch.Record) bool { fn(r); return true }) == nil
}

// rewrite decides what becomes of a batch.
func (w *pass) rewrite(ctx context.Context, b []byte, h batch.Header) (more bool, err error) {
	if h.Control() {
		return true, w.marker(ctx, b, h)
	}
	if w.tx.discards(h) {
		w.dropped += int64(h.NumRecords)
		return true, w.remove(ctx, b, h)
	}
	horizon, known := h.DeleteHorizon()
	expired := known && horizon <= w.now.UnixMilli() && !w.opaque
	kept, tombstones := int32(0), false
	keep := func(r batch.Record) bool {
		if r.Key == nil {
			return false
		}
		last, ok := w.keys[hashOf(r.Key)]
		return (!ok || r.Offset >= last) && !(expired && r.Value == nil)
	}
	if !w.readable(b, h, func(r batch.Record) {
		if keep(r) {
			kept++
			tombstones = tombstones || r.Value == nil
		}
	}) {
		w.opaque = true
		w.metrics.unreadable.Inc()
		w.tx.stays(h)
		return true, nil
	}
	w.dropped += int64(h.NumRecords - kept)
	if kept == 0 {
		return true, w.remove(ctx, b, h)
	}
	w.tx.stays(h)
	set := int64(0)
	if tombstones && !known {
		set = w.horizon()
	}
	if tombstones {
		w.expect(horizon, set)
	}
	if kept == h.NumRecords && set == 0 {
		return true, nil
	}
	out, err := batch.Rebuild(b, h, keep, set)
	if err != nil {
		return false, err
	}
	return true, w.replace(ctx, h, out)
}

// marker decides what becomes of the end of a transaction: it stays as long as
// one of its records does, and then as long as a tombstone would.
func (w *pass) marker(ctx context.Context, b []byte, h batch.Header) error {
	if h.NumRecords == 0 { // taken away before
		return w.remove(ctx, b, h)
	}
	if w.tx.ends(h) {
		return nil
	}
	horizon, known := h.DeleteHorizon()
	if known && horizon <= w.now.UnixMilli() {
		if commit, ok := batch.ParseMarker(b, h); ok && !commit {
			w.step.Aborted = append(w.step.Aborted, core.AbortMarker{Offset: h.BaseOffset, Producer: h.ProducerID})
		}
		return w.remove(ctx, b, h)
	}
	if known {
		w.expect(horizon, 0)
		return nil
	}
	set := w.horizon()
	w.expect(0, set)
	out, err := batch.Rebuild(b, h, func(batch.Record) bool { return true }, set)
	if err != nil {
		return err
	}
	return w.replace(ctx, h, out)
}

// horizon is when tombstones and markers of which this is the first pass may go.
func (w *pass) horizon() int64 { return w.now.Add(w.of.Policy.DeleteAfter).UnixMilli() }

// expect notes the horizon of what stays: the one set now, or else the old one.
func (w *pass) expect(old, set int64) {
	if set == 0 {
		set = old
	}
	if at := time.UnixMilli(set); w.due.IsZero() || at.Before(w.due) {
		w.due = at
	}
}

// remove takes a batch away. The partition's last one stays, without records:
// readers learn from it where the partition ends.
func (w *pass) remove(ctx context.Context, b []byte, h batch.Header) error {
	if h.LastOffset()+1 < w.of.End {
		return w.replace(ctx, h, nil)
	}
	if h.NumRecords == 0 {
		return nil
	}
	out, err := batch.Rebuild(b, h, func(batch.Record) bool { return false }, 0)
	if err != nil {
		return err
	}
	return w.replace(ctx, h, out)
}

// replace puts out in the place of the batch that has header h.
func (w *pass) replace(ctx context.Context, h batch.Header, out []byte) error {
	w.step.Replace = append(w.step.Replace, core.Replaced{Base: h.BaseOffset, Last: h.LastOffset(), Batch: out})
	w.bytes += len(out)
	w.freed += int64(h.Size - len(out))
	if len(w.step.Replace) < stepReplaced && w.bytes < stepBytes {
		return nil
	}
	return w.flush(ctx)
}

// flush hands over what was decided since the last time.
func (w *pass) flush(ctx context.Context) error {
	s := w.step
	s.Of = w.of
	w.step, w.bytes = core.Cleaned{}, 0
	if err := w.Cleaner.step(ctx, s); err != nil {
		return err
	}
	w.metrics.freed.Add(float64(max(0, w.freed-w.told.freed)))
	w.metrics.dropped.Add(float64(w.dropped - w.told.dropped))
	w.told.freed, w.told.dropped = max(w.told.freed, w.freed), w.dropped
	return nil
}
