package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/internal/kclient"

	"github.com/twmb/franz-go/pkg/kadm"
)

func containsText(s, part string) bool { return strings.Contains(s, part) }

func TestRunsAndCommits(t *testing.T) {
	for _, class := range []string{"MemorySink", "PlainSink"} {
		t.Run(class, func(t *testing.T) {
			_, kafka := newCluster(t, 1, "in")
			m := newMemory()
			w := startWorker(t, kafka, m.plugins())
			produce(t, kafka, "in", 0, `{"n":1}`, `{"n":2}`)
			put(t, w, "a", map[string]string{"connector.class": class})
			wantRows(t, m, `{"n":1}`, `{"n":2}`)
			produce(t, kafka, "in", 0, `{"n":3}`)
			wantRows(t, m, `{"n":1}`, `{"n":2}`, `{"n":3}`)
			wantLag0(t, kafka, "connect-a", "in")
		})
	}
}

func TestLagIsZeroBehindTransactionMarkers(t *testing.T) {
	_, kafka := newCluster(t, 1, "in")
	m := newMemory()
	w := startWorker(t, kafka, m.plugins())
	put(t, w, "a", nil)
	cl, err := kafka.New(kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("in"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		r := &kgo.Record{Value: fmt.Appendf(nil, `{"n":%d}`, i)}
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := kclient.EndTransaction(t.Context(), cl, end, slices.Values([]*kgo.Record{r})); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, m, `{"n":0}`, `{"n":2}`)
	wantLag0(t, kafka, "connect-a", "in")
}

func TestRetriableErrorRedeliversAndHeals(t *testing.T) {
	_, kafka := newCluster(t, 1, "in")
	m, other := newMemory(), newMemory()
	m.down = Retriable(errors.New("the database sleeps; wake it"))
	plugins := m.plugins()
	healthy := other.plugins()[0]
	healthy.Class = "org.example.HealthySinkConnector"
	w := startWorker(t, kafka, append(plugins, healthy))
	produce(t, kafka, "in", 0, `{"n":1}`)
	put(t, w, "a", nil)
	put(t, w, "b", map[string]string{"connector.class": "HealthySink"})
	wantTask(t, w, "a", StateRunning, "the database sleeps; wake it")
	wantRows(t, other, `{"n":1}`) // nobody else waits
	m.set(func(m *memory) { m.down = nil })
	wantRows(t, m, `{"n":1}`)
	eventually(t, "trace", func() error {
		if tr := w.Status()[0].Tasks[0].Trace; tr != "" {
			return errors.New("still " + tr)
		}
		return nil
	})
	// Again, now in the middle of the work.
	m.set(func(m *memory) { m.down = Retriable(errors.New("asleep again")); m.puts = 0 })
	produce(t, kafka, "in", 0, `{"n":2}`)
	eventually(t, "attempts", func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.puts < 2 {
			return fmt.Errorf("%d", m.puts)
		}
		return nil
	})
	m.set(func(m *memory) { m.down = nil })
	wantRows(t, m, `{"n":1}`, `{"n":2}`)
	wantLag0(t, kafka, "connect-a", "in")
}

func TestRefusedRecordFailsTheTaskAndRestartRetries(t *testing.T) {
	tests := []struct{ name, value, trace string }{
		{"by the converter", `{"n":`, "topic in partition 0 offset 1: value: invalid JSON at byte 5"},
		{"by the sink", `{"n":"bad"}`, "topic in partition 0 offset 1: refused by the test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, kafka := newCluster(t, 1, "in")
			m := newMemory()
			m.refuse = `{"n":"bad"}`
			w := startWorker(t, kafka, m.plugins())
			produce(t, kafka, "in", 0, `{"n":1}`, tt.value, `{"n":3}`)
			put(t, w, "a", nil)
			wantTask(t, w, "a", StateFailed, tt.trace)
			wantRows(t, m, `{"n":1}`)
			// A restart meets it again, until someone repairs it.
			w.connector("a").restart(func(*task) bool { return true })
			wantTask(t, w, "a", StateFailed, tt.trace)
			wantRows(t, m, `{"n":1}`)
			put(t, w, "a", map[string]string{"errors.tolerance": "all"})
			wantRows(t, m, `{"n":1}`, `{"n":3}`)
			wantLag0(t, kafka, "connect-a", "in")
		})
	}
}

func TestDeadLetters(t *testing.T) {
	_, kafka := newCluster(t, 1, "in")
	m := newMemory()
	m.refuse = `{"n":"bad"}`
	w := startWorker(t, kafka, m.plugins())
	put(t, w, "a", map[string]string{"errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead"})
	produce(t, kafka, "in", 0, `nonsense`, `{"n":2}`, `{"n":"bad"}`, `{"n":4}`)
	wantRows(t, m, `{"n":2}`, `{"n":4}`)
	cl, err := kafka.New(kgo.ConsumeTopics("dead"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []*kgo.Record
	for len(got) < 2 && ctx.Err() == nil {
		got = append(got, cl.PollFetches(ctx).Records()...)
	}
	if len(got) != 2 {
		t.Fatalf("%d dead letters, want 2", len(got))
	}
	want := []map[string]string{
		{"value": "nonsense", "key": "k0", "h": "1", "topic": "in", "partition": "0", "offset": "0", "connector.name": "a", "task.id": "0", "stage": "VALUE_CONVERTER"},
		{"value": `{"n":"bad"}`, "key": "k2", "h": "1", "topic": "in", "partition": "0", "offset": "2", "connector.name": "a", "task.id": "0", "stage": "TASK_PUT",
			"class.name": "org.example.MemorySinkTask", "exception.message": "refused by the test"},
	}
	for i, r := range got {
		have := map[string]string{"value": string(r.Value), "key": string(r.Key)}
		for _, h := range r.Headers {
			have[strings.TrimPrefix(h.Key, "__connect.errors.")] = string(h.Value)
		}
		for k, v := range want[i] {
			if have[k] != v {
				t.Errorf("dead letter %d: %s is %q, want %q", i, k, have[k], v)
			}
		}
	}
}

func TestAutomaticRestart(t *testing.T) {
	_, kafka := newCluster(t, 1, "in")
	m := newMemory()
	m.down = errors.New("broken for good, it seems")
	w := startWorker(t, kafka, m.plugins())
	put(t, w, "a", map[string]string{"errors.restart.backoff.ms": "20"})
	wantTask(t, w, "a", StateFailed, "broken for good")
	m.set(func(m *memory) { m.down = nil })
	produce(t, kafka, "in", 0, `{"n":1}`)
	wantRows(t, m, `{"n":1}`)
	wantTask(t, w, "a", StateRunning, "")
}

func TestConfigurationsSurviveTheWorker(t *testing.T) {
	_, kafka := newCluster(t, 2, "in")
	m := newMemory()
	first := startWorker(t, kafka, m.plugins())
	put(t, first, "a", nil)
	put(t, first, "gone", nil)
	if err := first.remove(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	put(t, first, "resting", nil)
	if err := first.setTarget(t.Context(), "resting", Paused); err != nil {
		t.Fatal(err)
	}
	produce(t, kafka, "in", 0, `{"n":1}`)
	wantRows(t, m, `{"n":1}`)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal("a second stop:", err)
	}
	produce(t, kafka, "in", 1, `{"n":2}`)
	second := startWorker(t, kafka, m.plugins())
	wantRows(t, m, `{"n":1}`, `{"n":2}`)
	st := second.Status()
	if len(st) != 2 || st[0].Name != "a" || st[1].Name != "resting" {
		t.Fatalf("connectors %+v, want a and resting", st)
	}
	wantTask(t, second, "resting", StatePaused, "")
}

func TestWorkersShareAConnector(t *testing.T) {
	_, kafka := newCluster(t, 2, "in")
	m := newMemory()
	one := startWorker(t, kafka, m.plugins())
	two := startWorker(t, kafka, m.plugins(), func(c *Config) { c.WorkerID = "worker-2" })
	put(t, one, "a", nil)
	cl, err := kafka.New()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	eventually(t, "two members with a partition each", func() error {
		d, err := kadm.NewClient(cl).DescribeGroups(t.Context(), "connect-a")
		if err != nil {
			return err
		}
		g := d["connect-a"]
		if g.State != "Stable" || g.Protocol != protocolName || len(g.Members) != 2 {
			return fmt.Errorf("group is %s by %q with %d members", g.State, g.Protocol, len(g.Members))
		}
		for _, member := range g.Members {
			if c, ok := member.Assigned.AsConsumer(); !ok || len(c.Topics) != 1 || len(c.Topics[0].Partitions) != 1 {
				return fmt.Errorf("member has %+v", c)
			}
		}
		return nil
	})
	produce(t, kafka, "in", 0, `{"n":1}`)
	wantRows(t, m, `{"n":1}`)
	produce(t, kafka, "in", 1, `{"n":2}`)
	wantRows(t, m, `{"n":1}`, `{"n":2}`)
	// One leaves: the other takes over. A change reaches both.
	if err := one.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	produce(t, kafka, "in", 0, `{"n":3}`)
	produce(t, kafka, "in", 1, `{"n":4}`)
	eventually(t, "rows", func() error {
		if n := len(m.values()); n != 4 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if err := two.remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "removal", func() error {
		if n := len(two.Status()); n != 0 {
			return fmt.Errorf("%d connectors", n)
		}
		return nil
	})
}

func TestForeignConsumerIsRefused(t *testing.T) {
	_, kafka := newCluster(t, 1, "in")
	m := newMemory()
	w := startWorker(t, kafka, m.plugins())
	put(t, w, "a", nil)
	produce(t, kafka, "in", 0, `{"n":1}`)
	wantRows(t, m, `{"n":1}`)
	cl, err := kafka.New()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "connect-a", "consumer", 10000, 10000
	for _, name := range []string{"range", "cooperative-sticky"} {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name = name
		req.Protocols = append(req.Protocols, p)
	}
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	const inconsistentGroupProtocol = 23
	if resp.ErrorCode != inconsistentGroupProtocol {
		t.Errorf("a console consumer got error code %d, want %d", resp.ErrorCode, inconsistentGroupProtocol)
	}
}

// A connector that ran in Kafka Connect goes on where it was; one of ours whose
// database is new begins again.
func TestStartOffsets(t *testing.T) {
	for _, tt := range []struct {
		name, metadata, reset string
		commit                int64
		want                  string
	}{
		{"foreign offset", "", "earliest", 1, `[{"n":2}]`},
		{"our offset without row", commitMark + "x", "earliest", 1, `[{"n":1} {"n":2}]`},
		{"nothing, from the start", "", "earliest", -1, `[{"n":1} {"n":2}]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, kafka := newCluster(t, 1, "in")
			produce(t, kafka, "in", 0, `{"n":1}`, `{"n":2}`)
			cl, err := kafka.New()
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if tt.commit >= 0 {
				var offsets kadm.Offsets
				offsets.Add(kadm.Offset{Topic: "in", At: tt.commit, LeaderEpoch: -1, Metadata: tt.metadata})
				if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), "connect-a", offsets); err != nil {
					t.Fatal(err)
				}
			}
			m := newMemory()
			w := startWorker(t, kafka, m.plugins())
			put(t, w, "a", map[string]string{"consumer.override.auto.offset.reset": tt.reset})
			eventually(t, "rows", func() error {
				if got := fmt.Sprint(m.values()); got != tt.want {
					return fmt.Errorf("%s, want %s", got, tt.want)
				}
				return nil
			})
		})
	}
}

func TestSinkAheadOfTheTopic(t *testing.T) {
	_, kafka := newCluster(t, 1, "in")
	produce(t, kafka, "in", 0, `{"n":1}`)
	m := newMemory()
	m.offset[TopicPartition{"in", 0}] = 9
	w := startWorker(t, kafka, m.plugins())
	put(t, w, "a", nil)
	wantTask(t, w, "a", StateFailed, "ends at offset 1, but the sink has written up to 9")
}

func TestMissingTopicIsAwaited(t *testing.T) {
	_, kafka := newCluster(t, 1, "other")
	m := newMemory()
	w := startWorker(t, kafka, m.plugins())
	put(t, w, "a", map[string]string{"topics": "later"})
	put(t, w, "b", map[string]string{"topics": "other"})
	produce(t, kafka, "other", 0, `{"n":1}`)
	wantRows(t, m, `{"n":1}`)
	cl, err := kafka.New()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, nil, "later"); err != nil {
		t.Fatal(err)
	}
	produce(t, kafka, "later", 0, `{"n":2}`)
	wantRows(t, m, `{"n":1}`, `{"n":2}`)
}

func TestTopicsRegex(t *testing.T) {
	_, kafka := newCluster(t, 1, "orders.a", "xorders.b")
	m := newMemory()
	w := startWorker(t, kafka, m.plugins())
	produce(t, kafka, "xorders.b", 0, `{"n":0}`)
	produce(t, kafka, "orders.a", 0, `{"n":1}`)
	if _, err := w.Put(t.Context(), "a", map[string]string{"connector.class": "MemorySink", "needed": "x", "topics.regex": `orders\..*`}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, m, `{"n":1}`)
	wantLag0(t, kafka, "connect-a", "orders.a")
}

func TestConfigTopicIsGuarded(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		partitions   int32
		err          string
	}{{"partitions", "compact", 3, "has 3 partitions"}, {"policy", "delete", 1, "cleanup.policy=delete"}} {
		t.Run(tt.name, func(t *testing.T) {
			_, kafka := newCluster(t, 1, "in")
			cl, err := kafka.New()
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), tt.partitions, 1, map[string]*string{"cleanup.policy": &tt.policy}, "connect-configs"); err != nil {
				t.Fatal(err)
			}
			w, err := New(Config{Kafka: kafka})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Start(t.Context()); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("start says %v, want %q", err, tt.err)
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStatusIsJSONOfKafkas(t *testing.T) {
	st := ConnectorStatus{Name: "a", Type: "sink", Connector: StateInfo{State: StateRunning, WorkerID: "w"},
		Tasks: []TaskStatus{{0, StateInfo{State: StateFailed, WorkerID: "w", Trace: "why"}}}}
	const want = `{"name":"a","connector":{"state":"RUNNING","worker_id":"w"},"tasks":[{"id":0,"state":"FAILED","worker_id":"w","trace":"why"}],"type":"sink"}`
	if got, err := json.Marshal(st); err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}
