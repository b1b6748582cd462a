package invariants

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/comptoir/comptoir/test/orders"
)

// Check judges the history. Everything must be at rest: what is still on its way
// is reported as missing.
func (h *History) Check() Report {
	c := &checker{h: h, orders: map[string]*order{}}
	c.report.Outcomes = map[string]orders.Outcome{}
	c.readOrders()
	c.readCatalogue()
	c.verdicts = decode[verdict](c, topicVerdicts)
	c.checkVerdicts()
	c.checkRefusals()
	c.checkSequence()
	c.checkLedger()
	c.checkPayments()
	c.checkInvoices()
	c.checkNotices()
	c.checkArchive()
	c.checkPositions()
	return c.report
}

type checker struct {
	h      *History
	report Report

	records  []*placed         // commandes.ecommerce
	orders   map[string]*order // by id: those with a coherent record
	verdicts []event[verdict]

	known map[string]bool            // products of the catalogue or of a supply
	named map[string]map[string]bool // normalised name to products
	names map[string]map[string]bool // product to names it ever had
	since map[string]time.Time       // product to its first movement
}

// placed is a record of commandes.ecommerce, judged.
type placed struct {
	Record
	orders.Judgement
	first bool // of its order id in its partition
}

// order is everything that is known of one order id.
type order struct {
	id      string
	records []*placed
	verdict *event[verdict]
	winners []*placed // records that the verdict may be about: one, unless redelivered under several keys
	paid    *event[payment]
	refused *event[payment]
	invoice *event[invoice]
	taken   []event[movement]
}

func (c *checker) violation(invariant, format string, args ...any) {
	c.report.Violations = append(c.report.Violations, Violation{invariant, fmt.Sprintf(format, args...)})
}

// sorted walks the orders in a stable order, so that reports can be compared.
func (c *checker) sorted() (list []*order) {
	for _, id := range slices.Sorted(maps.Keys(c.orders)) {
		list = append(list, c.orders[id])
	}
	return list
}

func (c *checker) readOrders() {
	type place struct {
		partition int32
		id        string
	}
	seen := map[place]bool{}
	for _, r := range c.h.Topics[topicOrders] {
		p := &placed{Record: r, Judgement: orders.Judge(r.Key, r.Value, r.Time)}
		c.records = append(c.records, p)
		if len(p.Codes) > 0 {
			continue
		}
		at := place{r.Partition, p.ID}
		p.first = !seen[at]
		seen[at] = true
		o := c.orders[p.ID]
		if o == nil {
			o = &order{id: p.ID}
			c.orders[p.ID] = o
		}
		o.records = append(o.records, p)
	}
	c.report.Records = len(c.records)
}

// checkVerdicts: every order has one verdict, and it is about the content of a
// record that can have been the first.
func (c *checker) checkVerdicts() {
	for i := range c.verdicts {
		v := &c.verdicts[i]
		o := c.orders[string(v.is.Order)]
		switch {
		case o == nil:
			c.violation("verdicts are about orders", "%s: no coherent record has the id %q", v, v.is.Order)
		case o.verdict != nil:
			c.violation("one verdict per order", "order %q: %s and %s", o.id, o.verdict, v)
		default:
			o.verdict = v
			c.checkVerdict(o, v)
		}
	}
	for _, o := range c.sorted() {
		if o.verdict == nil {
			c.violation("one verdict per order", "order %q of %s has none", o.id, o.records[0])
		}
	}
}

func (c *checker) checkVerdict(o *order, v *event[verdict]) {
	var why string
	for _, p := range o.records {
		if !p.first {
			continue
		}
		if difference := c.differs(p.Order, v.is); difference != "" {
			why = difference
			continue
		}
		o.winners = append(o.winners, p)
	}
	if len(o.winners) == 0 {
		c.violation("verdicts repeat their order", "%s of order %q fits no first record of it: %s", v, o.id, why)
	}
	c.checkEnvelope(o, v.Record, v.is.customer, v.is.ClientID)

	failed, motifs := false, map[string]bool{}
	for _, l := range v.is.Lines {
		failed = failed || l.Reason != ""
		motifs[l.Reason] = true
		if l.Reserved != (v.is.Status == "VALIDE") || l.Reserved && l.Reason != "" {
			c.violation("all or nothing per order", "%s: line of %s has reserve %v and motif %q in a verdict %s", v, l.Product, l.Reserved, l.Reason, v.is.Status)
		}
		if l.Reason == "PRODUIT_INCONNU" && c.surely(o, string(l.Product)) || l.Reason == "STOCK_INSUFFISANT" && !c.known[string(l.Product)] {
			c.violation("refusals give their reason", "%s: product %s has motif %s", v, l.Product, l.Reason)
		}
		for _, other := range v.is.Lines {
			if other.Product == l.Product && other.Reason != l.Reason {
				c.violation("lines of one product count together", "%s: product %s has motifs %q and %q", v, l.Product, l.Reason, other.Reason)
			}
		}
	}
	motif := ""
	switch {
	case motifs["PRODUIT_INCONNU"]:
		motif = "PRODUIT_INCONNU"
	case motifs["STOCK_INSUFFISANT"]:
		motif = "STOCK_INSUFFISANT"
	}
	switch status := v.is.Status; {
	case status != "VALIDE" && status != "REFUSE":
		c.violation("events are well-formed", "%s has statut %q", v, status)
	case status == "REFUSE" && (!failed || v.is.Reason != motif), status == "VALIDE" && v.is.Reason != "":
		c.violation("refusals give their reason", "%s: %s with motif %q, its lines have %q", v, status, v.is.Reason, slices.Sorted(maps.Keys(motifs)))
	}
}

// differs says in what a verdict is not about an order's content.
func (c *checker) differs(o orders.Order, v verdict) string {
	amounts := func() string {
		for i, l := range v.Lines {
			want, amount := o.Lines[i], o.Amount
			if !o.SingleLine {
				amount = want.Price * want.Quantity
			}
			switch {
			case !c.resolves(o, want.Product, string(l.Product)):
				return fmt.Sprintf("product %q for %q", l.Product, want.Product)
			case l.Quantity != want.Quantity, int64(l.Amount) != amount:
				return fmt.Sprintf("line %d of %d for %s", i, l.Quantity, orders.Decimal(int64(l.Amount)))
			case want.Priced != (l.Price != nil), want.Priced && int64(*l.Price) != want.Price:
				return fmt.Sprintf("price of line %d", i)
			case c.known[string(l.Product)] && l.Reason != "PRODUIT_INCONNU" && !c.names[string(l.Product)][l.Name]:
				return fmt.Sprintf("name %q of product %s", l.Name, l.Product)
			}
		}
		return ""
	}
	switch {
	case v.Client != o.Client, string(v.ClientID) != o.ClientID, v.Email != o.Email:
		return fmt.Sprintf("customer %+v", v.customer)
	case int64(v.Amount) != o.Amount, v.Currency != o.Currency:
		return fmt.Sprintf("amount %s %s", orders.Decimal(int64(v.Amount)), v.Currency)
	case v.OrderedAt != o.OrderedAt:
		return fmt.Sprintf("date_commande %q, not %q", v.OrderedAt, o.OrderedAt)
	case len(v.Lines) != len(o.Lines):
		return fmt.Sprintf("%d lines, not %d", len(v.Lines), len(o.Lines))
	}
	return amounts()
}

// resolves says whether an order's product may have become this id. The order of
// catalogue changes and orders is not known here, so any name that a product ever
// had will do.
func (c *checker) resolves(o orders.Order, text, product string) bool {
	if text == product {
		return true
	}
	return o.SingleLine && !c.known[text] && c.named[normal(text)][product]
}

func normal(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// checkEnvelope: key, headers and customer are the same at every step of an order.
func (c *checker) checkEnvelope(o *order, r Record, who customer, key id) {
	if string(r.Key) != string(key) {
		c.violation("keys", "%s has key %q, want %q", r, r.Key, key)
	}
	if got := r.header("comptoir-order"); len(got) != 1 || got[0] != o.id {
		c.violation("header comptoir-order", "%s of order %q has %q", r, o.id, got)
	}
	if len(o.winners) > 0 {
		want, got := o.winners[0].header("traceparent"), r.header("traceparent")
		if len(want) == 1 && (len(got) != 1 || trace(got[0]) != trace(want[0])) {
			c.violation("header traceparent", "%s of order %q has %q, the order %q", r, o.id, got, want)
		}
	}
	if o.verdict != nil && who != o.verdict.is.customer {
		c.violation("customer is carried along", "%s of order %q has %+v, its verdict %+v", r, o.id, who, o.verdict.is.customer)
	}
}

// trace is the trace id of a traceparent: a step may have a span of its own.
func trace(parent string) string {
	if parts := strings.Split(parent, "-"); len(parts) == 4 {
		return parts[1]
	}
	return parent
}

// checkSequence: the verdicts of one client's orders come in the order of their
// records, as far as that is one partition.
func (c *checker) checkSequence() {
	type lane struct {
		client    string
		partition int32
	}
	type step struct {
		record  *placed
		verdict Record
	}
	lanes := map[lane][]step{}
	for _, o := range c.sorted() {
		if o.verdict != nil && len(o.winners) == 1 {
			w := o.winners[0]
			l := lane{w.Order.ClientID, w.Partition}
			lanes[l] = append(lanes[l], step{w, o.verdict.Record})
		}
	}
	for l, steps := range lanes {
		slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.record.Offset, b.record.Offset) })
		for i := 1; i < len(steps); i++ {
			a, b := steps[i-1], steps[i]
			if a.verdict.Partition != b.verdict.Partition || a.verdict.Offset > b.verdict.Offset {
				c.violation("verdicts per client in the order of their records",
					"client %q: %s before %s, but their verdicts are %s and %s", l.client, a.record, b.record, a.verdict, b.verdict)
			}
		}
	}
}

// checkPositions: at rest every group stands at the end of everything it reads,
// transaction markers included.
func (c *checker) checkPositions() {
	for _, behind := range open(c.h.Positions, c.h.Archived, "") {
		c.violation("lag 0", "%s", behind)
	}
}
