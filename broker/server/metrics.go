package server

import (
	"slices"
	"time"

	"maps"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Metrics counts what a server does. It is safe for concurrent use.
type Metrics struct {
	connections prometheus.Gauge
	ended       *prometheus.CounterVec
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	errors      *prometheus.CounterVec
	received    prometheus.Counter
	sent        prometheus.Counter
	panics      prometheus.Counter

	// By key, so that a request needs no lookup by text.
	started map[int16]prometheus.Counter
	took    map[int16]prometheus.Observer
}

// NewMetrics registers the metrics of a server, each label at 0.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "comptoir_broker_connections", Help: "Open connections of clients.",
		}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_broker_connections_ended_total", Help: "Connections that the broker ended: bad_request, slow, too_many.",
		}, []string{"reason"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_broker_requests_total", Help: "Requests of the protocol, by their API.",
		}, []string{"api"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "comptoir_broker_request_seconds", Help: "Time from a request's last byte to its answer, waiting included, by API.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"api"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_broker_errors_total", Help: "Error codes in answers, by API and code, one for each topic, partition or member that is refused.",
		}, []string{"api", "code"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_broker_received_bytes_total", Help: "Bytes of requests.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_broker_sent_bytes_total", Help: "Bytes of answers.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_broker_panics_total", Help: "Requests that made the broker panic; each ended one connection.",
		}),
		started: map[int16]prometheus.Counter{},
		took:    map[int16]prometheus.Observer{},
	}
	for _, reason := range []string{"bad_request", "slow", "too_many"} {
		m.ended.WithLabelValues(reason)
	}
	for _, key := range slices.Sorted(maps.Keys(versions)) {
		name := kmsg.NameForKey(key)
		m.started[key] = m.requests.WithLabelValues(name)
		m.took[key] = m.seconds.WithLabelValues(name)
	}
	if reg != nil {
		reg.MustRegister(m.connections, m.ended, m.requests, m.seconds, m.errors, m.received, m.sent, m.panics)
	}
	return m
}

// refused counts what an answer refuses.
func (m *Metrics) refused(resp kmsg.Response) {
	eachCode(resp, func(code int16) {
		m.errors.WithLabelValues(kmsg.NameForKey(resp.Key()), codeName(code)).Inc()
	})
}

// Panicked counts a panic.
func (m *Metrics) Panicked() { m.panics.Inc() }

func (m *Metrics) began(key int16) {
	if c, ok := m.started[key]; ok {
		c.Inc()
	}
}

func (m *Metrics) answered(key int16, took time.Duration) {
	if o, ok := m.took[key]; ok {
		o.Observe(took.Seconds())
	}
}
