package payment

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Kinds of call to a provider.
const (
	callPay = "pay"
	callAsk = "ask"
)

// metrics is what Workers count.
type metrics struct {
	calls *prometheus.CounterVec
	held  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "comptoir_payment_calls_total",
			Help: "Calls to the payment provider, by kind and answer; unknown means that the outcome is still to be asked for.",
		}, []string{"call", "answer"}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "comptoir_payment_held",
			Help: "Payments in the hands of this instance's workers, waiting ones included.",
		}),
	}
	for _, a := range []string{"accepted", "refused", "unknown"} {
		m.calls.WithLabelValues(callPay, a)
		m.calls.WithLabelValues(callAsk, a)
	}
	m.calls.WithLabelValues(callAsk, "none")
	reg.MustRegister(m.calls, m.held)
	return m
}

func (m *metrics) count(call string, o Outcome, err error) {
	answer := "refused"
	switch {
	case call == callAsk && errors.Is(err, ErrNoPayment):
		answer = "none"
	case err != nil:
		answer = "unknown"
	case o.Accepted:
		answer = "accepted"
	}
	m.calls.WithLabelValues(call, answer).Inc()
}
