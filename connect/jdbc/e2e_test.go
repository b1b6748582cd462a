package jdbc

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/connect"
	"github.com/comptoir/comptoir/internal/kclient"
)

const topic = "factures.ecommerce"

func eventually(t *testing.T, what string, cond func() error) {
	t.Helper()
	deadline := time.After(40 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
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

// kafkas returns kfake, and Apache Kafka if COMPTOIR_TEST_KAFKA gives brokers.
// The topic is new on each.
func kafkas(t *testing.T) map[string]func(t *testing.T) (kclient.Config, string, *kfake.Cluster) {
	out := map[string]func(*testing.T) (kclient.Config, string, *kfake.Cluster){
		"kfake": func(t *testing.T) (kclient.Config, string, *kfake.Cluster) {
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			return kclient.Config{Brokers: c.ListenAddrs()}, topic, c
		},
	}
	brokers := os.Getenv("COMPTOIR_TEST_KAFKA")
	if brokers == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("COMPTOIR_TEST_KAFKA is not set: CI must test Apache Kafka")
		}
		t.Log("Apache Kafka left out: COMPTOIR_TEST_KAFKA is not set")
		return out
	}
	out["kafka"] = func(t *testing.T) (kclient.Config, string, *kfake.Cluster) {
		kafka := kclient.Config{Brokers: strings.Split(brokers, ",")}
		cl, err := kafka.New()
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("factures.e%d", time.Now().UnixNano())
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 3, -1, nil, name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_, _ = kadm.NewClient(cl).DeleteTopics(context.Background(), name) // what is left over harms nobody
			cl.Close()
		})
		return kafka, name, nil
	}
	return out
}

type worker struct{ *connect.Worker }

func start(t *testing.T, kafka kclient.Config) worker {
	t.Helper()
	w, err := connect.New(connect.Config{Kafka: kafka, Plugins: []connect.Plugin{Plugin()}, ReplicationFactor: 1,
		ConfigTopic: fmt.Sprintf("configs-%d", time.Now().UnixNano()), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, worker{w}, 5*time.Second) })
	return worker{w}
}

func stop(t *testing.T, w worker, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func (w worker) put(t *testing.T, d *database, name, topic string, with map[string]string) {
	t.Helper()
	config := map[string]string{"connector.class": Class, "topics": topic, "auto.create": "true", "insert.mode": "insert", "table.name.format": "archive"}
	maps.Copy(config, d.config)
	maps.Copy(config, with)
	if _, err := w.Put(t.Context(), name, config); err != nil {
		t.Fatal(err)
	}
}

func invoices(t *testing.T, kafka kclient.Config, topic string, from, to int) {
	t.Helper()
	cl, err := kafka.New(kgo.DefaultProduceTopic(topic), kgo.TransactionalID(fmt.Sprint(topic, from)))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	var records []*kgo.Record
	for i := from; i < to; i++ {
		email := ""
		if i%3 == 0 {
			email = `"email":"a@x.fr",`
		}
		r := &kgo.Record{Key: fmt.Appendf(nil, "CLI-%d", i), Value: fmt.Appendf(nil,
			`{"numero":"FA-%06d","commandeId":%d,%s"montant":120.50,"lignes":[{"quantite":1}]}`, i, i, email)}
		cl.Produce(t.Context(), r, nil)
		records = append(records, r)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := kclient.EndTransaction(t.Context(), cl, kgo.TryCommit, slices.Values(records)); err != nil {
		t.Fatal(err)
	}
}

// wantArchive waits until the archive holds exactly the first n invoices, once.
func wantArchive(t *testing.T, d *database, n int) {
	t.Helper()
	want := fmt.Sprintf("%d|%d|%d", n, n, (n+2)/3)
	eventually(t, "archive", func() error {
		got, err := d.query(`SELECT count(*), count(DISTINCT numero), count(email) FROM archive`)
		if err == nil && got != want {
			err = fmt.Errorf("holds %s, want %s", got, want)
		}
		return err
	})
}

func wantLag0(t *testing.T, kafka kclient.Config, group, topic string) {
	t.Helper()
	cl, err := kafka.New()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	eventually(t, "lag", func() error {
		ends, err := adm.ListEndOffsets(t.Context(), topic)
		if err != nil {
			return err
		}
		committed, err := adm.FetchOffsets(t.Context(), group)
		if err != nil {
			return err
		}
		for p, end := range ends[topic] {
			if o, _ := committed.Lookup(topic, p); o.At != end.Offset {
				return fmt.Errorf("partition %d is committed to %d of %d", p, o.At, end.Offset)
			}
		}
		return nil
	})
}

func onEachKafka(t *testing.T, f func(t *testing.T, d *database, kafka kclient.Config, topic string, c *kfake.Cluster)) {
	for name, open := range kafkas(t) {
		for _, d := range databases(t) {
			t.Run(name+"/"+d.name, func(t *testing.T) {
				kafka, topic, c := open(t)
				f(t, d, kafka, topic, c)
			})
		}
	}
}

func TestEndToEnd(t *testing.T) {
	onEachKafka(t, func(t *testing.T, d *database, kafka kclient.Config, topic string, _ *kfake.Cluster) {
		invoices(t, kafka, topic, 0, 100)
		w := start(t, kafka)
		name := "sink-" + topic
		w.put(t, d, name, topic, map[string]string{"tasks.max": "2"})
		wantArchive(t, d, 100)
		invoices(t, kafka, topic, 100, 500)
		wantArchive(t, d, 500)
		wantLag0(t, kafka, "connect-"+name, topic)
	})
}

// The worker dies after COMMIT and before Kafka knows, again and again.
func TestCrashBetweenCommitAndKafka(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			kafka, topic, c := kafkas(t)["kfake"](t)
			var healed atomic.Bool
			lost := make(chan struct{}, 1)
			c.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if healed.Load() {
					return nil, nil, false
				}
				select {
				case lost <- struct{}{}:
				default:
				}
				resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
				for _, rt := range req.(*kmsg.OffsetCommitRequest).Topics {
					st := kmsg.NewOffsetCommitResponseTopic()
					st.Topic, st.TopicID = rt.Topic, rt.TopicID
					for _, rp := range rt.Partitions {
						sp := kmsg.NewOffsetCommitResponseTopicPartition()
						sp.Partition, sp.ErrorCode = rp.Partition, kerr.UnknownServerError.Code
						st.Partitions = append(st.Partitions, sp)
					}
					resp.Topics = append(resp.Topics, st)
				}
				return resp, nil, true
			})
			for round := range 3 {
				invoices(t, kafka, topic, round*50, round*50+50)
				w := start(t, kafka)
				w.put(t, d, "crashing", topic, nil)
				wantArchive(t, d, round*50+50)
				select {
				case <-lost:
				case <-t.Context().Done():
				}
				stop(t, w, 0)
			}
			healed.Store(true)
			w := start(t, kafka)
			w.put(t, d, "crashing", topic, nil)
			invoices(t, kafka, topic, 150, 160)
			wantArchive(t, d, 160)
			wantLag0(t, kafka, "connect-crashing", topic)
		})
	}
}

// A SQLite file whose folder is missing counts as a database that is down.
func TestDatabaseComesLater(t *testing.T) {
	kafka, topic, _ := kafkas(t)["kfake"](t)
	folder := filepath.Join(t.TempDir(), "later")
	d := sqliteDatabase(t)
	w := start(t, kafka)
	late := map[string]string{"connection.url": "jdbc:sqlite:" + filepath.Join(folder, "a.db")}
	w.put(t, d, "late", topic, late)
	w.put(t, d, "healthy", topic, nil)
	invoices(t, kafka, topic, 0, 10)
	wantArchive(t, d, 10) // the other connector does not wait
	eventually(t, "status", func() error {
		for _, st := range w.Status() {
			if st.Name == "late" && len(st.Tasks) == 1 && strings.Contains(st.Tasks[0].Trace, "create its folder") {
				return nil
			}
		}
		return fmt.Errorf("is %+v", w.Status())
	})
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := openSQLite(filepath.Join(folder, "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	eventually(t, "late archive", func() error {
		var n int
		err := s.db.QueryRowContext(t.Context(), `SELECT count(DISTINCT numero) FROM archive`).Scan(&n)
		if err == nil && n != 10 {
			err = fmt.Errorf("%d rows", n)
		}
		return err
	})
	wantLag0(t, kafka, "connect-late", topic)
}

// relay stands between the sink and PostgreSQL and can cut every connection.
type relay struct {
	l      net.Listener
	target string
	mu     sync.Mutex
	down   bool
	open   map[net.Conn]bool
	wg     sync.WaitGroup
}

func newRelay(t *testing.T, target string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l, target: target, open: make(map[net.Conn]bool)}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); r.cut(true); r.wg.Wait() })
	return r
}

func (r *relay) serve(c net.Conn) {
	up, err := net.Dial("tcp", r.target)
	if err != nil {
		_ = c.Close()
		return
	}
	r.mu.Lock()
	refuse := r.down
	r.open[c], r.open[up] = true, true
	r.mu.Unlock()
	if refuse {
		_, _ = c.Close(), up.Close()
	}
	var both sync.WaitGroup
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_, _ = to.Close(), from.Close()
	}
	both.Go(func() { pipe(up, c) })
	both.Go(func() { pipe(c, up) })
	both.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
	delete(r.open, up)
}

// cut breaks all connections and says whether new ones are broken too.
func (r *relay) cut(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
	for c := range r.open {
		_ = c.Close()
	}
}

// Connections to PostgreSQL break at any moment, commits included; then it is
// away for a while. Every invoice is there once in the end.
func TestPostgresOutage(t *testing.T) {
	for _, d := range postgresDatabase(t) {
		kafka, topic, _ := kafkas(t)["kfake"](t)
		r := newRelay(t, postgresURL(t).Host)
		w := start(t, kafka)
		w.put(t, d, "shaky", topic, map[string]string{
			"connection.url": strings.Replace(d.config["connection.url"], postgresURL(t).Host, r.l.Addr().String(), 1)})
		n := 0
		for range 20 {
			invoices(t, kafka, topic, n, n+100)
			n += 100
			eventually(t, "progress", func() error {
				r.cut(false)
				got, err := d.query(`SELECT count(*) > 0 FROM archive`)
				if err == nil && got != "t" {
					err = fmt.Errorf("none")
				}
				return err
			})
		}
		wantArchive(t, d, n)
		r.cut(true)
		invoices(t, kafka, topic, n, n+100)
		n += 100
		eventually(t, "status", func() error {
			st := w.Status()[0].Tasks[0]
			if st.State != connect.StateRunning || !strings.Contains(st.Trace, "PostgreSQL cannot be reached") {
				return fmt.Errorf("is %+v", st)
			}
			return nil
		})
		r.cut(false)
		wantArchive(t, d, n)
		wantLag0(t, kafka, "connect-shaky", topic)
	}
}
