package relay

import "github.com/prometheus/client_golang/prometheus"

// Where an error happened.
const (
	stepShare   = "share"   // asking for shards
	stepOpen    = "open"    // taking the transactional id over
	stepRead    = "read"    // reading what is unsent
	stepProduce = "produce" // writing records
	stepCommit  = "commit"  // ending the transaction
	stepMark    = "mark"    // marking rows as sent
)

// metrics is what a Relay counts. How much is pending is the database's to say.
type metrics struct {
	sent    prometheus.Counter
	refused prometheus.Counter
	errors  *prometheus.CounterVec
	batch   prometheus.Histogram
	write   prometheus.Histogram
	held    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_outbox_sent_total", Help: "Messages that are in Kafka; those that were sent again count again.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_outbox_refused_total", Help: "Messages that Kafka refuses for good; they stay in the order database, unsent.",
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_outbox_errors_total", Help: "Failed tries to relay the outbox, by step.",
		}, []string{"step"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "comptoir_outbox_batch_messages", Help: "Messages of a batch.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000},
		}),
		write: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "comptoir_outbox_transaction_duration_seconds", Help: "Time that Kafka took to have a batch: orders of all shards, or a transaction of one.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 10},
		}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "comptoir_outbox_shards_held", Help: "Shards of the outbox that this instance works.",
		}),
	}
	for _, step := range []string{stepShare, stepOpen, stepRead, stepProduce, stepCommit, stepMark} {
		m.errors.WithLabelValues(step)
	}
	reg.MustRegister(m.sent, m.refused, m.errors, m.batch, m.write, m.held)
	return m
}
