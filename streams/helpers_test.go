package streams

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/internal/kclient"
)

// session is the shortest session that the cluster allows.
func (c *cluster) session() time.Duration {
	if c.fake != nil {
		return 500 * time.Millisecond
	}
	return 6 * time.Second
}

func (c *cluster) shortSession(cfg *Config) { cfg.SessionTimeout = c.session() }

// metered is an option that gives an App metrics of its own, and a function that
// reads one of its counters or gauges.
func metered() (func(*Config), func(name, label string) float64) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	value := func(name, label string) float64 {
		families, err := reg.Gather()
		if err != nil {
			return -1
		}
		sum := 0.0
		for _, f := range families {
			if f.GetName() != name {
				continue
			}
			for _, m := range f.GetMetric() {
				match := label == ""
				for _, l := range m.GetLabel() {
					match = match || l.GetValue() == label
				}
				if match {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		return sum
	}
	return func(c *Config) { c.Metrics = m }, value
}

const txnMetric = "comptoir_stage_transactions_total"

// logs is a slog handler that a test can wait on.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) use(c *Config)                            { c.Logger = slog.New(l) }
func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return testLog.Handler().Handle(context.Background(), r)
}

// count is how many lines hold all the words.
func (l *logs) count(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

// transact writes records in a transaction of a foreign producer and leaves it
// open; the function that is returned ends it.
func (c *cluster) transact(id string, recs ...*kgo.Record) (end func(commit bool)) {
	c.tb.Helper()
	cl, err := c.kafka.New(kgo.TransactionalID(c.n(id)), kgo.TransactionTimeout(60*time.Second),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitioner)))
	if err != nil {
		c.tb.Fatal(err)
	}
	if err := cl.BeginTransaction(); err != nil {
		c.tb.Fatal(err)
	}
	if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		c.tb.Fatal(err)
	}
	var once sync.Once
	end = func(commit bool) {
		once.Do(func() {
			defer cl.Close()
			if err := kclient.EndTransaction(context.Background(), cl, kgo.TransactionEndTry(commit), slices.Values(recs)); err != nil {
				c.tb.Error(err)
			}
		})
	}
	c.tb.Cleanup(func() { end(false) })
	return end
}

// rec is a record of a topic; partition -1 means that of the key.
func (c *cluster) rec(topic string, partition int32, key, value string) *kgo.Record {
	return &kgo.Record{Topic: c.n(topic), Partition: partition, Key: []byte(key), Value: []byte(value)}
}

func (c *cluster) send(recs ...*kgo.Record) {
	c.tb.Helper()
	if err := c.cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		c.tb.Fatal(err)
	}
}

// committed returns what the group holds for a partition; offset -1 is nothing.
func (c *cluster) committed(topic string, partition int32) (int64, string) {
	c.tb.Helper()
	offs, err := c.adm.FetchOffsets(context.Background(), c.n("app"))
	if err != nil {
		return -1, ""
	}
	o, ok := offs.Lookup(c.n(topic), partition)
	if !ok {
		return -1, ""
	}
	return o.At, o.Metadata
}

// commitAs sets the group's offset of a partition from outside.
func (c *cluster) commitAs(topic string, partition int32, at int64, metadata string) {
	c.tb.Helper()
	var offs kadm.Offsets
	offs.Add(kadm.Offset{Topic: c.n(topic), Partition: partition, At: at, LeaderEpoch: -1, Metadata: metadata})
	if err := c.adm.CommitAllOffsets(context.Background(), c.n("app"), offs); err != nil {
		c.tb.Fatal(err)
	}
}

// end is the end offset of a partition, markers and open transactions included.
func (c *cluster) end(topic string, partition int32) int64 {
	c.tb.Helper()
	ends, err := c.adm.ListEndOffsets(context.Background(), c.n(topic))
	if err != nil {
		return -1
	}
	o, _ := ends.Lookup(c.n(topic), partition)
	return o.Offset
}

// values returns the values of a topic's first n committed records.
func (c *cluster) values(topic string, n int) []string {
	c.tb.Helper()
	var out []string
	for _, r := range c.read(topic, n) {
		out = append(out, string(r.Value))
	}
	return out
}

// storedCounts reads the store "counts" from an App's local state, as it is on
// disk, over all partitions.
func storedCounts(c *cluster, r *runningApp, partitions int32) map[string]uint64 {
	c.tb.Helper()
	got := map[string]uint64{}
	prefix := appendStoreName(nil, "counts")
	for p := range partitions {
		space, err := r.db.Space(c.n("app"), "state", p)
		if err != nil {
			c.tb.Fatal(err)
		}
		err = r.db.Scan(space, prefix, func(k, v []byte) bool {
			name, ok := strings.CutPrefix(string(k), string(prefix))
			if !ok {
				return false
			}
			got[name], _ = binary.Uvarint(v)
			return true
		})
		if err != nil {
			c.tb.Fatal(err)
		}
	}
	return got
}

// all returns every committed record of a topic up to its end now.
func (c *cluster) all(topic string) []*kgo.Record {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	starts, err := c.adm.ListStartOffsets(ctx, c.n(topic))
	if err != nil {
		c.tb.Fatal(err)
	}
	stable, err := c.adm.ListCommittedOffsets(ctx, c.n(topic))
	if err != nil {
		c.tb.Fatal(err)
	}
	positions, ends := map[partitionKey]int64{}, map[partitionKey]int64{}
	starts.Each(func(o kadm.ListedOffset) { positions[partitionKey{o.Topic, o.Partition}] = o.Offset })
	stable.Each(func(o kadm.ListedOffset) { ends[partitionKey{o.Topic, o.Partition}] = o.Offset })
	cl, err := c.kafka.New(append(readerOptions(), kgo.ConsumeTopics(c.n(topic)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		c.tb.Fatal(err)
	}
	defer cl.Close()
	var out []*kgo.Record
	err = readTo(ctx, cl, positions, ends, func(r *kgo.Record) error { out = append(out, r); return nil }, nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	return out
}

// atRest waits until the counting topology has done all n records of "in" and
// fails unless "out" is what a run without faults writes: every key's counts
// 1, 2, … each once, in order, n in all, and nothing else.
func (c *cluster) atRest(n int) {
	c.tb.Helper()
	c.read("out", n)
	c.eventually("lag 0, markers included", func() bool { return c.countingLag() == 0 })
	if got := len(c.all("out")); got != n {
		c.tb.Fatalf("%d committed outputs, want %d", got, n)
	}
	c.verifyCounts(n)
}

// echo copies "in" to "out", with a store that holds how many records each task
// has seen: the value written is that number and the record's value.
func (c *cluster) echo(b *Builder) {
	out := To(b, Topic[string, string]{Name: c.n("out"), Key: Text, Value: Text})
	store := NewKeyValue(b, "seen", Text, numberSerde)
	From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("echo", func(c *Context, r Record[string, string]) {
		n, _ := store.Get(c, "n")
		store.Put(c, "n", n+1)
		out.Send(c, Record[string, string]{Key: r.Key, Value: fmt.Sprintf("%d:%s", n+1, r.Value)})
	}, store, out)
}

// kill ends an App whose network is cut the way a crash does: it neither commits
// nor leaves the group. Only then is its state directory free for another.
func (r *runningApp) kill() {
	r.once.Do(func() {
		for _, a := range r.all() {
			a.cancel()
		}
		for _, a := range r.all() {
			<-a.done
			a.cancel = nil
		}
		_ = r.db.Close()
	})
}

// decode reads a request from its frame.
func decode(frame []byte) (kmsg.Request, error) {
	req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(frame[4:])))
	if req == nil {
		return nil, fmt.Errorf("unknown request")
	}
	req.SetVersion(int16(binary.BigEndian.Uint16(frame[6:])))
	rest := frame[12:]
	if n := int16(binary.BigEndian.Uint16(rest)); n > 0 {
		rest = rest[n:]
	}
	rest = rest[2:]
	if req.IsFlexible() {
		rest = rest[1:] // no tags
	}
	return req, req.ReadFrom(rest)
}

// requests collects the requests of some keys that an App sends.
type requests struct {
	mu  sync.Mutex
	all []kmsg.Request
}

func (n *faultNet) collect(keys ...kmsg.Key) *requests {
	rs := &requests{}
	n.observe(func(key int16, frame []byte) {
		if !slices.Contains(keys, kmsg.Key(key)) {
			return
		}
		req, err := decode(frame)
		if err != nil {
			n.tb.Errorf("%s: %v", kmsg.NameForKey(key), err)
			return
		}
		rs.mu.Lock()
		defer rs.mu.Unlock()
		rs.all = append(rs.all, req)
	})
	return rs
}

// of returns the requests of a type so far.
func of[T kmsg.Request](rs *requests) []T {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var out []T
	for _, r := range rs.all {
		if t, ok := r.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// bare is a topology of one operator that handles "in" and writes to "out".
func (c *cluster) bare(b *Builder, fn func(*Context, Record[string, string], *Output[string, string])) {
	out := To(b, Topic[string, string]{Name: c.n("out"), Key: Text, Value: Text})
	From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("do", func(c *Context, r Record[string, string]) { fn(c, r, out) }, out)
}
