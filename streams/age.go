package streams

import (
	"context"
	"maps"
	"time"
)

// The age of a local state is counted from when it was last known to be at the end
// of its changelog. What is deleted after that may leave the changelog without a
// trace once its tombstone is gone: a state of half that age is wiped when it is to
// be opened and is behind, as nobody can tell what it has missed.
//
// The owner of a task is at the end as long as it is the owner, though nothing
// changes for days. That it still is one only the group can say: a process that
// slept for a week does not know better until it has asked.

// refreshEvery is how often the tasks at work are made young. A variable for the
// tests.
var refreshEvery = time.Hour

// tooOld tells whether a local state that is behind cannot be caught up any more.
func (a *App) tooOld(asOf time.Time) bool { return time.Since(asOf) > a.deletions/2 }

// refresh makes the local state of the tasks at work young, now and then: if the
// group takes the offsets that it has of us once more. It is no matter if not: the
// next one does.
func (w *worker) refresh(ctx context.Context) {
	now := time.Now()
	if now.Before(w.refreshAt) {
		return
	}
	if w.txn.pending() {
		// What we are is not what is committed.
		w.refreshAt = now.Add(w.cfg.CommitInterval)
		return
	}
	w.refreshAt = now.Add(min(refreshEvery, max(w.app.deletions/8, trimEvery)))
	offsets := maps.Clone(w.committed)
	maps.DeleteFunc(offsets, func(_ partitionKey, off int64) bool { return off < 0 })
	if len(offsets) == 0 || !w.top.stateful() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := w.commitOffsets(ctx, offsets)
	if err == nil {
		batch := w.cfg.State.NewBatch()
		for _, t := range w.tasks {
			t.setChangelog(batch, t.changelog, t.changeID, now)
		}
		err = batch.Apply()
	}
	if err != nil {
		w.log.Debug("the age of the local state is not known", "err", err)
	}
}
