package streams

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/streams/state"
)

// start is the first offset that a partition still holds.
func (c *cluster) start(topic string, partition int32) int64 {
	c.tb.Helper()
	starts, err := c.adm.ListStartOffsets(context.Background(), c.n(topic))
	if err != nil {
		return -1
	}
	o, _ := starts.Lookup(c.n(topic), partition)
	return o.Offset
}

// setFor gives a variable of the package another value until the test ends.
func setFor[T any](t *testing.T, variable *T, value T) {
	old := *variable
	*variable = value
	t.Cleanup(func() { *variable = old })
}

func TestRule10RepartitionTopicsAreTrimmed(t *testing.T) {
	setFor(t, &trimEvery, 20*time.Millisecond)
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		dir := t.TempDir()
		app := c.launch(dir, c.counting)
		c.produce("in", 100, key17)
		c.atRest(100)
		c.eventually("repartition topic empty", func() bool {
			for p := range int32(3) {
				if c.start("app-moved-repartition", p) != c.end("app-moved-repartition", p) {
					return false
				}
			}
			return true
		})
		for p := range int32(3) {
			if at := c.start("in", p); at != 0 {
				t.Fatalf("the input was trimmed too, to %d", at)
			}
		}
		app.halt(t)
		c.launch(dir, c.counting)
		c.produce("in", 100, key17)
		c.atRest(200)
	})
}

func TestRule10FailureToTrimIsNotFatal(t *testing.T) {
	setFor(t, &trimEvery, 20*time.Millisecond)
	c := newCluster(t)
	c.countingTopics()
	refused := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DeleteRecords}, Err: kerr.PolicyViolation, Count: -1})
	count, value := metered()
	app := c.launch(t.TempDir(), c.counting, count)
	c.produce("in", 100, key17)
	c.atRest(100)
	if err := refused.Wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := app.Health(); err != nil {
		t.Errorf("health %v", err)
	}
	if n := value(txnMetric, "aborted"); n > 0 {
		t.Errorf("%v transactions aborted", n)
	}
	refused.Remove()
	c.eventually("trimmed at last", func() bool { return c.start("app-moved-repartition", 0) > 0 })
}

func TestRule11CoPartitioning(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("a", 2)
		c.topic("b", 3)
		app := c.prepare(t.TempDir(), func(b *Builder) {
			table := TableFrom(b, "b", Topic[string, string]{Name: c.n("b"), Key: Text, Value: Text})
			From(b, Topic[string, string]{Name: c.n("a"), Key: Text, Value: Text}).
				Process("join", func(c *Context, r Record[string, string]) { table.Get(c, r.Key) }, table)
		})
		err := app.Start(t.Context())
		for _, want := range []string{c.n("a") + " has 2", c.n("b") + " has 3", "co-partitioned"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		}
	})
}

func TestTopicsMissingAtStart(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		app := c.prepare(t.TempDir(), c.counting)
		if err := app.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "topic "+c.n("in")+" does not exist") {
			t.Errorf("error %v, want one that names the missing topic", err)
		}
		if err := app.Health(); err == nil {
			t.Error("healthy without its topics")
		}
	})
}

// TestRule12ChangelogOutOfRangeWipesOneTask trims the changelog of one partition
// past an instance's local state: that task's is restored from the start, the
// others are caught up.
func TestRule12ChangelogOutOfRangeWipesOneTask(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		dir := t.TempDir()
		app := c.launch(dir, c.counting)
		c.produce("in", 170, key17)
		c.atRest(170)
		app.halt(t)
		at := c.end("app-state-changelog", 1)
		app = c.launch(t.TempDir(), c.counting)
		c.produce("in", 170, key17) // every key again
		c.atRest(340)
		app.halt(t)
		// Kafka deletes no records from a topic that is compacted only.
		deletable := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact,delete")}}
		if _, err := c.adm.AlterTopicConfigs(context.Background(), deletable, c.n("app-state-changelog")); err != nil {
			t.Fatal(err)
		}
		var offs kadm.Offsets
		offs.AddOffset(c.n("app-state-changelog"), 1, at, -1)
		c.eventually("changelog trimmed", func() bool {
			if _, err := c.adm.DeleteRecords(context.Background(), offs); err != nil {
				t.Fatal(err)
			}
			return c.start("app-state-changelog", 1) == at
		})
		seen := &logs{}
		c.launch(dir, c.counting, seen.use)
		if n, one := seen.count("wiped"), seen.count("wiped", "partition=1"); n != 1 || one != 1 {
			t.Errorf("%d tasks wiped, %d of them task 1; want task 1 alone", n, one)
		}
		c.produce("in", 170, key17)
		c.atRest(510)
	})
}

// TestRule12OutOfRangeWhileRestoring answers the restore's first fetch with
// OFFSET_OUT_OF_RANGE, as when the changelog is trimmed under it.
func TestRule12OutOfRangeWhileRestoring(t *testing.T) {
	c := newCluster(t)
	c.countingTopics()
	app := c.launch(t.TempDir(), c.counting)
	c.produce("in", 170, key17)
	c.atRest(170)
	app.halt(t)
	c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: c.n("app-state-changelog"), Partitions: []int32{1}, Err: kerr.OffsetOutOfRange})
	seen := &logs{}
	c.launch(t.TempDir(), c.counting, seen.use)
	if n, one := seen.count("wiped"), seen.count("wiped", "partition=1"); n != 1 || one != 1 {
		t.Errorf("%d tasks wiped, %d of them task 1; want task 1 alone", n, one)
	}
	c.produce("in", 170, key17)
	c.atRest(340)
}

// TestRule14ForeignOffsets changes the group's offsets while the App is stopped,
// as a console consumer, an expiry or another tool does: the App goes on from
// its store's positions.
func TestRule14ForeignOffsets(t *testing.T) {
	table := []struct {
		name  string
		spoil func(c *cluster)
	}{
		{"ahead", func(c *cluster) { c.commitAs("in", 0, c.end("in", 0), "") }},
		{"behind", func(c *cluster) { c.commitAs("in", 0, 1, "some metadata") }},
		{"of another topic of this name", func(c *cluster) { c.commitAs("in", 0, 1, mark([16]byte{1}, nil)) }},
		{"missing", func(c *cluster) {
			if _, err := c.adm.DeleteGroup(context.Background(), c.n("app")); err != nil {
				c.tb.Fatal(err)
			}
		}},
	}
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			onClusters(t, func(t *testing.T, c *cluster) {
				c.countingTopics()
				app := c.launch(t.TempDir(), c.counting)
				c.produce("in", 100, key17)
				c.atRest(100)
				app.halt(t)
				c.produce("in", 100, key17)
				row.spoil(c)
				seen := &logs{}
				count, value := metered()
				c.launch(t.TempDir(), c.counting, seen.use, count)
				c.atRest(200)
				if seen.count("not ours") == 0 || value("comptoir_stage_foreign_offsets_total", "") == 0 {
					t.Error("neither a warning nor a count tells of the foreign offset")
				}
			})
		})
	}
}

// TestRule14LagZeroAfterAForeignOffset says where we are without waiting for the
// next record.
func TestRule14LagZeroAfterAForeignOffset(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		dir := t.TempDir()
		app := c.launch(dir, c.counting)
		c.produce("in", 100, key17)
		c.atRest(100)
		app.halt(t)
		c.commitAs("in", 0, 1, "foreign")
		c.launch(dir, c.counting)
		c.atRest(100)
	})
}

// TestRule14DeliberateReset obeys offsets that our own tool has set.
func TestRule14DeliberateReset(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		dir := t.TempDir()
		app := c.launch(dir, c.echo)
		c.produce("in", 10, key17)
		c.read("out", 10)
		app.halt(t)
		c.commitAs("in", 0, 7, resetMark)
		c.launch(dir, c.echo)
		c.read("out", 13)
		c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 })
		var got []string
		for _, r := range c.all("out") {
			got = append(got, string(r.Value))
		}
		if want := "11:7 12:8 13:9"; strings.Join(got[10:], " ") != want {
			t.Fatalf("after the reset %v, want %s", got[10:], want)
		}
	})
}

// TestRule14RecreatedTopicStartsAtZero deletes the input and makes it anew.
func TestRule14RecreatedTopicStartsAtZero(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		dir := t.TempDir()
		app := c.launch(dir, c.echo)
		c.produce("in", 10, key17)
		c.read("out", 10)
		app.halt(t)
		if _, err := c.adm.DeleteTopic(context.Background(), c.n("in")); err != nil {
			t.Fatal(err)
		}
		c.eventually("re-created", func() bool {
			_, err := c.adm.CreateTopic(context.Background(), 1, 1, nil, c.n("in"))
			return err == nil
		})
		// With a producer of its own: ours still knows the old one.
		other := *c
		other.open()
		other.produce("in", 15, key17)
		c.launch(dir, c.echo)
		if got := c.values("out", 25); got[10] != "11:0" || got[24] != "25:14" {
			t.Fatalf("after the re-creation %v, want 11:0 … 25:14", got[10:])
		}
	})
}

// TestRule14PositionPastTheEnd gives the group a position that the topic does
// not reach, as after the loss of a broker's tail: nothing is handled twice.
func TestRule14PositionPastTheEnd(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		dir := t.TempDir()
		app := c.launch(dir, c.echo)
		c.produce("in", 10, key17)
		c.read("out", 10)
		c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 })
		_, ours := c.committed("in", 0)
		app.halt(t)
		c.commitAs("in", 0, 1000, ours)
		c.launch(dir, c.echo)
		c.produce("in", 1, key17)
		c.eventually("lag 0 again", func() bool { return c.lag("app", "in") == 0 })
		if got := c.all("out"); len(got) != 11 {
			t.Fatalf("%d records, want the 10 and 1 more", len(got))
		}
	})
}

// TestRule15LagZeroBehindMarkers reads input of transactions: at rest the lag is
// 0, whatever the last one was.
func TestRule15LagZeroBehindMarkers(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.launch(t.TempDir(), c.counting)
		total := 0
		for i, commit := range []bool{true, false, true, true, false, false} {
			var recs []*kgo.Record
			for j := range 10 {
				recs = append(recs, c.rec("in", -1, key17(j), fmt.Sprint(i, j)))
			}
			c.transact("foreign", recs...)(commit)
			if commit {
				total += 10
			}
			c.atRest(total)
		}
	})
}

// TestRule16RecordsFromTheFuture lets a record of 2099 pass a window: it counts
// as now, and does not close the windows of the others. Expiry goes by the wall
// clock, so it expires nothing either.
func TestRule16RecordsFromTheFuture(t *testing.T) {
	b := NewBuilder("future")
	var open []bool
	window := NewWindow(b, "w", Text, numberSerde, time.Minute, time.Minute)
	store := NewKeyValue(b, "ids", Text, numberSerde).Expire(time.Hour, func(ms uint64) time.Time { return time.UnixMilli(int64(ms)) })
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("p", func(c *Context, r Record[string, string]) {
		open = append(open, window.Put(c, r.Key, r.Time, 1))
		store.Put(c, r.Key, uint64(r.Time.UnixMilli()))
	}, window, store)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	s, err := NewSandbox(top, now, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pipe := func(key string, at time.Time) {
		s.Pipe(RawRecord{Topic: "in", Key: []byte(key), Value: []byte("x"), Time: at})
	}
	has := func(key string) bool {
		c := &s.tasks[0].ctx
		c.node = nil
		_, ok := store.Get(c, key)
		return ok
	}
	pipe("a", now)
	pipe("z", time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	pipe("b", now.Add(-30*time.Second))
	for i, ok := range open {
		if !ok {
			t.Errorf("record %d came too late for its window", i)
		}
	}
	s.Advance(59 * time.Minute)
	if !has("a") || !has("b") || !has("z") {
		t.Error("expired before an hour of wall clock had passed")
	}
	s.Advance(10 * time.Minute)
	if has("a") || has("b") || has("z") {
		t.Error("not expired after an hour: the record from the future must have counted as of its arrival")
	}
}

// TestRule17StoreAheadOfItsChangelogIsWiped opens local state that claims more
// than the changelog holds, as after a broker has lost its tail.
func TestRule17StoreAheadOfItsChangelogIsWiped(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		dir := t.TempDir()
		app := c.launch(dir, c.counting)
		c.produce("in", 170, key17)
		c.atRest(170)
		app.halt(t)
		// In partition 0 everything is one higher and a thousand offsets later.
		db, err := state.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		space, err := db.Space(c.n("app"), "state", 0)
		if err != nil {
			t.Fatal(err)
		}
		batch := db.NewBatch()
		full := func(k []byte) []byte { return append(append([]byte{}, space[:]...), k...) }
		prefix := string(appendStoreName(nil, "counts"))
		spoilt := 0
		err = db.Scan(space, nil, func(k, v []byte) bool {
			if strings.HasPrefix(string(k), prefix) {
				n, _ := binary.Uvarint(v)
				batch.Set(full(k), binary.AppendUvarint(nil, n+1))
				spoilt++
			}
			if string(k) == string(keyChangelog) {
				at := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(v)+1000)
				batch.Set(full(k), append(at, v[8:]...))
			}
			return true
		})
		if err != nil || spoilt == 0 {
			t.Fatalf("nothing to spoil: %v", err)
		}
		if err := batch.Apply(); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		seen := &logs{}
		c.launch(dir, c.counting, seen.use)
		if n, zero := seen.count("wiped"), seen.count("wiped", "partition=0", "ahead"); n != 1 || zero != 1 {
			t.Errorf("%d tasks wiped, %d of them task 0; want task 0 alone", n, zero)
		}
		c.produce("in", 170, key17)
		c.atRest(340)
	})
}

// TestRule19TwoAppsShareOneState runs two Apps on one database and wipes the
// state of one: the other does not feel it.
func TestRule19TwoAppsShareOneState(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 2)
		db, err := state.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		run := func(name string) *App {
			b := NewBuilder(c.n(name))
			store := NewKeyValue(b, "counts", Text, numberSerde)
			out := To(b, Topic[string, uint64]{Name: c.n("out-" + name), Key: Text, Value: numberSerde})
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("count", func(c *Context, r Record[string, string]) {
				n, _ := store.Get(c, r.Key)
				store.Put(c, r.Key, n+1)
				out.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
			}, store, out)
			top, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			app, err := NewApp(Config{Topology: top, Kafka: c.kafka, State: db, Logger: testLog})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = app.Stop(context.Background()) })
			if err := app.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			return app
		}
		stop := func(a *App) {
			if err := a.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		c.topic("out-one", 1)
		c.topic("out-two", 1)
		one, two := run("one"), run("two")
		c.produce("in", 10, func(int) string { return "k" })
		last := func(name string, n int) uint64 {
			rs := c.read("out-"+name, n)
			v, _ := numberSerde.Parse(rs[n-1].Value)
			return v
		}
		if a, b := last("one", 10), last("two", 10); a != 10 || b != 10 {
			t.Fatalf("counts %d and %d, want 10 each", a, b)
		}
		stop(one)
		batch := db.NewBatch()
		for p := range int32(2) {
			space, err := db.Space(c.n("one"), "state", p)
			if err != nil {
				t.Fatal(err)
			}
			batch.Wipe(space)
		}
		if err := batch.Apply(); err != nil {
			t.Fatal(err)
		}
		c.produce("in", 1, func(int) string { return "k" })
		if n := last("two", 11); n != 11 {
			t.Fatalf("count %d in the App that was not wiped, want 11", n)
		}
		stop(two)
		run("two")
		run("one") // restored from its changelog
		c.produce("in", 1, func(int) string { return "k" })
		if a, b := last("one", 12), last("two", 12); a != 12 || b != 12 {
			t.Fatalf("counts %d and %d, want 12 each", a, b)
		}
	})
}

// TestPendingOffsetsThatNeverSettle: a broker forgot to tell the group how a
// transaction ended. The group's offsets are pending for ever and behind; the
// state knows better.
func TestPendingOffsetsThatNeverSettle(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.countingTopics()
	dir := t.TempDir()
	app := c.launch(dir, c.counting)
	c.produce("in", 100, key17)
	c.atRest(100)
	app.halt(t)
	details, err := c.adm.ListTopics(t.Context(), c.n("in"))
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(3) {
		c.commitAs("in", p, 0, mark(details[c.n("in")].ID, nil))
	}
	pending := c.fake.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: c.n("in"), Err: kerr.UnstableOffsetCommit, Count: -1,
		When: func(r kmsg.Request) bool { return r.(*kmsg.OffsetFetchRequest).RequireStable },
	})
	defer pending.Remove()
	seen := &logs{}
	c.launch(dir, c.counting, seen.use, func(cfg *Config) { cfg.SessionTimeout = 500 * time.Millisecond })
	c.produce("in", 100, key17)
	c.atRest(200)
	if seen.count("pending for longer") == 0 {
		t.Error("nothing was logged of the pending offsets")
	}
}
