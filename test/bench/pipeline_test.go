package bench

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/node"
)

// Both benchmarks take the same load.
const (
	products = 1000
	backlog  = 50000
)

var rates = []int{100, 1000}

// shop is a node under load.
type shop struct {
	b        *testing.B
	n        *node.Node
	k        kclient.Config
	admin    *kgo.Client
	embedded bool
	archive  string

	mu     sync.Mutex
	seen   map[string]time.Time // order id → when its notification was read
	arrive *sync.Cond
}

// openShop starts a node with 1,000 products in plenty: embedded, or beside the
// Kafka of COMPTOIR_TEST_KAFKA and the database of COMPTOIR_TEST_POSTGRES, which
// must be empty. change may change the configuration, and fill the database.
func openShop(b *testing.B, change func(*node.Config)) *shop {
	b.Helper()
	dir := b.TempDir()
	var csv strings.Builder
	csv.WriteString("id_produit,nom_produit,prix,quantite\n")
	for i := range products {
		fmt.Fprintf(&csv, "%d,Produit %d,%d.5,1000000000\n", i+1, i+1, i%90+1)
	}
	file := filepath.Join(dir, "catalogue.csv")
	if err := os.WriteFile(file, []byte(csv.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	cfg, err := node.Load("", os.Environ())
	if err != nil {
		b.Fatal(err)
	}
	cfg.DataDir, cfg.Catalogue = filepath.Join(dir, "data"), file
	cfg.HTTP, cfg.Kafka, cfg.Connect = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	s := &shop{b: b, seen: map[string]time.Time{}}
	s.arrive = sync.NewCond(&s.mu)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if kafka := os.Getenv("COMPTOIR_TEST_KAFKA"); kafka != "" {
		cfg.Brokers, cfg.Database = []string{kafka}, os.Getenv("COMPTOIR_TEST_POSTGRES")
	} else {
		s.embedded = true
	}
	if change != nil {
		change(&cfg)
	}
	if s.embedded {
		s.n, err = node.NewEmbedded(cfg, log)
	} else {
		s.n, err = node.NewInstance(cfg, log)
	}
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	if err := s.n.Start(ctx); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stop, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := s.n.Stop(stop); err != nil {
			b.Error(err)
		}
	})
	s.k, s.archive = s.n.Kafka(), s.n.Endpoints().Archive
	if s.admin, err = s.k.New(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.admin.Close)
	s.watch()
	return s
}

// watch notes when each notification can be read.
func (s *shop) watch() {
	cl, err := s.k.New(kgo.ConsumeTopics("notifications.clients"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		s.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			f := cl.PollFetches(ctx)
			now := time.Now()
			s.mu.Lock()
			f.EachRecord(func(r *kgo.Record) {
				for _, h := range r.Headers {
					if h.Key == "comptoir-order" {
						s.seen[string(h.Value)] = now
					}
				}
			})
			s.mu.Unlock()
			s.arrive.Broadcast()
		}
	}()
	s.b.Cleanup(func() { cancel(); <-done; cl.Close() })
}

func orderID(run string, i int) string { return fmt.Sprintf("%s-%d", run, i) }

// order is the i-th order of a run: 1 to 3 lines.
func order(run string, i int) (key, value []byte) {
	id := orderID(run, i)
	var lines []string
	total := 0 // tenths
	for l := range i%3 + 1 {
		p := (i*7 + l*331) % products
		price := (p%90+1)*10 + 5
		total += price
		lines = append(lines, fmt.Sprintf(`{"id_produit":%d,"quantite":1,"prix":%d.%d}`, p+1, price/10, price%10))
	}
	return fmt.Appendf(nil, "CLI-%d", i%5000),
		fmt.Appendf(nil, `{"commandeId":%q,"client":"Client %d","montant":%d.%d,"lignes":[%s]}`, id, i%5000, total/10, total%10, strings.Join(lines, ","))
}

// load sends n orders, all at once or at a rate, open loop, and returns how long
// it took until the last notification, and the latency of each order.
func (s *shop) load(run string, n, rate int) (time.Duration, []time.Duration) {
	s.b.Helper()
	cl, err := s.k.New(kgo.ProducerLinger(0))
	if err != nil {
		s.b.Fatal(err)
	}
	defer cl.Close()
	sent := make([]int64, n)
	begin := time.Now()
	for i := range n {
		if rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		key, value := order(run, i)
		sent[i] = time.Now().UnixNano()
		cl.Produce(context.Background(), &kgo.Record{Topic: "commandes.ecommerce", Key: key, Value: value}, nil)
	}
	if err := cl.Flush(context.Background()); err != nil {
		s.b.Fatal(err)
	}
	s.await(run, n)
	return time.Since(begin), s.latencies(run, sent)
}

// await waits for the notifications of a run's n orders.
func (s *shop) await(run string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range n {
		for id := orderID(run, i); s.seen[id].IsZero(); {
			s.arrive.Wait()
		}
	}
}

// latencies are the times from when each order of a run was sent, in nanoseconds
// since 1970, to its notification, in rising order.
func (s *shop) latencies(run string, sent []int64) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	lat := make([]time.Duration, len(sent))
	for i := range sent {
		lat[i] = s.seen[orderID(run, i)].Sub(time.Unix(0, sent[i]))
	}
	slices.Sort(lat)
	return lat
}

// archived waits until the embedded archive holds n rows.
func (s *shop) archived(n int) time.Duration {
	if !s.embedded {
		return 0
	}
	begin := time.Now()
	db, err := sql.Open("sqlite", "file:"+s.archive+"?mode=ro")
	if err != nil {
		s.b.Fatal(err)
	}
	defer db.Close()
	for rows := 0; rows < n; {
		if err := db.QueryRow("SELECT count(*) FROM factures_ecommerce").Scan(&rows); err != nil {
			s.b.Fatal(err)
		}
	}
	return time.Since(begin)
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPipeline measures the whole way of an order, in one process with the
// load: latency from the order's record to its notification at two rates, then
// orders/s of a backlog, counted at the notification and at the archive row, and
// what it costs until tracking is at rest too.
func BenchmarkPipeline(b *testing.B) {
	s := openShop(b, nil)
	run := time.Now().Format("150405")
	s.load(run+"w", 300, 100) // warm
	total := 300
	for _, rate := range rates {
		n := rate * 3
		_, lat := s.load(fmt.Sprintf("%sr%d", run, rate), n, rate)
		total += n
		b.Logf("at %4d orders/s: p50 %v  p99 %v", rate, lat[n/2].Round(100*time.Microsecond), lat[n*99/100].Round(100*time.Microsecond))
	}
	before := cpu()
	took, _ := s.load(run+"b", backlog, 0)
	total += backlog
	late := s.archived(total)
	b.Logf("backlog of %d: %.0f orders/s at the notification, %.0f at the archive row, %d µs of CPU per order (load included)",
		backlog, backlog/took.Seconds(), backlog/(took+late).Seconds(), (cpu()-before).Microseconds()/backlog)
	late = s.caughtUp()
	b.Logf("all groups at rest %v later: %d µs of CPU per order in all", late.Round(time.Millisecond), (cpu()-before).Microseconds()/backlog)
	b.ReportMetric(backlog/took.Seconds(), "orders/s")
}
