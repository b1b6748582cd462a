package web

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts HTTP requests. One serves all listeners of a process.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics registers the HTTP metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_http_requests_total", Help: "HTTP requests, by route, method and status code.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "comptoir_http_request_duration_seconds",
			Help:    "Time to answer an HTTP request, by route and method.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}, []string{"route", "method"}),
	}
	reg.MustRegister(m.requests, m.seconds)
	return m
}

// observe takes the route from the pattern that the mux left in the request, so
// that ids in paths make no new series.
func (m *Metrics) observe(r *http.Request, status int, d time.Duration) {
	route, method := route(r), method(r)
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route, method).Observe(d.Seconds())
}

// MetricsHandler serves what gatherer has. A collector that fails is logged and
// left out.
func MetricsHandler(gatherer prometheus.Gatherer, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		ErrorLog:      promLog{log},
		ErrorHandling: promhttp.ContinueOnError,
	})
}

type promLog struct{ l *slog.Logger }

func (p promLog) Println(v ...any) {
	if len(v) > 0 {
		p.l.Error("metrics cannot be gathered", "error", v[len(v)-1])
	}
}
