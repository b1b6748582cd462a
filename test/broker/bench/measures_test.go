package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
)

const recordSize = 200

// load is the options of a producer of large batches.
func load() []kgo.Opt {
	return []kgo.Opt{kgo.DefaultProduceTopic("load"), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(1 << 20),
		kgo.MaxBufferedRecords(200_000), kgo.ProducerLinger(5 * time.Millisecond)}
}

// fill writes records until enough says so, and returns how many a second.
func fill(t *testing.T, b *broker, enough func(n int) bool) float64 {
	t.Helper()
	cl := b.client(t, load()...)
	value := make([]byte, recordSize)
	begun, n := time.Now(), 0
	var failed atomic.Value
	for ; n%1000 != 0 || !enough(n); n++ {
		cl.Produce(t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		t.Fatal(err)
	}
	return float64(n) / time.Since(begun).Seconds()
}

func throughput(t *testing.T, b *broker) []figure {
	b.topics(t, 3, "load")
	end := time.Now().Add(span)
	total := 0
	produced := fill(t, b, func(n int) bool { total = n; return time.Now().After(end) })
	cl := b.client(t, kgo.ConsumeTopics("load"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(4<<20))
	begun, n := time.Now(), 0
	for n < total {
		fs := cl.PollFetches(t.Context())
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		n += fs.NumRecords()
	}
	return []figure{{"records produced a second", "", produced}, {"records fetched a second", "", float64(n) / time.Since(begun).Seconds()}}
}

// latency is of acks=all at 1,000 records a second, beside an fsync.
func latency(t *testing.T, b *broker) []figure {
	b.topics(t, 3, "load")
	took, fsync := b.latencies(t, func(time.Duration) bool { return true })
	return []figure{{"acks=all at 1,000/s, median", "ms", rank(took, .5)}, {"acks=all at 1,000/s, 99 %", "ms", rank(took, .99)}, {"fsync beside, median", "ms", rank(fsync, .5)}}
}

// latencies are of 1,000 records a second, for span at least and until enough, which
// is asked every 100 ms or so, says so.
func (b *broker) latencies(t *testing.T, enough func(since time.Duration) bool) (took, fsync []time.Duration) {
	t.Helper()
	cl := b.client(t, kgo.DefaultProduceTopic("load"), kgo.ProducerLinger(0))
	ctx, cancel := context.WithCancel(t.Context())
	beside := fsyncs(ctx, t, b.dir)
	var mu sync.Mutex
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	first := time.Now()
	for n := 0; time.Since(first) < span || n%100 > 0 || !enough(time.Since(first)); n++ {
		<-tick.C
		begun := time.Now()
		cl.Produce(ctx, &kgo.Record{Value: make([]byte, recordSize)}, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			took = append(took, time.Since(begun))
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	return took, <-beside
}

// compaction is of a million records over 100,000 keys, some 230 MB, and what
// others notice of it.
func compaction(t *testing.T, b *broker) []figure {
	const (
		records, keys = 1_000_000, 100_000
		patience      = 40 * time.Second
	)
	b.topics(t, 3, "load")
	compact, ratio, segment := "compact", "0.1", "1000"
	b.configured(t, 1, map[string]*string{"cleanup.policy": &compact, "min.cleanable.dirty.ratio": &ratio, "segment.ms": &segment}, "keyed")
	cl := b.client(t, append(load(), kgo.DefaultProduceTopic("keyed"))...)
	for n := range records {
		cl.Produce(t.Context(), &kgo.Record{Key: fmt.Appendf(nil, "key-%d", n*7919%keys), Value: make([]byte, recordSize)}, nil)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(cl)
	size := func() int64 {
		dirs, err := adm.DescribeAllLogDirs(t.Context(), kadm.TopicsSet{"keyed": {0: {}}})
		if err != nil {
			t.Fatal(err)
		}
		var bytes int64
		dirs.Each(func(d kadm.DescribedLogDir) { bytes += d.Size() })
		return bytes
	}
	whole, compacted := size(), math.Inf(1) // not within our patience
	began := time.Now()
	took, _ := b.latencies(t, func(since time.Duration) bool {
		if size() < whole/4 {
			compacted = time.Since(began).Seconds()
		}
		return compacted < patience.Seconds() || since > patience
	})
	return []figure{{"until 1 M records are 100,000", "s", compacted}, {"acks=all at 1,000/s meanwhile, median", "ms", rank(took, .5)}, {"acks=all at 1,000/s meanwhile, 99 %", "ms", rank(took, .99)}}
}

// pipeline is from a record's arrival to the end of the transaction with its
// output and offset.
func pipeline(t *testing.T, b *broker) []figure {
	b.topics(t, 1, "load", "out")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(b.addr()), kgo.TransactionalID("pipeline"), kgo.ConsumerGroup("pipeline"), kgo.ConsumeTopics("load"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DefaultProduceTopic("out"), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cl := b.client(t, kgo.DefaultProduceTopic("load"), kgo.ProducerLinger(0))
	disk, stop := context.WithCancel(ctx)
	beside := fsyncs(disk, t, b.dir)
	var took []time.Duration
	for end := time.Now().Add(span); time.Now().Before(end); {
		if err := cl.ProduceSync(ctx, &kgo.Record{Value: make([]byte, recordSize)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		fs := s.PollFetches(ctx)
		begun := time.Now()
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			s.Produce(ctx, &kgo.Record{Value: r.Value}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		})
		if ok, err := s.End(ctx, kgo.TryCommit); err != nil || !ok {
			t.Fatalf("commit: %v, %v", ok, err)
		}
		took = append(took, time.Since(begun))
	}
	stop()
	return []figure{{"consume-produce-commit, median", "ms", rank(took, .5)}, {"fsync beside, median", "ms", rank(<-beside, .5)}}
}

// transactions is of 16 producers, a record each.
func transactions(t *testing.T, b *broker) []figure {
	b.topics(t, 3, "load")
	var done atomic.Int64
	var wait sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begun := make(chan struct{})
	var end time.Time
	for n := range 16 {
		cl := b.client(t, kgo.DefaultProduceTopic("load"), kgo.TransactionalID(fmt.Sprint("txn-", n)), kgo.ProducerLinger(0))
		one := func() error {
			if err := cl.BeginTransaction(); err != nil {
				return err
			}
			r := &kgo.Record{Value: make([]byte, recordSize)}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				return err
			}
			return kclient.EndTransaction(ctx, cl, kgo.TryCommit, slices.Values([]*kgo.Record{r}))
		}
		if err := one(); err != nil { // ids and metadata are not part of it
			t.Fatal(err)
		}
		wait.Go(func() {
			<-begun
			for time.Now().Before(end) {
				if err := one(); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	end = time.Now().Add(span)
	close(begun)
	wait.Wait()
	return []figure{{"transactions a second of 16 producers", "", float64(done.Load()) / span.Seconds()}}
}

func idle(t *testing.T, b *broker) []figure {
	var names []string
	for n := range 100 {
		names = append(names, fmt.Sprint("idle-", n))
	}
	b.topics(t, 3, names...)
	b.Kill()
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	first := b.client(t, kgo.DefaultProduceTopic(names[0]))
	if err := first.ProduceSync(t.Context(), &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return []figure{{"memory idle, 100 topics of 3 partitions", "MB", b.rss(t)}}
}

// large is 10 million records, some 2 GB, and opening them after a kill.
func large(t *testing.T, b *broker) []figure {
	const records = 10_000_000
	b.topics(t, 3, "load")
	fill(t, b, func(n int) bool { return n >= records })
	full := b.rss(t)
	b.Kill()
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	_, took := b.Started()
	if err := b.client(t, kgo.DefaultProduceTopic("load")).ProduceSync(t.Context(), &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return []figure{{"memory after 10 M records", "MB", full}, {"opening them after a kill", "ms", float64(took.Milliseconds())}, {"memory with them after opening", "MB", b.rss(t)}}
}
