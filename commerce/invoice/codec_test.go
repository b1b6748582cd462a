package invoice

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

var someBill = &bill{
	customer: event.Customer{Name: "LUCAS", ID: "CLI-991", Email: "lucas@example.org"},
	amount:   120_50, currency: "EUR", orderedAt: "2026-11-20T09:30:00+01:00",
	lines: []event.InvoiceLine{
		{Product: "1001", Name: "PC Gamer", Quantity: 1, Amount: 120_50, Price: 120_50, HasPrice: true},
		{Product: "x", Name: "gift", Quantity: 3},
	},
}

func TestCodecs(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 5e6, time.UTC)
	roundTrip(t, partSerde, part{someBill})
	roundTrip(t, partSerde, part{})
	roundTrip(t, stateSerde, state{at: at, bill: someBill})
	roundTrip(t, stateSerde, state{at: at})
	roundTrip(t, stateSerde, state{at: at, issued: true})
	roundTrip(t, counterSerde, Counter{2026, 1_000_000, "2026-11-20"})
	for _, c := range []Counter{{2026, 0, ""}, {-1, 1, ""}, {10_000, 1, ""}} {
		if _, err := counterSerde.Parse(counterSerde.Append(nil, c)); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
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
	f.Add(partSerde.Append(nil, part{someBill}))
	f.Add(partSerde.Append(nil, part{}))
	f.Add(stateSerde.Append(nil, state{bill: someBill}))
	f.Add(counterSerde.Append(nil, Counter{2026, 7, "2026-11-20"}))
	f.Add([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzz(t, partSerde, data)
		fuzz(t, stateSerde, data)
		fuzz(t, counterSerde, data)
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
