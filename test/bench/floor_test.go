package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/broker"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/state"
)

func open(b *testing.B) kclient.Config {
	if k := os.Getenv("COMPTOIR_TEST_KAFKA"); k != "" {
		return kclient.Config{Brokers: []string{k}}
	}
	br, err := broker.Open(broker.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = br.Close() })
	return kclient.Config{Brokers: []string{br.Addr()}, Dial: br.DialContext}
}

// hops starts n exactly-once hops that pass records on, t0 to tn.
func hops(b *testing.B, k kclient.Config, n int) {
	ctx := context.Background()
	cl, _ := k.New()
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var names []string
	for i := range n + 1 {
		names = append(names, fmt.Sprintf("t%d", i))
	}
	if _, err := adm.CreateTopics(ctx, 3, 1, nil, names...); err != nil {
		b.Fatal(err)
	}
	db, err := state.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	for i := range n {
		bl := streams.NewBuilder(fmt.Sprintf("hop%d", i))
		in := streams.Topic[[]byte, []byte]{Name: names[i], Key: streams.Bytes, Value: streams.Bytes}
		out := in
		out.Name = names[i+1]
		streams.From(bl, in).To(streams.To(bl, out))
		top, err := bl.Build()
		if err != nil {
			b.Fatal(err)
		}
		app, err := streams.NewApp(streams.Config{Topology: top, Kafka: k, State: db})
		if err != nil {
			b.Fatal(err)
		}
		if err := app.Start(ctx); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = app.Stop(ctx) })
	}
}

func BenchmarkFloor(b *testing.B) {
	const n = 7
	k := open(b)
	hops(b, k, n)
	prod, _ := k.New(kgo.ProducerLinger(0))
	defer prod.Close()
	cons, _ := k.New(kgo.ConsumeTopics(fmt.Sprintf("t%d", n)), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cons.Close()
	value := make([]byte, 200)
	run := func(count int, rate int) (time.Duration, []time.Duration) {
		done := make(chan []time.Duration)
		go func() {
			var lat []time.Duration
			for len(lat) < count {
				f := cons.PollFetches(context.Background())
				now := time.Now()
				f.EachRecord(func(r *kgo.Record) {
					var ns int64
					fmt.Sscan(string(r.Key), &ns)
					lat = append(lat, now.Sub(time.Unix(0, ns)))
				})
			}
			done <- lat
		}()
		start := time.Now()
		for i := range count {
			if rate > 0 {
				at := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
				time.Sleep(time.Until(at))
			}
			prod.Produce(context.Background(), &kgo.Record{Topic: "t0", Key: fmt.Append(nil, time.Now().UnixNano()), Value: value}, nil)
		}
		lat := <-done
		return time.Since(start), lat
	}
	run(100, 100)
	for _, rate := range []int{100, 1000} {
		_, lat := run(rate*2, rate)
		slices.Sort(lat)
		b.Logf("rate %d: p50 %v p99 %v", rate, lat[len(lat)/2], lat[len(lat)*99/100])
	}
	took, _ := run(200000, 0)
	b.Logf("throughput %.0f records/s through %d hops", 200000/took.Seconds(), n)
}
