package streams

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/streams/state"
	"github.com/comptoir/comptoir/test/testenv"
)

// cluster is a broker for a test: Apache Kafka when the environment names one,
// else an in-process fake.
type cluster struct {
	tb    testing.TB
	kafka kclient.Config
	fake  *kfake.Cluster
	cl    *kgo.Client
	adm   *kadm.Client
	tag   string
	near  bool // repartition records may be handed over in memory
}

// onClusters runs a test on the in-process fake and, when COMPTOIR_TEST_KAFKA
// names one, on Apache Kafka, under names of its own. In CI it must name one.
func onClusters(t *testing.T, f func(t *testing.T, c *cluster)) {
	t.Run("fake", func(t *testing.T) { f(t, newCluster(t)) })
	t.Run("kafka", func(t *testing.T) { f(t, realCluster(t)) })
}

// nearAndFar runs a test with repartition records handed over in memory, on both
// clusters, and with all of them sent through their topics, on the fake.
func nearAndFar(t *testing.T, f func(t *testing.T, c *cluster)) {
	t.Run("near", func(t *testing.T) {
		onClusters(t, func(t *testing.T, c *cluster) {
			c.near = true
			f(t, c)
		})
	})
	t.Run("far", func(t *testing.T) { f(t, newCluster(t)) })
}

func hops(near bool) string {
	if near {
		return "near"
	}
	return "far"
}

func realCluster(tb testing.TB) *cluster {
	tb.Helper()
	boot := testenv.Kafka(tb)
	c := &cluster{tb: tb, kafka: kclient.Config{Brokers: strings.Split(boot, ",")}, tag: fmt.Sprintf("t%d-", time.Now().UnixNano())}
	c.open()
	return c
}

// n is a name that no other test on the cluster uses.
func (c *cluster) n(name string) string { return c.tag + name }

func newCluster(tb testing.TB, opts ...kfake.Opt) *cluster {
	tb.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100"})}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(fake.Close)
	c := &cluster{tb: tb, fake: fake, kafka: kclient.Config{Brokers: fake.ListenAddrs()}}
	c.open()
	return c
}

func (c *cluster) open() {
	var err error
	c.cl, err = c.kafka.New(kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitioner)))
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(c.cl.Close)
	c.adm = kadm.NewClient(c.cl)
}

func (c *cluster) topic(name string, partitions int32) {
	c.tb.Helper()
	if _, err := c.adm.CreateTopic(context.Background(), partitions, 1, nil, c.n(name)); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *cluster) produce(topic string, n int, key func(i int) string) {
	c.tb.Helper()
	recs := make([]*kgo.Record, n)
	for i := range recs {
		recs[i] = &kgo.Record{Topic: c.n(topic), Partition: -1, Key: []byte(key(i)), Value: fmt.Appendf(nil, "%d", i)}
	}
	if err := c.cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		c.tb.Fatal(err)
	}
}

// read returns the first n committed records of a topic; it fails the test when
// they do not come.
func (c *cluster) read(topic string, n int) []*kgo.Record {
	c.tb.Helper()
	cl, err := c.kafka.New(kgo.ConsumeTopics(c.n(topic)), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		c.tb.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var out []*kgo.Record
	for len(out) < n {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			c.tb.Fatalf("topic %s: %d records, want %d", topic, len(out), n)
		}
		out = append(out, f.Records()...)
	}
	return out
}

func (c *cluster) eventually(what string, f func() bool) {
	c.tb.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			c.tb.Fatalf("not reached: %s", what)
		case <-tick.C:
		}
	}
}

// lag is the group's lag over its topics, markers counted.
func (c *cluster) lag(group string, names ...string) int64 {
	c.tb.Helper()
	topics := make([]string, len(names))
	for i := range topics {
		topics[i] = c.n(names[i])
	}
	offs, err := c.adm.FetchOffsets(context.Background(), c.n(group))
	if err != nil {
		return -1
	}
	ends, err := c.adm.ListEndOffsets(context.Background(), topics...)
	if err != nil {
		return -1
	}
	var lag int64
	ends.Each(func(o kadm.ListedOffset) {
		at := int64(0)
		if r, ok := offs.Lookup(o.Topic, o.Partition); ok {
			at = r.At
		}
		lag += o.Offset - at
	})
	return lag
}

var testLog = func() *slog.Logger {
	if os.Getenv("STREAMS_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}()

type runningApp struct {
	*App
	db   *state.DB
	dir  string
	once sync.Once
}

func (r *runningApp) halt(tb testing.TB) {
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			tb.Error(err)
		}
		if err := r.db.Close(); err != nil {
			tb.Error(err)
		}
	})
}

// launch starts an App on a state directory and returns once it is at work.
func (c *cluster) launch(dir string, build func(*Builder), opts ...func(*Config)) *runningApp {
	c.tb.Helper()
	r := c.prepare(dir, build, opts...)
	r.begin(c.tb)
	return r
}

// begin starts an App that is prepared and returns once it is at work.
func (r *runningApp) begin(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := r.Start(ctx); err != nil {
		tb.Fatal(err)
	}
}

// prepare makes an App without starting it.
func (c *cluster) prepare(dir string, build func(*Builder), opts ...func(*Config)) *runningApp {
	c.tb.Helper()
	b := NewBuilder(c.n("app"))
	build(b)
	top, err := b.Build()
	if err != nil {
		c.tb.Fatal(err)
	}
	db, err := state.Open(dir)
	if err != nil {
		c.tb.Fatal(err)
	}
	// With copies, so that every fault meets them as well.
	cfg := Config{Topology: top, Kafka: c.kafka, State: db, Logger: testLog, farOnly: !c.near, StandbyCopies: 1}
	cfg.Kafka.Logger = nil
	for _, o := range opts {
		o(&cfg)
	}
	app, err := NewApp(cfg)
	if err != nil {
		c.tb.Fatal(err)
	}
	r := &runningApp{App: app, db: db, dir: dir}
	c.tb.Cleanup(func() { r.halt(c.tb) })
	return r
}

var numberSerde = Serde[uint64]{
	Append: func(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) },
	Parse:  func(d []byte) (uint64, error) { v, _ := binary.Uvarint(d); return v, nil },
}

// counting counts each key of "in" after a repartition, and writes the counts to
// "out": any record handled twice, or not, shows there.
func (c *cluster) counting(b *Builder) {
	moved, again := Repartition(b, "moved", Text, Text, PartitionsOf(c.n("in")))
	out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
	store := NewKeyValue(b, "counts", Text, numberSerde)
	From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).To(moved)
	again.Process("count", func(c *Context, r Record[string, string]) {
		n, _ := store.Get(c, r.Key)
		store.Put(c, r.Key, n+1)
		out.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
	}, store, out)
}

// verifyCounts fails unless every key's counts are 1, 2, … each once, in order.
func (c *cluster) verifyCounts(total int) {
	c.tb.Helper()
	last := map[string]uint64{}
	for _, r := range c.read("out", total) {
		n, _ := binary.Uvarint(r.Value)
		if n != last[string(r.Key)]+1 {
			c.tb.Fatalf("key %s: count %d follows %d", r.Key, n, last[string(r.Key)])
		}
		last[string(r.Key)] = n
	}
	var sum uint64
	for _, n := range last {
		sum += n
	}
	if sum != uint64(total) {
		c.tb.Fatalf("counts sum up to %d, want %d", sum, total)
	}
}

func TestAppCountsExactlyOnceOverRestarts(t *testing.T) { nearAndFar(t, countOverRestarts) }

func countOverRestarts(t *testing.T, c *cluster) {
	c.topic("in", 3)
	c.topic("out", 3)
	dir := t.TempDir()
	key := func(i int) string { return fmt.Sprintf("k%d", i%17) }
	total := 0
	for range 3 {
		app := c.launch(dir, c.counting)
		c.produce("in", 1000, key)
		total += 1000
		c.read("out", total)
		app.halt(t)
	}
	// On another machine: the state comes from the changelog.
	app := c.launch(t.TempDir(), c.counting)
	c.produce("in", 1000, key)
	total += 1000
	c.verifyCounts(total)
	c.eventually("lag 0, markers included", func() bool { return c.lag("app", "in", "app-moved-repartition") == 0 })
	app.halt(t)
}
