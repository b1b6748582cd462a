package connect

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of one worker. Labels are bounded by the number of
// connectors; a deleted connector's are removed.
type metrics struct {
	records  *prometheus.CounterVec
	puts     *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	failed   *prometheus.GaugeVec
	retrying *prometheus.GaugeVec
}

// The outcomes of a record.
const (
	outcomeOK      = "ok"
	outcomeSkipped = "skipped"
	outcomeDLQ     = "dlq"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	label := []string{"connector"}
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "comptoir_connect_records_total",
			Help: "Records handled by sink connectors, by outcome: ok (given to the sink and committed), skipped (left out), dlq (left out and sent to the dead-letter topic)."}, []string{"connector", "outcome"}),
		puts: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "comptoir_connect_put_duration_seconds",
			Help: "Time a sink took for one batch.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30}}, label),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "comptoir_connect_retries_total",
			Help: "Attempts that failed and are tried again."}, label),
		failed: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "comptoir_connect_tasks_failed",
			Help: "Tasks of this worker in state FAILED."}, label),
		retrying: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "comptoir_connect_tasks_retrying",
			Help: "Tasks of this worker that wait for another system to come back."}, label),
	}
	if reg != nil {
		reg.MustRegister(m.records, m.puts, m.retries, m.failed, m.retrying)
	}
	return m
}

func (m *metrics) add(connector string) {
	for _, o := range []string{outcomeOK, outcomeSkipped, outcomeDLQ} {
		m.records.WithLabelValues(connector, o)
	}
	m.puts.WithLabelValues(connector)
	m.retries.WithLabelValues(connector)
	m.failed.WithLabelValues(connector)
	m.retrying.WithLabelValues(connector)
}

func (m *metrics) remove(connector string) {
	label := prometheus.Labels{"connector": connector}
	m.records.DeletePartialMatch(label)
	m.puts.DeletePartialMatch(label)
	m.retries.DeletePartialMatch(label)
	m.failed.DeletePartialMatch(label)
	m.retrying.DeletePartialMatch(label)
}
