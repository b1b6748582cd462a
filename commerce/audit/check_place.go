package audit

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/comptoir/comptoir/commerce/event"
)

// maxErrorValue is how long the value of an error may get before the accused
// value is left out of it.
const maxErrorValue = 900_000

// checkPlace judges a record of commandes.ecommerce with the errors that accuse
// it.
func (e *engine) checkPlace(it *pebble.Iterator, g []byte) (st status, err error) {
	var (
		f     placeFact
		there bool
		n     int // rejections
	)
	at, _ := readPlace(g[1:], tOrders)
	for ok := it.Valid(); ok && bytes.HasPrefix(it.Key(), g); ok = it.Next() {
		rest := it.Key()[len(g):]
		if len(rest) == 0 {
			if f, err = readPlaceFact(it.Value()); err != nil {
				return st, fmt.Errorf("%w: %s: %w", errStore, at, err)
			}
			there = true
			continue
		}
		by, _ := readPlace(rest, tErrors)
		a, err := readErrorFact(it.Value())
		if err != nil {
			return st, fmt.Errorf("%w: %s: %w", errStore, by, err)
		}
		if !there {
			st.violate(errorAccuses, by, "it accuses %s, which is not there", at)
			continue
		}
		if a.reject {
			n++
		}
		accuses(&st, &f, &a, at, by)
	}
	switch incoherent := f.must|f.may != 0; {
	case !there || !incoherent:
	case n == 0:
		st.missing(&e.clock, f.at, oneAnswer, at, "the record is incoherent (%s) and is not rejected", f.must|f.may)
	case n > 1:
		st.violate(oneAnswer, at, "the record is incoherent and is rejected %d times", n)
	}
	return st, it.Error()
}

// accuses judges one error against the record it accuses.
func accuses(st *status, f *placeFact, a *errorFact, at, by place) {
	coherent := f.must|f.may == 0
	switch got := a.codes; {
	case a.reject && coherent && got != codeConflict:
		st.violate(errorCodes, by, "%s is coherent, the rejection says %s", at, got)
	case a.reject && !coherent && (got&f.must != f.must || got&^(f.must|f.may) != 0):
		st.violate(errorCodes, by, "%s has the errors %s, the rejection says %s", at, f.must|f.may, got)
	case !a.reject && got&^alerts != 0:
		st.violate(errorCodes, by, "an alert about %s says %s", at, got)
	case !a.reject && (!coherent || a.twice):
		st.violate(alertOnce, by, "the alert %s about %s: it is incoherent, or the code stands there twice", got, at)
	}
	switch {
	case a.id != f.id:
		st.violate(errorAccuses, by, "%s has the id %q, the error %q", at, f.id, a.id)
	case a.key != f.key && (f.keySize <= maxKey || a.key != 0):
		st.violate(errorAccuses, by, "the key is not that of %s", at)
	case !carries(f, a) || a.size > maxErrorValue:
		st.violate(errorAccuses, by, "the value of %s (%d bytes) is not carried as it is (in %d bytes)", at, f.size, a.size)
	}
	if f.headSize <= maxHeaders && a.headers != f.headers {
		st.violate(recordHeaders, by, "the headers are not those of %s", at)
	}
}

// jsonNull is a value that stands in an error as a tombstone does.
var jsonNull = digestOf([]byte("null"))

// carries says whether an error has its record's value in the form it must have.
func carries(f *placeFact, a *errorFact) bool {
	switch {
	case a.form == formSize:
		full := f.size
		if !f.strict {
			full = (f.size + 2) / 3 * 4
		}
		const least = 100 // what an error takes beside the value, at least
		return a.carried == f.size && a.size+full > maxErrorValue-least
	case f.tombstone || f.strict && f.value == jsonNull:
		return a.form == formTombstone
	case f.strict:
		return a.form == formPlain && a.value == f.value
	}
	return a.form == formBase64 && a.value == f.value
}

// checkSupply judges the supplies of one id of one product.
func (e *engine) checkSupply(it *pebble.Iterator, g []byte) (st status, err error) {
	var asked, moved stepFact
	var first, at place
	quantities, moves := map[int64]bool{}, 0
	for ok := it.Valid(); ok && bytes.HasPrefix(it.Key(), g) && len(it.Key()) > len(g); ok = it.Next() {
		kind, rest := it.Key()[len(g)], it.Key()[len(g)+1:]
		f, err := readStepFact(it.Value())
		if err != nil {
			return st, fmt.Errorf("%w: supply: %w", errStore, err)
		}
		if kind == supplyAsked {
			if len(quantities) == 0 {
				asked = f
				first, _ = readPlace(rest, tSupplies)
			}
			if len(quantities) < maxQuantities {
				quantities[f.quantity] = true
			}
			continue
		}
		if moves++; moves == 1 {
			moved = f
			at, _ = readPlace(rest, tMovements)
		} else {
			by, _ := readPlace(rest, tMovements)
			st.violate(supplyOnce, by, "the supply of %s moves the stock again, the first time was %s", first, at)
		}
	}
	switch {
	case moves == 0 && asked.quantity < hugeSupply:
		st.missing(&e.clock, asked.at, supplyOnce, first, "the supply has no movement")
	case moves > 0 && len(quantities) == 0:
		st.violate(supplyOnce, at, "there is no such supply in %s", event.TopicSupplies)
	case moves > 0 && !quantities[moved.quantity] && len(quantities) < maxQuantities:
		st.violate(supplyOnce, at, "the movement is of %d, the supply %s of %d", moved.quantity, first, asked.quantity)
	}
	return st, it.Error()
}

const (
	// maxQuantities bounds how many different quantities of one supply are told
	// apart.
	maxQuantities = 1000
	// hugeSupply is from where on a supply may be ignored because the level
	// would not fit.
	hugeSupply = 1 << 61
)
