package track

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

func openSQLite(tb testing.TB) orderdb.DB {
	tb.Helper()
	db, err := orderdb.Open(context.Background(), orderdb.Config{URL: filepath.Join(tb.TempDir(), "orders.db"), Logger: testLog})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// timelinesOf reads the timelines of the orders 0 to n-1 from a database.
func timelinesOf(tb testing.TB, db orderdb.DB, n int) map[event.ID][]string {
	tb.Helper()
	out := make(map[event.ID][]string)
	for i := range n {
		id := event.ID(strconv.Itoa(i))
		entries, err := db.Timeline(context.Background(), id)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range entries {
			out[id] = append(out[id], where(e.Topic, e.Partition, e.Offset))
		}
		slices.Sort(out[id])
	}
	return out
}

// TestOrderDatabase tracks a random history into a real order database, with
// two Trackers of which one stops on the way.
func TestOrderDatabase(t *testing.T) {
	testOrderDatabase(t, newCluster(t, 3), openSQLite(t))
}

func testOrderDatabase(t *testing.T, c *cluster, db orderdb.DB) {
	const orders = 50
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(7, seed))
	_, stop := c.start(db)
	c.history(rng, 500, 3, orders)
	a, _ := c.start(db)
	c.history(rng, 500, 3, orders)
	stop()
	c.history(rng, 500, 3, orders)
	eventually(t, "lag 0", c.lag)
	eventually(t, "healthy", healthy(a))
	if err := sameTimelines(timelinesOf(t, db, orders), c.scan()); err != nil {
		t.Fatal(err)
	}
	f := c.fetcher()
	for i := range orders {
		entries, err := db.Timeline(context.Background(), event.ID(strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		for j, p := range c.mustFetch(f, entries) {
			if !p.Found || !p.Time.Equal(entries[j].Time) {
				t.Fatalf("order %d, entry %+v: payload %+v", i, entries[j], p)
			}
		}
	}
	// A topic that is created anew takes its entries with it.
	if _, err := c.adm.DeleteTopic(context.Background(), event.TopicInvoices); err != nil {
		t.Fatal(err)
	}
	eventually(t, "topic is gone", func() error {
		d, err := c.adm.ListTopics(context.Background())
		if err == nil && d.Has(event.TopicInvoices) {
			err = fmt.Errorf("still there")
		}
		return err
	})
	eventually(t, "topic is back", func() error {
		_, err := c.adm.CreateTopic(context.Background(), 3, 1, nil, event.TopicInvoices)
		return err
	})
	c.cl.Close()
	c.connect()
	c.send(record(event.TopicInvoices, 1, "3"))
	want := c.scan()
	eventually(t, "timelines", func() error { return sameTimelines(timelinesOf(t, db, orders), want) })
	eventually(t, "lag 0", c.lag)
}

// way is the way of an order: the nine records of most.
func way(order int, partition int32) (recs []*kgo.Record) {
	id := strconv.Itoa(order)
	for _, topic := range []string{event.TopicOrders, event.TopicVerdicts, event.TopicMovements, event.TopicAccepted, event.TopicInvoices,
		event.TopicConfirmations, event.TopicMovements, event.TopicNotifications} {
		r := record(topic, partition, id)
		if topic != event.TopicOrders {
			r.Headers = []kgo.RecordHeader{{Key: event.HeaderOrder, Value: []byte(id)}, {Key: event.HeaderTrace, Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}}
		}
		recs = append(recs, r)
	}
	return recs
}

// BenchmarkTracker tracks the records of orders that are there already into
// SQLite.
func BenchmarkTracker(b *testing.B) {
	c := newCluster(b, 3)
	const orders = 20_000
	records := 0
	var batch []*kgo.Record
	for i := range orders {
		batch = append(batch, way(i, int32(i%3))...)
		if len(batch) > 20_000 || i == orders-1 {
			c.send(batch...)
			records += len(batch)
			batch = batch[:0]
		}
	}
	for b.Loop() {
		db := openSQLite(b)
		begin := time.Now()
		t, err := New(Config{Kafka: c.kafka, DB: db, Logger: testLog})
		if err != nil {
			b.Fatal(err)
		}
		if err := t.Start(context.Background()); err != nil {
			b.Fatal(err)
		}
		eventually(b, "all is tracked", func() error {
			positions, err := db.Positions(context.Background())
			if err != nil {
				return err
			}
			n := int64(0)
			for _, p := range positions {
				n += p.Next
			}
			if n < int64(records) {
				return fmt.Errorf("%d of %d", n, records)
			}
			return nil
		})
		b.ReportMetric(float64(records)/time.Since(begin).Seconds(), "records/s")
		if err := t.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIndex indexes the records of one order.
func BenchmarkIndex(b *testing.B) {
	recs := way(991, 0)
	var batch orderdb.Batch
	b.ReportAllocs()
	for b.Loop() {
		batch.Orders, batch.Levels = batch.Orders[:0], batch.Levels[:0]
		for _, r := range recs {
			if !Index(&batch, r) {
				b.Fatal("unreadable")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(recs)), "ns/record")
}
