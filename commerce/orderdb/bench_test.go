package orderdb

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/commerce/event"
)

// benchOrders is how many orders BenchmarkOrder has in the database, and
// BenchmarkHistory puts there. Filling it with 1,000,000 takes a minute or two.
var benchOrders = flag.Int("orderdb.orders", 20_000, "orders in the database of BenchmarkOrder and BenchmarkHistory")

func benchEverywhere(b *testing.B, f func(b *testing.B, p place)) {
	b.Run("sqlite", func(b *testing.B) { f(b, sqlitePlace(b)) })
	b.Run("postgres", func(b *testing.B) { f(b, postgresPlace(b)) })
}

func benchOrder(i int64) Submission {
	s := order(fmt.Sprint("CMD-", i), fmt.Sprint("key-", i), "a")
	s.Order.Value = fmt.Appendf(nil, `{"commandeId":"CMD-%d","client":"LUCAS","clientId":"CLI-%d","email":"lucas@example.org","montant":120.5,"lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"prix":120.5}]}`, i, i%1000)
	s.Order.Client = event.ID(fmt.Sprint("CLI-", i%1000))
	s.Messages[0].Key, s.Messages[0].Value = []byte(s.Order.Client), s.Order.Value
	return s
}

// BenchmarkSubmit has 64 callers that place new orders with idempotency keys.
func BenchmarkSubmit(b *testing.B) {
	benchEverywhere(b, func(b *testing.B, p place) {
		reg := prometheus.NewRegistry()
		db, err := Open(b.Context(), Config{URL: p.url, Registerer: reg})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		var next atomic.Int64
		var wg sync.WaitGroup
		b.ResetTimer()
		for range 64 {
			wg.Go(func() {
				for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
					if out, err := db.Submit(b.Context(), benchOrder(i)); err != nil || out.Result != Created {
						b.Errorf("result %d, %v", out.Result, err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
		found, err := reg.Gather()
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range found {
			for _, m := range f.Metric {
				if h := m.GetHistogram(); h.GetSampleCount() > 0 {
					switch f.GetName() {
					case "comptoir_orderdb_batch_size":
						b.ReportMetric(h.GetSampleSum()/float64(h.GetSampleCount()), "orders/commit")
					case "comptoir_orderdb_transaction_seconds":
						b.ReportMetric(1000*h.GetSampleSum()/float64(h.GetSampleCount()), "ms/commit")
					}
				}
			}
		}
	})
}

// entriesOf are the nine records of an accepted order with one product.
func entriesOf(i int64) []OrderChange {
	id := event.ID(fmt.Sprint("CMD-", i))
	value := benchOrder(i).Order.Value
	at := func(topic string, partition int32, offset int64) Entry {
		return Entry{Topic: topic, Partition: partition, Offset: offset, Time: start.Add(time.Duration(i) * time.Millisecond)}
	}
	return []OrderChange{
		{ID: id, State: Received, Entry: at(event.TopicOrders, 0, i), Content: &Content{Digest: digest(string(id)), Client: "CLI-1", Value: value, At: start}},
		{ID: id, Entry: at(event.TopicMovements, 1, 2*i)},
		{ID: id, State: Reserved, Entry: at(event.TopicVerdicts, 0, i), Verdict: value, Client: "CLI-1"},
		{ID: id, State: Paid, Entry: at(event.TopicAccepted, 2, i), Client: "CLI-1"},
		{ID: id, State: Invoiced, Entry: at(event.TopicInvoices, 0, i), Client: "CLI-1", Invoice: "FA-2026-000001"},
		{ID: id, State: Invoiced, Entry: at(event.TopicConfirmations, 2, i), Client: "CLI-1", Invoice: "FA-2026-000001"},
		{ID: id, Entry: at(event.TopicMovements, 1, 2*i+1)},
		{ID: id, State: Notified, Entry: at(event.TopicNotifications, 0, i), Client: "CLI-1"},
		{ID: id, Entry: at(event.TopicErrors, 0, i), Alerts: []string{"MONTANT_ELEVE"}},
	}
}

// BenchmarkApply tracks orders of nine records each, 2,000 records a batch, with
// the levels of 1,000 products: all of an order in one batch, or spread over
// several as they come under load.
func BenchmarkApply(b *testing.B) {
	for _, spread := range []int{1, 4} {
		b.Run(fmt.Sprintf("batches=%d", spread), func(b *testing.B) {
			benchEverywhere(b, func(b *testing.B, p place) {
				db := p.open(b)
				const each = 222
				steps := make([][]OrderChange, spread)
				var batches [][]OrderChange
				for i := int64(0); i < int64(b.N); i++ {
					for k, c := range entriesOf(i) {
						steps[k*spread/9] = append(steps[k*spread/9], c)
					}
					if i%each == each-1 || i == int64(b.N)-1 {
						batches = append(batches, steps...)
						steps = make([][]OrderChange, spread)
					}
				}
				orders := Partition{event.TopicOrders, 0}
				var levels []Level
				for i := range 2 * each {
					levels = append(levels, Level{Product: event.ID(fmt.Sprint(1000 + i*7%1000)), Name: "PC Gamer", Available: int64(i)})
				}
				b.ResetTimer()
				for i, batch := range batches {
					if err := db.Apply(b.Context(), Batch{Orders: batch, Levels: levels[:2*len(batch)/9], From: map[Partition]Position{orders: {Next: int64(i)}},
						To: map[Partition]Position{orders: {Next: int64(i) + 1}}}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(9*b.N)/b.Elapsed().Seconds(), "entries/s")
			})
		})
	}
}

// BenchmarkHistory fills a database with -orderdb.orders orders whose ids and
// clients are scattered, in two batches each as under load, and says what an
// order costs after how many: time, and CPU of this process.
func BenchmarkHistory(b *testing.B) {
	benchEverywhere(b, func(b *testing.B, p place) {
		db := p.open(b)
		const each = 500
		window := max(*benchOrders/10, each)
		began, used := time.Now(), cpu()
		for first := 0; first < *benchOrders; first += each {
			var early, late []OrderChange
			for i := first; i < first+each; i++ {
				entries := entriesOf(int64(i))
				scattered := uint64(i) * 0x9e3779b97f4a7c15
				for n := range entries {
					entries[n].ID = event.ID(fmt.Sprintf("CMD-%016x", scattered))
					if entries[n].Client != "" {
						entries[n].Client = event.ID(fmt.Sprint("CLI-", scattered%50_000))
					}
				}
				entries[0].Content.Client = entries[2].Client
				early, late = append(early, entries[0]), append(late, entries[1:]...)
			}
			apply(b, db, early...)
			apply(b, db, late...)
			if done := first + each; done%window == 0 {
				b.Logf("after %7d orders: %v and %v of CPU per order", done,
					(time.Since(began) / time.Duration(window)).Round(100*time.Nanosecond), ((cpu() - used) / time.Duration(window)).Round(100*time.Nanosecond))
				began, used = time.Now(), cpu()
			}
		}
	})
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkOrder reads random orders, and says how long the slowest hundredth
// takes.
func BenchmarkOrder(b *testing.B) {
	benchEverywhere(b, func(b *testing.B, p place) {
		db := p.open(b)
		var batch []OrderChange
		for i := range int64(*benchOrders) {
			batch = append(batch, entriesOf(i)...)
			if len(batch) > 4900 || i == int64(*benchOrders)-1 {
				apply(b, db, batch...)
				batch = nil
			}
		}
		var took []time.Duration
		for b.Loop() {
			began := time.Now()
			id := event.ID(fmt.Sprint("CMD-", rand.IntN(*benchOrders)))
			if _, ok, err := db.Order(b.Context(), id); !ok || err != nil {
				b.Fatal(ok, err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	})
}
