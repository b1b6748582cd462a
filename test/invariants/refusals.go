package invariants

import (
	"bytes"
	"slices"
	"strings"

	"github.com/comptoir/comptoir/test/orders"
)

// maxErrorValue is how long a value of commandes.erreurs may get before the
// accused value is left out of it.
const maxErrorValue = 900_000

const codeConflict = "COMMANDE_EN_CONFLIT"

// checkRefusals: every record of commandes.ecommerce is exactly one of rejected,
// the one a verdict is about, a known redelivery, or in conflict.
func (c *checker) checkRefusals() {
	type place struct {
		partition int32
		offset    int64
	}
	type alert struct{ order, code string }
	accused, alerts := map[place][]event[refusal]{}, map[alert]int{}
	byPlace := map[place]*placed{}
	for _, p := range c.records {
		byPlace[place{p.Partition, p.Offset}] = p
	}
	for _, e := range decode[refusal](c, topicErrors) {
		at := place{e.is.Origin.Partition, e.is.Origin.Offset}
		p := byPlace[at]
		if e.is.Origin.Topic != topicOrders || p == nil {
			c.violation("refusals name their record", "%s accuses %+v, which is no record", e, e.is.Origin)
			continue
		}
		c.checkRefusal(p, e)
		switch e.is.Severity {
		case "rejet":
			accused[at] = append(accused[at], e)
		case "alerte":
			if len(p.Codes) > 0 {
				c.violation("alerts are about coherent orders", "%s about %s", e, p)
			}
			for _, code := range codes(e) {
				if alerts[alert{p.ID, code}]++; alerts[alert{p.ID, code}] == 2 {
					c.violation("an alert once per code and order", "order %q has %s again in %s", p.ID, code, e)
				}
			}
		default:
			c.violation("events are well-formed", "%s has gravite %q", e, e.is.Severity)
		}
	}
	for _, p := range c.records {
		rejections := accused[place{p.Partition, p.Offset}]
		if len(p.Codes) > 0 {
			c.report.Rejected++
			if len(rejections) != 1 {
				c.violation("one rejection per incoherent record", "%s (%s) has %d", p, strings.Join(p.Codes, ", "), len(rejections))
			} else if got := codes(rejections[0]); !slices.Equal(got, p.Codes) {
				c.violation("rejections list every error", "%s has %v, want %v", rejections[0], got, p.Codes)
			}
			continue
		}
		c.checkCoherent(p, rejections)
	}
	for _, o := range c.sorted() {
		high, low := false, false
		for _, p := range o.records {
			high, low = high || p.Order.Amount > 5_000_00, low || p.Order.Amount <= 5_000_00
		}
		n := alerts[alert{o.id, "MONTANT_ELEVE"}]
		if high && !low && n == 0 || !high && n > 0 {
			c.violation("high amounts raise an alert", "order %q has %d", o.id, n)
		}
	}
}

// checkCoherent: the record's content is the verdict's (it is the winner or a
// redelivery), or it is in conflict and rejected as such once.
func (c *checker) checkCoherent(p *placed, rejections []event[refusal]) {
	o := c.orders[p.ID]
	if len(o.winners) == 0 {
		return // said already: no verdict, or one that fits nothing
	}
	if p.Order.Identity == o.winners[0].Order.Identity {
		if !slices.Contains(o.winners, p) || p != o.winners[0] {
			c.report.Redelivered++
		}
		if len(rejections) > 0 {
			c.violation("no coherent order is rejected", "%s of order %q: %v in %s", p, p.ID, codes(rejections[0]), rejections[0])
		}
		return
	}
	c.report.Conflicts++
	if len(rejections) != 1 || !slices.Equal(codes(rejections[0]), []string{codeConflict}) {
		c.violation("one rejection per conflict", "%s of order %q has %d rejections, want one as %s", p, p.ID, len(rejections), codeConflict)
	}
}

func codes(e event[refusal]) (list []string) {
	for _, problem := range e.is.Errors {
		list = append(list, problem.Code)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// checkRefusal: the accused record stands in the refusal as it was.
func (c *checker) checkRefusal(p *placed, e event[refusal]) {
	if !bytes.Equal(e.Key, p.Key) || (e.Key == nil) != (p.Key == nil) {
		c.violation("keys", "%s has key %q, the accused %s %q", e, e.Key, p, p.Key)
	}
	for _, h := range p.Headers {
		if !slices.ContainsFunc(e.Headers, func(o orders.Header) bool { return o.Key == h.Key && bytes.Equal(o.Value, h.Value) }) {
			c.violation("refusals copy headers", "%s lacks %s of %s", e, h.Key, p)
		}
	}
	if got := e.is.Order; got != nil && string(*got) != p.ID || got == nil && p.ID != "" {
		c.violation("refusals name their order", "%s, accused is order %q", e, p.ID)
	}
	wrong := ""
	switch {
	case e.is.Size != nil:
		full := len(e.Value) + len(p.Value)
		if !p.Strict {
			full = len(e.Value) + (len(p.Value)+2)/3*4
		}
		if *e.is.Size != len(p.Value) || e.is.Raw != nil || e.is.Value != nil || full <= maxErrorValue-100 {
			wrong = "taille"
		}
	case p.Value == nil:
		if string(e.is.Value) != "null" || e.is.Raw != nil {
			wrong = "tombstone"
		}
	case p.Strict:
		if !bytes.Equal(e.is.Value, bytes.TrimSpace(p.Value)) || e.is.Raw != nil {
			wrong = "commande"
		}
	default:
		if e.is.Raw == nil || !bytes.Equal(*e.is.Raw, p.Value) || e.is.Value != nil {
			wrong = "commande_brute"
		}
	}
	if wrong != "" || len(e.Value) > maxErrorValue {
		c.violation("refusals carry the accused value", "%s (%d bytes) about %s (%d bytes): %s", e, len(e.Value), p, len(p.Value), wrong)
	}
}
