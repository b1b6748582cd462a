package core

import (
	"context"
	"time"
)

// OpenTransactions tells of the transactions that are open at one moment.
type OpenTransactions struct {
	Count int
	// Oldest is when the first of them began; zero if there is none.
	Oldest time.Time
}

// OpenTransactions counts them, in a turn of its own. It takes time with the
// number of transactional ids.
func (r *Runner) OpenTransactions(ctx context.Context) (OpenTransactions, error) {
	return within(ctx, r, (*Machine).openTransactions)
}

func (m *Machine) openTransactions() (o OpenTransactions) {
	for _, t := range m.producers.transactions {
		if t.state != ongoing {
			continue
		}
		o.Count++
		if began := time.UnixMilli(t.started); o.Oldest.IsZero() || began.Before(o.Oldest) {
			o.Oldest = began
		}
	}
	return o
}
