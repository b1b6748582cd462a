package streams

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

func key17(i int) string { return fmt.Sprintf("k%d", i%17) }

func (c *cluster) countingTopics() {
	c.topic("in", 3)
	c.topic("out", 3)
}

func await(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(60 * time.Second):
		t.Fatalf("not reached: %s", what)
	}
}

// TestRule01StateIsNotFlushedBeforeTheOutcomeIsKnown holds the end of a
// transaction back: as long as its outcome is open, the local state must be the
// one before; whatever the outcome turns out to be, the state follows it.
func TestRule01StateIsNotFlushedBeforeTheOutcomeIsKnown(t *testing.T) {
	for _, then := range []fate{heldUp, lostBefore, answerLost} {
		t.Run(string(then), func(t *testing.T) {
			onClusters(t, func(t *testing.T, c *cluster) {
				c.countingTopics()
				net := newFaultNet(t)
				app := c.launch(t.TempDir(), c.counting, net.use, c.shortSession)
				c.produce("in", 1, key17)
				c.atRest(1)
				// The second end is that of the count: the first moves the
				// record to the repartition topic.
				first := net.strike(kmsg.EndTxn, 1, heldUp)
				c.produce("in", 1, key17)
				await(t, "the first transaction's end held up", first.fired)
				second := net.strike(kmsg.EndTxn, 1, heldUp)
				net.lift(first)
				await(t, "the second transaction's end held up", second.fired)
				if got := storedCounts(c, app, 3)["k0"]; got != 1 {
					t.Fatalf("local count %d while the outcome is open, want the committed 1", got)
				}
				if then == heldUp {
					net.lift(second)
				} else {
					third := net.strike(kmsg.EndTxn, 1, then)
					net.cut(false) // what was held up is lost with its connection
					net.lift(second)
					await(t, string(then), third.fired)
				}
				c.atRest(2)
				c.eventually("local count 2", func() bool { return storedCounts(c, app, 3)["k0"] == 2 })
			})
		})
	}
}

// TestRule01CrashWhileTheOutcomeIsOpen stops an App for good while the end of
// its transaction is under way: the next one finds the outcome and goes on.
func TestRule01CrashWhileTheOutcomeIsOpen(t *testing.T) {
	for _, f := range []fate{lostBefore, answerLost} {
		t.Run(string(f), func(t *testing.T) {
			onClusters(t, func(t *testing.T, c *cluster) {
				c.countingTopics()
				dir := t.TempDir()
				net := newFaultNet(t)
				app := c.launch(dir, c.counting, net.use, c.shortSession)
				c.produce("in", 50, key17)
				c.atRest(50)
				rule := net.strikeAll(kmsg.EndTxn, f)
				c.produce("in", 50, key17)
				await(t, "the end of a transaction lost", rule.fired)
				net.cut(true)
				app.kill()
				c.launch(dir, c.counting, c.shortSession)
				c.produce("in", 50, key17)
				c.atRest(150)
			})
		})
	}
}

// abortedBehind appends an aborted transaction to "in": past it the group's
// offset goes by itself, without a transaction of ours.
func (c *cluster) abortedBehind(i int) {
	c.tb.Helper()
	c.transact("foreign", c.rec("in", -1, key17(i), "aborted"))(false)
	c.eventually("lag 0 behind an aborted transaction", func() bool { return c.lag("app", "in", "app-moved-repartition") == 0 })
}

// faultKeys are the requests of a transaction's life. Before transaction.version
// 2 partitions and offsets are added by requests of their own.
var faultKeys = []struct {
	key kmsg.Key
	old bool
}{
	{kmsg.Produce, false}, {kmsg.TxnOffsetCommit, false}, {kmsg.EndTxn, false}, {kmsg.OffsetCommit, false},
	{kmsg.InitProducerID, false}, {kmsg.OffsetFetch, false},
	{kmsg.AddPartitionsToTxn, true}, {kmsg.AddOffsetsToTxn, true},
	{kmsg.TxnOffsetCommit, true}, {kmsg.EndTxn, true}, {kmsg.Produce, true},
}

// TestFaultsOnTheWire loses a request or its answer, at every step of a
// transaction and at several occurrences: what comes out is what a run without
// faults writes.
func TestFaultsOnTheWire(t *testing.T) {
	for _, k := range faultKeys {
		for _, f := range []fate{lostBefore, answerLost} {
			name := fmt.Sprintf("%s/%s", k.key.Name(), f)
			run := func(t *testing.T, c *cluster) {
				c.countingTopics()
				net := newFaultNet(t)
				var rules []*netRule
				if k.key == kmsg.InitProducerID || k.key == kmsg.OffsetFetch {
					rules = append(rules, net.strike(k.key, 1, f)) // only seen at start
				}
				c.launch(t.TempDir(), c.counting, net.use, c.shortSession)
				total := 0
				for _, nth := range []int{1, 2, 4} {
					if rules == nil || len(rules) > 1 {
						rules = append(rules, net.strike(k.key, nth, f))
					}
					rule := rules[len(rules)-1]
					for struck := false; !struck; {
						c.produce("in", 40, key17)
						total += 40
						c.read("out", total)
						if k.key == kmsg.OffsetCommit {
							c.abortedBehind(total)
						}
						select {
						case <-rule.fired:
							struck = true
						default:
						}
					}
					if k.key == kmsg.InitProducerID || k.key == kmsg.OffsetFetch {
						break
					}
				}
				c.atRest(total)
			}
			if k.old {
				t.Run("old/"+name, func(t *testing.T) { run(t, newCluster(t, kfake.MaxVersions(kversion.V3_6_0()))) })
			} else {
				t.Run(name, func(t *testing.T) { onClusters(t, run) })
			}
		}
	}
}

// TestErrorsFromTheBroker answers the requests that decide whether we still are
// who we say with errors: fenced, out of the group, of an old generation.
func TestErrorsFromTheBroker(t *testing.T) {
	table := []struct {
		key  kmsg.Key
		errs []*kerr.Error
	}{
		{kmsg.TxnOffsetCommit, []*kerr.Error{kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.UnknownMemberID,
			kerr.IllegalGeneration, kerr.FencedInstanceID, kerr.RebalanceInProgress, kerr.NotCoordinator,
			kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.InvalidTxnState, kerr.RequestTimedOut}},
		{kmsg.EndTxn, []*kerr.Error{kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState,
			kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.ConcurrentTransactions, kerr.InvalidProducerIDMapping}},
		{kmsg.Produce, []*kerr.Error{kerr.InvalidProducerEpoch, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID,
			kerr.NotLeaderForPartition, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.InvalidTxnState}},
		{kmsg.OffsetCommit, []*kerr.Error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress,
			kerr.NotCoordinator, kerr.RequestTimedOut}},
		{kmsg.Heartbeat, []*kerr.Error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.FencedInstanceID, kerr.NotCoordinator}},
		{kmsg.InitProducerID, []*kerr.Error{kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress}},
		{kmsg.OffsetFetch, []*kerr.Error{kerr.UnstableOffsetCommit, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress}},
	}
	for _, row := range table {
		for _, e := range row.errs {
			t.Run(row.key.Name()+"/"+e.Message, func(t *testing.T) {
				c := newCluster(t)
				c.countingTopics()
				start := func() *runningApp { return c.launch(t.TempDir(), c.counting, c.shortSession) }
				if row.key != kmsg.InitProducerID && row.key != kmsg.OffsetFetch {
					start()
				}
				topic := "" // our own produce requests, not those of the test
				if row.key == kmsg.Produce {
					topic = c.n("app-moved-repartition")
				}
				h := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{row.key}, Topic: topic, TopLevel: row.key == kmsg.EndTxn || row.key == kmsg.InitProducerID || row.key == kmsg.Heartbeat, Err: e})
				if row.key == kmsg.InitProducerID || row.key == kmsg.OffsetFetch {
					start()
				}
				total := 0
				for struck := false; !struck; struck = h.Hits() > 0 {
					c.produce("in", 40, key17)
					total += 40
					c.read("out", total)
					if row.key == kmsg.OffsetCommit {
						c.abortedBehind(total)
					}
				}
				c.produce("in", 40, key17)
				c.atRest(total + 40)
			})
		}
	}
}

// TestFencedByAnotherProducer takes our transactional ids over: the App makes
// its producers anew and goes on.
func TestFencedByAnotherProducer(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		app := c.launch(t.TempDir(), c.counting, c.shortSession)
		total := 0
		for turn := range 2 {
			c.produce("in", 40, key17)
			total += 40
			c.read("out", total)
			cl, err := c.kafka.New(kgo.TransactionalID(app.worker.transactionalID(turn)))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := cl.ProducerID(context.Background()); err != nil {
				t.Fatal(err)
			}
			cl.Close()
			c.produce("in", 40, key17)
			c.produce("in", 40, key17)
			total += 80
		}
		c.atRest(total)
	})
}

// TestCoordinatorMoves moves all coordinators among brokers while work goes on.
func TestCoordinatorMoves(t *testing.T) {
	c := newCluster(t, kfake.NumBrokers(3))
	c.countingTopics()
	c.launch(t.TempDir(), c.counting, c.shortSession)
	total := 0
	for range 5 {
		c.produce("in", 40, key17)
		c.fake.RehashCoordinators()
		c.produce("in", 40, key17)
		c.fake.ShufflePartitionLeaders()
		total += 80
		c.read("out", total)
	}
	c.atRest(total)
}

// TestAllConnectionsCut cuts every connection at once, again and again, and once
// keeps the network down.
func TestAllConnectionsCut(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		net := newFaultNet(t)
		app := c.launch(t.TempDir(), c.counting, net.use, c.shortSession)
		total := 0
		for range 4 {
			c.produce("in", 300, key17)
			total += 300
			net.cut(false)
		}
		c.read("out", total)
		net.cut(true)
		c.produce("in", 100, key17)
		net.heal()
		c.atRest(total + 100)
		c.eventually("healthy", func() bool { return app.Health() == nil })
	})
}

// TestBrokerRestarts stops the broker and starts it again with its data.
func TestBrokerRestarts(t *testing.T) {
	dir := t.TempDir()
	c := newCluster(t, kfake.DataDir(dir))
	c.countingTopics()
	var port int
	if _, err := fmt.Sscanf(c.fake.ListenAddrs()[0], "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	app := c.launch(t.TempDir(), c.counting, c.shortSession)
	c.produce("in", 200, key17)
	c.fake.Close()
	c.eventually("the App says what is wrong", func() bool { return app.Health() != nil })
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(dir), kfake.Ports(port), kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c.fake = fake
	c.produce("in", 200, key17)
	c.atRest(400)
}

// TestInstanceKilled lets two instances share the work and takes one off the
// network for good: the other finishes all of it once the session has ended.
func TestInstanceKilled(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		net := newFaultNet(t)
		one := c.launch(t.TempDir(), c.counting, net.use, c.shortSession)
		count, value := metered()
		two := c.launch(t.TempDir(), c.counting, count, c.shortSession)
		c.eventually("both share the work", func() bool { n := value("comptoir_stage_tasks", ""); return n > 0 && n < 3 })
		c.produce("in", 500, key17)
		net.cut(true)
		one.kill()
		c.produce("in", 500, key17)
		c.atRest(1000)
		if n := value("comptoir_stage_tasks", ""); n != 3 {
			t.Errorf("the survivor has %v tasks, want all 3", n)
		}
		if err := two.Health(); err != nil {
			t.Errorf("the survivor's health: %v", err)
		}
	})
}

// TestZombieIsFenced cuts an instance off the group, and nothing else: its
// session ends and another takes its task over, while it believes that the task
// is its own. Neither a record nor a punctuation of its may count.
func TestZombieIsFenced(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		// Every tick writes the next number: a tick of the zombie would write
		// one that the new owner writes too.
		ticking := func(b *Builder) {
			out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
			store := NewKeyValue(b, "counts", Text, numberSerde)
			next := func(c *Context) {
				n, _ := store.Get(c, "n")
				store.Put(c, "n", n+1)
				out.Send(c, Record[string, uint64]{Key: "n", Value: n + 1})
			}
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("count", func(c *Context, _ Record[string, string]) { next(c) }, store, out)
			b.WallClock("tick", 20*time.Millisecond, func(c *Context, _ time.Time) { next(c) }, store, out)
		}
		net := newFaultNet(t)
		zombieCounts, zombie := metered()
		c.launch(t.TempDir(), ticking, net.use, zombieCounts, c.shortSession)
		c.read("out", 5)
		silent := net.strikeAll(kmsg.Heartbeat, heldUp)
		heir, value := metered()
		c.launch(t.TempDir(), ticking, heir, c.shortSession)
		// Joining, it asked for nothing to move: the zombie's session must end.
		c.eventually("the task has moved", func() bool { return value("comptoir_stage_tasks", "") == 1 })
		done := value(txnMetric, "committed")
		c.eventually("the heir works", func() bool { return value(txnMetric, "committed") > done+10 })
		c.eventually("the zombie has been refused", func() bool {
			return zombie(txnMetric, "aborted") > 0 || zombie("comptoir_stage_rebalances_total", "lost") > 0
		})
		net.lift(silent)
		var last uint64
		for _, r := range c.all("out") {
			n, _ := binary.Uvarint(r.Value)
			if n != last+1 {
				t.Fatalf("%d follows %d at offset %d", n, last, r.Offset)
			}
			last = n
		}
	})
}
