package orderdb

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Kinds of write transactions, as a label.
const (
	kindSubmit = "submit"
	kindApply  = "apply"
	kindSent   = "sent"
)

type metrics struct {
	batch  *prometheus.HistogramVec
	commit *prometheus.HistogramVec
	errors *prometheus.CounterVec

	reg        prometheus.Registerer
	collectors []prometheus.Collector
}

// newMetrics registers the metrics of a database. pending is asked at most once
// a second, when somebody reads them.
func newMetrics(reg prometheus.Registerer, pending func(context.Context) (int64, time.Time, error)) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	m := &metrics{
		reg: reg,
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "comptoir_orderdb_batch_size", Help: "Requests (submit), records (apply) or messages (sent) that shared a transaction of the order database.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096},
		}, []string{"kind"}),
		commit: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "comptoir_orderdb_transaction_seconds", Help: "Duration of a transaction of the order database, its commit included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"kind"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_orderdb_errors_total", Help: "Transactions of the order database that failed.",
		}, []string{"kind"}),
	}
	for _, kind := range []string{kindSubmit, kindApply, kindSent} {
		m.batch.WithLabelValues(kind)
		m.commit.WithLabelValues(kind)
		m.errors.WithLabelValues(kind)
	}
	b := &backlog{pending: pending}
	m.collectors = []prometheus.Collector{m.batch, m.commit, m.errors,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "comptoir_outbox_pending", Help: "Messages accepted and not in Kafka yet; -1 if the database does not answer.",
		}, func() float64 { n, _ := b.read(); return n }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "comptoir_outbox_oldest_seconds", Help: "Age of the oldest message accepted and not in Kafka yet.",
		}, func() float64 { _, age := b.read(); return age }),
	}
	reg.MustRegister(m.collectors...)
	return m
}

// close takes the metrics away: another database may be opened in the process.
func (m *metrics) close() {
	for _, c := range m.collectors {
		m.reg.Unregister(c)
	}
}

// done notes a transaction. Its kind is empty if it is not counted.
func (m *metrics) done(kind string, size int, began time.Time, err error) {
	if kind == "" {
		return
	}
	if err != nil {
		m.errors.WithLabelValues(kind).Inc()
		return
	}
	m.batch.WithLabelValues(kind).Observe(float64(size))
	m.commit.WithLabelValues(kind).Observe(time.Since(began).Seconds())
}

// backlog keeps what is pending for a second.
type backlog struct {
	pending func(context.Context) (int64, time.Time, error)

	mu     sync.Mutex
	asked  time.Time
	n      float64
	oldest time.Time
}

func (b *backlog) read() (n, age float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.asked) > time.Second {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		count, oldest, err := b.pending(ctx)
		b.n, b.oldest = float64(count), oldest
		if err != nil {
			b.n, b.oldest = -1, time.Time{}
		}
		b.asked = time.Now()
	}
	if !b.oldest.IsZero() {
		age = max(0, time.Since(b.oldest).Seconds())
	}
	return b.n, age
}
