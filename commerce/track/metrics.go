package track

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what a Tracker counts.
type metrics struct {
	records *prometheus.CounterVec
	skipped *prometheus.CounterVec
	apply   prometheus.Histogram
	again   prometheus.Counter
	lag     *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_track_records_total",
			Help: "Records read for the order database, by topic.",
		}, []string{"topic"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_track_skipped_total",
			Help: "Records whose value could not be read as what their topic holds, by topic.",
		}, []string{"topic"}),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "comptoir_track_apply_duration_seconds",
			Help:    "Time the order database took for a batch, failed attempts apart.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}),
		again: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_track_sessions_total",
			Help: "Memberships in the group: the first one, and one more whenever positions had moved or a topic was created anew.",
		}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "comptoir_track_lag_records",
			Help: "Records and transaction markers not read yet in the partitions of this instance, by topic, as of a few seconds ago.",
		}, []string{"topic"}),
	}
	for _, topic := range topics {
		m.records.WithLabelValues(topic)
		m.skipped.WithLabelValues(topic)
		m.lag.WithLabelValues(topic)
	}
	if reg != nil {
		reg.MustRegister(m.records, m.skipped, m.apply, m.again, m.lag)
	}
	return m
}

func (m *metrics) applied(since time.Time) { m.apply.Observe(time.Since(since).Seconds()) }
