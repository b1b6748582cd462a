package bench

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/node"
)

var readOrders = flag.Int("orders", 100_000, "orders in the database of BenchmarkRead; 1,000,000 take two minutes to write")

// databaseURL is where a node keeps its orders.
func databaseURL(cfg *node.Config) string {
	if cfg.Database != "" {
		return cfg.Database
	}
	return filepath.Join(cfg.DataDir, "commandes.db")
}

// fill puts n orders with nine records each into the order database, as
// service-suivi would.
func fill(b *testing.B, cfg *node.Config, run string, n int) {
	b.Helper()
	if err := os.MkdirAll(cfg.DataDir, 0o755); err != nil {
		b.Fatal(err)
	}
	db, err := orderdb.Open(b.Context(), orderdb.Config{URL: databaseURL(cfg)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	}()
	tracked := orderdb.Partition{Topic: event.TopicOrders}
	start := time.Now().Add(-time.Hour)
	var changes []orderdb.OrderChange
	for i := range n {
		key, value := order(run, i)
		id, client := event.ID(orderID(run, i)), event.ID(key)
		add := func(c orderdb.OrderChange, topic string, offset int) {
			c.ID, c.Client = id, client
			c.Entry = orderdb.Entry{Topic: topic, Offset: int64(offset), Time: start.Add(time.Duration(i) * time.Millisecond)}
			changes = append(changes, c)
		}
		content := &orderdb.Content{Digest: [16]byte{byte(i), byte(i >> 8), byte(i >> 16)}, Client: client, Value: value, At: start}
		add(orderdb.OrderChange{State: orderdb.Received, Content: content}, event.TopicOrders, i)
		add(orderdb.OrderChange{}, event.TopicMovements, 2*i)
		add(orderdb.OrderChange{State: orderdb.Reserved, Verdict: value}, event.TopicVerdicts, i)
		add(orderdb.OrderChange{State: orderdb.Paid}, event.TopicAccepted, i)
		invoice := fmt.Sprintf("FA-2026-%07d", i)
		add(orderdb.OrderChange{State: orderdb.Invoiced, Invoice: invoice}, event.TopicInvoices, i)
		add(orderdb.OrderChange{State: orderdb.Invoiced, Invoice: invoice}, event.TopicConfirmations, i)
		add(orderdb.OrderChange{}, event.TopicMovements, 2*i+1)
		add(orderdb.OrderChange{State: orderdb.Notified}, event.TopicNotifications, i)
		add(orderdb.OrderChange{Alerts: []string{"MONTANT_ELEVE"}}, event.TopicErrors, i)
		if i%500 == 499 || i == n-1 {
			from, to := orderdb.Position{Next: int64(i / 500)}, orderdb.Position{Next: int64(i/500) + 1}
			if err := db.Apply(b.Context(), orderdb.Batch{Orders: changes,
				From: map[orderdb.Partition]orderdb.Position{tracked: from}, To: map[orderdb.Partition]orderdb.Position{tracked: to}}); err != nil {
				b.Fatal(err)
			}
			changes = changes[:0]
		}
	}
}

// databaseSize is in bytes.
func databaseSize(b *testing.B, cfg *node.Config) (size int64) {
	b.Helper()
	if cfg.Database == "" {
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(databaseURL(cfg) + suffix); err == nil {
				size += info.Size()
			}
		}
		return size
	}
	conn, err := pgx.Connect(b.Context(), cfg.Database)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(b.Context(), `SELECT pg_database_size(current_database())`).Scan(&size); err != nil {
		b.Fatal(err)
	}
	return size
}

// BenchmarkRead measures GET /commandes/{id} with 8 connections and random ids.
func BenchmarkRead(b *testing.B) {
	const n = 40_000
	run := time.Now().Format("150405")
	var size int64
	s := openShop(b, func(cfg *node.Config) {
		cfg.Roles = []string{"api"}
		began := time.Now()
		fill(b, cfg, run, *readOrders)
		size = databaseSize(b, cfg)
		b.Logf("%d orders written in %v: %d MB", *readOrders, time.Since(began).Round(time.Second), size>>20)
	})
	var requests [][]byte
	for range n {
		requests = append(requests, fmt.Appendf(nil, "GET /commandes/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", orderID(run, rand.IntN(*readOrders))))
	}
	for _, rate := range []int{0, 1000} {
		l := &httpLoad{Addr: host(s.n.Endpoints().HTTP), Conns: 8, Rate: rate, Status: http.StatusOK, Requests: requests}
		if rate > 0 {
			l.Requests = requests[:10*rate]
		}
		used := cpu()
		r := l.run(b)
		lat := sorted(r.Took)
		b.Logf("%.0f answers/s (offered: %d, 0 for all that can be): %s  slowest %v; of the 2 cores the node took %.2f, the client %.2f",
			float64(len(lat))/r.All.Seconds(), rate, quantiles(lat), slices.Max(lat), (cpu()-used).Seconds()/r.All.Seconds(), r.CPU.Seconds()/r.All.Seconds())
		b.ReportMetric(float64(lat[len(lat)*99/100].Microseconds())/1000, "p99-ms")
	}
}
