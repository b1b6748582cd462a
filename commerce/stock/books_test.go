package stock

import (
	"testing"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// books adds up what the stage has written, and checks what must hold for every
// record.
type books struct {
	t         testing.TB
	levels    map[event.ID]level            // after the last movement
	ledger    map[event.ID]map[string]int64 // sum of quantities per product and movement
	held      map[held]int64                // reserved and neither released nor gone
	verdicts  []event.Verdict
	conflicts map[event.ID]int
}

func newBooks(t testing.TB) books {
	return books{t: t, levels: map[event.ID]level{}, ledger: map[event.ID]map[string]int64{}, held: map[held]int64{}, conflicts: map[event.ID]int{}}
}

// movement checks that a movement leads from the level before it to the level
// after, and that only what is reserved is released or goes.
func (s *books) movement(r streams.RawRecord) event.Movement {
	s.t.Helper()
	m, err := event.ParseMovement(r.Value)
	if err != nil {
		s.t.Fatalf("movement %s: %v", r.Value, err)
	}
	if string(r.Key) != string(m.Product) || !m.At.Equal(r.Time) {
		s.t.Errorf("movement %s has key %q and time %v", r.Value, r.Key, r.Time)
	}
	if m.Order != "" {
		s.checkHeader(r, event.HeaderOrder, string(m.Order))
	}
	l := s.levels[m.Product]
	key := held{m.Product, m.Order}
	switch had := s.held[key]; m.Kind {
	case event.MovementSupply:
		l.Available += m.Quantity
	case event.MovementReserve:
		l.Available += m.Quantity
		l.Reserved -= m.Quantity
		s.held[key] = -m.Quantity
		if had != 0 || m.Quantity >= 0 {
			s.t.Errorf("movement %s: the order has %d already", r.Value, had)
		}
	case event.MovementRelease, event.MovementExit:
		gone := m.Quantity
		if m.Kind == event.MovementRelease {
			l.Available += m.Quantity
		} else {
			gone = -m.Quantity
		}
		l.Reserved -= gone
		delete(s.held, key)
		if had == 0 || gone != had {
			s.t.Errorf("movement %s: the order had %d", r.Value, had)
		}
	default:
		s.t.Errorf("movement %s is of an unknown kind", r.Value)
	}
	if l.Available != m.Available || l.Reserved != m.Reserved || l.Available < 0 || l.Reserved < 0 {
		s.t.Errorf("movement %s should lead to %d and %d, and never below zero", r.Value, l.Available, l.Reserved)
	}
	s.levels[m.Product] = l
	if s.ledger[m.Product] == nil {
		s.ledger[m.Product] = map[string]int64{}
	}
	s.ledger[m.Product][m.Kind] += m.Quantity
	return m
}

func (s *books) verdict(r streams.RawRecord) event.Verdict {
	s.t.Helper()
	v, err := event.ParseVerdict(r.Value)
	if err != nil {
		s.t.Fatalf("verdict %s: %v", r.Value, err)
	}
	if string(r.Key) != string(v.Customer.ID) || !v.At.Equal(r.Time) {
		s.t.Errorf("verdict %s has key %q and time %v", r.Value, r.Key, r.Time)
	}
	s.checkHeader(r, event.HeaderOrder, string(v.Order))
	for _, l := range v.Lines {
		if l.Reserved != (v.Status == event.StatusValid) || l.Reserved && l.Reason != "" {
			s.t.Errorf("verdict %s: line %+v does not agree with the status", r.Value, l)
		}
	}
	s.verdicts = append(s.verdicts, v)
	return v
}

func (s *books) conflict(r streams.RawRecord) event.ErrorRecord {
	s.t.Helper()
	e, err := event.ParseErrorRecord(r.Value)
	if err != nil {
		s.t.Fatalf("error record %s: %v", r.Value, err)
	}
	s.checkHeader(r, event.HeaderOrder, string(e.Order))
	if e.Severity != event.SeverityReject || len(e.Problems) != 1 || e.Problems[0].Code != event.CodeOrderConflict {
		s.t.Errorf("error record %s is no conflict", r.Value)
	}
	s.conflicts[e.Order]++
	return e
}

func (s *books) checkHeader(r streams.RawRecord, key, want string) {
	s.t.Helper()
	for _, h := range r.Headers {
		if h.Key == key {
			if string(h.Value) != want {
				s.t.Errorf("%s %s: header %s is %q, want %q", r.Topic, r.Value, key, h.Value, want)
			}
			return
		}
	}
	s.t.Errorf("%s %s: no header %s", r.Topic, r.Value, key)
}

// close checks that the books agree with each other and with the open orders:
// everything supplied was sold, is reserved by an order with a good verdict that
// has not ended, or is left.
func (s *books) close(ended map[event.ID]bool) {
	s.t.Helper()
	for p, l := range s.levels {
		sum := s.ledger[p]
		sold := -sum[event.MovementExit]
		if sum[event.MovementSupply] != sold+l.Reserved+l.Available {
			s.t.Errorf("product %s: %d supplied, %d sold, %d reserved, %d left", p, sum[event.MovementSupply], sold, l.Reserved, l.Available)
		}
	}
	open := map[held]int64{}
	seen := map[event.ID]bool{}
	for _, v := range s.verdicts {
		if seen[v.Order] {
			s.t.Errorf("order %s has two verdicts", v.Order)
		}
		seen[v.Order] = true
		if v.Status == event.StatusValid && !ended[v.Order] {
			for _, l := range v.Lines {
				open[held{l.Product, v.Order}] += l.Quantity
			}
		}
	}
	if len(open) != len(s.held) {
		s.t.Errorf("%d reservations, want %d", len(s.held), len(open))
	}
	for k, n := range open {
		if s.held[k] != n {
			s.t.Errorf("order %s has %d of product %s, want %d", k.Order, s.held[k], k.Product, n)
		}
	}
}
