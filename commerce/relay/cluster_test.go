package relay

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/test/testenv"
)

// cluster is a Kafka to relay to, under names that no other test uses.
type cluster struct {
	tb    testing.TB
	fake  *kfake.Cluster // nil if real
	kafka kclient.Config
	tag   string
	into  string // the topic that fill fills
}

// onClusters runs a test on the in-process fake and on Apache Kafka.
func onClusters(t *testing.T, f func(t *testing.T, c *cluster)) {
	t.Run("fake", func(t *testing.T) { f(t, newCluster(t)) })
	t.Run("kafka", func(t *testing.T) {
		c := &cluster{tb: t, kafka: kclient.Config{Brokers: strings.Split(testenv.Kafka(t), ",")}}
		c.create()
		f(t, c)
	})
}

// onKinds runs a test on both, with messages that go in transactions and with
// messages of a repeatable topic.
func onKinds(t *testing.T, f func(t *testing.T, c *cluster)) {
	for _, into := range []string{"a", repeatable} {
		t.Run(into, func(t *testing.T) {
			t.Parallel()
			onClusters(t, func(t *testing.T, c *cluster) {
				c.into = into
				f(t, c)
			})
		})
	}
}

// repeatable is the topic whose messages need no transactions.
const repeatable = "r"

func newCluster(tb testing.TB) *cluster {
	tb.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(fake.Close)
	c := &cluster{tb: tb, fake: fake, kafka: kclient.Config{Brokers: fake.ListenAddrs()}}
	c.create()
	return c
}

const partitions = 3

// create makes the topics "a", "b" and "r".
func (c *cluster) create() {
	c.tb.Helper()
	c.into = "a"
	c.createWith(nil)
}

// createWith makes them anew, with settings: a change of those of a topic that is
// there reaches the brokers at some time later.
func (c *cluster) createWith(settings map[string]*string) {
	c.tb.Helper()
	c.tag = fmt.Sprintf("relay-%d-", time.Now().UnixNano())
	cl := c.client()
	defer cl.Close()
	resp, err := kadm.NewClient(cl).CreateTopics(context.Background(), partitions, 1, settings, c.n("a"), c.n("b"), c.n(repeatable))
	if err != nil {
		c.tb.Fatal(err)
	}
	if err := resp.Error(); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *cluster) n(topic string) string { return c.tag + topic }

func (c *cluster) client(opts ...kgo.Opt) *kgo.Client {
	c.tb.Helper()
	cl, err := c.kafka.New(opts...)
	if err != nil {
		c.tb.Fatal(err)
	}
	return cl
}

// running is a relay in a test.
type running struct {
	*Relay
	tb  testing.TB
	reg *prometheus.Registry
	log *logs
}

// start starts a relay, which is stopped when the test ends.
func (c *cluster) start(db DB, opts ...func(*Config)) *running {
	c.tb.Helper()
	x := c.prepare(db, opts...)
	x.start()
	return x
}

// prepare makes a relay that is still to be started.
func (c *cluster) prepare(db DB, opts ...func(*Config)) *running {
	c.tb.Helper()
	x := &running{tb: c.tb, reg: prometheus.NewRegistry(), log: &logs{}}
	cfg := Config{DB: db, Kafka: c.kafka, Registerer: x.reg, Logger: slog.New(slog.NewTextHandler(x.log, nil)),
		Repeatable: func(topic string) bool { return topic == c.n(repeatable) }}
	for _, o := range opts {
		o(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		c.tb.Fatal(err)
	}
	r.prefix = c.tag
	if c.fake != nil {
		r.timeout, r.grace = time.Second, 300*time.Millisecond
	}
	x.Relay = r
	return x
}

func (x *running) start() {
	x.tb.Helper()
	if err := x.Start(context.Background()); err != nil {
		x.tb.Fatal(err)
	}
	x.tb.Cleanup(func() {
		x.stop()
		if x.tb.Failed() {
			x.tb.Logf("the relay's log:\n%s", x.log.buf.String())
		}
	})
}

func (x *running) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := x.Stop(ctx); err != nil {
		x.tb.Error(err)
	}
}

// value adds up a metric, of one label's value if it is not empty.
func (x *running) value(name, label string) float64 {
	families, err := x.reg.Gather()
	if err != nil {
		x.tb.Error(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// logs collects lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), what)
}

// committed returns what a reader of committed records finds in the topics, from
// their starts to their ends now.
func (c *cluster) committed(topics ...string) []*kgo.Record {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cl := c.client(kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
	if err != nil {
		c.tb.Fatal(err)
	}
	type partition struct {
		topic  string
		number int32
	}
	left := map[partition]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[partition{o.Topic, o.Partition}] = o.Offset
		}
	})
	var out []*kgo.Record
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			c.tb.Fatalf("the topics cannot be read to their ends: %v are left", left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			p := partition{r.Topic, r.Partition}
			if r.Offset+1 >= left[p] {
				delete(left, p) // a transaction ends with its marker, which is kept
			}
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
		})
	}
	return out
}

// verify checks what stands in Kafka against what was submitted: each message is
// there at least once; per key, first occurrences are in the order of numbers
// and the last record is the last message; nothing else is there. It returns the
// number of records that were sent again.
func (c *cluster) verify(m *memory) (again int) {
	c.tb.Helper()
	m.mu.Lock()
	rows := m.rows
	m.mu.Unlock()
	type key struct{ topic, key string }
	want := map[key][]string{}
	topics := map[string]bool{}
	for _, r := range rows {
		k := key{r.Topic, string(r.Key)}
		want[k] = append(want[k], string(r.Value))
		topics[r.Topic] = true
	}
	names := make([]string, 0, len(topics))
	for t := range topics {
		names = append(names, t)
	}
	got := map[key][]string{}
	last := map[key]string{}
	seen := map[string]bool{}
	place := map[key]int32{}
	for _, r := range c.committed(names...) {
		k := key{r.Topic, string(r.Key)}
		if p, ok := place[k]; ok && p != r.Partition {
			c.tb.Errorf("key %s stands in partitions %d and %d", k.key, p, r.Partition)
		}
		place[k] = r.Partition
		last[k] = string(r.Value)
		if seen[string(r.Value)] {
			again++
			continue
		}
		seen[string(r.Value)] = true
		got[k] = append(got[k], string(r.Value))
	}
	for k, w := range want {
		if g := strings.Join(got[k], " "); g != strings.Join(w, " ") {
			c.tb.Errorf("key %s of %s:\n got %s\nwant %s", k.key, k.topic, g, strings.Join(w, " "))
		} else if last[k] != w[len(w)-1] {
			c.tb.Errorf("key %s of %s ends with %s, want %s", k.key, k.topic, last[k], w[len(w)-1])
		}
		delete(got, k)
	}
	for k := range got {
		c.tb.Errorf("key %s of %s was never submitted", k.key, k.topic)
	}
	return again
}

// allSent waits until every message is marked.
func (c *cluster) allSent(m *memory) {
	c.tb.Helper()
	eventually(c.tb, "everything is marked as sent", func() bool { return m.unsent() == 0 })
}

// fill submits n messages of k keys.
func (c *cluster) fill(m *memory, n, k int) {
	for i := range n {
		m.submit(c.n(c.into), fmt.Sprintf("k%d", i%k))
	}
}
