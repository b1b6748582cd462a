package trace

import "github.com/prometheus/client_golang/prometheus"

// metrics count the spans that are done.
type metrics struct {
	exported, dropped prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "comptoir_trace_spans_total",
		Help: "Spans, by outcome: exported (the collector took them), dropped (the collector is down, too slow, or refuses them).",
	}, []string{"outcome"})
	if reg != nil {
		reg.MustRegister(spans)
	}
	return &metrics{exported: spans.WithLabelValues("exported"), dropped: spans.WithLabelValues("dropped")}
}
