// Package bench measures the whole way of an order, and the floor under it (see
// internal/bench/floor).
package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/broker"
	"github.com/comptoir/comptoir/internal/bench/floor"
	"github.com/comptoir/comptoir/internal/kclient"
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

// BenchmarkFloor measures what BenchmarkPipeline does, on the floor.
func BenchmarkFloor(b *testing.B) {
	k := openKafka(b)
	prefix := fmt.Sprintf("floor%d-", time.Now().UnixNano())
	f, err := floor.Start(context.Background(), floor.Config{Kafka: k, Dir: b.TempDir(), Prefix: prefix, ReplicationFactor: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := f.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
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
