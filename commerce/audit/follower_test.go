package audit

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
)

// journal is a log that may be read while it is written.
type journal struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.Write(b)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.all.String(), text)
}

// until waits for something to hold.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-tick.C
	}
}

// topicsOnly is a cluster with the topics, and a client of it.
func topicsOnly(t *testing.T) (kclient.Config, *kgo.Client) {
	t.Helper()
	var names []string
	for _, s := range event.Topics {
		names = append(names, s.Name)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, names...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cfg := kclient.Config{Brokers: cluster.ListenAddrs()}
	cl, err := cfg.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cfg, cl
}

func place991(t *testing.T, cl *kgo.Client) {
	t.Helper()
	r := &kgo.Record{Topic: event.TopicOrders, Key: []byte("CLI-1"), Value: []byte(`{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`)}
	if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func following(t *testing.T, reg *prometheus.Registry) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "comptoir_audit_following" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no metric")
	return 0
}

// TestFollower: it waits for its database, says what is violated, stays with it
// over a restart, and begins anew when what it kept is not for it.
func TestFollower(t *testing.T) {
	kafka, cl := topicsOnly(t)
	place991(t, cl)
	dir := t.TempDir()
	path, facts := filepath.Join(dir, "commandes.db"), filepath.Join(dir, "audit")
	var log journal
	start := func() (*Follower, *prometheus.Registry) {
		reg := prometheus.NewRegistry()
		f := NewFollower(FollowerConfig{DatabaseAt: path, ArchiveAt: func() string { return filepath.Join(dir, "archive.db") },
			Config: Config{Kafka: kafka, Dir: facts, Limit: time.Millisecond, Every: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: reg}})
		if err := f.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Stop(context.Background()) })
		return f, reg
	}
	f, reg := start()
	until(t, "without a database it is unwell", func() bool { return f.Health() != nil })
	if following(t, reg) != 0 {
		t.Error("it says that it audits")
	}
	db, err := orderdb.Open(t.Context(), orderdb.Config{URL: path})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	said := func(f *Follower) func() bool {
		return func() bool {
			return f.Health() == nil && strings.Contains(strings.Join(f.Violated(), " "), "verdict-once (1)")
		}
	}
	until(t, "the order without a verdict is told", said(f))
	if log.count("invariant=verdict-once") != 1 || log.count("audit does not work") != 1 || following(t, reg) != 1 {
		t.Errorf("the log: %s", &log.all)
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	f, _ = start()
	until(t, "it is known after a restart", said(f))
	if n := log.count("invariant=verdict-once"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	s, err := openStore(facts, 8<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	s.set(key{keyMeta}, []byte{storeVersion + 1})
	if err := s.batch.Commit(pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	s.batch.Reset()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	f, _ = start()
	until(t, "it begins anew", said(f))
	if log.count("audit begins anew") != 1 || log.count("invariant=verdict-once") != 2 {
		t.Errorf("the log: %s", &log.all)
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Facts that another process uses are not taken from it.
	if s, err = openStore(facts, 8<<20, true); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	f, _ = start()
	until(t, "facts in use are told", func() bool { return f.Health() != nil })
	if _, err := os.Stat(facts); err != nil || log.count("audit begins anew") != 1 {
		t.Errorf("facts in use were removed: %v", err)
	}
}

// TestOneFollower: of two on one database one audits, and the other takes over
// when it is gone.
func TestOneFollower(t *testing.T) {
	url := emptyPostgres(t)
	db, err := orderdb.Open(t.Context(), orderdb.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	kafka, _ := topicsOnly(t)
	var all [2]*Follower
	var regs [2]*prometheus.Registry
	var dirs [2]string
	for i := range all {
		regs[i], dirs[i] = prometheus.NewRegistry(), t.TempDir()
		all[i] = NewFollower(FollowerConfig{DatabaseAt: url, Config: Config{Kafka: kafka, Dir: dirs[i], Every: 10 * time.Millisecond, Registerer: regs[i]}})
		if err := all[i].Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = all[i].Stop(context.Background()) }()
		until(t, "it is well", func() bool {
			all[i].mu.Lock()
			defer all[i].mu.Unlock()
			return all[i].err == nil && (all[i].waits || following(t, regs[i]) == 1)
		})
	}
	if following(t, regs[0]) != 1 || following(t, regs[1]) != 0 || all[1].Health() != nil {
		t.Fatalf("following: %v and %v, %v", following(t, regs[0]), following(t, regs[1]), all[1].Health())
	}
	if err := all[0].Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the other one takes over", func() bool { return following(t, regs[1]) == 1 })
}
