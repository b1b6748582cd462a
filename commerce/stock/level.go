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

// reserve takes n pieces for an order, or says why not.
func reserve(l level, n int64) (level, answerKind) {
	switch {
	case !l.known():
		return l, answerUnknown
	case n > l.Available:
		return l, answerShort
	}
	l.Available -= n
	l.Reserved += n
	return l, answerReserved
}

// release gives n reserved pieces back to the stock. ok is false if there are not
// so many.
func release(l level, n int64) (_ level, ok bool) {
	if n <= 0 || n > l.Reserved {
		return l, false
	}
	l.Available += n
	l.Reserved -= n
	return l, true
}

// exit takes n reserved pieces out of the stock for good. ok is false if there are
// not so many.
func exit(l level, n int64) (_ level, ok bool) {
	if n <= 0 || n > l.Reserved {
		return l, false
	}
	l.Reserved -= n
	return l, true
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
