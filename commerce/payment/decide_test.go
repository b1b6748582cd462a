package payment

import (
	"testing"

	"github.com/comptoir/comptoir/commerce/event"
)

func TestSimulate(t *testing.T) {
	yes := func(id string) Outcome {
		return Outcome{Accepted: true, Method: "SIMULATION", Reference: "SIM-" + id}
	}
	no := Outcome{Reason: "PLAFOND_DEPASSE"}
	for _, c := range []struct {
		name  string
		r     Request
		limit event.Amount
		want  Outcome
	}{
		{"small", Request{"991", 120_50, "EUR"}, DefaultLimit, yes("991")},
		{"at the limit", Request{"991", 10_000_00, "EUR"}, DefaultLimit, yes("991")},
		{"a cent over", Request{"991", 10_000_01, "EUR"}, DefaultLimit, no},
		{"any currency", Request{"991", 10_000_01, "JPY"}, DefaultLimit, no},
		{"another limit", Request{"CMD-1", 10_000_01, "EUR"}, 20_000_00, yes("CMD-1")},
		{"the greatest amount", Request{"991", event.MaxAmount, "EUR"}, DefaultLimit, no},
	} {
		if got := Simulate(c.r, c.limit); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
