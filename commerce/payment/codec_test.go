package payment

import (
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire/wiretest"
	"github.com/comptoir/comptoir/streams"
)

var (
	somePending = pending{
		customer: event.Customer{Name: "LUCAS", ID: "CLI-991", Email: "lucas@example.org"},
		amount:   120_50, currency: "EUR", since: time.Date(2026, 11, 20, 10, 0, 0, 123e6, time.UTC),
		headers: []streams.Header{{Key: "comptoir-order", Value: []byte("991")}, {Key: "traceparent", Value: []byte("00-ab-cd-01")}},
	}
	someOutcome  = Outcome{Accepted: true, Method: "PRESTATAIRE", Reference: "ch_1"}
	someDecision = decision{at: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC), accepted: true}
)

func TestCodecs(t *testing.T) {
	wiretest.RoundTrip(t, pendingSerde, somePending)
	wiretest.RoundTrip(t, pendingSerde, pending{since: time.UnixMilli(0).UTC()})
	wiretest.RoundTrip(t, outcomeSerde, someOutcome)
	wiretest.RoundTrip(t, outcomeSerde, Outcome{Reason: "PLAFOND_DEPASSE"})
	wiretest.RoundTrip(t, decisionSerde, someDecision)
	wiretest.RoundTrip(t, decisionSerde, decision{at: time.UnixMilli(-5).UTC()})
}

// FuzzCodecs: what is accepted means the same after being written again.
func FuzzCodecs(f *testing.F) {
	f.Add(pendingSerde.Append(nil, somePending))
	f.Add(outcomeSerde.Append(nil, someOutcome))
	f.Add(decisionSerde.Append(nil, someDecision))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		wiretest.Fuzz(t, pendingSerde, data)
		wiretest.Fuzz(t, outcomeSerde, data)
		wiretest.Fuzz(t, decisionSerde, data)
	})
}
