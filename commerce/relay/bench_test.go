package relay

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

// fixed is a database of one benchmark: b.N messages in four shards, read once.
type fixed struct {
	*instance
	mu     sync.Mutex
	queues [4][]orderdb.Message
	ends   chan int
}

func (f *fixed) Unsent(_ context.Context, limits map[int]int) (map[int][]orderdb.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[int][]orderdb.Message{}
	for shard, limit := range limits {
		q := f.queues[shard]
		out[shard] = slices.Clone(q[:min(limit, len(q))])
	}
	return out, nil
}

// Sent is called for the first messages of queues.
func (f *fixed) Sent(_ context.Context, numbers []int64) error {
	f.mu.Lock()
	for _, n := range numbers {
		f.queues[n%4] = f.queues[n%4][1:]
	}
	f.mu.Unlock()
	f.ends <- len(numbers)
	return nil
}

// BenchmarkRelay is how many messages of 300 bytes go to the broker per second,
// with a database that costs nothing.
func BenchmarkRelay(b *testing.B) {
	c := newCluster(b)
	f := &fixed{instance: newMemory(4).instance(), ends: make(chan int, 1024)}
	value := make([]byte, 300)
	for i := range b.N {
		f.queues[i%4] = append(f.queues[i%4], orderdb.Message{Number: int64(i), Topic: c.n("a"), Key: fmt.Appendf(nil, "CLI-%d", i%1000), Value: value, At: time.Now()})
	}
	b.ResetTimer()
	c.start(f)
	for n := 0; n < b.N; {
		n += <-f.ends
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkIdleLatency is the time from a message's submission, the only one on
// its way, to its commit in Kafka, with pauses in between.
func BenchmarkIdleLatency(b *testing.B) {
	c := newCluster(b)
	m := newMemory(4)
	committed := make(chan struct{}, 1)
	c.start(m.instance(), func(cfg *Config) {
		cfg.Sent = func(orderdb.Message, *kgo.Record, time.Time) { committed <- struct{}{} }
	})
	m.submit(c.n("a"), "first")
	<-committed
	var took []time.Duration
	for i := range b.N {
		time.Sleep(15 * time.Millisecond) // past the pace
		began := time.Now()
		m.submit(c.n("a"), fmt.Sprint(i))
		<-committed
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
