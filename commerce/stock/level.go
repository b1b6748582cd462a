package stock

import (
	"math"

	"github.com/comptoir/comptoir/commerce/event"
)

// level is the stock of one product. Available plus Reserved never exceeds the
// largest int64, so that no movement between the two can overflow.
type level struct {
	Catalogued bool // the product has a catalogue record
	Supplied   bool // it was supplied at least once
	Name       string
	Available  int64
	Reserved   int64
}

// known tells whether the product exists.
func (l level) known() bool { return l.Catalogued || l.Supplied }

// reservation is what an order has of a product.
type reservation struct {
	State    reservationState
	Quantity int64
	// Born is when identity met the order, in milliseconds. A reservation that
	// was born at another time belongs to an order of the same id that identity
	// has forgotten since.
	Born int64
}

type reservationState byte

const (
	none reservationState = iota
	reserved
	released
	exited
)

// reserve takes n pieces for an order, or says why not. Asked again it answers
// again and takes nothing: the order has what it has, or has had it.
func reserve(l level, r reservation, n, born int64) (level, reservation, answerKind) {
	switch {
	case r.State == reserved && r.Born == born:
		return l, r, answerReserved
	case r.State != none && r.Born == born:
		return l, r, answerShort
	case !l.known():
		return l, r, answerUnknown
	case n > l.Available:
		return l, r, answerShort
	}
	l.Available -= n
	l.Reserved += n
	return l, reservation{State: reserved, Quantity: n, Born: born}, answerReserved
}

// release gives a reservation back to the stock. ok is false if there is none.
func release(l level, r reservation) (level, reservation, bool) {
	if r.State != reserved {
		return l, r, false
	}
	l.Available += r.Quantity
	l.Reserved -= r.Quantity
	r.State = released
	return l, r, true
}

// exit takes a reservation out of the stock for good. ok is false if there is
// none.
func exit(l level, r reservation) (level, reservation, bool) {
	if r.State != reserved {
		return l, r, false
	}
	l.Reserved -= r.Quantity
	r.State = exited
	return l, r, true
}

// supply adds n pieces. The name counts only for a product that is not known.
// ok is false if n is not positive or the level would overflow.
func supply(l level, n int64, name string) (level, bool) {
	if n <= 0 || n > math.MaxInt64-l.Available-l.Reserved {
		return l, false
	}
	if !l.known() {
		l.Name = name
	}
	l.Supplied = true
	l.Available += n
	return l, true
}

// catalogue applies a record of the catalogue; listed is false for a tombstone.
// A product that was supplied stays known without the catalogue and keeps its
// last name; one that was never supplied has no pieces and can be forgotten.
func catalogue(l level, listed bool, name string) level {
	l.Catalogued = listed
	if listed {
		l.Name = name
	}
	return l
}

// displayName is the name that events give to a product.
func displayName(id event.ID, names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return string(id)
}
