package track

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
)

// testLog shows what happens with -v.
var testLog = func() *slog.Logger {
	if slices.Contains(os.Args, "-test.v=true") {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}()

// cluster is a Kafka with all topics, real or not.
type cluster struct {
	tb    testing.TB
	fake  *kfake.Cluster // nil if it is a real one
	kafka kclient.Config
	cl    *kgo.Client
	adm   *kadm.Client
}

func newCluster(tb testing.TB, partitions int32, opts ...kfake.Opt) *cluster {
	tb.Helper()
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...),
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100"})}, opts...)
	fake, err := kfake.NewCluster(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(fake.Close)
	c := &cluster{tb: tb, fake: fake, kafka: kclient.Config{Brokers: fake.ListenAddrs()}}
	c.connect()
	return c
}

func (c *cluster) connect() {
	c.tb.Helper()
	var err error
	if c.cl, err = c.kafka.New(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10*time.Millisecond)); err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(c.cl.Close)
	c.adm = kadm.NewClient(c.cl)
}

func (c *cluster) send(recs ...*kgo.Record) {
	c.tb.Helper()
	if err := c.cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		c.tb.Fatal(err)
	}
}

// sendBulky writes records as they are, 64 KiB at a time, so that reading them
// takes as many fetches as they have bytes.
func (c *cluster) sendBulky(recs []*kgo.Record) {
	c.tb.Helper()
	c.sendAs(recs, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(64<<10))
}

// sendTogether writes records in batches as large as may be.
func (c *cluster) sendTogether(recs []*kgo.Record) {
	c.tb.Helper()
	c.sendAs(recs, kgo.ProducerLinger(time.Second), kgo.MaxBufferedRecords(len(recs)+1))
}

func (c *cluster) sendAs(recs []*kgo.Record, opts ...kgo.Opt) {
	c.tb.Helper()
	cl, err := c.kafka.New(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		c.tb.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		c.tb.Fatal(err)
	}
}

// transact writes records in one transaction.
func (c *cluster) transact(id string, commit bool, recs ...*kgo.Record) {
	c.tb.Helper()
	cl, err := c.kafka.New(kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		c.tb.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		c.tb.Fatal(err)
	}
	if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		c.tb.Fatal(err)
	}
	if err := kclient.EndTransaction(context.Background(), cl, kgo.TransactionEndTry(commit), slices.Values(recs)); err != nil {
		c.tb.Fatal(err)
	}
}

// lag is nil if the group's committed offsets equal the ends of all partitions.
func (c *cluster) lag() error {
	committed, err := c.adm.FetchOffsets(context.Background(), Group)
	if err != nil {
		return err
	}
	ends, err := c.adm.ListEndOffsets(context.Background(), topics...)
	if err != nil {
		return err
	}
	ends.Each(func(e kadm.ListedOffset) {
		o, ok := committed.Lookup(e.Topic, e.Partition)
		if (!ok || o.At != e.Offset) && err == nil {
			err = fmt.Errorf("%s/%d: committed %d (%v), end %d", e.Topic, e.Partition, o.At, ok, e.Offset)
		}
	})
	return err
}

// start runs a Tracker until the test ends or stop is called.
func (c *cluster) start(db DB, change ...func(*Config)) (t *Tracker, stop func()) {
	c.tb.Helper()
	cfg := Config{Kafka: c.kafka, DB: db, Logger: testLog, checkInterval: 300 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	t, err := New(cfg)
	if err != nil {
		c.tb.Fatal(err)
	}
	if err := t.Start(context.Background()); err != nil {
		c.tb.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := t.Stop(ctx); err != nil {
			c.tb.Error(err)
		}
	})
	c.tb.Cleanup(stop)
	return t, stop
}

// eventually waits for a condition, and fails with what it last said.
func eventually(tb testing.TB, what string, cond func() error) {
	tb.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("%s: %v", what, err)
		}
	}
}

// memory is an order database of this package's needs.
type memory struct {
	mu           sync.Mutex
	positions    map[orderdb.Partition]orderdb.Position
	entries      map[event.ID][]orderdb.Entry
	levels       map[event.ID]orderdb.Level
	products     map[event.ID]event.Product
	states       map[event.ID]orderdb.State
	applied      int
	most         int // orders in a batch
	mostProducts int
	down         error         // every call fails
	after        error         // the next Apply succeeds, and fails
	block        chan struct{} // Apply waits for it
	blocked      chan struct{} // and says so
	forgotten    []orderdb.Partition
}

func newMemory() *memory {
	return &memory{positions: map[orderdb.Partition]orderdb.Position{}, entries: map[event.ID][]orderdb.Entry{},
		levels: map[event.ID]orderdb.Level{}, products: map[event.ID]event.Product{}, states: map[event.ID]orderdb.State{}}
}

func (m *memory) set(f func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

func (m *memory) Positions(context.Context) (map[orderdb.Partition]orderdb.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.positions), m.down
}

func (m *memory) Apply(_ context.Context, b orderdb.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.block != nil {
		block := m.block
		m.block = nil
		close(m.blocked)
		m.mu.Unlock()
		<-block
		m.mu.Lock()
	}
	if m.down != nil {
		return m.down
	}
	if len(b.From) != len(b.To) || len(b.To) == 0 {
		return errors.New("positions from and to are not of the same partitions")
	}
	for p, from := range b.From {
		if m.positions[p] != from {
			return orderdb.ErrMoved
		}
	}
	for p, to := range b.To {
		if to.Next <= m.positions[p].Next {
			return fmt.Errorf("%v goes from %v to %v", p, m.positions[p], to)
		}
		m.positions[p] = to
	}
	for _, o := range b.Orders {
		m.entries[o.ID] = append(append(m.entries[o.ID], o.Entry), o.More...)
		m.states[o.ID] = max(m.states[o.ID], o.State)
	}
	for _, l := range b.Levels {
		m.levels[l.Product] = l
	}
	for _, p := range b.Products {
		m.products[p.ID] = p
	}
	m.applied++
	m.most, m.mostProducts = max(m.most, len(b.Orders)), max(m.mostProducts, len(b.Products))
	err := m.after
	m.after = nil
	return err
}

func (m *memory) Forget(_ context.Context, p orderdb.Partition, to orderdb.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return m.down
	}
	for id, es := range m.entries {
		m.entries[id] = slices.DeleteFunc(es, func(e orderdb.Entry) bool {
			return e.Topic == p.Topic && e.Partition == p.Partition && e.Offset >= to.Next
		})
	}
	m.positions[p] = to
	m.forgotten = append(m.forgotten, p)
	return nil
}

// hold has the next Apply wait for release; held tells whether it does.
func (m *memory) hold() (held func() bool, release func()) {
	block, blocked := make(chan struct{}), make(chan struct{})
	m.set(func(m *memory) { m.block, m.blocked = block, blocked })
	held = func() bool {
		select {
		case <-blocked:
			return true
		default:
			return false
		}
	}
	return held, sync.OnceFunc(func() { close(block) })
}

// pressure is that of the stages on a Tracker, from when begun is true, until it
// is eased.
type pressure struct {
	begun func() bool
	looks atomic.Int32
	eased atomic.Bool
}

func (p *pressure) yield() bool {
	if !p.begun() {
		return false
	}
	p.looks.Add(1)
	return !p.eased.Load()
}

// looked waits until the Tracker has looked some times more.
func (p *pressure) looked(tb testing.TB, when string) {
	tb.Helper()
	p.looks.Store(0)
	eventually(tb, "some looks "+when, func() error {
		if n := p.looks.Load(); n < 5 {
			return fmt.Errorf("%d looks", n)
		}
		return nil
	})
}

// timelines returns a sorted copy of all entries, without times.
func (m *memory) timelines() map[event.ID][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[event.ID][]string{}
	for id, es := range m.entries {
		for _, e := range es {
			out[id] = append(out[id], where(e.Topic, e.Partition, e.Offset))
		}
		slices.Sort(out[id])
	}
	return out
}

func where(topic string, partition int32, offset int64) string {
	return fmt.Sprintf("%s/%d/%06d", topic, partition, offset)
}

// sameTimelines compares what was tracked with what a scan finds.
func sameTimelines(got, want map[event.ID][]string) error {
	for id, w := range want {
		if !slices.Equal(got[id], w) {
			return fmt.Errorf("timeline of %q is %v, a scan finds %v", id, got[id], w)
		}
	}
	for id, g := range got {
		if len(g) > 0 && want[id] == nil {
			return fmt.Errorf("timeline of %q is %v, a scan finds nothing", id, g)
		}
	}
	return nil
}
