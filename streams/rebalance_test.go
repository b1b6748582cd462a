package streams

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// starting starts an App that is prepared and returns how to wait until it is at
// work.
func (c *cluster) starting(app *runningApp) (atWork func()) {
	started := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	go func() {
		defer cancel()
		started <- app.startAll(ctx)
	}()
	return func() {
		c.tb.Helper()
		if err := <-started; err != nil {
			c.tb.Fatal(err)
		}
	}
}

// TestRebalanceInEachPhase has the group take a task away while its instance is
// in each phase of its work: what comes out is what a run without a rebalance
// writes.
func TestRebalanceInEachPhase(t *testing.T) {
	phases := []struct {
		name string
		key  kmsg.Key
		fate fate
		old  bool // before transaction.version 2
	}{
		{"records are processed", -1, "", false},
		{"records are produced", kmsg.Produce, heldUp, false},
		{"partitions are added", kmsg.AddPartitionsToTxn, heldUp, true},
		{"offsets are added", kmsg.AddOffsetsToTxn, heldUp, true},
		{"after the flush, before the offsets", kmsg.TxnOffsetCommit, heldUp, false},
		{"between offsets and end", kmsg.EndTxn, heldUp, false},
		{"the end is under way", kmsg.EndTxn, answerHeld, false},
		{"tasks are opened", kmsg.ListOffsets, heldUp, false},
		{"producers are made", kmsg.InitProducerID, heldUp, false},
		{"state is restored", kmsg.Fetch, heldUp, false},
	}
	for _, phase := range phases {
		for _, hop := range hops {
			t.Run(phase.name+"/"+hop, func(t *testing.T) {
				t.Parallel()
				var opts []kfake.Opt
				run := func(t *testing.T, c *cluster) {
					c.by(hop)
					c.rebalanceWhile(phase.key, phase.fate)
				}
				if phase.old || hop == "far" {
					if phase.old {
						opts = append(opts, kfake.MaxVersions(kversion.V3_6_0()))
					}
					run(t, newCluster(t, opts...))
				} else {
					onClusters(t, run)
				}
			})
		}
	}
}

// rebalanceWhile lets a second instance join while a request of the first waits;
// with no fate, while an operator of its is at work.
func (c *cluster) rebalanceWhile(key kmsg.Key, f fate) {
	c.countingTopics()
	net := newFaultNet(c.tb)
	busy, goOn := make(chan struct{}), make(chan struct{})
	pause := func(b *Builder) { c.counting(b) }
	total := 0
	produce := func() { c.produce("in", 60, key17); total += 60 }
	opens := key == kmsg.ListOffsets || key == kmsg.InitProducerID || key == kmsg.Fetch
	if opens {
		// So that there is something to restore.
		app := c.launch(c.tb.TempDir(), c.counting, c.shortSession)
		produce()
		c.atRest(total)
		app.halt(c.tb)
	}
	if f == "" {
		pause = func(b *Builder) {
			c.counting(b)
			done := false
			for _, s := range b.sources {
				if s.internal != nil {
					continue
				}
				handle := s.handle
				s.handle = func(c *Context, key, value []byte) error {
					if !done && string(value) == "30" {
						done = true
						close(busy)
						<-goOn
					}
					return handle(c, key, value)
				}
			}
		}
	}
	var rule *netRule
	count, value := metered()
	first := c.prepare(c.tb.TempDir(), pause, net.use, count, c.shortSession)
	strike := func() {
		if f != "" {
			rule = net.strike(key, 1, f)
		}
	}
	var started func()
	start := func() { started = c.starting(first) }
	if opens {
		strike()
		start()
	} else {
		start()
		started()
		produce()
		if f != "" {
			c.atRest(total)
		}
		strike()
	}
	produce()
	if f == "" {
		await(c.tb, "an operator at work", busy)
	} else {
		await(c.tb, "a request that waits", rule.fired)
	}
	second, other := metered()
	atWork := c.starting(c.prepare(c.tb.TempDir(), c.counting, second, c.shortSession))
	c.eventually("the first is to give a task away", func() bool { return value("comptoir_stage_rebalances_total", "revoked") > 0 })
	if f == "" {
		close(goOn)
	} else {
		net.lift(rule)
	}
	atWork()
	if opens {
		started()
	}
	c.eventually("both share the work", func() bool {
		a, b := value("comptoir_stage_tasks", c.n("app")), other("comptoir_stage_tasks", c.n("app"))
		return a > 0 && b > 0 && a+b == 3
	})
	produce()
	c.atRest(total)
}

// TestLateBeyondTheSession holds a request back, and the heartbeats with it,
// until another instance has done the work: when it arrives at last, it must not
// count.
func TestLateBeyondTheSession(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
		for _, hop := range hops {
			t.Run(key.Name()+"/"+hop, func(t *testing.T) {
				t.Parallel()
				onClusters(t, func(t *testing.T, c *cluster) {
					if c.fake == nil && (hop == "far" || key != kmsg.EndTxn) {
						return // its sessions are long: one of them is enough
					}
					c.by(hop)
					c.lateBeyondTheSession(key)
				})
			})
		}
	}
}

func (c *cluster) lateBeyondTheSession(key kmsg.Key) {
	c.countingTopics()
	net := newFaultNet(c.tb)
	c.launch(c.tb.TempDir(), c.counting, net.use, c.shortSession)
	c.produce("in", 60, key17)
	c.atRest(60)
	held := net.strike(key, 1, heldUp)
	c.produce("in", 60, key17)
	await(c.tb, "a request that waits", held.fired)
	silent := net.strikeAll(kmsg.Heartbeat, heldUp)
	count, value := metered()
	c.launch(c.tb.TempDir(), c.counting, count, c.shortSession)
	c.eventually("the other has all tasks", func() bool { return value("comptoir_stage_tasks", c.n("app")) == 3 })
	c.produce("in", 60, key17)
	c.read("out", 180)
	net.lift(held)
	net.lift(silent)
	c.produce("in", 60, key17)
	c.atRest(240)
}
