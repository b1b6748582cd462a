package payment

import (
	"context"
	"errors"

	"github.com/comptoir/comptoir/commerce/event"
)

// Provider captures payments outside. Its methods are called concurrently, and
// must return soon after ctx is done.
//
// An error means that the outcome is not known, whatever its cause: a time-out,
// a lost answer, an answer that makes no sense. It never means a refusal.
type Provider interface {
	// Pay asks for a payment to be captured. The provider must take any number
	// of requests for one order as one, by its id.
	Pay(ctx context.Context, r Request) (Outcome, error)
	// Ask returns the outcome of a payment that may have been sent before, or
	// an error wrapping ErrNoPayment if the provider knows nothing of it.
	Ask(ctx context.Context, order event.ID) (Outcome, error)
}

// ErrNoPayment says that the provider knows no payment for an order, so that it
// may be sent (again).
var ErrNoPayment = errors.New("the provider knows no such payment")
