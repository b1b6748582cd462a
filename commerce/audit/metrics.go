package audit

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what an engine counts.
type metrics struct {
	violations *prometheus.GaugeVec
	checked    *prometheus.CounterVec
	records    prometheus.Counter
	lag        prometheus.Gauge
	inFlight   prometheus.Gauge
	last       prometheus.Gauge
	duration   prometheus.Gauge
	following  prometheus.Gauge

	was tally // as counted so far
}

func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		violations: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "comptoir_audit_violations",
			Help: "Violations in all that was read, by invariant.",
		}, []string{"invariant"}),
		checked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_audit_checked_total",
			Help: "Records, rows and orders looked at, by invariant.",
		}, []string{"invariant"}),
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_audit_records_total",
			Help: "Records read by the auditor.",
		}),
		lag:       gauge("comptoir_audit_lag_records", "Records that the current round has not read yet."),
		inFlight:  gauge("comptoir_audit_in_flight", "What is missing but not yet for longer than the limit, as of the last round."),
		last:      gauge("comptoir_audit_last_round_timestamp_seconds", "When the last round that succeeded began, in Unix time."),
		duration:  gauge("comptoir_audit_round_duration_seconds", "How long the last round that succeeded took."),
		following: gauge("comptoir_audit_following", "1 if this instance audits, 0 if another one does or none can."),
	}
	for i := range Invariants {
		m.violations.WithLabelValues(Invariants[i].ID)
		m.checked.WithLabelValues(Invariants[i].ID)
	}
	if reg != nil {
		reg.MustRegister(m.violations, m.checked, m.records, m.lag, m.inFlight, m.last, m.duration, m.following)
	}
	return m
}

func (m *metrics) read(records, left int64) {
	if more := records - m.was.records; more > 0 {
		m.records.Add(float64(more))
		m.was.records = records
	}
	m.lag.Set(float64(max(0, left)))
}

func (m *metrics) round(t *tally, begin time.Time, took time.Duration) {
	for i := range Invariants {
		m.violations.WithLabelValues(Invariants[i].ID).Set(float64(t.violations[i]))
		if more := t.checked[i] - m.was.checked[i]; more > 0 {
			m.checked.WithLabelValues(Invariants[i].ID).Add(float64(more))
		}
	}
	m.was = *t
	m.inFlight.Set(float64(t.inFlight))
	m.last.Set(float64(begin.UnixMilli()) / 1000)
	m.duration.Set(took.Seconds())
}

// begin says that this process goes on from what others have counted.
func (m *metrics) begin(t *tally) {
	m.was = *t
	for i := range Invariants {
		m.violations.WithLabelValues(Invariants[i].ID).Set(float64(t.violations[i]))
	}
}

// idle says that this instance does not audit: what it found last is not for it
// to tell any more.
func (m *metrics) idle() {
	m.following.Set(0)
	m.lag.Set(0)
	m.inFlight.Set(0)
	for i := range Invariants {
		m.violations.WithLabelValues(Invariants[i].ID).Set(0)
	}
}
