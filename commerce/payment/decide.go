package payment

import "github.com/comptoir/comptoir/commerce/event"

// DefaultLimit is the highest amount that the simulator accepts unless
// configured: 10,000.00.
const DefaultLimit event.Amount = 10_000_00

// Request is a payment to be captured.
type Request struct {
	Order    event.ID
	Amount   event.Amount
	Currency string
}

// Outcome is a provider's final word on a payment.
type Outcome struct {
	Accepted  bool
	Method    string // moyen, of an accepted payment
	Reference string // the provider's name for an accepted payment
	Reason    string // motif of a refused one: event.ReasonOverLimit or event.ReasonProvider
}

// Simulate decides as a provider would that accepts every payment up to a limit.
func Simulate(r Request, limit event.Amount) Outcome {
	if r.Amount > limit {
		return Outcome{Reason: event.ReasonOverLimit}
	}
	return Outcome{Accepted: true, Method: event.MethodSimulation, Reference: "SIM-" + string(r.Order)}
}
