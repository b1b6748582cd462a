package audit

import (
	"bytes"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// recordOf is a record of commandes.ecommerce with how often it was rejected.
type recordOf struct {
	orderFact
	at       place
	known    bool // it is there, and is of this order
	rejected int
	by       place    // the first rejection
	all      timeline // of the rejections
}

// recordsKept is how many records of an order are kept in memory for the second
// look at them; of more all are read again.
const recordsKept = 16

// each calls f for the order's records, whose keys begin with the prefix. The
// iterator stands at the first of them; each leaves it behind them, and says
// whether there is more.
func (c *orderCheck) each(it *pebble.Iterator, prefix []byte, f func(*recordOf)) (ok bool, err error) {
	var r recordOf
	any := false
	for ok = it.Valid(); ok && bytes.HasPrefix(it.Key(), prefix); ok = it.Next() {
		at, rest := readPlace(it.Key()[len(prefix):], tOrders)
		if any && at != r.at {
			f(&r)
			r, any = recordOf{}, false
		}
		if len(rest) == 0 {
			fact, err := readOrderFact(it.Value())
			if err != nil {
				return false, fmt.Errorf("%w: order %q: %w", errStore, c.id, err)
			}
			r, any = recordOf{orderFact: fact, at: at, known: true}, true
			continue
		}
		by, _ := readPlace(rest, tErrors)
		r.at, any = at, true // it may accuse a record that is not there, or not of this order
		if r.rejected++; r.rejected == 1 {
			r.by = by
		}
		r.all.add(c.e, by, r.orderFact.at)
	}
	if any {
		f(&r)
	}
	return ok, it.Error()
}

// records judges the order's records: which of them the verdict is about, and
// that all others are redeliveries or in conflict. The id belongs to one of the
// first coherent records of each partition.
func (c *orderCheck) records(it *pebble.Iterator, prefix []byte) (ok bool, err error) {
	var (
		winner, second, earliest *recordOf // second: rejected, and counts only if no other fits
		fitting                  int
		partition                = int32(-1)
	)
	products := uint64(0)
	if c.verdicts > 0 {
		products = productsHash(len(c.verdict.parts), func(i int) string { return c.verdict.parts[i].product })
	}
	keep := func(r *recordOf) *recordOf { k := *r; return &k }
	n, kept := 0, make([]recordOf, 0, 2)
	ok, err = c.each(it, prefix, func(r *recordOf) {
		if n++; n <= recordsKept {
			kept = append(kept, *r)
		}
		if !r.coherent {
			return
		}
		if earliest == nil || r.orderFact.at.Before(earliest.orderFact.at) {
			c.mixed = c.mixed || earliest != nil && earliest.client != r.client
			earliest = keep(r)
		}
		c.mixed = c.mixed || earliest.client != r.client
		if r.at.partition == partition {
			return
		}
		partition = r.at.partition
		if c.verdicts == 0 || !c.e.fits(&r.orderFact, &c.verdict, products) {
			return
		}
		switch {
		case r.rejected > 0:
			second = keep(r)
		case winner == nil:
			winner = keep(r)
			fitting++
		default:
			fitting++
		}
	})
	if err != nil {
		return false, err
	}
	if winner == nil {
		winner = second
	}
	if earliest != nil {
		c.since, c.client = earliest.orderFact.at, earliest.client
	}
	switch {
	case c.verdicts == 0 && earliest != nil:
		c.at = earliest.at
	case c.verdicts > 0 && earliest == nil:
		c.st.violate(verdictOnce, c.at, "order %q has a verdict, and no coherent record has the id", c.id)
	case c.verdicts > 0 && winner == nil:
		c.st.violate(verdictRepeats, c.at, "order %q: client, amounts, lines or date are of none of its first records, such as %s", c.id, earliest.at)
	case winner != nil:
		c.fits, c.client, c.identity = true, winner.client, winner.identity
		if fitting <= 1 {
			c.trace = winner.trace
			if err := c.e.lane(winner, c.at); err != nil {
				return false, err
			}
		}
		c.traced(&c.verdict, c.at)
		if !c.e.named(&winner.orderFact, &c.verdict) {
			c.st.violate(verdictRepeats, c.at, "order %q: the name of a product was never its name", c.id)
		}
	}
	again := func(r *recordOf) {
		if r.known {
			c.line.add(c.e, r.at, r.orderFact.at)
		}
		c.line.join(&r.all)
		switch {
		case !r.known:
		case !r.coherent:
			c.incoherent++
			c.rejected += int64(r.rejected)
		default:
			c.coherent++
			c.answer(r, winner)
		}
	}
	if n > recordsKept {
		it.SeekGE(prefix)
		return c.each(it, prefix, again)
	}
	for i := range kept {
		again(&kept[i])
	}
	return ok, nil
}

// answer judges what a coherent record got.
func (c *orderCheck) answer(r, winner *recordOf) {
	if r.rejected > 0 {
		c.conflicts++
	}
	if r.rejected > 1 {
		c.st.violate(oneAnswer, r.at, "order %q: the record is rejected %d times, as by %s", c.id, r.rejected, r.by)
		return
	}
	switch {
	case winner == nil:
		// Not known yet, or said: no verdict is about a record of this order.
	case r.identity == winner.identity && r.rejected > 0:
		c.st.violate(oneAnswer, r.at, "order %q: the record has the content of %s, which the verdict is about, and is rejected by %s", c.id, winner.at, r.by)
	case r.identity != winner.identity && r.rejected == 0:
		c.st.missing(&c.e.clock, later(r.orderFact.at, c.verdict.at), oneAnswer, r.at, "order %q: the record is in conflict with %s and is not rejected", c.id, winner.at)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fits says whether a verdict can be about a record.
func (e *engine) fits(f *orderFact, v *eventFact, products uint64) bool {
	switch {
	case f.repeats != v.repeats:
		return false
	case f.products != 0:
		return f.products == products
	case len(v.parts) != 1:
		return false
	case f.product == v.parts[0].product, e.s.meta.gaps:
		return true
	}
	return e.known(append(append(newKey(keyName), nameFolded).id(fold(f.product)), v.parts[0].product...))
}

// named says whether each product of a verdict is called by a name that it had:
// in the catalogue, at a supply, in the order itself, or by its id.
func (e *engine) named(f *orderFact, v *eventFact) bool {
	if e.s.meta.gaps {
		return true
	}
	for i, l := range v.parts {
		if l.name == hash(l.product) || i < len(f.names) && l.name == f.names[i] {
			continue
		}
		if !e.known(append(newKey(keyName), nameOf).id(l.product).u64(l.name)) {
			return false
		}
	}
	return true
}

// known says whether a key is there. Those met lately are remembered.
func (e *engine) known(k []byte) bool {
	if e.names[string(k)] {
		return true
	}
	v, err := e.s.get(k)
	if err != nil {
		e.failed = err
	}
	if v == nil {
		return false
	}
	if len(e.names) >= maxNames {
		clear(e.names)
	}
	e.names[string(k)] = true
	return true
}

// maxNames bounds how many names are remembered.
const maxNames = 50_000

// lane notes which record of a client got which verdict.
func (e *engine) lane(r *recordOf, verdict place) error {
	k := newKey(keyLane).id(r.client).u32(uint32(r.at.partition)).u64(uint64(r.at.offset))
	v := key(nil).place(verdict)
	// What this round read first cannot have been noted before.
	if first, some := e.first[part{tOrders, r.at.partition}]; e.s.meta.judged && (!some || r.at.offset < first) {
		old, err := e.s.get(k)
		if err != nil || bytes.Equal(old, v) {
			return err
		}
	}
	e.s.fact(k, v)
	return nil
}
