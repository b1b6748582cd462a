package streams

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// TestMain lets more tests run at a time than there are processors: those that
// may, wait for most of theirs.
func TestMain(m *testing.M) {
	flag.Parse()
	chainPause = 200 * time.Millisecond // so that a next fault meets shared transactions too
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		_ = flag.Set("test.parallel", "8")
	}
	os.Exit(m.Run())
}

func key17(i int) string { return fmt.Sprintf("k%d", i%17) }

func (c *cluster) countingTopics() {
	c.topic("in", 3)
	c.topic("out", 3)
	if c.line {
		c.topic("mid", 3)
	}
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
			nearAndFar(t, func(t *testing.T, c *cluster) {
				c.countingTopics()
				net := newFaultNet(t)
				app := c.launch(t.TempDir(), c.counting, net.use, c.shortSession)
				c.produce("in", 1, key17)
				c.atRest(1)
				second := net.strike(kmsg.EndTxn, 1, heldUp)
				c.produce("in", 1, key17)
				if !c.near {
					// The second end is that of the count: the first moves the
					// record to the repartition topic.
					first := second
					await(t, "the first transaction's end held up", first.fired)
					second = net.strike(kmsg.EndTxn, 1, heldUp)
					net.lift(first)
				}
				await(t, "the end of the count's transaction held up", second.fired)
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
			nearAndFar(t, func(t *testing.T, c *cluster) {
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
	c.eventually("lag 0 behind an aborted transaction", func() bool { return c.countingLag() == 0 })
}

// faultKeys are the requests of a transaction's life. Before transaction.version
// 2 partitions and offsets are added by requests of their own.
var faultKeys = []struct {
	key   kmsg.Key
	old   bool
	start bool // seen when an App opens its tasks, not after
}{
	{kmsg.Produce, false, false}, {kmsg.TxnOffsetCommit, false, false}, {kmsg.EndTxn, false, false}, {kmsg.OffsetCommit, false, false},
	{kmsg.InitProducerID, false, true}, {kmsg.OffsetFetch, false, true},
	{kmsg.AddPartitionsToTxn, true, false}, {kmsg.AddOffsetsToTxn, true, false},
	{kmsg.TxnOffsetCommit, true, false}, {kmsg.EndTxn, true, false}, {kmsg.Produce, true, false},
}

// fenced is what TestFaultsOnTheWire calls the fate of a request that is passed
// on after another has taken our transactional ids.
const fenced fate = "fenced"

// TestFaultsOnTheWire makes a request meet each fate, at every step of a
// transaction and at several occurrences, with repartition records handed over
// and not: what comes out is what a run without faults writes.
func TestFaultsOnTheWire(t *testing.T) {
	for _, k := range faultKeys {
		for _, f := range []fate{lostBefore, answerLost, late, heldUp, answerHeld, fenced} {
			for _, hop := range hops {
				if k.old && hop == "line" {
					continue // nothing is handed over there
				}
				name := fmt.Sprintf("%s/%s/%s", k.key.Name(), f, hop)
				run := func(t *testing.T, c *cluster) {
					c.by(hop)
					c.struck(k.key, f, k.start)
				}
				// On Apache Kafka a fault costs seconds: not every pair there.
				rare := hop == "near" && k.start && f != lostBefore || hop != "near" && (k.start || f != answerLost && f != late)
				switch {
				case k.old:
					t.Run("old/"+name, func(t *testing.T) {
						t.Parallel()
						run(t, newCluster(t, kfake.MaxVersions(kversion.V3_6_0())))
					})
				case rare:
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						run(t, newCluster(t))
					})
				default:
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						onClusters(t, run)
					})
				}
			}
		}
	}
}

// struck runs the counting topology while requests of a key meet a fate.
func (c *cluster) struck(key kmsg.Key, f fate, atStart bool) {
	c.countingTopics()
	net := newFaultNet(c.tb)
	var app *runningApp
	strike := func(nth int) *netRule {
		if f != fenced {
			return net.strike(key, nth, f)
		}
		return net.strikeDoing(key, nth, passed, func() {
			for turn := range 2 {
				c.takeOver(app.transactionalID(turn))
			}
		})
	}
	var first *netRule
	occurrences := []int{1, 2, 4}
	if atStart {
		if first = strike(1); f == heldUp || f == answerHeld {
			go func() { <-first.fired; net.lift(first) }()
		}
		occurrences = occurrences[:1]
	}
	app = c.prepare(c.tb.TempDir(), c.counting, net.use, c.shortSession)
	app.begin(c.tb)
	total := 0
	work := func() {
		c.tb.Helper()
		c.produce("in", 40, key17)
		total += 40
	}
	for _, nth := range occurrences {
		rule := first
		if rule == nil {
			rule = strike(nth)
		}
		for struck := false; !struck; {
			work()
			if f == heldUp || f == answerHeld {
				// It may be struck, and then nothing comes out.
				c.eventually("struck, or all done", func() bool { return rule.hasFired() || len(c.all("out")) == total })
			} else {
				c.read("out", total)
			}
			if struck = rule.hasFired(); !struck && key == kmsg.OffsetCommit {
				c.transact("foreign", c.rec("in", -1, key17(total), "aborted"))(false)
				c.eventually("struck, or lag 0 behind an aborted transaction", func() bool {
					return rule.hasFired() || c.countingLag() == 0
				})
				struck = rule.hasFired()
			}
		}
		switch f {
		case heldUp, answerHeld:
			work() // comes while the request waits
			net.lift(rule)
		case late:
			// The work is being done again, or done, when it arrives.
			work()
			net.lift(rule)
			await(c.tb, "the late request dealt with", rule.arrived)
			if rule.failed != nil {
				c.tb.Errorf("the late request did not reach the broker: %v", rule.failed)
			}
		}
	}
	work()
	c.atRest(total)
	for tries := 0; c.line && app.handed() == 0; tries++ {
		if tries == 100 {
			c.tb.Fatal("nothing was handed over: the test tests nothing")
		}
		total++
		c.produce("in", 1, key17)
		c.read("out", total)
	}
}

// takeOver makes another producer of a transactional id, which fences the one
// that has it.
func (c *cluster) takeOver(id string) {
	c.tb.Helper()
	cl, err := c.kafka.New(kgo.TransactionalID(id))
	if err != nil {
		c.tb.Error(err)
		return
	}
	defer cl.Close()
	if _, _, err := cl.ProducerID(context.Background()); err != nil {
		c.tb.Error(err)
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
			for _, hop := range hops {
				t.Run(row.key.Name()+"/"+e.Message+"/"+hop, func(t *testing.T) {
					t.Parallel()
					c := newCluster(t)
					c.by(hop)
					c.answeredWith(row.key, e)
				})
			}
		}
	}
}

// answeredWith runs the counting topology while a request of a key is answered
// with an error.
func (c *cluster) answeredWith(key kmsg.Key, e *kerr.Error) {
	c.countingTopics()
	start := func() *runningApp { return c.launch(c.tb.TempDir(), c.counting, c.shortSession) }
	if key != kmsg.InitProducerID && key != kmsg.OffsetFetch {
		start()
	}
	topic := "" // our own produce requests, not those of the test
	if key == kmsg.Produce {
		topic = c.n("out")
	}
	h := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: topic, TopLevel: key == kmsg.EndTxn || key == kmsg.InitProducerID || key == kmsg.Heartbeat, Err: e})
	if key == kmsg.InitProducerID || key == kmsg.OffsetFetch {
		start()
	}
	total := 0
	for struck := false; !struck; struck = h.Hits() > 0 {
		c.produce("in", 40, key17)
		total += 40
		c.read("out", total)
		if key == kmsg.OffsetCommit {
			c.abortedBehind(total)
		}
	}
	c.produce("in", 40, key17)
	c.atRest(total + 40)
}

// TestCoordinatorMoves moves all coordinators among brokers while work goes on.
func TestCoordinatorMoves(t *testing.T) {
	t.Parallel()
	for _, hop := range hops {
		t.Run(hop, func(t *testing.T) {
			c := newCluster(t, kfake.NumBrokers(3))
			c.by(hop)
			c.coordinatorMoves()
		})
	}
}

func (c *cluster) coordinatorMoves() {
	c.countingTopics()
	c.launch(c.tb.TempDir(), c.counting, c.shortSession)
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
	t.Parallel()
	nearFarAndLine(t, func(t *testing.T, c *cluster) {
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
	t.Parallel()
	dir := t.TempDir()
	c := newCluster(t, kfake.DataDir(dir))
	c.near = true
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
	t.Parallel()
	nearFarAndLine(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		net := newFaultNet(t)
		one := c.launch(t.TempDir(), c.counting, net.use, c.shortSession)
		count, value := metered()
		two := c.launch(t.TempDir(), c.counting, count, c.shortSession)
		c.eventually("both share the work", func() bool { n := value("comptoir_stage_tasks", c.n("app")); return n > 0 && n < 3 })
		c.produce("in", 500, key17)
		net.cut(true)
		one.kill()
		c.produce("in", 500, key17)
		c.atRest(1000)
		if n := value("comptoir_stage_tasks", c.n("app")); n != 3 {
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
	t.Parallel()
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
