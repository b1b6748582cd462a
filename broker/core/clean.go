package core

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/wire"
)

// Cleaning is retention and compaction. The cleaner (package clean) reads the
// records and decides; the machine sees whether its decision still stands, and
// makes it part of a turn.

// Policy is what a topic's configuration says about cleaning.
type Policy struct {
	Delete      bool
	Retain      time.Duration // with Delete: how long records stay; negative for ever
	RetainBytes int64         // with Delete: what stays of a partition at least; negative for all

	Compact        bool
	DirtyRatio     float64       // the share of new bytes that begins a pass
	MinLag, MaxLag time.Duration // how long records stay uncompacted, at least and at most
	DeleteAfter    time.Duration // how long tombstones and markers stay after their first pass
	Segment        time.Duration // how long the end stays untouched, if that is short
}

// idle says that the policy lets everything stay.
func (p Policy) idle() bool {
	return !p.Compact && (!p.Delete || p.Retain < 0 && p.RetainBytes < 0)
}

func (s settings) policy() Policy {
	return Policy{
		Delete: s.delete, Retain: s.retain, RetainBytes: s.retainBytes,
		Compact: s.compact, DirtyRatio: s.dirtyRatio, MinLag: s.minLag, MaxLag: s.maxLag,
		DeleteAfter: s.deleteAfter, Segment: s.segment,
	}
}

// Compacted is how far compaction has come in a partition. It is kept.
type Compacted struct {
	// Below is the offset below which each key has one record.
	Below int64
	// Due is when tombstones or markers below it may go; zero for never.
	Due time.Time
}

// Cleanable is a partition with records that its topic's policy may let go.
type Cleanable struct {
	Topic     string
	Index     int32
	Partition store.Partition
	Policy    Policy
	Start     int64
	Stable    int64 // below it no transaction is open
	End       int64
	Compacted Compacted
}

// Cleaned is a step of cleaning: all of it is done, or nothing.
type Cleaned struct {
	// Of is the partition as it was when the step was decided.
	Of Cleanable
	// Start is the new start, if it is later than the old one.
	Start int64
	// Replace has the batches that become others.
	Replace []Replaced
	// Aborted has the abort markers that are among them and go.
	Aborted []AbortMarker
	// Compacted is set by the last step of a compaction.
	Compacted *Compacted
}

// Replaced is a batch that compaction makes smaller, or takes away.
type Replaced struct {
	Base, Last int64  // of the old batch and the new one
	Batch      []byte // empty for none
}

// AbortMarker is the end of an aborted transaction.
type AbortMarker struct {
	Offset, Producer int64
}

func (m *Machine) loadCompacted(s State) error {
	m.compacted = map[store.Partition]Compacted{}
	return s.Scan([]byte{keyCleaned}, func(key, value []byte) error {
		if len(key) != 1+8 {
			return fmt.Errorf("compaction of a partition: a key of %d bytes", len(key))
		}
		c, err := parseCompacted(value)
		m.compacted[store.Partition(binary.BigEndian.Uint64(key[1:]))] = c
		return known("compaction of partition", key[1:], err)
	})
}

func appendCompacted(b []byte, c Compacted) []byte {
	b = append(b, stateVersion)
	b = binary.AppendUvarint(b, uint64(c.Below))
	due := int64(0)
	if !c.Due.IsZero() {
		due = c.Due.UnixMilli()
	}
	return binary.AppendVarint(b, due)
}

func parseCompacted(value []byte) (c Compacted, err error) {
	d := wire.Decode("compaction of a partition", value).Version(stateVersion)
	c.Below = d.Uvarint(1 << 62)
	if due := d.Varint(); due != 0 {
		c.Due = time.UnixMilli(due)
	}
	return c, d.End()
}

// cleanables returns what may be cleaned.
func (m *Machine) cleanables() []Cleanable {
	var all []Cleanable
	for _, t := range m.topics.sorted() {
		policy := t.settings.policy()
		if policy.idle() {
			continue
		}
		for _, p := range t.partitions {
			if p.start < p.end {
				all = append(all, Cleanable{
					Topic: t.name, Index: p.index, Partition: p.id, Policy: policy,
					Start: p.start, Stable: p.stable(), End: p.end, Compacted: m.compacted[p.id],
				})
			}
		}
	}
	return all
}

// clean makes a step of cleaning part of the turn. It reports whether the step
// still stands: the partition is there, and its policy is the same.
func (m *Machine) clean(c Cleaned) bool {
	if m.readOnly != nil && (len(c.Replace) > 0 || !m.makesRoom()) {
		return false
	}
	p, err := m.partition(c.Of.Topic, c.Of.Index)
	if err != nil || p.id != c.Of.Partition || p.topic.settings.policy() != c.Of.Policy {
		return false
	}
	if c.Start > p.start && c.Start <= p.stable() {
		m.trim(p, c.Start)
	}
	for _, r := range c.Replace {
		// What a new start has taken away meanwhile is no longer there.
		m.turn.Commit.Replace(p.id, r.Base, r.Last, r.Batch)
	}
	for _, a := range c.Aborted {
		m.turn.Commit.Delete(abortedKey(p.id, a.Offset, a.Producer))
	}
	if len(c.Replace) > 0 {
		m.savePartition(p) // its end, if the last batch goes
	}
	if c.Compacted != nil {
		m.compacted[p.id] = *c.Compacted
		m.turn.Commit.Set(partitionKey(keyCleaned, p.id), appendCompacted(nil, *c.Compacted))
	}
	return true
}

// Cleanables returns the partitions whose topics let records go, once what it
// tells of them is written.
func (r *Runner) Cleanables(ctx context.Context) ([]Cleanable, error) {
	return within(ctx, r, (*Machine).cleanables)
}

// Clean makes a step of cleaning, and returns when it is written. It returns
// false for a step that no longer stands: the cleaner looks at the partition
// anew.
func (r *Runner) Clean(ctx context.Context, c Cleaned) (bool, error) {
	return within(ctx, r, func(m *Machine) bool { return m.clean(c) })
}

var errTurn = errors.New("the broker's turn failed")

// within runs work in a turn, and returns its result when that turn is written.
func within[T any](ctx context.Context, r *Runner, work func(*Machine) T) (none T, err error) {
	// A turn may be dropped after it was written: two may be told.
	done := make(chan func() (T, error), 2)
	req := &Request{
		work: func(m *Machine) {
			result := work(m)
			m.turn.Relaxed = append(m.turn.Relaxed, func() { done <- func() (T, error) { return result, nil } })
		},
		Dropped: func() { done <- func() (T, error) { return none, errTurn } },
	}
	if err := r.Submit(ctx, req); err != nil {
		return none, err
	}
	select {
	case result := <-done:
		return result()
	case <-ctx.Done():
		return none, ctx.Err()
	case <-r.done:
		return none, ErrClosed
	}
}
