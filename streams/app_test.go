package streams

import (
	"context"
	"encoding/binary"
	"errors"
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
	line  bool // what is launched is the line, whatever else is asked for
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

// nearFarAndLine is nearAndFar, and the line on both clusters.
func nearFarAndLine(t *testing.T, f func(t *testing.T, c *cluster)) {
	nearAndFar(t, f)
	t.Run("line", func(t *testing.T) {
		onClusters(t, func(t *testing.T, c *cluster) {
			c.by("line")
			f(t, c)
		})
	})
}

// hops are how records come to the tasks that count them: handed over in memory,
// by a repartition topic, or by a public topic between two Apps of a Chain.
var hops = []string{"near", "far", "line"}

func (c *cluster) by(hop string) { c.near, c.line = hop != "far", hop == "line" }

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
	rest   []*App // of its line
	handed func() float64
	db     *state.DB
	dir    string
	once   sync.Once
}

func (r *runningApp) halt(tb testing.TB) {
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, a := range r.all() {
			if err := a.Stop(ctx); err != nil {
				tb.Error(err)
			}
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
	if err := r.startAll(ctx); err != nil {
		tb.Fatal(err)
	}
}

// startAll starts the Apps of a line at once.
func (r *runningApp) startAll(ctx context.Context) error {
	errs := make(chan error)
	for _, a := range r.all() {
		go func() { errs <- a.Start(ctx) }()
	}
	var err error
	for range r.all() {
		err = errors.Join(err, <-errs)
	}
	return err
}

func (r *runningApp) all() []*App { return append([]*App{r.App}, r.rest...) }

// prepare makes an App without starting it.
func (c *cluster) prepare(dir string, build func(*Builder), opts ...func(*Config)) *runningApp {
	c.tb.Helper()
	if c.line {
		return c.prepareLine(dir, []lineApp{{"app", build}, {"next", c.countingNext}}, opts...)
	}
	return c.prepareLine(dir, []lineApp{{"app", build}}, opts...)
}

// lineApp is an App of a Chain.
type lineApp struct {
	name  string
	build func(*Builder)
}

// prepareLine makes Apps that hand over to each other, without starting them.
func (c *cluster) prepareLine(dir string, apps []lineApp, opts ...func(*Config)) *runningApp {
	c.tb.Helper()
	db, err := state.Open(dir)
	if err != nil {
		c.tb.Fatal(err)
	}
	count, value := metered()
	r := &runningApp{db: db, dir: dir, handed: func() float64 { return value("comptoir_stage_handed_over_records_total", "") }}
	chain := &Chain{}
	for _, a := range apps {
		b := NewBuilder(c.n(a.name))
		a.build(b)
		top, err := b.Build()
		if err != nil {
			c.tb.Fatal(err)
		}
		// With copies, so that every fault meets them as well.
		cfg := Config{Topology: top, Kafka: c.kafka, State: db, Logger: testLog, farOnly: !c.near, StandbyCopies: 1}
		cfg.Kafka.Logger = nil
		if len(apps) > 1 {
			cfg.Chain = chain
			count(&cfg)
		}
		for _, o := range opts {
			o(&cfg)
		}
		app, err := NewApp(cfg)
		if err != nil {
			c.tb.Fatal(err)
		}
		if r.App == nil {
			r.App = app
		} else {
			r.rest = append(r.rest, app)
		}
	}
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
	if c.line {
		c.countingFirst(b)
		return
	}
	moved, again := Repartition(b, "moved", Text, Text, PartitionsOf(c.n("in")))
	out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
	store := NewKeyValue(b, "counts", Text, numberSerde)
	From(b, c.text("in")).To(moved)
	again.Process("count", func(c *Context, r Record[string, string]) {
		n, _ := store.Get(c, r.Key)
		store.Put(c, r.Key, n+1)
		out.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
	}, store, out)
}

// countingFirst and countingNext do what counting does, in two Apps that meet at
// a public topic.
func (c *cluster) countingFirst(b *Builder) {
	mid := To(b, c.text("mid"))
	seen := NewKeyValue(b, "seen", Text, numberSerde)
	From(b, c.text("in")).Process("pass", func(c *Context, r Record[string, string]) {
		n, _ := seen.Get(c, r.Key)
		seen.Put(c, r.Key, n+1)
		mid.Send(c, r)
	}, seen, mid)
}

func (c *cluster) countingNext(b *Builder) {
	out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
	store := NewKeyValue(b, "counts", Text, numberSerde)
	From(b, c.text("mid")).Process("count", func(c *Context, r Record[string, string]) {
		n, _ := store.Get(c, r.Key)
		store.Put(c, r.Key, n+1)
		out.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
	}, store, out)
}

func (c *cluster) text(name string) Topic[string, string] {
	return Topic[string, string]{Name: c.n(name), Key: Text, Value: Text}
}

// countingLag is the lag of the counting topology, or of the line.
func (c *cluster) countingLag() int64 {
	if !c.line {
		return c.lag("app", "in", "app-moved-repartition")
	}
	app, next := c.lag("app", "in"), c.lag("next", "mid")
	if app < 0 || next < 0 {
		return -1
	}
	return app + next
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

func TestAppCountsExactlyOnceOverRestarts(t *testing.T) { nearFarAndLine(t, countOverRestarts) }

func countOverRestarts(t *testing.T, c *cluster) {
	c.countingTopics()
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
	c.eventually("lag 0, markers included", func() bool { return c.countingLag() == 0 })
	app.halt(t)
}
