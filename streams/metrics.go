package streams

import "github.com/prometheus/client_golang/prometheus"

// Metrics is what Apps count. One is shared by all Apps of a process.
type Metrics struct {
	records       *prometheus.CounterVec
	decodeErrors  *prometheus.CounterVec
	commits       *prometheus.CounterVec
	commitTime    *prometheus.HistogramVec
	tasks         *prometheus.GaugeVec
	opening       *prometheus.GaugeVec
	restored      *prometheus.CounterVec
	restoredBytes *prometheus.CounterVec
	restoring     *prometheus.GaugeVec
	rebalances    *prometheus.CounterVec
	foreign       *prometheus.CounterVec
	vanished      *prometheus.CounterVec
	copies        *prometheus.GaugeVec
	copyLag       *prometheus.GaugeVec
	copied        *prometheus.CounterVec
	handedOver    *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		records:      counter("comptoir_stage_records_total", "Records that a stage has handled, by outcome.", "stage", "outcome"),
		decodeErrors: counter("comptoir_stage_undecodable_total", "Records passed over because they do not decode, by topic.", "stage", "topic"),
		commits:      counter("comptoir_stage_transactions_total", "Transactions, by outcome.", "stage", "outcome"),
		commitTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "comptoir_stage_commit_seconds", Help: "Time from the end of the work to the end of its transaction.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"stage"}),
		tasks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "comptoir_stage_tasks", Help: "Tasks at work in this instance.",
		}, []string{"stage"}),
		opening: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "comptoir_stage_opening_seconds", Help: "How long tasks have been being opened, if that is longer than a session; as of some seconds ago.",
		}, []string{"stage"}),
		restored:      counter("comptoir_stage_restored_records_total", "Changelog records read to restore local state.", "stage"),
		restoredBytes: counter("comptoir_stage_restored_bytes_total", "Keys and values of the changelog records read to restore local state.", "stage"),
		restoring: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "comptoir_stage_restore_remaining_records", Help: "Changelog offsets still to be read by the restore at work.",
		}, []string{"stage"}),
		rebalances: counter("comptoir_stage_rebalances_total", "Changes of assignment, by kind.", "stage", "kind"),
		foreign:    counter("comptoir_stage_foreign_offsets_total", "Partitions whose group offset was missing or not ours, so that the store's position ruled.", "stage"),
		vanished:   counter("comptoir_stage_vanished_transactions_total", "Open transactions of instances that are gone, ended by this one.", "stage"),
		copies: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "comptoir_stage_standby_tasks", Help: "Tasks of other instances of whose state this one keeps a copy.",
		}, []string{"stage"}),
		copyLag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "comptoir_stage_standby_lag_records", Help: "Changelog offsets that the copies of other instances' state are behind; as of some seconds ago.",
		}, []string{"stage"}),
		copied:     counter("comptoir_stage_standby_records_total", "Changelog records read to keep copies of other instances' state.", "stage"),
		handedOver: counter("comptoir_stage_handed_over_records_total", "Records of public topics that a stage was given in memory by the one that wrote them, in its transaction.", "stage"),
	}
	reg.MustRegister(m.records, m.decodeErrors, m.commits, m.commitTime, m.tasks, m.opening, m.restored, m.restoredBytes, m.restoring, m.rebalances, m.foreign, m.vanished, m.copies, m.copyLag, m.copied, m.handedOver)
	return m
}

// init makes the counters of an App exist at 0.
func (m *Metrics) init(app string) {
	for _, o := range []string{"ok", "error", "dlq", "duplicate"} {
		m.records.WithLabelValues(app, o)
	}
	for _, o := range []string{"committed", "aborted", "unknown"} {
		m.commits.WithLabelValues(app, o)
	}
	for _, k := range []string{"assigned", "revoked", "lost"} {
		m.rebalances.WithLabelValues(app, k)
	}
	m.commitTime.WithLabelValues(app)
	m.tasks.WithLabelValues(app)
	m.opening.WithLabelValues(app)
	m.restored.WithLabelValues(app)
	m.restoredBytes.WithLabelValues(app)
	m.restoring.WithLabelValues(app)
	m.foreign.WithLabelValues(app)
	m.vanished.WithLabelValues(app)
	m.copies.WithLabelValues(app)
	m.copyLag.WithLabelValues(app)
	m.copied.WithLabelValues(app)
	m.handedOver.WithLabelValues(app)
}
