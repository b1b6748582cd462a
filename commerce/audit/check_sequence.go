package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/comptoir/comptoir/commerce/event"
)

// step is an element of a sequence and where its record stands.
type step struct {
	stepFact
	at place
}

// sequences judges what must follow from each other in a kind of groups: each
// element is held against the one before it. Those before the first new one were
// judged in an earlier round. last, if not nil, is called with the last element
// of each group.
func (e *engine) sequences(ctx context.Context, kind byte, read func(k, v []byte) (step, error), judge func(st *status, before *step, is *step), last func(g []byte, s *step) error) error {
	return e.s.groups(kind, func(it *pebble.Iterator, g, from []byte) (err error) {
		var before, is step
		n, ok := 0, it.Valid()
		if ok && bytes.Compare(it.Key(), from) < 0 { // there were some before
			if it.SeekLT(from) && bytes.HasPrefix(it.Key(), g) {
				if before, err = read(it.Key(), it.Value()); err != nil {
					return fmt.Errorf("%w: %w", errStore, err)
				}
				n = 1
			}
			ok = it.SeekGE(from)
		}
		for ; ok && bytes.HasPrefix(it.Key(), g); ok = it.Next() {
			if is, err = read(it.Key(), it.Value()); err != nil {
				return fmt.Errorf("%w: %w", errStore, err)
			}
			var st status
			if n == 0 {
				judge(&st, nil, &is)
			} else {
				judge(&st, &before, &is)
			}
			if err := e.s.put(it.Key(), &st); err != nil {
				return err
			}
			before, n = is, n+1
			if err := e.keepUp(ctx); err != nil {
				return err
			}
		}
		if last != nil && n > 0 {
			return last(g, &before)
		}
		return it.Error()
	})
}

// readTail reads a step whose key ends with its place.
func readTail(topic byte) func(k, v []byte) (step, error) {
	return func(k, v []byte) (s step, err error) {
		s.stepFact, err = readStepFact(v)
		if len(k) > placeSize {
			s.at, _ = readPlace(k[len(k)-placeSize:], topic)
		}
		return s, err
	}
}

// ledger judges a movement by the level before it.
func ledger(st *status, before, is *step) {
	var available, reserve int64
	if before != nil {
		available, reserve = before.available, before.reserve
		if before.at.partition != is.at.partition {
			st.violate(stockLedger, is.at, "the product's movements stand in several partitions, as %s", before.at)
		}
	}
	n, sign := is.quantity, int64(1)
	switch is.kind {
	case event.MovementSupply:
		available += n
	case event.MovementReserve:
		sign = -1
		available, reserve = available+n, reserve-n
	case event.MovementRelease:
		available, reserve = available+n, reserve-n
	case event.MovementExit:
		sign = -1
		reserve += n
	}
	if n*sign <= 0 || is.available != available || is.reserve != reserve {
		st.violate(stockLedger, is.at, "%s of %d leaves %d and %d reserved, want %d and %d", is.kind, n, is.available, is.reserve, available, reserve)
	}
	if is.available < 0 || is.reserve < 0 {
		st.violate(stockNegative, is.at, "%s of %d leaves %d and %d reserved", is.kind, n, is.available, is.reserve)
	}
}

// numbers judges an invoice by the one with the number before, in its series.
func (e *engine) numbers(st *status, before, is *step) {
	date, want := is.at0().In(e.cfg.Zone).Format(time.DateOnly), int64(1)
	if before != nil {
		date = max(date, before.date)
		if before.year == is.year {
			want = before.quantity + 1
		}
	}
	switch n := is.quantity; {
	case n > want:
		st.missing(&e.clock, is.at0(), invoiceNumbers, is.at, "number %d of %04d follows %d: %d are missing", n, is.year, want-1, n-want)
	case n < want:
		st.violate(invoiceNumbers, is.at, "number %d of %04d is also that of %s", n, is.year, before.at)
	}
	if is.date != date || is.date[:4] != fmt.Sprintf("%04d", is.year) {
		st.violate(invoiceDates, is.at, "number %d of %04d has the date %s, want %s", is.quantity, is.year, is.date, date)
	}
}

func (s *step) at0() time.Time { return s.stepFact.at }

// issued judges an invoice by the one before it in its partition.
func issued(st *status, before, is *step) {
	if before != nil && (is.year < before.year || is.year == before.year && is.quantity < before.quantity) {
		st.violate(invoiceSequence, is.at, "number %d of %04d stands behind %d of %04d at %s", is.quantity, is.year, before.quantity, before.year, before.at)
	}
}

// readLane reads an element of a lane: the record's place from the key, its
// verdict's from the value.
func readLane(k, v []byte) (s step, err error) {
	if len(k) < placeSize || len(v) < placeSize {
		return s, errors.New("lane")
	}
	s.at, _ = readPlace(v, tVerdicts)
	s.quantity = int64(binary.BigEndian.Uint64(k[len(k)-8:]))
	s.available = int64(binary.BigEndian.Uint32(k[len(k)-12:]))
	return s, nil
}

// lanes judges the verdict on a client's order by that on the one before it.
func lanes(st *status, before, is *step) {
	if before != nil && (before.at.partition != is.at.partition || before.at.offset > is.at.offset) {
		record := func(s *step) place { return place{tOrders, int32(s.available), s.quantity} }
		st.violate(verdictOrder, is.at, "the verdict on %s, and before it the one on %s stands at %s", record(is), record(before), before.at)
	}
}
