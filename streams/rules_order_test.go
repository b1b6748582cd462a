package streams

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// joined reads "a" and "b" and writes what it handles to "out", in the order in
// which it handles it, ordered by time or as it comes.
func (c *cluster) joined(ordered bool) func(*Builder) {
	return func(b *Builder) {
		if ordered {
			b.Ordered()
		}
		out := To(b, Topic[string, string]{Name: c.n("out"), Key: Text, Value: Text})
		for _, topic := range []string{"a", "b"} {
			From(b, Topic[string, string]{Name: c.n(topic), Key: Text, Value: Text}).To(out)
		}
	}
}

func (c *cluster) joinedTopics() {
	for _, topic := range []string{"a", "b", "out"} {
		c.topic(topic, 1)
	}
}

// at is a record of a topic with a time: so many seconds into a fixed hour.
func (c *cluster) at(topic string, second int) *kgo.Record {
	r := c.rec(topic, 0, "k", fmt.Sprintf("%s%d", topic, second))
	r.Timestamp = time.Date(2026, 11, 20, 10, 0, second, 0, time.UTC)
	return r
}

func TestRule09LowestHeadTimestampFirst(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.joinedTopics()
		c.send(c.at("a", 2), c.at("a", 5), c.at("a", 6), c.at("b", 1), c.at("b", 3), c.at("b", 9))
		dir := t.TempDir()
		app := c.launch(dir, c.joined(true))
		want := []string{"b1", "a2", "b3", "a5", "a6", "b9"}
		if got := c.values("out", 6); !slices.Equal(got, want) {
			t.Fatalf("order %v, want %v", got, want)
		}
		// One input is idle from now on, also after a restart.
		c.send(c.at("a", 10))
		c.read("out", 7)
		app.halt(t)
		c.send(c.at("a", 12), c.at("a", 11))
		c.launch(dir, c.joined(true))
		if got, want := c.values("out", 9)[6:], []string{"a10", "a12", "a11"}; !slices.Equal(got, want) {
			t.Fatalf("order %v, want %v", got, want)
		}
	})
}

// TestRule09WaitsForAnInputWithLag keeps the records of one input from being
// fetched: those of the other are later and must wait, though nothing of the
// first is seen.
func TestRule09WaitsForAnInputWithLag(t *testing.T) {
	c := newCluster(t, kfake.NumBrokers(2))
	c.joinedTopics()
	for i, topic := range []string{"a", "b"} {
		if err := c.fake.MoveTopicPartition(c.n(topic), 0, int32(i)); err != nil {
			t.Fatal(err)
		}
	}
	c.send(c.at("a", 2), c.at("b", 1))
	blocked := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: c.n("b"), Err: kerr.LeaderNotAvailable, Count: -1})
	asked := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: c.n("b"), Observe: true, Count: -1})
	c.launch(t.TempDir(), c.joined(true))
	before := asked.Hits()
	if err := blocked.Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	// It asks for the end of b because it waits with a in hand.
	if err := asked.Wait(t.Context(), before+2); err != nil {
		t.Fatal(err)
	}
	blocked.Remove()
	if got, want := c.values("out", 2), []string{"b1", "a2"}; !slices.Equal(got, want) {
		t.Fatalf("order %v, want %v", got, want)
	}
}

// TestRule09WaitingDoesNotStopTheClock lets an ordered task wait for an input
// that cannot be fetched while the other keeps it busy: its punctuations go on.
func TestRule09WaitingDoesNotStopTheClock(t *testing.T) {
	c := newCluster(t, kfake.NumBrokers(2))
	c.joinedTopics()
	c.topic("ticks", 1)
	for i, topic := range []string{"a", "b"} {
		if err := c.fake.MoveTopicPartition(c.n(topic), 0, int32(i)); err != nil {
			t.Fatal(err)
		}
	}
	c.send(c.at("a", 2), c.at("b", 1))
	blocked := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: c.n("b"), Err: kerr.LeaderNotAvailable, Count: -1})
	c.launch(t.TempDir(), func(b *Builder) {
		c.joined(true)(b)
		ticks := To(b, Topic[string, string]{Name: c.n("ticks"), Key: Text, Value: Text})
		b.WallClock("tick", 150*time.Millisecond, func(c *Context, _ time.Time) {
			ticks.Send(c, Record[string, string]{Key: "t", Value: "t"})
		}, ticks)
	})
	sent := 0
	c.eventually("ticks while waiting", func() bool {
		c.send(c.at("a", 3))
		sent++
		return c.end("ticks", 0) >= 6 // three ticks and their markers
	})
	blocked.Remove()
	c.read("out", sent+2)
}

// TestRule09StreamTimeIsKept goes on with an operator's stream time after a
// restart, from the local state and from the changelog: what is due by it fires.
func TestRule09StreamTimeIsKept(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		build := func(b *Builder) {
			out := To(b, Topic[string, string]{Name: c.n("out"), Key: Text, Value: Text})
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).
				OnStreamTime("minute", time.Minute, func(c *Context, now time.Time) {
					out.Send(c, Record[string, string]{Key: "k", Value: now.UTC().Format("15:04:05")})
				}, out)
		}
		at := func(hour, minute, second int) {
			r := c.rec("in", 0, "k", "x")
			r.Timestamp = time.Date(2026, 11, 20, hour, minute, second, 0, time.UTC)
			c.send(r)
		}
		atRest := func() { c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 }) }
		dir := t.TempDir()
		app := c.launch(dir, build)
		at(10, 0, 0)
		atRest()
		at(10, 0, 59)
		atRest()
		app.halt(t)
		app = c.launch(dir, build)
		at(9, 0, 0) // late: time does not go back
		atRest()
		app.halt(t)
		app = c.launch(t.TempDir(), build)
		// 61 s after the last that was seen: due, though the first in this run.
		at(10, 2, 0)
		if got := c.values("out", 1); got[0] != "10:02:00" {
			t.Fatalf("fired at %v, want 10:02:00", got)
		}
		app.halt(t)
		if got := c.all("out"); len(got) != 1 {
			t.Fatalf("fired %d times, want once", len(got))
		}
	})
}

func TestOrderedQueue(t *testing.T) {
	b := NewBuilder("q")
	b.Ordered()
	for _, topic := range []string{"a", "b", "c"} {
		From(b, Topic[string, string]{Name: topic, Key: Text, Value: Text})
	}
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	rec := func(sec int64) *kgo.Record { return &kgo.Record{Timestamp: time.Unix(sec, 0)} }
	table := []struct {
		name      string
		heads     map[int][]*kgo.Record
		positions []int64
		drained   []int64
		want      string
		waiting   int
	}{
		{"lag unknown everywhere else", map[int][]*kgo.Record{0: {rec(1)}}, []int64{0, 0, 0}, []int64{-1, -1, -1}, "", 2},
		{"one with lag", map[int][]*kgo.Record{0: {rec(1)}}, []int64{0, 3, 0}, []int64{-1, 3, 1}, "", 1},
		{"others drained", map[int][]*kgo.Record{0: {rec(1)}}, []int64{0, 3, 7}, []int64{-1, 3, 5}, "a", 0},
		{"lowest time", map[int][]*kgo.Record{0: {rec(3)}, 1: {rec(1)}, 2: {rec(2)}}, []int64{0, 0, 0}, []int64{-1, -1, -1}, "b", 0},
		{"the first at a tie", map[int][]*kgo.Record{0: {rec(1)}, 1: {rec(1)}, 2: {rec(2)}}, []int64{0, 0, 0}, []int64{-1, -1, -1}, "a", 0},
		{"nothing there", nil, []int64{0, 0, 0}, []int64{0, 0, 0}, "", 0},
	}
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			q := newOrderedQueue(top, &task{positions: row.positions}, map[string]int32{"a": 1, "b": 1, "c": 1})
			for i, h := range row.heads {
				q.push(top.sources[i], h)
			}
			q.drained = row.drained
			s, waiting := q.next()
			got := ""
			if s != nil {
				got = s.topic
			}
			if got != row.want || len(waiting) != row.waiting {
				t.Errorf("next %q, waiting for %d, want %q and %d", got, len(waiting), row.want, row.waiting)
			}
		})
	}
}

// TestRule18UnorderedTaskIsNotHeldByAHangingTransaction leaves a transaction
// open in one input: records of the other go through.
func TestRule18UnorderedTaskIsNotHeldByAHangingTransaction(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.joinedTopics()
		end := c.transact("foreign", c.at("b", 1))
		c.launch(t.TempDir(), c.joined(false))
		c.send(c.at("a", 2))
		if got := c.values("out", 1); got[0] != "a2" {
			t.Fatalf("got %v, want a2 while b hangs", got)
		}
		end(true)
		if got := c.values("out", 2); got[1] != "b1" {
			t.Fatalf("got %v, want b1 at last", got)
		}
		c.eventually("lag 0", func() bool { return c.lag("app", "a", "b") == 0 })
	})
}
