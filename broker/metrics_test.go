package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/broker/store"
)

// gather returns the metrics without labels; of a histogram, its count.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			switch {
			case m.Histogram != nil:
				out[f.GetName()] += float64(m.Histogram.GetSampleCount())
			case m.Counter != nil:
				out[f.GetName()] += m.Counter.GetValue()
			default:
				out[f.GetName()] += m.Gauge.GetValue()
			}
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := openTest(t, Config{Registerer: reg})
	before := gather(t, reg)
	produce(t, client(t, b), "a", "some value")
	cl := client(t, b, kgo.TransactionalID("tx"), kgo.TransactionTimeout(time.Minute))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, cl, "a", "another value")
	m := gather(t, reg)
	for _, name := range []string{
		"comptoir_broker_journal_written_bytes_total", "comptoir_broker_journal_frames_total", "comptoir_broker_journal_bytes",
		"comptoir_broker_partition_bytes", "comptoir_broker_sync_seconds", "comptoir_broker_commit_answers", "comptoir_broker_oldest_transaction_seconds",
	} {
		if m[name] <= before[name] {
			t.Errorf("%s went from %v to %v", name, before[name], m[name])
		}
	}
	for name, want := range map[string]float64{
		"comptoir_broker_open_transactions": 1, "comptoir_broker_writes_refused": 0,
		"comptoir_broker_journal_files": 1, "comptoir_broker_sync_failures_total": 0,
	} {
		if got, ok := m[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if age := m["comptoir_broker_oldest_transaction_seconds"]; age > 60 {
		t.Errorf("a transaction is %v s old", age)
	}
	if err := cl.EndTransaction(testContext(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	m = gather(t, reg)
	if m["comptoir_broker_open_transactions"] != 0 || m["comptoir_broker_oldest_transaction_seconds"] != 0 {
		t.Errorf("after the transaction: %v", m)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	gather(t, reg) // must not touch what is closed
}

func TestFailedSyncIsCounted(t *testing.T) {
	o, reg := newObserved(), prometheus.NewRegistry()
	reg.MustRegister(o.syncFailed)
	o.synced(store.SyncInfo{Err: errors.New("lost")})
	if got := gather(t, reg)["comptoir_broker_sync_failures_total"]; got != 1 {
		t.Errorf("%v failures", got)
	}
}
