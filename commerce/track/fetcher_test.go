package track

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

func (c *cluster) fetcher() *Fetcher {
	c.tb.Helper()
	f, err := NewFetcher(c.kafka)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(f.Close)
	return f
}

func ctxOf(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// written writes records, and returns where they stand.
func (c *cluster) written(recs ...*kgo.Record) (entries []orderdb.Entry) {
	c.tb.Helper()
	c.send(recs...)
	for _, r := range recs {
		entries = append(entries, orderdb.Entry{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset})
	}
	return entries
}

func (c *cluster) mustFetch(f *Fetcher, entries []orderdb.Entry) []Payload {
	c.tb.Helper()
	got, err := f.Fetch(ctxOf(c.tb), entries)
	if err != nil {
		c.tb.Fatal(err)
	}
	if len(got) != len(entries) {
		c.tb.Fatalf("%d payloads for %d entries", len(got), len(entries))
	}
	return got
}

// TestFetch fetches over several brokers, topics, partitions and batches, alone
// and at once.
func TestFetch(t *testing.T) {
	c := newCluster(t, 3, kfake.NumBrokers(3))
	testFetch(t, c)
}

func testFetch(t *testing.T, c *cluster) {
	var recs []*kgo.Record
	var entries []orderdb.Entry
	for batch := range 3 {
		var now []*kgo.Record
		for _, topic := range topics {
			for p := range int32(3) {
				for i := range 3 {
					now = append(now, &kgo.Record{Topic: topic, Partition: p, Key: []byte("k"), Value: fmt.Appendf(nil, "%s %d %d %d", topic, p, batch, i),
						Headers: []kgo.RecordHeader{{Key: event.HeaderOrder, Value: []byte("1")}}, Timestamp: time.Now()})
				}
			}
		}
		entries = append(entries, c.written(now...)...)
		recs = append(recs, now...)
	}
	f := c.fetcher()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := f.Fetch(ctxOf(t), slices.Concat(entries, entries[:1]))
			if err != nil {
				t.Error(err)
				return
			}
			for i, p := range got {
				r := recs[i%len(recs)]
				if !p.Found || string(p.Value) != string(r.Value) || string(p.Key) != "k" || !p.Time.Equal(r.Timestamp) || len(p.Headers) != 1 || string(p.Headers[0].Value) != "1" {
					t.Errorf("entry %d: %+v, want %s", i, p, r.Value)
				}
			}
		})
	}
	wg.Wait()
	if got, err := f.Fetch(ctxOf(t), nil); len(got) != 0 || err != nil {
		t.Errorf("nothing: %v, %v", got, err)
	}
}

// TestFetchLarge fetches records whose batches do not fit beside each other,
// and more than one call returns.
func TestFetchLarge(t *testing.T) {
	c := newCluster(t, 3)
	big := make([]byte, 900_000)
	_, _ = rand.Read(big)
	var recs []*kgo.Record
	for i := range 60 {
		recs = append(recs, &kgo.Record{Topic: event.TopicOrders, Partition: int32(i % 3), Value: big})
	}
	entries := c.written(recs...)
	total, omitted := 0, 0
	for i, p := range c.mustFetch(c.fetcher(), entries) {
		if !p.Found || !p.Omitted && string(p.Value) != string(big) {
			t.Errorf("entry %d: found %v, omitted %v, %d bytes", i, p.Found, p.Omitted, len(p.Value))
		}
		if p.Omitted {
			omitted++
		}
		total += len(p.Value)
	}
	if total > MaxFetch || total+len(big) <= MaxFetch || omitted != 60-total/len(big) {
		t.Errorf("%d bytes, %d omitted", total, omitted)
	}
}

func TestFetchWhatIsGone(t *testing.T) {
	c := newCluster(t, 1)
	entries := c.written(record(event.TopicOrders, 0, "1"), record(event.TopicOrders, 0, "2"), record(event.TopicInvoices, 0, "1"), record(event.TopicJournal, 0, "1"))
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: event.TopicOrders, At: 1})
	if _, err := c.adm.DeleteRecords(context.Background(), offsets); err != nil {
		t.Fatal(err)
	}
	if _, err := c.adm.DeleteTopic(context.Background(), event.TopicJournal); err != nil {
		t.Fatal(err)
	}
	c.transact("test", true, record(event.TopicInvoices, 0, "1")) // ends with a marker
	entries = append(entries,
		orderdb.Entry{Topic: event.TopicInvoices, Offset: 1},   // the transaction's record
		orderdb.Entry{Topic: event.TopicInvoices, Offset: 2},   // its marker
		orderdb.Entry{Topic: event.TopicInvoices, Offset: 3},   // the end
		orderdb.Entry{Topic: event.TopicInvoices, Offset: 999}) // beyond
	for i, p := range c.mustFetch(c.fetcher(), entries) {
		if want := i == 1 || i == 2 || i == 4; p.Found != want {
			t.Errorf("entry %d %+v: found %v", i, entries[i], p.Found)
		}
	}
}

// TestFetchFollowsLeaders moves the partitions after the Fetcher has learned
// where they are.
func TestFetchFollowsLeaders(t *testing.T) {
	c := newCluster(t, 1, kfake.NumBrokers(2))
	entries := c.written(record(event.TopicOrders, 0, "1"))
	f := c.fetcher()
	for range 3 {
		if p := c.mustFetch(f, entries)[0]; !p.Found {
			t.Fatalf("%+v", p)
		}
		leader := c.fake.LeaderFor(event.TopicOrders, 0)
		if err := c.fake.MoveTopicPartition(event.TopicOrders, 0, 1-leader); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFetchWithoutKafka(t *testing.T) {
	c := newCluster(t, 1)
	f := c.fetcher()
	c.fake.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if got, err := f.Fetch(ctx, []orderdb.Entry{{Topic: event.TopicOrders}}); !errors.Is(err, context.DeadlineExceeded) || got != nil {
		t.Fatalf("%v, %v", got, err)
	}
}

// BenchmarkFetch fetches a timeline of nine records over nine topics.
func BenchmarkFetch(b *testing.B) {
	c := newCluster(b, 3)
	var recs []*kgo.Record
	for i := range 3000 {
		for _, topic := range topics[:9] {
			recs = append(recs, record(topic, int32(i%3), fmt.Sprint(i)))
		}
	}
	c.send(recs...)
	f := c.fetcher()
	i := 0
	for b.Loop() {
		at := (i * 7919 % 3000) * 9
		i++
		var entries []orderdb.Entry
		for _, r := range recs[at : at+9] {
			entries = append(entries, orderdb.Entry{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset})
		}
		for _, p := range c.mustFetch(f, entries) {
			if !p.Found {
				b.Fatal("not found")
			}
		}
	}
}
