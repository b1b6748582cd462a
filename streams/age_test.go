package streams

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/streams/state"
)

// olden makes the local state of all tasks as old as it says.
func (c *cluster) olden(db *state.DB, age time.Duration) {
	c.tb.Helper()
	batch := db.NewBatch()
	for p := range int32(3) {
		space, err := db.Space(c.n("app"), "state", p)
		if err != nil {
			c.tb.Fatal(err)
		}
		key := append(space[:], keyChangelog...)
		there, err := db.Get(key, func(v []byte) error {
			asOf := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(-age).UnixMilli()))
			batch.Set(key, append(append([]byte{}, v[:24]...), asOf...))
			return nil
		})
		if err != nil || !there {
			c.tb.Fatalf("task %d has no position: %v", p, err)
		}
	}
	if err := batch.Apply(); err != nil {
		c.tb.Fatal(err)
	}
}

// asOf is the time that the local state of a task counts its age from.
func (r *runningApp) asOf(tb testing.TB, p int32) time.Time {
	tb.Helper()
	t, err := newTask(r.cfg.Topology, p, r.db, nil, nil, testLog, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return t.changeAt
}

const week = 7 * 24 * time.Hour

// TestIdleTaskStaysYoung: a task that had nothing to do for a week is not wiped
// when it is opened anew, but only its owner's word is taken for that.
func TestIdleTaskStaysYoung(t *testing.T) {
	setFor(t, &refreshEvery, 20*time.Millisecond)
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		dir := t.TempDir()
		app := c.launch(dir, c.counting)
		c.produce("in", 100, key17)
		c.atRest(100)
		c.olden(app.db, week)
		for p := range int32(3) {
			c.eventually("the state is young again", func() bool { return time.Since(app.asOf(t, p)) < week/2 })
		}
		app.halt(t)
		seen := &logs{}
		app = c.launch(dir, c.counting, seen.use)
		if n := seen.count("wiped"); n != 0 {
			t.Errorf("%d tasks are wiped", n)
		}
		c.produce("in", 100, key17)
		c.atRest(200)
		if c.fake == nil {
			return
		}
		refused := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: c.n("app"), Err: kerr.UnknownMemberID, Count: -1})
		c.eventually("the group refuses", func() bool { return refused.Hits() > 0 })
		c.olden(app.db, week)
		before := refused.Hits()
		c.eventually("it refuses again", func() bool { return refused.Hits() > before+1 })
		for p := range int32(3) {
			if asOf := app.asOf(t, p); time.Since(asOf) < week/2 {
				t.Errorf("task %d is young without the group's word: as of %v", p, asOf)
			}
		}
		refused.Remove()
	})
}

// TestReplayIsAsOldAsItWas: what is read of a changelog does not make a state
// young that is not at its end.
func TestReplayIsAsOldAsItWas(t *testing.T) {
	re, reopen := replayOfOne(t)
	asOf := time.Now().Add(-week).Truncate(time.Millisecond)
	re.tasks[0].asOf = asOf
	if err := re.put(&kgo.Record{Offset: 6, Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	if err := re.flush(); err != nil {
		t.Fatal(err)
	}
	if got := reopen(); got.changelog != 7 || !got.changeAt.Equal(asOf) {
		t.Errorf("position %d as of %v, want 7 as of %v", got.changelog, got.changeAt, asOf)
	}
	now := time.Now().Truncate(time.Millisecond)
	if err := re.save(now); err != nil {
		t.Fatal(err)
	}
	if got := reopen(); got.changelog != 7 || !got.changeAt.Equal(now) {
		t.Errorf("position %d as of %v, want 7 as of %v", got.changelog, got.changeAt, now)
	}
}
