package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
)

// TestTransactionEndsWithTheOutage: a transaction that has not reached Kafka when
// an outage begins is given up there and then, and comes to nothing.
func TestTransactionEndsWithTheOutage(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		plain := c.kafka
		w := newWire()
		c.kafka.Dial = w.dial
		open := func() *producer {
			p, err := openProducer(context.Background(), c.kafka, c.tag+"x", time.Minute, slog.New(slog.DiscardHandler), new(kclient.Outages))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.close)
			return p
		}
		msg := func(value string) []orderdb.Message {
			return []orderdb.Message{{Number: 1, Topic: c.n("a"), Key: []byte("k"), Value: []byte(value), At: time.Now()}}
		}
		p := open()
		if _, _, err := p.send(context.Background(), msg("1")); err != nil {
			t.Fatal(err)
		}
		w.cut()
		if _, _, err := p.send(context.Background(), msg("2")); !errors.Is(err, kclient.ErrOutage) {
			t.Fatalf("across the outage: %v, want ErrOutage", err)
		}
		w.heal()
		if _, _, err := p.send(context.Background(), msg("3")); !errors.Is(err, kclient.ErrOutage) {
			t.Errorf("after the outage: %v, want ErrOutage", err)
		}
		p.close()
		if keys := w.requests(); slices.Contains(keys, kmsg.Produce) || slices.Contains(keys, kmsg.EndTxn) {
			t.Errorf("requests after the outage: %v", keys)
		}
		if _, _, err := open().send(context.Background(), msg("4")); err != nil {
			t.Fatal(err)
		}
		c.kafka = plain
		got := ""
		for _, r := range c.committed(c.n("a")) {
			got += string(r.Value) + " "
		}
		if got != "1 4 " {
			t.Errorf("committed %q, want 1 and 4", got)
		}
	})
}

// TestSessionIsRenewedAfterAnOutage: nothing is written before the id is taken
// over again, by which what hangs is ended.
func TestSessionIsRenewedAfterAnOutage(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		plain := c.kafka
		m := newMemory(1)
		w := newWire()
		c.kafka.Dial = w.dial
		c.fill(m, 20, 7)
		r := c.start(m.instance())
		c.allSent(m)
		held := w.strike(kmsg.Produce, heldUp)
		c.fill(m, 20, 7)
		<-held.fired
		w.cut()
		close(held.release)
		eventually(t, "the outage is told", func() bool { return r.Health() != nil })
		w.heal()
		c.allSent(m)
		keys := w.requests()
		renewed := slices.Index(keys, kmsg.InitProducerID)
		if wrote := slices.Index(keys, kmsg.Produce); renewed < 0 || wrote < renewed {
			t.Errorf("produced before the session was renewed: %v", keys)
		}
		c.kafka = plain
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages were sent again", again)
		}
	})
}

// TestClockIsWrong: a timestamp that Kafka does not take is waited for, in order.
func TestClockIsWrong(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	m := newMemory(1)
	c.fill(m, 1, 1) // one alone would be passed over
	fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidTimestamp, Count: 2})
	r := c.start(m.instance())
	c.allSent(m)
	if fault.Hits() != 2 {
		t.Errorf("the fault struck %d times, want 2", fault.Hits())
	}
	if n := r.value("comptoir_outbox_refused_total", ""); n != 0 {
		t.Errorf("%v messages were passed over", n)
	}
	c.verify(m)
}

// TestOutOfReach: an instance that cannot reach Kafka leaves its shards to one
// that can, and takes its share again later.
func TestOutOfReach(t *testing.T) {
	t.Parallel()
	onKinds(t, func(t *testing.T, c *cluster) {
		plain := c.kafka
		m := newMemory(4)
		one, two := m.instance(), m.instance()
		w := newWire()
		soon := func(x *running) { x.rest.after, x.rest.least = 200*time.Millisecond, 100*time.Millisecond }
		c.kafka.Dial = w.dial
		r := c.prepare(one)
		soon(r)
		r.start()
		c.kafka = plain
		other := c.prepare(two)
		soon(other)
		other.start()
		eventually(t, "two share", func() bool { return one.holds() == 2 && two.holds() == 2 })
		w.cut()
		eventually(t, "the other has all", func() bool { return two.holds() == 4 })
		c.fill(m, 200, 50)
		c.allSent(m)
		if r.Health() == nil {
			t.Error("an instance that is out of reach is well")
		}
		if n := r.log.count("goes out again"); n != 0 {
			t.Errorf("%d ends of the trouble are told before it ends", n)
		}
		w.heal()
		eventually(t, "two share again", func() bool { return one.holds() == 2 && two.holds() == 2 && r.Health() == nil })
		c.fill(m, 200, 50)
		c.allSent(m)
		c.verify(m)
		if a, b := r.log.count("level=WARN"), r.log.count("goes out again"); a != 1 || b != 1 {
			t.Errorf("%d warnings and %d ends of them, want one each", a, b)
		}
	})
}

// TestAloneOutOfReach: nobody else could do it.
func TestAloneOutOfReach(t *testing.T) {
	t.Parallel()
	m := newMemory(2)
	c := newCluster(t)
	one := m.instance()
	w := newWire()
	w.cut()
	c.kafka.Dial = w.dial
	r := c.prepare(one)
	r.rest.after = time.Millisecond
	r.start()
	eventually(t, "every shard has failed", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.closed) == 2
	})
	if err := r.balance(context.Background()); err != nil || one.holds() != 2 {
		t.Errorf("%d shards are held, %v", one.holds(), err)
	}
}
