package relay

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
)

// TestCrashBetweenCommitAndMark: an instance dies after its commit; who takes
// over sends the same again, in order, and goes on.
func TestCrashBetweenCommitAndMark(t *testing.T) {
	t.Parallel()
	onKinds(t, func(t *testing.T, c *cluster) {
		m := newMemory(1)
		one, two := m.instance(), m.instance()
		asked := make(chan struct{})
		var once sync.Once
		one.onSent = func(ctx context.Context) error { once.Do(func() { close(asked) }); <-ctx.Done(); return ctx.Err() }
		c.fill(m, 60, 7)
		c.start(one)
		<-asked
		c.fill(m, 200, 7)
		c.start(two)
		one.crash()
		c.allSent(m)
		if again := c.verify(m); again != 60 {
			t.Errorf("%d messages were sent again, want the 60 that were not marked", again)
		}
	})
}

// TestFaults lets every request of a transaction fail in every way, once.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.Produce, kmsg.EndTxn, kmsg.Metadata, kmsg.FindCoordinator} {
		for _, f := range []fate{lostBefore, answerLost} {
			t.Run(fmt.Sprintf("%s/%s", kmsg.NameForKey(int16(key)), f), func(t *testing.T) {
				t.Parallel()
				onKinds(t, func(t *testing.T, c *cluster) {
					if key == kmsg.EndTxn && c.into == repeatable {
						return // there is none
					}
					m := newMemory(1)
					c.fill(m, 250, 7)
					w := newWire()
					struck := w.strike(key, f)
					c.kafka.Dial = w.dial
					r := c.prepare(m.instance())
					// Not the fake's short ones: on a busy machine the client may not
					// have sent again within them, and would be given up.
					r.timeout, r.grace = transactionTimeout, stopGrace
					r.start()
					<-struck.fired
					c.allSent(m)
					if again := c.verify(m); again > 0 && (key != kmsg.EndTxn || f != answerLost || again > firstBatch) {
						t.Errorf("%d messages were sent again", again)
					}
				})
			})
		}
	}
}

func TestErrorAnswers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		key    kmsg.Key
		errors []*kerr.Error
	}{
		{kmsg.InitProducerID, []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions, kerr.UnknownServerError}},
		{kmsg.Produce, []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.OutOfOrderSequenceNumber, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.UnknownServerError, kerr.ConcurrentTransactions}},
		{kmsg.EndTxn, []*kerr.Error{kerr.NotCoordinator, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.UnknownServerError, kerr.RequestTimedOut}},
	} {
		for _, e := range row.errors {
			for _, into := range []string{"a", repeatable} {
				if row.key == kmsg.EndTxn && into == repeatable {
					continue // there is none
				}
				t.Run(kmsg.NameForKey(int16(row.key))+"/"+e.Message+"/"+into, func(t *testing.T) {
					t.Parallel()
					c := newCluster(t)
					c.into = into
					m := newMemory(1)
					c.fill(m, 250, 7)
					fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{row.key}, TopLevel: row.key != kmsg.Produce, Err: e})
					c.start(m.instance())
					c.allSent(m)
					if fault.Hits() == 0 {
						t.Error("the fault did not strike")
					}
					c.verify(m)
				})
			}
		}
	}
}

func TestKafkaAway(t *testing.T) {
	t.Parallel()
	onKinds(t, func(t *testing.T, c *cluster) {
		plain := c.kafka
		m := newMemory(4)
		w := newWire()
		c.kafka.Dial = w.dial
		r := c.start(m.instance())
		c.kafka = plain
		c.fill(m, 100, 7)
		c.allSent(m)
		w.cut()
		c.fill(m, 3000, 50)
		warnings := func() int { return r.log.count("level=WARN") }
		eventually(t, "the trouble is told", func() bool { return r.Health() != nil && warnings() > 0 })
		w.heal()
		c.allSent(m)
		eventually(t, "the end is told", func() bool { return r.Health() == nil })
		c.verify(m)
		if a, b := warnings(), r.log.count("goes out again"); a != 1 || b != 1 {
			t.Errorf("%d warnings and %d ends of them, want one each", a, b)
		}
	})
}

// TestStopWhileKafkaIsAway: the stop ends by itself, without its context.
func TestStopWhileKafkaIsAway(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ from, into string }{{"the start", "a"}, {"the middle", "a"}, {"the middle", repeatable}} {
		from := row.from
		t.Run("from "+from+"/"+row.into, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.into = row.into
			plain := c.kafka
			m := newMemory(2)
			db := m.instance()
			w := newWire()
			c.kafka.Dial = w.dial
			if from == "the start" {
				w.cut()
			}
			r := c.start(db)
			if from == "the middle" {
				c.fill(m, 100, 7)
				c.allSent(m)
			}
			struck := w.strike(kmsg.Produce, lostBefore)
			c.fill(m, 100, 7)
			eventually(t, "shards are held", func() bool { return db.holds() == 2 })
			if from == "the middle" {
				<-struck.fired
				w.cut()
			}
			if err := r.Stop(context.Background()); err != nil {
				t.Error(err)
			}
			if n := db.holds(); n != 0 {
				t.Errorf("%d shards are held after the stop", n)
			}
			// Nothing is lost by it.
			db.die()
			c.kafka = plain
			c.start(m.instance())
			c.allSent(m)
			c.verify(m)
		})
	}
}

// lateHolder pauses a holder with 50 messages in hand at a request, has another one
// take over and send them and 50 more, and lets the request go then.
func (c *cluster) lateHolder(at kmsg.Key) (*memory, *running) {
	c.tb.Helper()
	plain := c.kafka
	m := newMemory(1)
	one, two := m.instance(), m.instance()
	two.greedy = true
	c.fill(m, 50, 7)
	w := newWire()
	late := w.strike(at, heldUp)
	c.kafka.Dial = w.dial
	r := c.start(one)
	<-late.fired
	c.kafka = plain
	c.fill(m, 50, 7)
	c.start(two)
	c.allSent(m)
	close(late.release)
	return m, r
}

// TestFormerHolderIsFenced: a holder is paused with its transaction produced and
// its commit on the way; another one takes over and sends everything. The late
// commit must come to nothing.
func TestFormerHolderIsFenced(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		m, r := c.lateHolder(kmsg.EndTxn)
		eventually(t, "the late commit is refused", func() bool { return r.value("comptoir_outbox_errors_total", stepCommit) == 1 })
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages of the fenced holder were committed", again)
		}
	})
}

// TestFencedProducerCannotWrite: the same, before the first record is written.
func TestFencedProducerCannotWrite(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		ctx := context.Background()
		former, err := openProducer(ctx, c.kafka, c.tag+"x", transactionTimeout, slog.New(slog.DiscardHandler), new(kclient.Outages))
		if err != nil {
			t.Fatal(err)
		}
		defer former.close()
		msg := func(value string) []orderdb.Message {
			return []orderdb.Message{{Number: 1, Topic: c.n("a"), Key: []byte("k"), Value: []byte(value), At: time.Now()}}
		}
		if _, _, err := former.send(ctx, msg("1")); err != nil {
			t.Fatal(err)
		}
		next, err := openProducer(ctx, c.kafka, c.tag+"x", transactionTimeout, slog.New(slog.DiscardHandler), new(kclient.Outages))
		if err != nil {
			t.Fatal(err)
		}
		defer next.close()
		if _, _, err := former.send(ctx, msg("late")); !isFenced(err) {
			t.Errorf("the former producer got %v, want to be fenced", err)
		}
		if _, _, err := next.send(ctx, msg("2")); err != nil {
			t.Error(err)
		}
		var got string
		for _, r := range c.committed(c.n("a")) {
			got += string(r.Value) + " "
		}
		if got != "1 2 " {
			t.Errorf("committed %q, want 1 and 2", got)
		}
	})
}

// TestTakeoverOfAnOpenTransaction: who dies with a transaction open leaves
// nothing behind, and nobody waits for its timeout.
func TestTakeoverOfAnOpenTransaction(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		plain := c.kafka
		m := newMemory(1)
		one := m.instance()
		c.fill(m, 50, 7)
		w := newWire()
		late := w.strike(kmsg.EndTxn, heldUp)
		c.kafka.Dial = w.dial
		c.start(one)
		<-late.fired
		one.crash()
		w.cut()
		defer close(late.release)
		c.kafka = plain
		began := time.Now()
		c.start(m.instance())
		c.allSent(m)
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages of the dead holder were committed", again)
		}
		t.Logf("taken over and sent after %v", time.Since(began))
	})
}

func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	onKinds(t, func(t *testing.T, c *cluster) {
		m := newMemory(1)
		c.fill(m, 130, 7)
		big := bytes.Repeat([]byte("x"), 2<<20)
		m.add(orderdb.Message{Topic: c.n(c.into), Key: []byte("big"), Value: big})
		c.fill(m, 20, 7)
		bad := "no topic!"
		if c.fake != nil { // which calls such a name unknown, not invalid
			c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: bad, Err: kerr.InvalidTopicException, Count: -1})
		}
		m.add(orderdb.Message{Topic: bad, Key: []byte("bad")})
		c.fill(m, 150, 7)
		r := c.start(m.instance())
		eventually(t, "all but two are sent", func() bool { return m.unsent() == 2 })
		c.fill(m, 50, 7)
		eventually(t, "those after them too", func() bool { return m.unsent() == 2 })
		if n := r.value("comptoir_outbox_refused_total", ""); n != 2 {
			t.Errorf("%v refused messages counted, want 2", n)
		}
		if n := r.log.count("level=ERROR"); n != 2 || r.log.count("number=131") != 1 || r.log.count("number=152") != 1 {
			t.Errorf("%d errors logged, want one for each", n)
		}
		if err := r.Health(); err != nil {
			t.Error(err)
		}
		r.stop()
		// The next one tries again.
		r = c.start(m.instance())
		eventually(t, "it is refused again", func() bool { return r.value("comptoir_outbox_refused_total", "") == 2 })
		r.stop()
		m.mu.Lock()
		kept := m.rows[:0:0]
		for _, row := range m.rows {
			if row.sent {
				kept = append(kept, row)
			}
		}
		m.rows = kept
		m.mu.Unlock()
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages were sent again", again)
		}
	})
}

// TestFormerHolderOfRepeatable: a holder is paused with its batch on the way, and
// another one takes over and sends everything. What comes late comes again.
func TestFormerHolderOfRepeatable(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		c.into = repeatable
		m, r := c.lateHolder(kmsg.Produce)
		eventually(t, "the late batch is there", func() bool { return r.value("comptoir_outbox_sent_total", "") > 0 })
		m.mu.Lock()
		want := map[string]string{} // by value, what comes before it of its key
		last := map[string]string{}
		for _, row := range m.rows {
			want[string(row.Value)], last[string(row.Key)] = last[string(row.Key)], string(row.Value)
		}
		m.mu.Unlock()
		seen := map[string]int{"": 1}
		again := 0
		for _, rec := range c.committed(c.n(repeatable)) {
			v := string(rec.Value)
			if seen[v]++; seen[v] > 1 {
				again++
			} else if seen[want[v]] == 0 {
				t.Errorf("%s stands before %s", v, want[v])
			}
		}
		if len(seen) != 101 || again != 50 {
			t.Errorf("%d messages are there, and %d again; want 100 and 50", len(seen)-1, again)
		}
	})
}

// TestKindsKeepTheirOrder: messages with and without transactions take turns in one
// shard, and each waits for the one before it.
func TestKindsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		m := newMemory(1)
		for i := range 60 {
			c.into = []string{"a", repeatable}[i/3%2]
			c.fill(m, 1, 1)
		}
		var told []int64
		r := c.start(m.instance(), func(cfg *Config) {
			cfg.Sent = func(m orderdb.Message, _ *kgo.Record, _ time.Time) { told = append(told, m.Number) }
		})
		c.allSent(m)
		r.stop()
		if !slices.IsSorted(told) || len(told) != 60 {
			t.Errorf("sent in the order %v", told)
		}
		for _, rec := range c.committed(c.n("a"), c.n(repeatable)) {
			if in := rec.Attrs.IsTransactional(); in != (rec.Topic == c.n("a")) {
				t.Errorf("a record of %s is in a transaction: %t", rec.Topic, in)
			}
		}
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages were sent again", again)
		}
	})
}

// TestRefusedBesideOthers: a message that only the broker knows to be too large,
// so that it refuses all that stands with it in a batch, costs no shard any other.
func TestRefusedBesideOthers(t *testing.T) {
	t.Parallel()
	onKinds(t, func(t *testing.T, c *cluster) {
		limit := "20000"
		c.createWith(map[string]*string{"max.message.bytes": &limit})
		const shards = 4
		m := newMemory(shards)
		r := c.start(m.instance())
		c.fill(m, 100, 40)
		c.allSent(m)
		// Each shard has one message, all for one partition, at once.
		partition := kgo.StickyKeyPartitioner(nil).ForTopic("").Partition
		keys := make([]string, shards)
		for i, missing := 0, shards; missing > 0; i++ {
			key := fmt.Sprint("key", i)
			if shard := shardOf([]byte(key), shards); keys[shard] == "" && partition(&kgo.Record{Key: []byte(key)}, partitions) == 0 {
				keys[shard] = key
				missing--
			}
		}
		m.mu.Lock()
		for shard, key := range keys {
			msg := orderdb.Message{Topic: c.n(c.into), Key: []byte(key)}
			if shard == 2 {
				msg.Value = bytes.Repeat([]byte("x"), 30000)
			}
			m.put(msg)
		}
		m.mu.Unlock()
		eventually(t, "the large one is passed over", func() bool { return r.value("comptoir_outbox_refused_total", "") == 1 })
		eventually(t, "all others are sent", func() bool { return m.unsent() == 1 })
		c.fill(m, 100, 40)
		eventually(t, "and those after them", func() bool { return m.unsent() == 1 })
		r.stop()
		if n := r.value("comptoir_outbox_refused_total", ""); n != 1 || r.log.count("number=103") != 1 {
			t.Errorf("%v messages are passed over, the large one %d times", n, r.log.count("number=103"))
		}
		m.mu.Lock()
		m.rows = slices.Delete(m.rows, 102, 103)
		m.mu.Unlock()
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages were sent again", again)
		}
	})
}

// TestTransactionHoldsUpItsShardAlone: while Kafka does not end the transaction of
// one shard, the orders of the others go on.
func TestTransactionHoldsUpItsShardAlone(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		m := newMemory(4)
		w := newWire()
		held := w.strike(kmsg.EndTxn, heldUp)
		c.kafka.Dial = w.dial
		r := c.prepare(m.instance())
		r.timeout = time.Minute
		r.start()
		m.submit(c.n("a"), "product")
		<-held.fired
		stuck := shardOf([]byte("product"), 4)
		for i := range 100 {
			if key := fmt.Sprint("k", i); shardOf([]byte(key), 4) != stuck {
				m.submit(c.n(repeatable), key)
			}
		}
		eventually(t, "the orders are sent", func() bool { return m.unsent() == 1 })
		close(held.release)
		c.allSent(m)
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages were sent again", again)
		}
	})
}
