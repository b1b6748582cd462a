package streams

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const vanishedMetric = "comptoir_stage_vanished_transactions_total"

// longTransactions makes those of Apps stay open for longer than any test
// waits, so that only somebody who ends them can help.
func longTransactions(t *testing.T) {
	before := transactionTimeout
	transactionTimeout = func(Config) time.Duration { return 10 * time.Minute }
	t.Cleanup(func() { transactionTimeout = before })
}

// TestRule20TransactionsOfTheVanishedAreEnded has an instance die in the middle
// of a transaction whose records are in all topics: who takes its tasks over, and
// the readers of what it wrote, do not wait for the transaction's time-out.
func TestRule20TransactionsOfTheVanishedAreEnded(t *testing.T) {
	longTransactions(t)
	for _, f := range []fate{lostBefore, answerLost} {
		t.Run(string(f), func(t *testing.T) {
			onClusters(t, func(t *testing.T, c *cluster) {
				c.countingTopics()
				dead := newFaultNet(t)
				victim := c.launch(t.TempDir(), c.counting, dead.use, c.shortSession)
				count, value := metered()
				c.launch(t.TempDir(), c.counting, count, c.shortSession)
				c.eventually("tasks are shared", func() bool { return value("comptoir_stage_tasks", "") > 0 })
				c.produce("in", 50, key17)
				c.atRest(50)
				rule := dead.strikeAll(kmsg.EndTxn, f)
				c.produce("in", 50, key17)
				await(t, "the end of a transaction lost", rule.fired)
				dead.cut(true)
				victim.kill()
				c.produce("in", 50, key17)
				c.atRest(150)
				if n := value(vanishedMetric, ""); f == lostBefore && n == 0 {
					t.Error("no transaction of the dead was ended: the test tests nothing")
				}
			})
		})
	}
}

// TestRule20StatelessOutputsAreFreed: the dead has written to an output only, of
// an App without state and before any offset: whoever reads the output waits for
// it, and nobody who takes over.
func TestRule20StatelessOutputsAreFreed(t *testing.T) {
	longTransactions(t)
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		build := func(b *Builder) {
			c.bare(b, func(c *Context, r Record[string, string], out *Output[string, string]) { out.Send(c, r) })
		}
		dead := newFaultNet(t)
		victim := c.launch(t.TempDir(), build, dead.use, c.shortSession)
		rule := dead.strikeAll(kmsg.TxnOffsetCommit, lostBefore)
		dead.strikeAll(kmsg.EndTxn, lostBefore) // nor does it abort
		dead.strikeAll(kmsg.InitProducerID, lostBefore)
		c.send(c.rec("in", 0, "k", "1"))
		await(t, "the transaction's offsets lost", rule.fired)
		dead.cut(true)
		victim.kill()
		c.launch(t.TempDir(), build, c.shortSession)
		c.send(c.rec("in", 0, "k", "2"))
		got := c.values("out", 2)
		if !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("output %q, want 1 and 2", got)
		}
	})
}

// TestRule20ZombieIsFenced: an instance is cut off with the end of a transaction
// on its way. The group drops it, its transaction is ended by another, and then
// the commit arrives: it must come to nothing, and the zombie goes on as a member.
func TestRule20ZombieIsFenced(t *testing.T) {
	longTransactions(t)
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		net := newFaultNet(t)
		told, zombie := metered()
		c.launch(t.TempDir(), c.counting, net.use, told, c.shortSession)
		c.produce("in", 50, key17)
		c.atRest(50)
		late := net.strikeAll(kmsg.EndTxn, heldUp)
		c.produce("in", 50, key17)
		await(t, "the end of a transaction held up", late.fired)
		beats := net.strikeAll(kmsg.Heartbeat, heldUp)
		count, value := metered()
		c.launch(t.TempDir(), c.counting, count, c.shortSession)
		c.eventually("the zombie's transaction is ended", func() bool { return value(vanishedMetric, "") > 0 })
		c.read("out", 100)
		before := zombie(txnMetric, "committed")
		net.lift(late)
		c.eventually("the late end is refused", func() bool { return zombie(txnMetric, "unknown") > 0 })
		if n := zombie(txnMetric, "committed"); n != before {
			t.Errorf("%v transactions of the zombie were committed", n-before)
		}
		net.lift(beats)
		c.eventually("the zombie is a member again", func() bool {
			c.produce("in", 17, key17)
			return zombie("comptoir_stage_tasks", "") > 0 && zombie(txnMetric, "committed") > before
		})
		ends, err := c.adm.ListEndOffsets(t.Context(), c.n("in"))
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		ends.Each(func(o kadm.ListedOffset) { total += int(o.Offset) })
		c.atRest(total)
	})
}

// TestRule20LeavesTheLiving asks who has vanished while a member has the end of
// a transaction on its way, and while others have open what only looks like ours.
func TestRule20LeavesTheLiving(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.topic("other", 1)
		net := newFaultNet(t)
		told, member := metered()
		c.launch(t.TempDir(), c.counting, net.use, told, c.shortSession)
		count, value := metered()
		asker := c.launch(t.TempDir(), c.counting, count, c.shortSession)
		c.eventually("tasks are shared", func() bool { return value("comptoir_stage_tasks", "") > 0 })
		c.produce("in", 50, key17)
		c.atRest(50)

		gone := uuid.NewString()
		c.abandon("app-"+gone+"-1", c.rec("out", 0, "x", "gone"))
		strangers := map[string]func(commit bool){}
		for _, id := range []string{"app-x-" + gone + "-0", "app-" + gone + "-2", "app-" + gone, "app-0", "other-" + gone + "-0"} {
			strangers[id] = c.transact(id, c.rec("other", 0, "k", id))
		}
		held := net.strikeAll(kmsg.EndTxn, heldUp)
		c.produce("in", 50, key17)
		await(t, "the end of a member's transaction held up", held.fired)
		if err := asker.worker.endVanishedOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := value(vanishedMetric, ""); n != 1 {
			t.Errorf("%v transactions ended, want that of the instance that is gone", n)
		}
		if n := c.ongoing("app-" + gone + "-1"); n != 0 {
			t.Error("the transaction of the instance that is gone is open")
		}
		net.lift(held)
		for id, end := range strangers {
			if c.ongoing(id) != 1 {
				t.Errorf("the transaction of %s is not open any more", id)
			}
			end(true)
		}
		c.atRest(100)
		if n := member(txnMetric, "aborted") + member(txnMetric, "unknown"); n > 0 {
			t.Errorf("%v transactions of a living member did not commit", n)
		}
	})
}

// abandon leaves a transaction of a transactional id open for good.
func (c *cluster) abandon(id string, recs ...*kgo.Record) {
	c.tb.Helper()
	cl, err := c.kafka.New(kgo.TransactionalID(c.n(id)), kgo.TransactionTimeout(10*time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		c.tb.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		c.tb.Fatal(err)
	}
	if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		c.tb.Fatal(err)
	}
}

// ongoing counts the open transactions of a transactional id.
func (c *cluster) ongoing(id string) int {
	c.tb.Helper()
	listed, err := c.adm.ListTransactions(c.tb.Context(), nil, []string{"Ongoing"})
	if err != nil {
		c.tb.Fatal(err)
	}
	n := 0
	for listed := range listed {
		if listed == c.n(id) {
			n++
		}
	}
	return n
}

// TestRule20NobodyCountsAsGoneForOneWhoIsOut: who is not in the answer about the
// group's members itself ends nothing.
func TestRule20NobodyCountsAsGoneForOneWhoIsOut(t *testing.T) {
	c := newCluster(t)
	c.countingTopics()
	app := c.launch(t.TempDir(), c.counting)
	app.halt(t)
	id := fmt.Sprintf("app-%s-0", uuid.NewString())
	end := c.transact(id, c.rec("in", 0, "k", "v"))
	w, err := newWorker(app.App)
	if err != nil {
		t.Fatal(err)
	}
	defer w.fetch.Close()
	if err := w.endVanishedOnce(t.Context()); err != nil {
		t.Error(err)
	}
	if c.ongoing(id) != 1 {
		t.Error("the transaction was ended")
	}
	end(true)
}
