package connect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
)

type kgoRecord = kgo.Record

func newCluster(t *testing.T, partitions int32, topics ...string) (*kfake.Cluster, kclient.Config) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, kclient.Config{Brokers: c.ListenAddrs()}
}

// eventually waits for a condition, and fails with what it last said.
func eventually(t *testing.T, what string, cond func() error) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// memory is a system to write to that can be told to misbehave.
type memory struct {
	mu     sync.Mutex
	rows   []string
	offset map[TopicPartition]int64
	down   error
	refuse string // a value that is refused
	puts   int
}

func (m *memory) set(f func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

func (m *memory) values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.rows...)
}

// memorySink writes into a memory without offsets of its own; ownerSink adds
// them.
type memorySink struct {
	m  *memory
	tc TaskContext
}

type ownerSink struct{ memorySink }

func (memorySink) Start(context.Context) error { return nil }
func (memorySink) Stop(context.Context) error  { return nil }

func (s memorySink) Put(ctx context.Context, batch []*Record) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.puts++
	if s.m.down != nil {
		return s.m.down
	}
	for _, r := range batch {
		if !r.Skip {
			if string(r.RawValue) == s.m.refuse {
				if err := s.tc.Report(ctx, r, errors.New("refused by the test")); err != nil {
					return err
				}
			} else {
				s.m.rows = append(s.m.rows, string(r.RawValue))
			}
		}
		s.m.offset[r.TopicPartition] = r.Offset + 1
	}
	return nil
}

func (s ownerSink) Assign(_ context.Context, parts []Assignment) (map[TopicPartition]int64, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.down != nil {
		return nil, s.m.down
	}
	out := make(map[TopicPartition]int64)
	for _, a := range parts {
		at, ok := s.m.offset[a.TopicPartition]
		if !ok {
			at = a.Start
		}
		out[a.TopicPartition], s.m.offset[a.TopicPartition] = at, at
	}
	return out, nil
}

func (s ownerSink) Offsets(context.Context) (map[TopicPartition]int64, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return maps.Clone(s.m.offset), nil
}

func (s ownerSink) SetOffsets(_ context.Context, offsets map[TopicPartition]int64) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for tp, at := range offsets {
		if at < 0 {
			delete(s.m.offset, tp)
		} else {
			s.m.offset[tp] = at
		}
	}
	return nil
}

func newMemory() *memory { return &memory{offset: make(map[TopicPartition]int64)} }

func (m *memory) plugins() []Plugin {
	options := []Option{
		{Name: "needed", Type: TypeString, Required: true, Importance: High, Group: "Test", Doc: "Must be there."},
		{Name: "level", Type: TypeInt, Default: "3", Min: 1, Importance: Low, Group: "Test", Doc: "A number."},
		{Name: "secret", Type: TypePassword, Importance: Low, Group: "Test", Doc: "Hidden.", Validate: func(v string) error {
			if v == "bad" {
				return errors.New("too weak")
			}
			return nil
		}},
	}
	return []Plugin{
		{Class: "org.example.MemorySinkConnector", TaskClass: "org.example.MemorySinkTask", Version: "1", Options: options,
			NewSink: func(tc TaskContext) (Sink, error) { return ownerSink{memorySink{m, tc}}, nil }},
		{Class: "org.example.PlainSinkConnector", TaskClass: "org.example.PlainSinkTask", Version: "1", Options: options,
			NewSink: func(tc TaskContext) (Sink, error) { return memorySink{m, tc}, nil }},
	}
}

func startWorker(t *testing.T, kafka kclient.Config, plugins []Plugin, change ...func(*Config)) *Worker {
	t.Helper()
	cfg := Config{Kafka: kafka, Plugins: plugins, WorkerID: "worker-1", ReplicationFactor: 1}
	for _, f := range change {
		f(&cfg)
	}
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

func put(t *testing.T, w *Worker, name string, config map[string]string) {
	t.Helper()
	base := map[string]string{"connector.class": "MemorySink", "topics": "in", "needed": "yes"}
	maps.Copy(base, config)
	if _, err := w.Put(t.Context(), name, base); err != nil {
		t.Fatal(err)
	}
}

func produce(t *testing.T, kafka kclient.Config, topic string, partition int32, values ...string) {
	t.Helper()
	cl, err := kafka.New(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i, v := range values {
		r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k" + strconv.Itoa(i)), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}}}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func wantRows(t *testing.T, m *memory, want ...string) {
	t.Helper()
	eventually(t, "rows", func() error {
		if got := fmt.Sprint(m.values()); got != fmt.Sprint(want) {
			return fmt.Errorf("are %s, want %v", got, want)
		}
		return nil
	})
}

func wantTask(t *testing.T, w *Worker, name string, state State, trace string) TaskStatus {
	t.Helper()
	var found TaskStatus
	eventually(t, "state of "+name, func() error {
		for _, st := range w.Status() {
			if st.Name != name {
				continue
			}
			for _, task := range st.Tasks {
				if task.State == state && containsText(task.Trace, trace) {
					found = task
					return nil
				}
			}
			return fmt.Errorf("is %+v, want %s with %q", st, state, trace)
		}
		return errors.New("there is no such connector")
	})
	return found
}

// lag is what Kafka's tools would show, up to the end of the log.
func lag(t *testing.T, kafka kclient.Config, group, topic string) (int64, error) {
	t.Helper()
	cl, err := kafka.New()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ends, err := adm.ListEndOffsets(t.Context(), topic)
	if err != nil {
		return 0, err
	}
	committed, err := adm.FetchOffsets(t.Context(), group)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for p, end := range ends[topic] {
		at := int64(0)
		if o, ok := committed.Lookup(topic, p); ok && o.At > 0 {
			at = o.At
		}
		total += end.Offset - at
	}
	return total, nil
}

func wantLag0(t *testing.T, kafka kclient.Config, group, topic string) {
	t.Helper()
	eventually(t, "lag of "+group, func() error {
		n, err := lag(t, kafka, group, topic)
		if err == nil && n != 0 {
			err = fmt.Errorf("is %d", n)
		}
		return err
	})
}
