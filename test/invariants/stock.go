package invariants

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/comptoir/comptoir/test/orders"
)

// readCatalogue collects the products that are known and the names they had.
func (c *checker) readCatalogue() {
	c.since = map[string]time.Time{}
	for _, r := range c.h.Topics[topicMovements] {
		if product := string(r.Key); c.since[product].IsZero() {
			c.since[product] = r.Time
		}
	}
	c.known, c.named, c.names = map[string]bool{}, map[string]map[string]bool{}, map[string]map[string]bool{}
	for _, topic := range []string{topicCatalogue, topicSupplies} {
		for _, r := range c.h.Topics[topic] {
			var row supply
			if json.Unmarshal(r.Value, &row) != nil {
				continue // others write here too; what is malformed is ignored
			}
			product, ok := looseID(row.Product)
			if _, _, valid := quantityOf(row); !ok || topic == topicSupplies && !valid {
				continue
			}
			c.known[product] = true
			name := row.Name
			if name == "" {
				name = product
			}
			add(c.named, normal(name), product)
			add(c.names, product, name)
		}
	}
}

func add(to map[string]map[string]bool, key, value string) {
	if to[key] == nil {
		to[key] = map[string]bool{}
	}
	to[key][value] = true
}

// quantityOf reads a supply's id and quantity, and says whether they are valid.
func quantityOf(s supply) (id string, n int64, ok bool) {
	id, ok = looseID(s.ID)
	n, err := strconv.ParseInt(string(s.Quantity), 10, 64)
	return id, n, ok && err == nil && n > 0
}

// surely says whether an order was placed after its product had its first
// movement, so that the stock it met was that of the ledger.
func (c *checker) surely(o *order, product string) bool {
	since, ok := c.since[product]
	return ok && len(o.winners) > 0 && o.winners[0].Time.After(since)
}

// checkLedger: each product's movements add up line by line, never go below zero,
// are those that supplies and outcomes call for and no others; and in the end
// what was supplied is sold, reserved or left.
func (c *checker) checkLedger() {
	type level struct{ available, reserved, supplied, sold, least int64 }
	levels := map[string]*level{}
	delivered := map[[2]string]*event[movement]{}
	home := map[string]int32{}
	for _, e := range decode[movement](c, topicMovements) {
		m, product := e.is, string(e.is.Product)
		if string(e.Key) != product {
			c.violation("keys", "%s has key %q, want %q", e, e.Key, product)
		}
		if at, ok := home[product]; ok && at != e.Partition {
			c.violation("stock ledger", "movements of product %s stand in partitions %d and %d", product, at, e.Partition)
		}
		home[product] = e.Partition
		l := levels[product]
		if l == nil {
			l = &level{least: math.MaxInt64}
			levels[product] = l
		}
		n, sign := m.Quantity, int64(1)
		if m.Kind == "RESERVATION" || m.Kind == "SORTIE" {
			sign = -1
		}
		if n*sign <= 0 {
			c.violation("stock ledger", "%s: %s of %d", e, m.Kind, n)
		}
		switch m.Kind {
		case "APPROVISIONNEMENT":
			l.available += n
			l.supplied += n
		case "RESERVATION", "LIBERATION":
			l.available += n
			l.reserved -= n
		case "SORTIE":
			l.reserved += n
			l.sold -= n
		default:
			c.violation("events are well-formed", "%s has mouvement %q", e, m.Kind)
		}
		l.least = min(l.least, l.available)
		if m.Available != l.available || m.Reserved != l.reserved {
			c.violation("stock ledger", "%s: %s of %d leaves %d and %d reserved, the movements so far make %d and %d",
				e, m.Kind, n, m.Available, m.Reserved, l.available, l.reserved)
			l.available, l.reserved = m.Available, m.Reserved // one violation, not one per line that follows
		}
		if m.Available < 0 || m.Reserved < 0 || l.available < 0 || l.reserved < 0 {
			c.violation("stock is never negative", "%s: %d and %d reserved", e, m.Available, m.Reserved)
		}
		if m.Kind == "APPROVISIONNEMENT" {
			reference, _ := looseID(m.Reference)
			if key := [2]string{product, reference}; delivered[key] != nil {
				c.violation("a supply counts once", "%s repeats supply %q of product %s", e, reference, product)
			} else {
				delivered[key] = &e
			}
			continue
		}
		if m.Order == nil {
			c.violation("events are well-formed", "%s: %s without id_commande", e, m.Kind)
			continue
		}
		o := c.orders[string(*m.Order)]
		if o == nil || o.verdict == nil {
			c.violation("movements belong to a verdict", "%s: order %q has none", e, *m.Order)
			continue
		}
		if got := e.header("comptoir-order"); len(got) != 1 || got[0] != o.id {
			c.violation("header comptoir-order", "%s of order %q has %q", e, o.id, got)
		}
		o.taken = append(o.taken, e)
	}
	c.checkSupplies(delivered)

	for _, product := range slices.Sorted(maps.Keys(levels)) {
		if l := levels[product]; l.supplied != l.sold+l.reserved+l.available {
			c.violation("supplied = sold + reserved + left", "product %s: %d, and %d + %d + %d", product, l.supplied, l.sold, l.reserved, l.available)
		}
	}
	// A refusal for want of stock needs a moment at which there was not enough.
	for _, o := range c.sorted() {
		if o.verdict == nil {
			continue
		}
		wanted := perProduct(o.verdict.is.Lines)
		for _, l := range o.verdict.is.Lines {
			product := string(l.Product)
			if l.Reason == "STOCK_INSUFFISANT" && c.surely(o, product) && levels[product].least >= wanted[product] {
				c.violation("refusals give their reason", "%s: %d of product %s refused, which never had less than %d", o.verdict, wanted[product], product, levels[product].least)
			}
		}
	}
}

// checkSupplies: every valid supply has one movement with its quantity, those of
// one id together one, with the quantity of one of them.
func (c *checker) checkSupplies(delivered map[[2]string]*event[movement]) {
	called := map[[2]string][]int64{}
	for _, r := range c.h.Topics[topicSupplies] {
		var s supply
		if json.Unmarshal(r.Value, &s) != nil {
			continue
		}
		product, ok := looseID(s.Product)
		reference, n, valid := quantityOf(s)
		if key := [2]string{product, reference}; ok && valid {
			called[key] = append(called[key], n)
		}
	}
	for key, quantities := range called {
		if e := delivered[key]; e == nil {
			c.violation("every supply counts", "supply %q of product %s has no movement", key[1], key[0])
		} else if e.is.Quantity != quantities[0] {
			c.violation("every supply counts", "%s: supply %q of product %s was of %d", e, key[1], key[0], quantities[0])
		}
	}
	for key, e := range delivered {
		if called[key] == nil {
			c.violation("supplies come from the topic", "%s: product %s, no supply %q", e, key[0], key[1])
		}
	}
}

func perProduct(lines []line) map[string]int64 {
	wanted := map[string]int64{}
	for _, l := range lines {
		wanted[string(l.Product)] += l.Quantity
	}
	return wanted
}

// checkMovements: an order's movements are what its outcome calls for, per product
// and in sequence.
func (c *checker) checkMovements(o *order, end orders.Outcome) {
	v := o.verdict.is
	got := map[string][]string{}
	wanted := perProduct(v.Lines)
	for _, e := range o.taken {
		product := string(e.is.Product)
		got[product] = append(got[product], e.is.Kind)
		n := e.is.Quantity
		if n < 0 {
			n = -n
		}
		if n != wanted[product] {
			c.violation("one movement per order and product", "%s: %s of %d, order %q wants %d", e, e.is.Kind, n, o.id, wanted[product])
		}
	}
	failed := map[string]bool{}
	for _, l := range v.Lines {
		failed[string(l.Product)] = failed[string(l.Product)] || l.Reason != ""
	}
	for product := range wanted {
		kinds, ok := got[product], false
		switch end {
		case orders.Invoiced:
			ok = slices.Equal(kinds, []string{"RESERVATION", "SORTIE"})
		case orders.PaymentRefused:
			ok = slices.Equal(kinds, []string{"RESERVATION", "LIBERATION"})
		case orders.StockRefused:
			ok = len(kinds) == 0 || !failed[product] && slices.Equal(kinds, []string{"RESERVATION", "LIBERATION"})
		}
		if !ok {
			c.violation("movements fit the outcome", "order %q ended %s, product %s has %v", o.id, end, product, kinds)
		}
	}
	for product := range got {
		if _, ok := wanted[product]; !ok {
			c.violation("movements fit the outcome", "order %q has movements of product %s, which it did not order", o.id, product)
		}
	}
}
