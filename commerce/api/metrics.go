package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

// Results of an order that no Submission has.
const (
	resultIncoherent  = "incoherent"
	resultUnavailable = "unavailable"
)

var results = map[orderdb.Result]string{
	orderdb.Created:   "created",
	orderdb.Same:      "same",
	orderdb.Conflict:  "conflict",
	orderdb.Repeated:  "repeated",
	orderdb.KeyReused: "key_reused",
}

// metrics is what the HTTP metrics of package web do not tell.
type metrics struct {
	results *prometheus.CounterVec
	waiters prometheus.Gauge
	streams prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_api_orders_total",
			Help: "Orders sent to POST /commandes that were judged, by result.",
		}, []string{"result"}),
		waiters: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "comptoir_api_waiters",
			Help: "Requests that wait for a state of an order.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "comptoir_api_streams",
			Help: "Open event streams of orders.",
		}),
	}
	for _, r := range results {
		m.results.WithLabelValues(r)
	}
	m.results.WithLabelValues(resultIncoherent)
	m.results.WithLabelValues(resultUnavailable)
	reg.MustRegister(m.results, m.waiters, m.streams)
	return m
}

func (m *metrics) order(result string) { m.results.WithLabelValues(result).Inc() }
