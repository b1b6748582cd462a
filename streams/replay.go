package streams

import (
	"cmp"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/streams/state"
)

const (
	// replayBatch is how much of a changelog is applied to the local state at
	// once, beside the reading of what follows.
	replayBatch = 1 << 20
	// replayTable is how much of it makes a table of its own: smaller ones make
	// more to merge later. There are two, one being written beside the reading.
	replayTable = 16 << 20
)

// replay writes what is read of a changelog into the local state of tasks that are
// not at work, and with it how far it is. It belongs to one goroutine.
type replay struct {
	db    *state.DB
	tasks map[int32]*replayed
	into  writes
	spare *state.Loader // the one that is not in use, if tables are written
	key   []byte        // to build one in
	done  chan error    // of what is being applied, if not nil
	err   error         // the first of what could not be applied
}

// writes is a batch, or a table of its own.
type writes interface {
	Set(key, value []byte)
	Delete(key []byte)
	Size() int
	Apply() error
}

// replayed is one of the tasks: its local state is up to an offset of the
// changelog once all is applied.
type replayed struct {
	t     *task
	at    int64
	asOf  time.Time // when it was known to be at the changelog's end, or empty
	moved bool      // since its offset was last written
}

func newReplay(db *state.DB) *replay {
	return &replay{db: db, tasks: map[int32]*replayed{}, into: db.NewBatch()}
}

// useTables is for a replay of much. What was put before must have been applied.
func (re *replay) useTables() {
	re.into, re.spare = re.db.NewLoader(), re.db.NewLoader()
}

func (re *replay) put(rec *kgo.Record) error {
	r := re.tasks[rec.Partition]
	re.key = append(append(re.key[:0], r.t.space[:]...), rec.Key...)
	if rec.Value == nil {
		re.into.Delete(re.key)
	} else {
		re.into.Set(re.key, rec.Value)
	}
	// A read that ends here is caught up from here. The records of a
	// transaction lie in one stretch, but its changes may be applied in two: a
	// task never runs before all are there.
	r.at, r.moved = rec.Offset+1, true
	if limit := re.limit(); re.into.Size() < limit {
		return nil
	}
	return re.apply()
}

func (re *replay) limit() int {
	if re.spare != nil {
		return replayTable
	}
	return replayBatch
}

// apply begins to apply what was read, with the positions, when what came before
// is applied. If that could not be, nothing is applied any more: the positions
// would stand behind what is missing.
func (re *replay) apply() error {
	if err := re.applied(); err != nil {
		return err
	}
	for _, r := range re.tasks {
		if r.moved {
			r.t.setChangelog(re.into, r.at, r.t.changeID, r.asOf)
			r.moved = false
		}
	}
	full, done := re.into, make(chan error, 1)
	go func() { done <- full.Apply() }()
	re.done = done
	if l, ok := full.(*state.Loader); ok {
		re.into, re.spare = re.spare, l
	} else {
		re.into = re.db.NewBatchOf(replayBatch)
	}
	return nil
}

// applied waits for what is being applied, and returns the first error of all.
func (re *replay) applied() error {
	if re.done != nil {
		re.err = cmp.Or(re.err, <-re.done)
		re.done = nil
	}
	return re.err
}

// save applies what was read, and where all tasks stand, which was the end at a
// time, and waits for it.
func (re *replay) save(asOf time.Time) error {
	for _, r := range re.tasks {
		r.asOf, r.moved = asOf, true
	}
	return re.flush()
}

// flush applies what was read, and where those tasks stand that it was of, and
// waits for it.
func (re *replay) flush() error {
	if err := re.apply(); err != nil {
		return err
	}
	return re.applied()
}

// wipe empties the local state of a task, which is then as of an offset. Nothing
// of it may be being applied.
func (re *replay) wipe(p int32, at int64) error {
	r := re.tasks[p]
	b := re.db.NewBatch()
	b.Wipe(r.t.space)
	r.at, r.asOf = at, time.Now()
	r.t.setChangelog(b, at, r.t.changeID, r.asOf)
	return b.Apply()
}

// readFailed is called with why a changelog could not be read on, and returns it. When
// that does not hold what our position says any more, the local state is wiped: one
// that was cut may have grown past the position again, so that the next look at its
// end would not tell. Nothing is applied after that.
func (w *worker) readFailed(re *replay, err error) error {
	var fe *fetchError
	var lost *kgo.ErrDataLoss
	if !errors.As(err, &fe) || !errors.Is(err, kerr.OffsetOutOfRange) && !errors.As(err, &lost) {
		return err
	}
	w.log.Warn("local state wiped, to be restored", "partition", fe.partition, "why", "its changelog does not hold its position any more", "err", err)
	re.err = errors.Join(err, re.applied(), re.wipe(fe.partition, 0))
	return re.err
}

// replayFrom adds a task to a replay and returns where its local state stands in
// the changelog. It is wiped when it cannot be caught up: another changelog, older
// than its start, or ahead of its end (a broker that lost its tail).
func (w *worker) replayFrom(re *replay, p int32, id [16]byte, start, end int64) (int64, error) {
	t, err := newTask(w.top, p, w.cfg.State, w.app.globals, w.app.counts, w.log, time.Now())
	if err != nil {
		// Unreadable positions: the changelog has them.
		w.log.Warn("local state cannot be read: wiped, to be restored", "partition", p, "err", err)
		space, serr := w.cfg.State.Space(w.top.app, "state", p)
		if serr != nil {
			return 0, serr
		}
		b := w.cfg.State.NewBatch()
		b.Wipe(space)
		if err := b.Apply(); err != nil {
			return 0, err
		}
		if t, err = newTask(w.top, p, w.cfg.State, w.app.globals, w.app.counts, w.log, time.Now()); err != nil {
			return 0, err
		}
	}
	r := &replayed{t: t, at: t.changelog, asOf: t.changeAt}
	re.tasks[p] = r
	var why string
	switch {
	case t.changelog == 0 && t.changeID == [16]byte{}:
		r.at, r.asOf = start, time.Now()
	case t.changeID != id:
		why = "its changelog was re-created"
	case t.changelog < start:
		why = "it is older than its changelog's start"
	case t.changelog > end:
		why = "it is ahead of its changelog's end"
	case t.changelog < end && w.app.tooOld(t.changeAt):
		// What was deleted since may have left the changelog without a trace.
		why = "it is older than the changelog's tombstones"
	}
	t.changeID = id
	if why != "" {
		w.log.Warn("local state wiped, to be restored", "partition", p, "why", why, "position", t.changelog, "start", start, "end", end)
		err = re.wipe(p, start)
	}
	return r.at, err
}
