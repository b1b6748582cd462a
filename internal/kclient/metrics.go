package kclient

import (
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Metrics counts what the clients of one process exchange with the cluster.
// It is safe for concurrent use and is shared by all clients.
type Metrics struct {
	connects    *prometheus.CounterVec
	disconnects prometheus.Counter
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
}

var (
	_ kgo.HookBrokerConnect    = (*Metrics)(nil)
	_ kgo.HookBrokerDisconnect = (*Metrics)(nil)
	_ kgo.HookBrokerE2E        = (*Metrics)(nil)
)

// NewMetrics registers the client metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		connects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_kafka_connects_total", Help: "Connections opened to Kafka brokers, by outcome.",
		}, []string{"outcome"}),
		disconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_kafka_disconnects_total", Help: "Connections to Kafka brokers that ended.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_kafka_requests_total", Help: "Requests to Kafka brokers, by API and outcome.",
		}, []string{"api", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "comptoir_kafka_request_duration_seconds",
			Help:    "Time from the write of a request to the end of its answer, by API.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"api"}),
	}
	m.connects.WithLabelValues("ok")
	m.connects.WithLabelValues("error")
	reg.MustRegister(m.connects, m.disconnects, m.requests, m.seconds)
	return m
}

// OnBrokerConnect counts an attempt to connect.
func (m *Metrics) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	m.connects.WithLabelValues(outcome(err)).Inc()
}

// OnBrokerDisconnect counts the end of a connection.
func (m *Metrics) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { m.disconnects.Inc() }

// OnBrokerE2E counts a request and its duration.
func (m *Metrics) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	api := kmsg.NameForKey(key)
	m.requests.WithLabelValues(api, outcome(e2e.Err())).Inc()
	m.seconds.WithLabelValues(api).Observe(e2e.DurationE2E().Seconds())
}

func outcome(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
