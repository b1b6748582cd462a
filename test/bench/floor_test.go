// Package bench measures the whole way of an order, and the floor under it: the
// same hops and about as many records through the same library, without JSON,
// without state and without anything to decide. What lies between the two is
// the work.
package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/broker"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/state"
)

// openKafka is the Kafka of COMPTOIR_TEST_KAFKA, or an embedded broker.
func openKafka(b *testing.B) kclient.Config {
	b.Helper()
	if k := os.Getenv("COMPTOIR_TEST_KAFKA"); k != "" {
		return kclient.Config{Brokers: []string{k}}
	}
	br, err := broker.Open(broker.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := br.Close(); err != nil {
			b.Error(err)
		}
	})
	return kclient.Config{Brokers: []string{br.Addr()}, Dial: br.DialContext}
}

type raw = streams.Record[[]byte, []byte]

// floor builds the stages of the floor. Each writes to its side topic as many
// records as the real one does to its changelog and to topics off the way, for
// an order of two lines.
func floor(prefix string) (topics []string, apps map[string]func(*streams.Builder)) {
	topic := func(name string) streams.Topic[[]byte, []byte] {
		if n := prefix + name; !slices.Contains(topics, n) {
			topics = append(topics, n)
		}
		return streams.Topic[[]byte, []byte]{Name: prefix + name, Key: streams.Bytes, Value: streams.Bytes}
	}
	orders, verdicts, paid, invoices, notified := topic("orders"), topic("verdicts"), topic("paid"), topic("invoices"), topic("notified")
	side := func(b *streams.Builder, name string) func(c *streams.Context, r raw, n int) {
		out := streams.To(b, topic("side-"+name))
		return func(c *streams.Context, r raw, n int) {
			for range n {
				out.Send(c, r)
			}
		}
	}
	for _, name := range []string{"stock", "pay", "bill", "notify"} {
		topic("side-" + name)
	}
	rep := func(b *streams.Builder, name string, n streams.Partitions) (*streams.Output[[]byte, []byte], streams.Stream[[]byte, []byte]) {
		return streams.Repartition(b, name, streams.Bytes, streams.Bytes, n)
	}
	return topics, map[string]func(*streams.Builder){
		"stock": func(b *streams.Builder) {
			like := streams.PartitionsOf(orders.Name)
			toID, ids := rep(b, "a", like)
			toProduct, parts := rep(b, "b", like)
			toClient, answers := rep(b, "c", like)
			out, aside := streams.To(b, verdicts), side(b, "stock")
			streams.From(b, orders).Process("client", func(c *streams.Context, r raw) {
				toID.Send(c, r)
				aside(c, r, 1)
			})
			ids.Process("identity", func(c *streams.Context, r raw) {
				toProduct.Send(c, r)
				toProduct.Send(c, raw{Key: slices.Concat(r.Key, []byte{'b'}), Value: r.Key, Time: r.Time})
				aside(c, r, 1)
			})
			parts.Process("product", func(c *streams.Context, r raw) {
				toClient.Send(c, r)
				aside(c, r, 3)
			})
			answers.Process("verdict", func(c *streams.Context, r raw) {
				if r.Key[len(r.Key)-1] != 'b' {
					out.Send(c, r)
				}
				aside(c, r, 1)
			})
		},
		"pay": func(b *streams.Builder) {
			out, aside := streams.To(b, paid), side(b, "pay")
			streams.From(b, verdicts).Process("pay", func(c *streams.Context, r raw) {
				out.Send(c, r)
				aside(c, r, 1)
			})
		},
		"bill": func(b *streams.Builder) {
			toBill, bills := rep(b, "d", streams.FixedPartitions(1))
			out, aside := streams.To(b, invoices), side(b, "bill")
			streams.From(b, verdicts).Process("verdict", func(c *streams.Context, r raw) {
				toBill.Send(c, raw{Key: slices.Concat(r.Key, []byte{'v'}), Value: r.Value, Time: r.Time})
			})
			streams.From(b, paid).To(toBill)
			bills.Process("bill", func(c *streams.Context, r raw) {
				if r.Key[len(r.Key)-1] != 'v' {
					out.Send(c, r)
				}
				aside(c, r, 1)
			})
		},
		"notify": func(b *streams.Builder) {
			out, aside := streams.To(b, notified), side(b, "notify")
			streams.From(b, invoices).Process("notify", func(c *streams.Context, r raw) {
				out.Send(c, r)
				aside(c, r, 1)
			})
		},
	}
}

func openFloor(b *testing.B, k kclient.Config, prefix string) {
	b.Helper()
	ctx := context.Background()
	cl, err := k.New()
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	topics, apps := floor(prefix)
	if _, err := kadm.NewClient(cl).CreateTopics(ctx, 3, 1, nil, topics...); err != nil {
		b.Fatal(err)
	}
	db, err := state.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	for name, build := range apps {
		bl := streams.NewBuilder(prefix + name)
		build(bl)
		top, err := bl.Build()
		if err != nil {
			b.Fatal(err)
		}
		app, err := streams.NewApp(streams.Config{Topology: top, Kafka: k, State: db, KeepRepartitioned: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := app.Start(ctx); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = app.Stop(ctx) })
	}
}

// BenchmarkFloor measures what BenchmarkPipeline does, on the floor.
func BenchmarkFloor(b *testing.B) {
	k := openKafka(b)
	prefix := fmt.Sprintf("floor%d-", time.Now().UnixNano())
	openFloor(b, k, prefix)
	prod, err := k.New(kgo.ProducerLinger(0))
	if err != nil {
		b.Fatal(err)
	}
	defer prod.Close()
	cons, err := k.New(kgo.ConsumeTopics(prefix+"notified"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.Fatal(err)
	}
	defer cons.Close()
	value := make([]byte, 200)
	run := func(n, rate int) (time.Duration, []time.Duration) {
		done := make(chan []time.Duration)
		go func() {
			var lat []time.Duration
			for len(lat) < n {
				f := cons.PollFetches(context.Background())
				now := time.Now()
				f.EachRecord(func(r *kgo.Record) {
					ns, err := strconv.ParseInt(string(r.Key), 10, 64)
					if err != nil {
						b.Error(err)
					}
					lat = append(lat, now.Sub(time.Unix(0, ns)))
				})
			}
			slices.Sort(lat)
			done <- lat
		}()
		begin := time.Now()
		for i := range n {
			if rate > 0 {
				time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
			}
			prod.Produce(context.Background(), &kgo.Record{Topic: prefix + "orders", Key: strconv.AppendInt(nil, time.Now().UnixNano(), 10), Value: value}, nil)
		}
		lat := <-done
		return time.Since(begin), lat
	}
	run(300, 100) // warm
	for _, rate := range rates {
		n := rate * 3
		_, lat := run(n, rate)
		b.Logf("at %4d orders/s: p50 %v  p99 %v", rate, lat[n/2].Round(100*time.Microsecond), lat[n*99/100].Round(100*time.Microsecond))
	}
	before := cpu()
	took, _ := run(backlog, 0)
	b.Logf("backlog of %d: %.0f orders/s, %d µs of CPU per order (load included)",
		backlog, backlog/took.Seconds(), (cpu()-before).Microseconds()/backlog)
	b.ReportMetric(backlog/took.Seconds(), "orders/s")
}
