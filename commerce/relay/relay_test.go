package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

func TestEverythingOnceAndInOrder(t *testing.T) {
	t.Parallel()
	onKinds(t, func(t *testing.T, c *cluster) {
		m := newMemory(4)
		c.fill(m, 2500, 40) // before the start: several batches of a shard
		var told atomic.Int64
		r := c.start(m.instance(), func(cfg *Config) {
			cfg.Sent = func(m orderdb.Message, r *kgo.Record, _ time.Time) {
				if string(m.Value) != string(r.Value) || r.Offset < 0 {
					t.Errorf("message %s with record %s at %d", m.Value, r.Value, r.Offset)
				}
				told.Add(1)
			}
		})
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 100 {
					m.submit(c.n("b"), fmt.Sprintf("w%d-%d", w, i%5))
				}
			})
		}
		wg.Wait()
		c.allSent(m)
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages were sent again without need", again)
		}
		if n := r.value("comptoir_outbox_sent_total", ""); n != 3300 || told.Load() != 3300 {
			t.Errorf("counted %v, told of %d, want 3300", n, told.Load())
		}
		if err := r.Health(); err != nil {
			t.Error(err)
		}
	})
}

func TestRecordIsTheMessage(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		m := newMemory(1)
		at := time.Date(2025, 11, 20, 10, 30, 0, 123e6, time.UTC)
		m.add(orderdb.Message{Topic: c.n("a"), Key: []byte("k"), Value: []byte("v"), At: at,
			Headers: []orderdb.Header{{Key: "x", Value: []byte("1")}, {Key: "x", Value: []byte{}}}})
		m.add(orderdb.Message{Topic: c.n("a"), Key: []byte("k"), Value: []byte{}, At: at})
		c.start(m.instance())
		c.allSent(m)
		rs := c.committed(c.n("a"))
		if len(rs) != 2 {
			t.Fatalf("%d records, want 2", len(rs))
		}
		r := rs[0]
		if string(r.Key) != "k" || string(r.Value) != "v" || !r.Timestamp.Equal(at) ||
			len(r.Headers) != 2 || r.Headers[0].Key != "x" || string(r.Headers[0].Value) != "1" || r.Headers[1].Key != "x" {
			t.Errorf("record %+v", r)
		}
		if rs[1].Value == nil || len(rs[1].Value) != 0 {
			t.Errorf("an empty value became %v", rs[1].Value)
		}
	})
}

// TestWake: what is submitted goes out because the database wakes us, not because
// of the poll, and once for each time.
func TestWake(t *testing.T) {
	c := newCluster(t)
	m := newMemory(2)
	db := m.instance()
	r, err := New(Config{DB: db, Kafka: c.kafka})
	if err != nil {
		t.Fatal(err)
	}
	r.poll = time.Hour
	if err := r.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Stop(context.Background()) }()
	for i := range 50 {
		m.submit(c.n("a"), fmt.Sprintf("k%d", i))
		c.allSent(m)
	}
	if n := db.reads.Load(); n > 2+2*50 {
		t.Errorf("%d reads of two shards for 50 messages", n)
	}
}

// TestTurnsAreSpaced: all but the first few of those that follow one another.
func TestTurnsAreSpaced(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.into = repeatable
	m := newMemory(1)
	c.start(m.instance())
	const turns = 30
	began := time.Now()
	for range turns {
		c.fill(m, 1, 1)
		c.allSent(m)
	}
	if took, least := time.Since(began), (turns-turnBurst-1)*turnPace; took < least {
		t.Errorf("%d turns took %v, want %v at least", turns, took, least)
	}
}

// TestPartitioner holds the choice of partitions against Kafka's own: the values
// are murmur2's in the tests of Apache Kafka (UtilsTest), whose sign is dropped.
func TestPartitioner(t *testing.T) {
	c := newCluster(t)
	m := newMemory(1)
	want := map[string]int32{}
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
	} {
		want[key] = (hash & 0x7fffffff) % partitions
		m.submit(c.n("a"), key)
	}
	c.start(m.instance())
	c.allSent(m)
	for _, r := range c.committed(c.n("a")) {
		if r.Partition != want[string(r.Key)] {
			t.Errorf("key %s in partition %d, want %d", r.Key, r.Partition, want[string(r.Key)])
		}
	}
}

func TestInstancesShareTheShards(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	m := newMemory(4)
	one, two, three := m.instance(), m.instance(), m.instance()
	r1 := c.start(one)
	eventually(t, "the only instance holds all", func() bool { return one.holds() == 4 })
	if n := r1.value("comptoir_outbox_shards_held", ""); n != 4 {
		t.Errorf("the gauge says %v, want 4", n)
	}
	r2 := c.start(two)
	eventually(t, "two share", func() bool { return one.holds() == 2 && two.holds() == 2 })
	c.fill(m, 1000, 100)
	r3 := c.start(three)
	eventually(t, "the third counts", func() bool { n, _ := three.Relays(context.Background()); return n == 3 })
	c.fill(m, 1000, 100)
	r2.stop()
	two.die()
	eventually(t, "the rest is taken over", func() bool { return one.holds() == 2 && three.holds() == 2 })
	c.fill(m, 1000, 100)
	r1.stop()
	one.die()
	eventually(t, "the last one holds all", func() bool { return three.holds() == 4 })
	c.allSent(m)
	if again := c.verify(m); again != 0 {
		t.Errorf("%d messages were sent again although shards changed hands in order", again)
	}
	r3.stop()
	if n := three.holds(); n != 0 {
		t.Errorf("%d shards are held after the stop", n)
	}
}

func TestStop(t *testing.T) {
	c := newCluster(t)
	t.Run("before start", func(t *testing.T) {
		r, err := New(Config{DB: newMemory(1).instance(), Kafka: c.kafka})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := r.Start(context.Background()); err == nil {
			t.Error("started after its stop")
		}
	})
	t.Run("finishes the mark", func(t *testing.T) {
		m := newMemory(1)
		db := m.instance()
		asked, free := make(chan struct{}), make(chan struct{})
		var once sync.Once
		db.onSent = func(ctx context.Context) error { once.Do(func() { close(asked) }); <-free; return ctx.Err() }
		r := c.start(db)
		m.submit(c.n("a"), "k")
		<-asked
		stopped := make(chan struct{})
		go func() { r.stop(); close(stopped) }()
		<-r.quit // the stop has begun
		close(free)
		<-stopped
		if m.unsent() != 0 || db.holds() != 0 {
			t.Errorf("%d unsent, %d shards held after the stop", m.unsent(), db.holds())
		}
		r.stop() // a second time
	})
	t.Run("finishes the mark although others are at rest", func(t *testing.T) {
		m := newMemory(4)
		db := m.instance()
		asked, free := make(chan struct{}), make(chan struct{})
		var once sync.Once
		db.onSent = func(ctx context.Context) error { once.Do(func() { close(asked) }); <-free; return ctx.Err() }
		r := c.start(db)
		eventually(t, "all shards are at work", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.enrolled) == 4
		})
		m.submit(c.n(repeatable), "k")
		<-asked
		stopped := make(chan struct{})
		go func() { r.stop(); close(stopped) }()
		eventually(t, "the others are given up", func() bool { return db.holds() == 1 })
		close(free)
		<-stopped
		if n := r.value("comptoir_outbox_errors_total", ""); n != 0 || m.unsent() != 0 || db.holds() != 0 {
			t.Errorf("%v errors, %d unsent, %d shards held after the stop", n, m.unsent(), db.holds())
		}
	})
	t.Run("gives up with its context", func(t *testing.T) {
		m := newMemory(1)
		db := m.instance()
		asked := make(chan struct{})
		var once sync.Once
		db.onSent = func(ctx context.Context) error { once.Do(func() { close(asked) }); <-ctx.Done(); return ctx.Err() }
		r := c.start(db)
		m.submit(c.n("b"), "k")
		<-asked
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := r.Stop(ctx); err != nil {
			t.Error(err)
		}
		if m.unsent() != 1 || db.holds() != 0 {
			t.Errorf("%d unsent, %d shards held after the stop", m.unsent(), db.holds())
		}
	})
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{Kafka: newCluster(t).kafka}); err == nil {
		t.Error("made without a database")
	}
	if _, err := New(Config{DB: newMemory(1).instance()}); err == nil {
		t.Error("made without brokers")
	}
}

func TestMarkIsTriedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	m := newMemory(1)
	db := m.instance()
	var tries atomic.Int64
	db.onSent = func(context.Context) error {
		if tries.Add(1) <= 3 {
			return errDown
		}
		return nil
	}
	c.fill(m, 300, 7)
	r := c.start(db)
	c.allSent(m)
	if again := c.verify(m); again != 0 {
		t.Errorf("%d messages were sent again by the same holder", again)
	}
	if n := r.value("comptoir_outbox_errors_total", stepMark); n != 3 {
		t.Errorf("%v failed marks counted, want 3", n)
	}
	if w, i := r.log.count("level=WARN"), r.log.count("goes out again"); w != 1 || i != 1 {
		t.Errorf("%d warnings, %d ends of them, want one each", w, i)
	}
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	m := newMemory(2)
	db := &flaky{instance: m.instance()}
	c.fill(m, 100, 7)
	r := c.start(db)
	c.allSent(m)
	db.down.Store(true)
	c.fill(m, 100, 7)
	eventually(t, "the trouble is told", func() bool { return errors.Is(r.Health(), errDown) })
	db.down.Store(false)
	c.allSent(m)
	eventually(t, "the end is told", func() bool { return r.Health() == nil })
	if again := c.verify(m); again != 0 {
		t.Errorf("%d messages were sent again without need", again)
	}
}

// flaky is a database whose reading can fail.
type flaky struct {
	*instance
	down atomic.Bool
}

func (f *flaky) Relays(ctx context.Context) (int, error) {
	if f.down.Load() {
		return 0, errDown
	}
	return f.instance.Relays(ctx)
}

func (f *flaky) Unsent(ctx context.Context, limits map[int]int) (map[int][]orderdb.Message, error) {
	if f.down.Load() {
		return nil, errDown
	}
	return f.instance.Unsent(ctx, limits)
}

// TestFirstRecordOfATopicGoesAhead: as long as the client does not know a topic's
// partitions, nothing may be sent that another record of its key could fail before.
func TestFirstRecordOfATopicGoesAhead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.into = repeatable
	var mu sync.Mutex
	var sizes []int32
	c.fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		var n int32
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range topic.Partitions {
				var b kmsg.RecordBatch
				if err := b.ReadFrom(p.Records); err != nil {
					t.Error(err)
				}
				n += b.NumRecords
			}
		}
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, n)
		return nil, nil, false
	})
	m := newMemory(1)
	c.fill(m, 50, 7)
	c.start(m.instance())
	c.allSent(m)
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(sizes, []int32{1, 49}) {
		t.Errorf("requests of %d records, want 1 and 49", sizes)
	}
}

// TestUnreadableRow: a row that cannot be read stops its shard and no other.
func TestUnreadableRow(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.into = repeatable
	m := newMemory(4)
	db := &damaged{instance: m.instance(), shard: 2}
	r := c.start(db)
	others := func() (es []*enrolled) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, shard := range []int{0, 1, 3} {
			es = append(es, r.enrolled[shard])
		}
		return es
	}
	eventually(t, "all shards are at work", func() bool { return !slices.Contains(others(), nil) && r.has(db.shard) })
	before := others()
	db.on.Store(true)
	c.fill(m, 200, 40)
	here := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		n := 0
		for _, row := range m.rows {
			if !row.sent && row.shard != db.shard {
				n++
			}
		}
		return n
	}
	eventually(t, "the other shards' are sent", func() bool { return here() == 0 })
	c.fill(m, 200, 40)
	eventually(t, "and the next", func() bool { return here() == 0 })
	// Its producer may not have been open yet.
	eventually(t, "the relay tells of it", func() bool { return errors.Is(r.Health(), errDown) })
	if m.unsent() == 0 {
		t.Error("the test tests nothing")
	}
	if !slices.Equal(others(), before) {
		t.Error("others had to begin anew")
	}
}

// damaged is a database with a shard that cannot be read.
type damaged struct {
	*instance
	shard int
	on    atomic.Bool
}

func (d *damaged) Unsent(ctx context.Context, limits map[int]int) (map[int][]orderdb.Message, error) {
	if _, asked := limits[d.shard]; asked && d.on.Load() {
		return nil, errDown
	}
	return d.instance.Unsent(ctx, limits)
}
