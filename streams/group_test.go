package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRule13ConsoleConsumerIsRefused joins our group the way a console consumer
// does: it is refused, and nothing of ours is disturbed.
func TestRule13ConsoleConsumerIsRefused(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		count, value := metered()
		c.launch(t.TempDir(), c.counting, count)
		c.produce("in", 100, key17)
		c.read("out", 100)
		before := value("comptoir_stage_rebalances_total", "")

		join := kmsg.NewPtrJoinGroupRequest()
		join.Group, join.ProtocolType = c.n("app"), "consumer"
		join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 10_000, 10_000
		for _, b := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer(), kgo.StickyBalancer(), kgo.RoundRobinBalancer()} {
			p := kmsg.NewJoinGroupRequestProtocol()
			p.Name, p.Metadata = b.ProtocolName(), b.JoinGroupMetadata([]string{c.n("in")}, nil, -1)
			join.Protocols = append(join.Protocols, p)
		}
		resp, err := join.RequestWith(context.Background(), c.cl)
		if err != nil {
			t.Fatal(err)
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); !errors.Is(err, kerr.InconsistentGroupProtocol) {
			t.Errorf("join answered with %v, want INCONSISTENT_GROUP_PROTOCOL", err)
		}

		// And a whole consumer, which tries again and again.
		net := newFaultNet(t)
		kafka := c.kafka
		kafka.Dial = net.dial
		var assigned atomic.Int32
		console, err := kafka.New(kgo.ConsumerGroup(c.n("app")), kgo.ConsumeTopics(c.n("in")),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { assigned.Add(int32(len(ps))) }))
		if err != nil {
			t.Fatal(err)
		}
		defer console.Close()
		c.eventually("the console consumer tries", func() bool { return net.count(kmsg.JoinGroup) >= 3 })
		c.produce("in", 100, key17)
		c.atRest(200)
		if assigned.Load() > 0 {
			t.Error("the console consumer was given a partition")
		}
		if now := value("comptoir_stage_rebalances_total", ""); now != before {
			t.Errorf("%v changes of assignment, want none", now-before)
		}
	})
}

// TestRule13NewProtocolConsumerGetsInAndLeaves lets a consumer of the next
// generation's protocol into the group, which Kafka 4 allows: the task whose
// partition it takes waits and says so; when it has left, every record goes on
// from our own position.
func TestRule13NewProtocolConsumerGetsInAndLeaves(t *testing.T) {
	c := realCluster(t)
	c.countingTopics()
	count, value := metered()
	app := c.launch(t.TempDir(), c.counting, count, c.shortSession)
	c.produce("in", 100, key17)
	c.atRest(100)
	foreign, err := c.kafka.New(kgo.ServerSideBalancer(), kgo.ConsumerGroup(c.n("app")), kgo.ConsumeTopics(c.n("in")))
	if err != nil {
		t.Fatal(err)
	}
	stop, left := context.WithCancel(context.Background())
	done := make(chan struct{})
	var stolen atomic.Int32
	go func() {
		defer close(done)
		for stop.Err() == nil {
			stolen.Add(int32(foreign.PollFetches(stop).NumRecords()))
		}
	}()
	c.eventually("a task waits", func() bool { return value("comptoir_stage_tasks", "") < 3 })
	c.eventually("health says why", func() bool {
		err := app.Health()
		return err != nil && strings.Contains(err.Error(), "not one of ours")
	})
	total := 100
	for stolen.Load() == 0 {
		c.produce("in", 100, key17)
		total += 100
		c.eventually("the foreign consumer or we have read", func() bool { return stolen.Load() > 0 || c.lag("app", "in") == 0 })
	}
	if err := foreign.CommitUncommittedOffsets(context.Background()); err != nil {
		t.Error(err)
	}
	left()
	<-done
	foreign.Close()
	c.produce("in", 100, key17)
	c.atRest(total + 100)
	c.eventually("healthy", func() bool { return app.Health() == nil })
}

// TestPartitionGrowthIsRefused grows an input while the App runs and when it
// starts again: either way it says what to do, and what it knows goes on.
func TestPartitionGrowthIsRefused(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		dir := t.TempDir()
		app := c.launch(dir, c.counting)
		c.produce("in", 30, key17)
		c.atRest(30)
		resp, err := c.adm.CreatePartitions(context.Background(), 1, c.n("in"))
		if err == nil {
			err = resp.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		// The group notices with its next look at the topics; a rebalance makes
		// it look.
		c.eventually("health says why", func() bool {
			app.worker.group.ForceMetadataRefresh()
			err := app.Health()
			return err != nil && strings.Contains(err.Error(), "grown beyond the 3 partitions")
		})
		c.send(c.rec("in", 0, "k", "x"))
		c.read("out", 31)
		if err := app.Health(); err == nil {
			t.Error("healthy again although a partition is not read")
		}
		app.halt(t)
		again := c.prepare(dir, c.counting)
		err = again.Start(t.Context())
		for _, want := range []string{"was created with 3 partitions", c.n("in") + " now has 4", "go back"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		}
	})
}

// TestPanickingOperatorIsRetriedAndReported lets an operator fail until it is
// mended.
func TestPanickingOperatorIsRetriedAndReported(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		var broken atomic.Bool
		var tries atomic.Int32
		broken.Store(true)
		app := c.launch(t.TempDir(), func(b *Builder) {
			c.bare(b, func(c *Context, r Record[string, string], out *Output[string, string]) {
				if broken.Load() {
					tries.Add(1)
					panic(fmt.Sprintf("no idea what to do with %s", r.Value))
				}
				out.Send(c, r)
			})
		})
		c.send(c.rec("in", 0, "k", "v"))
		c.eventually("tried again", func() bool { return tries.Load() >= 3 })
		if err := app.Health(); err == nil || !strings.Contains(err.Error(), "no idea what to do with v") {
			t.Errorf("health %v, want the panic", err)
		}
		broken.Store(false)
		c.read("out", 1)
		c.eventually("healthy", func() bool { return app.Health() == nil && c.lag("app", "in") == 0 })
	})
}

// TestPanicInTheCommit has a value that does not encode, met when the stores are
// flushed: a rebalance and a stop that wait for this commit go on all the same.
func TestPanicInTheCommit(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 3)
		build := func(broken bool) func(*Builder) {
			return func(b *Builder) {
				store := NewKeyValue(b, "s", Text, Serde[string]{
					Append: func(b []byte, v string) []byte {
						if broken {
							panic("does not encode")
						}
						return append(b, v...)
					},
					Parse: Text.Parse,
				})
				From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).
					Process("put", func(c *Context, r Record[string, string]) { store.Put(c, r.Key, r.Value) }, store)
			}
		}
		app := c.launch(t.TempDir(), build(true), c.shortSession)
		c.produce("in", 30, key17)
		c.eventually("health says why", func() bool {
			err := app.Health()
			return err != nil && strings.Contains(err.Error(), "does not encode")
		})
		count, value := metered()
		c.launch(t.TempDir(), build(false), count, c.shortSession)
		c.eventually("the second has tasks", func() bool { return value("comptoir_stage_tasks", "") > 0 })
		app.halt(t)
		c.eventually("the second does all", func() bool { return c.lag("app", "in") == 0 })
	})
}

// TestStopCommitsWhatIsOpen stops under load and starts on another machine: the
// stop has committed and left the group, so nothing waits for a session's end.
func TestStopCommitsWhatIsOpen(t *testing.T) {
	nearAndFar(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		count, value := metered()
		app := c.launch(t.TempDir(), c.counting, count)
		c.produce("in", 500, key17)
		app.halt(t)
		if n := value(txnMetric, "aborted"); n > 0 {
			t.Errorf("%v transactions aborted by the stop", n)
		}
		if err := app.Health(); !errors.Is(err, ErrNotRunning) {
			t.Errorf("health %v after the stop, want ErrNotRunning", err)
		}
		if err := app.Stop(t.Context()); err != nil {
			t.Errorf("second stop: %v", err)
		}
		c.launch(t.TempDir(), c.counting)
		c.atRest(500)
	})
}

// TestGlobalTable is loaded before the first record is handled, and follows its
// topic.
func TestGlobalTable(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.topic("names", 3)
		var recs []*kgo.Record
		for i := range 3000 {
			recs = append(recs, c.rec("names", -1, fmt.Sprintf("k%d", i), fmt.Sprintf("name %d", i)))
		}
		c.send(recs...)
		c.transact("foreign", c.rec("names", -1, "k1", "never"))(false)
		c.send(c.rec("in", 0, "k2999", "x"), c.rec("in", 0, "k1", "x"))
		c.launch(t.TempDir(), func(b *Builder) {
			names := NewGlobalTable(b, "names", Topic[string, string]{Name: c.n("names"), Key: Text, Value: Text},
				func() map[string]string { return map[string]string{} },
				func(into map[string]string, key string, value *string) {
					if value == nil {
						delete(into, key)
					} else {
						into[key] = *value
					}
				})
			out := To(b, Topic[string, string]{Name: c.n("out"), Key: Text, Value: Text})
			From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("name", func(c *Context, r Record[string, string]) {
				names.View(c, func(m map[string]string) {
					out.SendTo(c, 0, Record[string, string]{Key: r.Key, Value: m[r.Key]})
				})
			}, names, out)
		})
		if got := c.values("out", 2); got[0] != "name 2999" || got[1] != "name 1" {
			t.Fatalf("names %q, want those loaded before the start", got)
		}
		gone := c.rec("names", -1, "k1", "")
		gone.Value = nil
		c.send(c.rec("names", -1, "k2999", "new"), gone)
		n := 2
		c.eventually("the table follows", func() bool {
			c.send(c.rec("in", 0, "k2999", "x"), c.rec("in", 0, "k1", "x"))
			n += 2
			got := c.values("out", n)
			return got[n-2] == "new" && got[n-1] == ""
		})
	})
}
