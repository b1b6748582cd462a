package audit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/kclient"
)

// TestFollow: a violation is told once, and stays in the metrics.
func TestFollow(t *testing.T) {
	s := history(5, 40)
	double(event.TopicAccepted, ``)(s)
	s.cut = len(s.records) - 1 // what is wrong comes in the second round
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	cfg := Config{Dir: t.TempDir(), Every: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: reg}
	var violations []int64
	if err := follow(ctx, cfg, s, func(r Report, _ error) {
		if violations = append(violations, r.Violations); len(violations) == 4 {
			cancel()
		}
		s.cut = -1
	}); err != nil {
		t.Fatal(err)
	}
	if len(violations) != 4 || violations[0] != 0 || violations[1] != 1 || violations[3] != 1 {
		t.Errorf("violations %v, want 0 1 1 1", violations)
	}
	if n := strings.Count(log.String(), "invariant violated"); n != 1 || !strings.Contains(log.String(), "invariant=payment-once") {
		t.Errorf("told %d times: %s", n, &log)
	}
	for want, name := range map[float64]string{1: "comptoir_audit_violations", float64(count(s)): "comptoir_audit_records_total"} {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := 0.0
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name {
					got += m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
		if got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	// What is there now is another history.
	other := history(6, 3)
	cfg.Registerer = nil
	if err := follow(t.Context(), cfg, other, nil); !errors.Is(err, errHistory) {
		t.Errorf("over another history: %v", err)
	}
}

// TestFollowWaits: what is missing is awaited from the start of following.
func TestFollowWaits(t *testing.T) {
	s := history(5, 40)
	drop(event.TopicVerdicts, valid)(s)
	if r := audited(t, s, false); r.Violations == 0 {
		t.Fatal("nothing is missing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var first Report
	if err := follow(ctx, Config{Dir: t.TempDir()}, s, func(r Report, _ error) { first = r; cancel() }); err != nil {
		t.Fatal(err)
	}
	if violated(t, first); first.Violations > 0 || first.InFlight == 0 {
		t.Errorf("%d violations, %d in flight", first.Violations, first.InFlight)
	}
}

// TestFollowArchive: the archive is read again and again, what is wrong with it
// is told once.
func TestFollowArchive(t *testing.T) {
	s := history(5, 40)
	s.rows = s.rows[1:]
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var log bytes.Buffer
	reads := &counted{table: table{s}}
	cfg := Config{Dir: t.TempDir(), Every: time.Millisecond, Limit: time.Millisecond, Archive: reads, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := follow(ctx, cfg, s, func(r Report, _ error) {
		if reads.n >= 4 {
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "invariant=archive-once"); n != 1 || reads.n < 4 {
		t.Errorf("told %d times in %d readings: %s", n, reads.n, &log)
	}
}

func count(s *shop) (n int) {
	for _, r := range s.records {
		if !r.Control {
			n++
		}
	}
	return n
}

// TestKafka reads topics as they are: committed records alone, up to the end,
// which a marker or an aborted record may be.
func TestKafka(t *testing.T) {
	var names []string
	for _, s := range event.Topics {
		names = append(names, s.Name)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, names...))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cfg := kclient.Config{Brokers: cluster.ListenAddrs()}
	cl, err := cfg.New(kgo.TransactionalID("audit-test"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: event.TopicOrders, Key: []byte("CLI-1"), Value: []byte(`{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`)}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := kclient.EndTransaction(ctx, cl, end, slices.Values([]*kgo.Record{r})); err != nil {
			t.Fatal(err)
		}
	}
	var left kadm.Offsets
	for p := range int32(3) {
		left.AddOffset(event.TopicOrders, p, 0, -1)
	}
	if err := kadm.NewClient(cl).CommitAllOffsets(ctx, "connect-gone", left); err != nil {
		t.Fatal(err)
	}
	var steps []string
	r, err := Run(ctx, Config{Kafka: cfg, Progress: func(p Progress) { steps = append(steps, p.Step) }})
	if err != nil {
		t.Fatal(err)
	}
	// The record waits for its verdict, and for the two groups that read it.
	if r.Records != 1 || r.Violations != 0 || r.InFlight != 3 || len(steps) == 0 {
		t.Errorf("%d records, %d violations, %d in flight, steps %v", r.Records, r.Violations, r.InFlight, steps)
	}
	if r, err = Run(ctx, Config{Kafka: cfg, Limit: time.Nanosecond, Wait: time.Millisecond}); err != nil || r.Violations != 3 {
		t.Errorf("over the limit: %d violations, %v", r.Violations, err)
	}
}
