package streams

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRule02HeldBackRecordsAreNotSkipped aborts transactions of an ordered task
// that has polled more than it has handled: what was held back comes again, in
// its order, and nothing is skipped.
func TestRule02HeldBackRecordsAreNotSkipped(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		for _, topic := range []string{"a", "b", "out"} {
			c.topic(topic, 1)
		}
		const n = 600
		start := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		var recs []*kgo.Record
		for i := range n {
			r := c.rec([]string{"a", "b"}[i%2], 0, "k", fmt.Sprint(i))
			r.Timestamp = start.Add(time.Duration(i) * time.Millisecond)
			recs = append(recs, r)
		}
		c.send(recs...)
		var aborts atomic.Int32
		broken := map[string]bool{"50": true, "51": true, "333": true, "598": true}
		count, value := metered()
		c.launch(t.TempDir(), func(b *Builder) {
			b.Ordered()
			out := To(b, Topic[string, string]{Name: c.n("out"), Key: Text, Value: Text})
			store := NewKeyValue(b, "seen", Text, numberSerde)
			do := func(c *Context, r Record[string, string]) {
				if broken[r.Value] {
					delete(broken, r.Value)
					aborts.Add(1)
					panic("broken at " + r.Value)
				}
				n, _ := store.Get(c, "n")
				store.Put(c, "n", n+1)
				out.Send(c, Record[string, string]{Key: r.Key, Value: fmt.Sprintf("%d:%s", n, r.Value)})
			}
			for _, topic := range []string{"a", "b"} {
				From(b, Topic[string, string]{Name: c.n(topic), Key: Text, Value: Text}).Process(topic, do, store, out)
			}
		}, count, func(cfg *Config) { cfg.BufferBytes = 2000 })
		c.read("out", n)
		c.eventually("lag 0", func() bool { return c.lag("app", "a", "b") == 0 })
		if aborts.Load() != 4 {
			t.Fatalf("%d transactions thrown away, want 4: the test tests nothing", aborts.Load())
		}
		if value(txnMetric, "committed") < 10 {
			t.Fatalf("%v transactions: records were not held back across them", value(txnMetric, "committed"))
		}
		got := c.all("out")
		if len(got) != n {
			t.Fatalf("%d records, want %d", len(got), n)
		}
		for i, r := range got {
			if want := fmt.Sprintf("%d:%d", i, i); string(r.Value) != want {
				t.Fatalf("record %d is %s, want %s", i, r.Value, want)
			}
		}
	})
}

// TestRule03RestoreWaitsForTheReadUncommittedEnd restores while a transaction on
// the changelog is open: a restore that stopped at the last stable offset would
// miss it when it commits.
func TestRule03RestoreWaitsForTheReadUncommittedEnd(t *testing.T) {
	for _, commit := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit=%v", commit), func(t *testing.T) {
			onClusters(t, func(t *testing.T, c *cluster) {
				c.topic("in", 1)
				c.topic("out", 1)
				c.launch(t.TempDir(), c.counting).halt(t) // makes the topics
				first := c.launch(t.TempDir(), c.counting)
				c.produce("in", 3, func(int) string { return "k" })
				c.atRest(3)
				first.halt(t)
				change := &kgo.Record{Topic: c.n("app-state-changelog"), Partition: 0,
					Key: append(appendStoreName(nil, "counts"), 'k'), Value: numberSerde.Append(nil, 99)}
				end := c.transact("foreign", change)
				var ended atomic.Bool
				seen := &logs{}
				app := c.prepare(t.TempDir(), c.counting, seen.use)
				started := make(chan error, 1)
				go func() { started <- app.Start(t.Context()) }()
				c.eventually("restore begun", func() bool { return seen.count("restoring state") > 0 })
				// A restore to the wrong end is done by now, or within the time
				// of some requests.
				for range 20 {
					c.end("in", 0)
				}
				if seen.count("state restored") > 0 {
					t.Fatal("restored before the open transaction's end")
				}
				ended.Store(true)
				end(commit)
				if err := <-started; err != nil {
					t.Fatal(err)
				}
				c.produce("in", 1, func(int) string { return "k" })
				c.read("out", 4)
				all := c.all("out")
				want := uint64(4)
				if commit {
					want = 100
				}
				if n, _ := numberSerde.Parse(all[len(all)-1].Value); n != want {
					t.Fatalf("count %d, want %d", n, want)
				}
			})
		})
	}
}

// TestRule04TransactionalIDsAreUniqueAndStable looks at the ids on the wire: two
// per instance, its own, and the same at every start.
func TestRule04TransactionalIDsAreUniqueAndStable(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		ids := func(dir string) map[string]bool {
			net := newFaultNet(t)
			seen := net.collect(kmsg.InitProducerID)
			c.launch(dir, c.counting, net.use).halt(t)
			got := map[string]bool{}
			for _, r := range of[*kmsg.InitProducerIDRequest](seen) {
				got[*r.TransactionalID] = true
			}
			if len(got) != 2 {
				t.Fatalf("transactional ids %v, want 2", got)
			}
			return got
		}
		one, two := t.TempDir(), t.TempDir()
		a, b, again := ids(one), ids(two), ids(one)
		for id := range a {
			if !strings.HasPrefix(id, c.n("app")+"-") {
				t.Errorf("id %s does not begin with the application's name", id)
			}
			if b[id] {
				t.Errorf("id %s is used by two instances", id)
			}
			if !again[id] {
				t.Errorf("id %s is not used after a restart", id)
			}
		}
	})
}

// TestRule05ConsumedButNothingProducedIsCommitted handles records that have no
// effect: their offsets are committed, without a transaction.
func TestRule05ConsumedButNothingProducedIsCommitted(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		net := newFaultNet(t)
		c.launch(t.TempDir(), func(b *Builder) {
			c.bare(b, func(*Context, Record[string, string], *Output[string, string]) {})
		}, net.use)
		c.produce("in", 100, key17)
		c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 })
		if n := net.count(kmsg.EndTxn); n > 0 {
			t.Errorf("%d transactions, want none", n)
		}
	})
}

// TestRule06FailedProduceAborts lets one output record fail: nothing of its
// transaction may be seen, and all of it once the record fits.
func TestRule06FailedProduceAborts(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		small := "4000"
		if _, err := c.adm.CreateTopic(context.Background(), 1, 1, map[string]*string{"max.message.bytes": &small}, c.n("out")); err != nil {
			t.Fatal(err)
		}
		count, value := metered()
		app := c.launch(t.TempDir(), func(b *Builder) {
			c.bare(b, func(c *Context, r Record[string, string], out *Output[string, string]) {
				out.Send(c, r)
				if r.Key == "big" {
					// A batch of its own: the first one is fine.
					out.Send(c, Record[string, string]{Key: "big", Value: strings.Repeat("x", 900_000)})
				}
			})
		}, count)
		c.send(c.rec("in", 0, "small", "1"))
		c.read("out", 1)
		c.send(c.rec("in", 0, "big", "2"))
		c.eventually("aborted", func() bool { return value(txnMetric, "aborted") > 1 })
		if got := c.all("out"); len(got) != 1 {
			t.Fatalf("%d records are visible, want 1", len(got))
		}
		if err := app.Health(); err == nil || !strings.Contains(err.Error(), "produce") {
			t.Errorf("health %v, want the failed produce", err)
		}
		if _, err := c.adm.AlterTopicConfigs(context.Background(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kadm.StringPtr("1048588")}}, c.n("out")); err != nil {
			t.Fatal(err)
		}
		c.read("out", 3)
		c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 })
		if got := c.all("out"); len(got) != 3 {
			t.Fatalf("%d records, want 3", len(got))
		}
		c.eventually("healthy again", func() bool { return app.Health() == nil })
	})
}

// TestRule07RebalanceCommitsFirst lets a second instance come and go under load:
// no transaction is aborted, nothing is doubled.
func TestRule07RebalanceCommitsFirst(t *testing.T) {
	nearAndFar(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		// Heartbeats, by which a rebalance is noticed, come with the session.
		session := func(cfg *Config) { cfg.SessionTimeout = max(c.session(), 3*time.Second) }
		count, value := metered()
		c.launch(t.TempDir(), c.counting, count, session)
		stop := make(chan struct{})
		sent := make(chan int)
		go func() {
			n := 0
			for {
				select {
				case <-stop:
					sent <- n
					return
				default:
					var recs []*kgo.Record
					for i := range 20 {
						recs = append(recs, c.rec("in", -1, key17(i), "x"))
					}
					if err := c.cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
						t.Error(err)
					}
					n += 20
				}
			}
		}()
		dir := t.TempDir()
		for range 3 {
			second, other := metered()
			app := c.launch(dir, c.counting, second, session)
			c.eventually("the second has tasks and works", func() bool {
				return other("comptoir_stage_tasks", "") > 0 && other(txnMetric, "committed") > 3
			})
			app.halt(t)
			if n := other(txnMetric, "aborted") + other(txnMetric, "unknown"); n > 0 {
				t.Errorf("%v transactions of the second instance did not commit", n)
			}
			c.eventually("the first has all tasks", func() bool { return value("comptoir_stage_tasks", "") == 3 })
		}
		close(stop)
		c.atRest(<-sent)
		if n := value(txnMetric, "aborted") + value(txnMetric, "unknown"); n > 0 {
			t.Errorf("%v transactions of the first instance did not commit", n)
		}
	})
}

// TestRule08SettingsOnTheWire reads the settings that matter from the requests.
func TestRule08SettingsOnTheWire(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		net := newFaultNet(t)
		seen := net.collect(kmsg.JoinGroup, kmsg.InitProducerID, kmsg.OffsetFetch, kmsg.Fetch, kmsg.OffsetCommit, kmsg.TxnOffsetCommit)
		dir := t.TempDir()
		c.launch(dir, c.counting, net.use).halt(t)
		app := c.launch(dir, c.counting, net.use) // with a changelog to restore
		c.produce("in", 10, key17)
		c.atRest(10)
		instance := c.n("app") + "-" + app.db.Instance()
		for _, r := range of[*kmsg.JoinGroupRequest](seen) {
			if r.SessionTimeoutMillis != 10_000 || r.InstanceID == nil || *r.InstanceID != instance {
				t.Errorf("join with session %d ms as %v, want 10000 as %s", r.SessionTimeoutMillis, r.InstanceID, instance)
			}
			if len(r.Protocols) != 1 || r.Protocols[0].Name != protocolName {
				t.Errorf("join offers %v, want %s alone", r.Protocols, protocolName)
			}
		}
		for _, r := range of[*kmsg.InitProducerIDRequest](seen) {
			if r.TransactionTimeoutMillis != 10_000 {
				t.Errorf("transaction time-out %d ms, want 10000", r.TransactionTimeoutMillis)
			}
		}
		for _, r := range of[*kmsg.OffsetFetchRequest](seen) {
			if !r.RequireStable {
				t.Error("offsets fetched that may be about to change")
			}
		}
		for _, r := range of[*kmsg.FetchRequest](seen) {
			if r.IsolationLevel != 1 {
				t.Error("a fetch that reads uncommitted records")
			}
		}
		for _, r := range of[*kmsg.TxnOffsetCommitRequest](seen) {
			if r.InstanceID == nil || *r.InstanceID != instance || r.Generation < 1 || r.MemberID == "" {
				t.Errorf("offsets sent as member %q generation %d instance %v", r.MemberID, r.Generation, r.InstanceID)
			}
		}
		for name, n := range map[string]int{
			"join": len(of[*kmsg.JoinGroupRequest](seen)), "init": len(of[*kmsg.InitProducerIDRequest](seen)),
			"offset fetch": len(of[*kmsg.OffsetFetchRequest](seen)), "fetch": len(of[*kmsg.FetchRequest](seen)),
			"offset commit": len(of[*kmsg.TxnOffsetCommitRequest](seen)),
		} {
			if n == 0 {
				t.Errorf("no %s request seen", name)
			}
		}
	})
}

// TestRule21TwoTransactionalIDsInTurn reads the ids of the transactions' ends:
// never one twice in a row.
func TestRule21TwoTransactionalIDsInTurn(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		net := newFaultNet(t)
		seen := net.collect(kmsg.EndTxn)
		c.launch(t.TempDir(), c.counting, net.use)
		for i := range 20 {
			c.produce("in", 1, key17)
			c.read("out", i+1)
		}
		ends := of[*kmsg.EndTxnRequest](seen)
		if len(ends) < 20 {
			t.Fatalf("%d transactions, want at least 20", len(ends))
		}
		for i, e := range ends[1:] {
			if e.TransactionalID == ends[i].TransactionalID {
				t.Fatalf("transactions %d and %d have the same id %s", i, i+1, e.TransactionalID)
			}
			if i > 0 && e.TransactionalID != ends[i-1].TransactionalID {
				t.Fatalf("a third id %s", e.TransactionalID)
			}
		}
	})
}

// TestRule22TransactionsArePaced plays a worker whose records trickle in, on a
// clock of its own: how many transactions it makes, and how long they wait.
func TestRule22TransactionsArePaced(t *testing.T) {
	const limit = 10 * time.Millisecond
	tests := []struct {
		name        string
		every, cost time.Duration
		most        int // transactions in a second
		longest     time.Duration
	}{
		// A quarter of a second at 1.4 ms each, and the burst.
		{"cluster, 1000/s", time.Millisecond, 1400 * time.Microsecond, 178 + 15 + 1, limit},
		{"cluster, 20/s", 50 * time.Millisecond, 1400 * time.Microsecond, 20 + 1, 0},
		{"in process, 1000/s", time.Millisecond, 200 * time.Microsecond, 1000 + 1, 0},
		{"in process, 10000/s", 100 * time.Microsecond, 200 * time.Microsecond, 1250 + 100 + 1, limit},
		{"slow cluster: the wait has a limit", time.Millisecond, 30 * time.Millisecond, 26, limit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pace
			start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
			now, transactions, longest := start, 0, time.Duration(0)
			for next := start; now.Before(start.Add(time.Second)); {
				if now.Before(next) {
					now = next // nothing to do before the next record
				}
				if wait := p.wait(now, limit); wait > 0 {
					longest = max(longest, wait)
					now = now.Add(wait)
				}
				for !next.After(now) {
					next = next.Add(tt.every) // all that has come goes along
				}
				p.spent(now, now.Add(tt.cost), 1)
				now = now.Add(tt.cost)
				transactions++
			}
			if transactions > tt.most {
				t.Errorf("%d transactions, want at most %d", transactions, tt.most)
			}
			if longest > tt.longest {
				t.Errorf("the longest wait is %v, want at most %v", longest, tt.longest)
			}
		})
	}
}

// TestRule22ARecordAfterAPauseDoesNotWait commits a lone record although the
// interval is an hour.
func TestRule22ARecordAfterAPauseDoesNotWait(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.launch(t.TempDir(), c.counting, func(cfg *Config) { cfg.CommitInterval = time.Hour })
		c.produce("in", 1, key17)
		c.atRest(1)
	})
}
