package streams

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/streams/state"
)

// TestSilentRejoin: a JoinGroup is held up beyond the session. Another instance
// takes the task, works and leaves. Then the request arrives, is told that the
// member is unknown, and the client joins anew without a word of a loss. The
// worker must not go on with what it had.
func TestSilentRejoin(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		build := func(b *Builder) {
			out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
			store := NewKeyValue(b, "counts", Text, numberSerde)
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("count", func(c *Context, r Record[string, string]) {
				n, _ := store.Get(c, "n")
				store.Put(c, "n", n+1)
				out.Send(c, Record[string, uint64]{Key: "n", Value: n + 1})
			}, store, out)
		}
		caughtUp := func() { c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 }) }
		k := func(int) string { return "k" }
		net := newFaultNet(t)
		c.launch(t.TempDir(), build, net.use, c.shortSession)
		c.produce("in", 20, k)
		caughtUp()
		held := net.strikeAll(kmsg.JoinGroup, heldUp)
		fetch := net.strikeAll(kmsg.Fetch, heldUp)
		count, heir := metered()
		b := c.launch(t.TempDir(), build, count, c.shortSession)
		<-held.fired
		c.eventually("the task has moved", func() bool { return heir("comptoir_stage_tasks", "") == 1 })
		c.produce("in", 50, k)
		c.read("out", 70)
		caughtUp()
		b.halt(t)
		joins := net.count(kmsg.SyncGroup)
		net.lift(held)
		c.eventually("the zombie is a member again", func() bool { return net.count(kmsg.SyncGroup) > joins })
		net.lift(fetch)
		c.produce("in", 5, k)
		c.read("out", 75)
		caughtUp()
		all := c.all("out")
		for i, r := range all {
			if n, _ := binary.Uvarint(r.Value); n != uint64(i+1) {
				t.Fatalf("output %d is %d", i+1, n)
			}
		}
		if len(all) != 75 {
			t.Errorf("%d outputs of 75 inputs", len(all))
		}
	})
}

// TestOldLocalStateIsWiped: an instance was away for longer than its changelog
// keeps tombstones. What was deleted meanwhile may have left no trace, so the
// local state is not caught up but restored.
func TestOldLocalStateIsWiped(t *testing.T) {
	c := newCluster(t)
	c.countingTopics()
	dir := t.TempDir()
	app := c.launch(dir, c.counting)
	c.produce("in", 100, key17)
	c.atRest(100)
	app.halt(t)
	other := c.launch(t.TempDir(), c.counting)
	c.produce("in", 100, key17)
	c.atRest(200)
	other.halt(t)

	// The first state is a week old, and holds a key that
	// the changelog knows nothing of.
	db, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.olden(db, week)
	batch := db.NewBatch()
	ghost := appendStoreName(nil, "counts")
	for p := range int32(3) {
		space, err := db.Space(c.n("app"), "state", p)
		if err != nil {
			t.Fatal(err)
		}
		full := func(k []byte) []byte { return append(append([]byte{}, space[:]...), k...) }
		batch.Set(full(append(append([]byte{}, ghost...), "ghost"...)), binary.AppendUvarint(nil, 41))
	}
	if err := batch.Apply(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	seen := &logs{}
	c.launch(dir, c.counting, seen.use)
	c.produce("in", 17, func(i int) string {
		if i == 0 {
			return "ghost"
		}
		return key17(i)
	})
	c.atRest(217)
	if seen.count("local state wiped") == 0 {
		t.Error("the old local state was caught up")
	}
}

// TestChangelogKeepsTombstones: the changelog is created to keep them for longer
// than the broker's default.
func TestChangelogKeepsTombstones(t *testing.T) {
	c := newCluster(t)
	c.countingTopics()
	app := c.launch(t.TempDir(), c.counting)
	if app.deletions != changelogDeletions {
		t.Errorf("tombstones are kept for %v, want %v", app.deletions, changelogDeletions)
	}
	configs, err := c.adm.DescribeTopicConfigs(context.Background(), c.n("app-state-changelog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range configs[0].Configs {
		if f.Key == "delete.retention.ms" && (f.Value == nil || *f.Value != "604800000") {
			t.Errorf("delete.retention.ms is %v", f.Value)
		}
	}
}

// TestClockSetBack: wall-clock work does not wait for a clock that was set back
// to come to where it was.
func TestClockSetBack(t *testing.T) {
	b := NewBuilder("app")
	runs := 0
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("x", func(*Context, Record[string, string]) {})
	b.WallClock("tick", time.Second, func(*Context, time.Time) { runs++ })
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSandbox(top, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Advance(2 * time.Second)
	before := runs
	s.Advance(-time.Hour)
	for range 10 {
		s.Advance(time.Second)
	}
	if got := runs - before; got < 9 {
		t.Errorf("%d runs in the 10 s after the clock was set back, want at least 9", got)
	}
}
