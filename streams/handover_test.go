package streams

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comptoir/comptoir/streams/state"
)

// numbered gives each record of "in" the next number of its key, which arrives
// in "out" by a repartition topic: a record that overtakes another shows there.
func (c *cluster) numbered(b *Builder) { c.numberedIn(b, PartitionsOf(c.n("in"))) }

func (c *cluster) numberedIn(b *Builder, partitions Partitions) {
	moved, again := Repartition(b, "moved", Text, numberSerde, partitions)
	out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
	numbers := NewKeyValue(b, "numbers", Text, numberSerde)
	From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("number", func(c *Context, r Record[string, string]) {
		n, _ := numbers.Get(c, r.Key)
		numbers.Put(c, r.Key, n+1)
		moved.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
	}, numbers, moved)
	again.To(out)
}

const movedTopic = "app-moved-repartition"

// TestWhatLiesInTheTopicIsNotOvertaken has records lie in a repartition topic,
// behind a foreign transaction that stays open, when the tasks of both ends are
// opened in one worker. What is sent from then on must follow them, however long
// they lie; and once nothing lies there any more, it is handed over.
func TestWhatLiesInTheTopicIsNotOvertaken(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		k := func(int) string { return "k" }
		taken := func() { c.eventually("all numbered", func() bool { return c.lag("app", "in") == 0 }) }
		wrote := func(n int, when string) {
			t.Helper()
			if got := len(c.all("out")); got != n {
				t.Fatalf("%d outputs %s, want %d", got, when, n)
			}
		}
		dir := t.TempDir()
		first := c.launch(dir, c.numbered)
		c.produce("in", 1, k)
		c.atRest(1)
		one := c.transact("one", c.rec(movedTopic, 0, "k", "x"))
		c.produce("in", 5, k)
		taken()
		first.halt(t)

		// What lay there when the tasks were opened, beyond the time for which
		// new input is held back.
		c.near = true
		c.launch(dir, c.numbered)
		two := c.transact("two", c.rec(movedTopic, 0, "k", "x"))
		c.produce("in", 5, k)
		taken()
		wrote(1, "while five records lie in the topic")
		// What was sent since.
		one(false)
		c.read("out", 6)
		c.produce("in", 5, k)
		taken()
		wrote(6, "while five more lie in the topic")
		two(false)
		c.atRest(16)
		end := c.end(movedTopic, 0)
		c.produce("in", 5, k)
		c.atRest(21)
		if now := c.end(movedTopic, 0); now != end {
			t.Errorf("the repartition topic grew from %d to %d although nothing lay there", end, now)
		}
	})
}

// TestNothingLiesWhereNoPartitionIs has a repartition topic of fewer partitions
// than there are tasks, as the invoices' series have: the tasks without one wait
// for nothing there.
func TestNothingLiesWhereNoPartitionIs(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 3)
		c.topic("out", 3)
		var told logs
		c.near = true
		c.launch(t.TempDir(), func(b *Builder) { c.numberedIn(b, FixedPartitions(1)) }, told.use)
		c.produce("in", 30, key17)
		c.atRest(30)
		if told.count("new input waits") > 0 {
			t.Error("new input waited, although all topics were new")
		}
	})
}

// TestAfterCommit lets the receiver look at the sender's committed state: what
// it is told of must be there.
func TestAfterCommit(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		c.near = true
		c.launch(t.TempDir(), func(b *Builder) {
			moved, again := Repartition(b, "moved", Text, numberSerde, PartitionsOf(c.n("in")).AfterCommit())
			out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
			store := NewKeyValue(b, "numbers", Text, numberSerde)
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("number", func(c *Context, r Record[string, string]) {
				n, _ := store.Get(c, r.Key)
				store.Put(c, r.Key, n+1)
				moved.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
			}, store, moved)
			again.Process("look", func(c *Context, r Record[string, uint64]) {
				var committed uint64
				st := store.state(c)
				if _, err := c.t.db.Get(st.dbKey(r.Key), func(v []byte) error { committed, _ = binary.Uvarint(v); return nil }); err != nil {
					t.Error(err)
				}
				if committed < r.Value {
					t.Errorf("told of %d when %d was committed", r.Value, committed)
				}
				out.Send(c, r)
			}, store, out)
		})
		for i := range 5 {
			c.produce("in", 10, func(int) string { return "k" })
			c.atRest(10 * (i + 1))
		}
	})
}

// bouncing sends each record to and fro between two repartition topics, so many
// times, and then counts it.
func (c *cluster) bouncing(times uint64) func(*Builder) {
	return func(b *Builder) {
		to, ping := Repartition(b, "moved", Text, numberSerde, PartitionsOf(c.n("in")))
		fro, pong := Repartition(b, "back", Text, numberSerde, PartitionsOf(c.n("in")))
		out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
		counts := NewKeyValue(b, "counts", Text, numberSerde)
		From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("serve", func(c *Context, r Record[string, string]) {
			to.Send(c, Record[string, uint64]{Key: r.Key, Value: times})
		}, to)
		ping.Process("to", func(c *Context, r Record[string, uint64]) {
			if r.Value > 0 {
				fro.Send(c, Record[string, uint64]{Key: "back of " + r.Key, Value: r.Value - 1})
				return
			}
			n, _ := counts.Get(c, r.Key)
			counts.Put(c, r.Key, n+1)
			out.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
		}, fro, counts, out)
		pong.Process("fro", func(c *Context, r Record[string, uint64]) {
			to.Send(c, Record[string, uint64]{Key: strings.TrimPrefix(r.Key, "back of "), Value: r.Value})
		}, to)
	}
}

// TestRecordsThatComeBack sends records from task to task and back: all of it in
// one worker, none of it by the topics.
func TestRecordsThatComeBack(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.near = true
		c.launch(t.TempDir(), c.bouncing(7))
		c.produce("in", 100, key17)
		c.atRest(100)
		for p := range int32(3) {
			for _, topic := range []string{movedTopic, "app-back-repartition"} {
				if end := c.end(topic, p); end > 0 {
					t.Errorf("%s/%d holds something: it ends at %d", topic, p, end)
				}
			}
		}
	})
}

// TestChainBeyondTheBuffer has one record beget more than a transaction may
// hold: it is committed in between, and what follows goes by the topics.
func TestChainBeyondTheBuffer(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.near = true
		count, value := metered()
		c.launch(t.TempDir(), c.bouncing(5000), count, func(cfg *Config) { cfg.BufferBytes = 64 << 10 })
		c.produce("in", 2, key17)
		c.atRest(2)
		if n := value(txnMetric, "committed"); n < 4 {
			t.Errorf("%v transactions for what fills several", n)
		}
	})
}

// TestHandedRecordThatDoesNotDecode is passed over and counted, as from a topic.
func TestHandedRecordThatDoesNotDecode(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.near = true
		count, value := metered()
		c.launch(t.TempDir(), func(b *Builder) {
			picky := Text
			picky.Parse = func(data []byte) (string, error) {
				if string(data) == "13" {
					return "", fmt.Errorf("unlucky")
				}
				return Text.Parse(data)
			}
			moved, again := Repartition(b, "moved", Text, picky, PartitionsOf(c.n("in")))
			out := To(b, Topic[string, string]{Name: c.n("out"), Key: Text, Value: Text})
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).To(moved)
			again.To(out)
		}, count)
		c.produce("in", 40, key17)
		c.read("out", 39)
		c.eventually("lag 0", func() bool { return c.lag("app", "in", movedTopic) == 0 })
		if got := len(c.all("out")); got != 39 {
			t.Errorf("%d outputs, want 39", got)
		}
		if n := value("comptoir_stage_undecodable_total", c.n(movedTopic)); n != 1 {
			t.Errorf("%v records counted as undecodable, want 1", n)
		}
	})
}

// TestPanicInTheMiddleOfAChain lets the receiver of handed-over records fail:
// neither what it did nor what the sender did may count.
func TestPanicInTheMiddleOfAChain(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.near = true
		var left atomic.Int32
		left.Store(3)
		c.launch(t.TempDir(), func(b *Builder) {
			moved, again := Repartition(b, "moved", Text, numberSerde, PartitionsOf(c.n("in")))
			out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
			numbers := NewKeyValue(b, "numbers", Text, numberSerde)
			seen := NewKeyValue(b, "seen", Text, numberSerde)
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("number", func(c *Context, r Record[string, string]) {
				n, _ := numbers.Get(c, r.Key)
				numbers.Put(c, r.Key, n+1)
				moved.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
				moved.Send(c, Record[string, uint64]{Key: r.Key, Value: 0})
			}, numbers, moved)
			again.Process("check", func(c *Context, r Record[string, uint64]) {
				n, _ := seen.Get(c, r.Key)
				if r.Value > 0 {
					seen.Put(c, r.Key, n+1)
					if n+1 != r.Value {
						t.Errorf("key %s: %d arrives as number %d", r.Key, r.Value, n+1)
					}
					return
				}
				if n == 3 && left.Add(-1) >= 0 {
					panic("in the middle")
				}
				out.Send(c, Record[string, uint64]{Key: r.Key, Value: n})
			}, seen, out)
		})
		c.produce("in", 200, key17)
		c.atRest(200)
		if left.Load() >= 0 {
			t.Error("it did not fail: the test tests nothing")
		}
	})
}

// TestPunctuationThatSends sends from a punctuation to other tasks, over a
// restart: every key's numbers arrive once, in order.
func TestPunctuationThatSends(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.near = true
		build := func(b *Builder) {
			moved, again := Repartition(b, "moved", Text, numberSerde, PartitionsOf(c.n("in")))
			out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
			numbers := NewKeyValue(b, "numbers", Text, numberSerde)
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("nothing", func(*Context, Record[string, string]) {})
			b.WallClock("tick", 10*time.Millisecond, func(c *Context, _ time.Time) {
				n, _ := numbers.Get(c, "n")
				numbers.Put(c, "n", n+1)
				for i := range 5 {
					moved.Send(c, Record[string, uint64]{Key: fmt.Sprintf("%d to %d", c.Partition(), i), Value: n + 1})
				}
			}, numbers, moved)
			again.To(out)
		}
		dir := t.TempDir()
		for i := range 2 {
			app := c.launch(dir, build)
			c.read("out", 75*(i+1))
			app.halt(t)
		}
		c.verifyCounts(len(c.all("out")))
	})
}

// TestPunctuationThatOnlySends has nothing of its own to commit: what it sends
// changes another task, and that must not wait for the next occasion.
func TestPunctuationThatOnlySends(t *testing.T) {
	// The order in which the tasks come is random.
	for range 30 {
		w := unconnected(t, func(b *Builder) {
			moved, again := Repartition(b, "moved", Text, Text, FixedPartitions(3))
			seen := NewKeyValue(b, "seen", Text, Text)
			From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("nothing", func(*Context, Record[string, string]) {})
			again.Process("keep", func(c *Context, r Record[string, string]) { seen.Put(c, r.Key, r.Value) }, seen)
			b.WallClock("tick", time.Minute, func(c *Context, _ time.Time) {
				if c.Partition() == 0 {
					moved.SendTo(c, 1, Record[string, string]{Key: "k", Value: "v"})
				}
			}, moved)
		})
		w.nextDue = time.Now()
		w.punctuate()
		if !w.tasks[1].touched {
			t.Fatal("nothing was handed over")
		}
		if w.txn.since.IsZero() {
			t.Fatal("the transaction is forgotten although it has changed a task")
		}
	}
}

// TestWhatWasSentIsNotOvertaken plays a worker that has sent a record through
// the topic: in the same transaction and until it is handled, nothing is handed
// over to its partition.
func TestWhatWasSentIsNotOvertaken(t *testing.T) {
	w := unconnected(t, func(b *Builder) {
		_, again := Repartition(b, "moved", Text, Text, FixedPartitions(3))
		again.Process("nothing", func(*Context, Record[string, string]) {})
		From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("nothing too", func(*Context, Record[string, string]) {})
	})
	out := w.top.outputs[0]
	k := partitionKey{out.topic, 1}
	check := func(when string, handed bool) {
		t.Helper()
		if got := w.near(out, 1) != nil; got != handed {
			t.Errorf("%s: handed over is %v, want %v", when, got, handed)
		}
		if w.near(out, 2) == nil {
			t.Errorf("%s: not handed over to another partition", when)
		}
	}
	check("nothing sent", true)
	w.txn.sent(k, -1)
	check("sent, its offset not known", false)
	w.txn.sent(k, 5)
	check("sent, not committed", false)
	w.settle(nil)
	check("committed, not handled", false)
	w.tasks[1].positions[out.source.index] = 4
	check("one before it handled", false)
	w.tasks[1].positions[out.source.index] = 5
	check("handled", true)
}

// TestEmptyIsNotMissing hands over empty keys and values.
func TestEmptyIsNotMissing(t *testing.T) {
	var got [][]byte
	keep := Serde[[]byte]{
		Append: func(b []byte, v []byte) []byte {
			if v == nil {
				return nil
			}
			return append(b, v...)
		},
		Parse: func(data []byte) ([]byte, error) { got = append(got, data); return data, nil },
	}
	w := unconnected(t, func(b *Builder) {
		moved, again := Repartition(b, "moved", keep, keep, FixedPartitions(3))
		again.Process("take", func(*Context, Record[[]byte, []byte]) {})
		From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("nothing", func(*Context, Record[string, string]) {})
		b.WallClock("tick", time.Minute, func(c *Context, _ time.Time) {
			if c.Partition() == 0 {
				moved.SendTo(c, 1, Record[[]byte, []byte]{Key: []byte{}, Value: []byte{}})
				moved.SendTo(c, 1, Record[[]byte, []byte]{Key: nil, Value: nil})
			}
		}, moved)
	})
	w.nextDue = time.Now()
	w.punctuate()
	if len(got) != 4 {
		t.Fatalf("%d keys and values arrived, want 4", len(got))
	}
	for i, b := range got {
		if len(b) > 0 || (b == nil) != (i >= 2) {
			t.Errorf("key or value %d arrived as %#v", i, b)
		}
	}
}

// unconnected is a worker with three tasks, opened two minutes ago and caught
// up, whose Kafka is not there.
func unconnected(t *testing.T, build func(*Builder)) *worker {
	t.Helper()
	b := NewBuilder("app")
	build(b)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	db, err := state.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	cfg := Config{Topology: top, State: db}
	cfg.Kafka.Brokers = []string{"127.0.0.1:1"}
	app, err := NewApp(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if app.counts, app.tasks, err = top.counts(map[string]int32{"in": 3}); err != nil {
		t.Fatal(err)
	}
	w, err := newWorker(app)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.fetch.Close)
	for p := range app.tasks {
		task, err := newTask(top, p, db, nil, app.counts, slog.New(slog.DiscardHandler), time.Now().Add(-2*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for i := range task.positions {
			task.positions[i] = 0
		}
		task.emit = w.send
		w.tasks[p] = task
	}
	return w
}
