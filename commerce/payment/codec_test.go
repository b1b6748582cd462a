package payment

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
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
	roundTrip(t, pendingSerde, somePending)
	roundTrip(t, pendingSerde, pending{since: time.UnixMilli(0).UTC()})
	roundTrip(t, outcomeSerde, someOutcome)
	roundTrip(t, outcomeSerde, Outcome{Reason: "PLAFOND_DEPASSE"})
	roundTrip(t, decisionSerde, someDecision)
	roundTrip(t, decisionSerde, decision{at: time.UnixMilli(-5).UTC()})
}

func roundTrip[T any](t *testing.T, s streams.Serde[T], v T) {
	t.Helper()
	data := s.Append(nil, v)
	if got, err := s.Parse(data); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%+v became %+v, %v", v, got, err)
	}
	for n := range data {
		if got, err := s.Parse(data[:n]); err == nil {
			t.Errorf("%d of %d bytes read as %+v", n, len(data), got)
		}
	}
	if _, err := s.Parse(append(bytes.Clone(data), 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
	data[0]++
	if _, err := s.Parse(data); err == nil {
		t.Error("another version is accepted")
	}
}

// FuzzCodecs: what is accepted means the same after being written again.
func FuzzCodecs(f *testing.F) {
	f.Add(pendingSerde.Append(nil, somePending))
	f.Add(outcomeSerde.Append(nil, someOutcome))
	f.Add(decisionSerde.Append(nil, someDecision))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzz(t, pendingSerde, data)
		fuzz(t, outcomeSerde, data)
		fuzz(t, decisionSerde, data)
	})
}

func fuzz[T any](t *testing.T, s streams.Serde[T], data []byte) {
	v, err := s.Parse(data)
	if err != nil {
		return
	}
	if again, err := s.Parse(s.Append(nil, v)); err != nil || !reflect.DeepEqual(v, again) {
		t.Fatalf("%+v became %+v, %v", v, again, err)
	}
}
