package invoice

import (
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire/wiretest"
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
	wiretest.RoundTrip(t, partSerde, part{someBill})
	wiretest.RoundTrip(t, partSerde, part{})
	wiretest.RoundTrip(t, stateSerde, state{at: at, bill: someBill})
	wiretest.RoundTrip(t, stateSerde, state{at: at})
	wiretest.RoundTrip(t, stateSerde, state{at: at, issued: true})
	wiretest.RoundTrip(t, counterSerde, Counter{2026, 1_000_000, "2026-11-20"})
	for _, c := range []Counter{{2026, 0, ""}, {-1, 1, ""}, {10_000, 1, ""}} {
		if _, err := counterSerde.Parse(counterSerde.Append(nil, c)); err == nil {
			t.Errorf("%+v is accepted", c)
		}
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
		wiretest.Fuzz(t, partSerde, data)
		wiretest.Fuzz(t, stateSerde, data)
		wiretest.Fuzz(t, counterSerde, data)
	})
}
