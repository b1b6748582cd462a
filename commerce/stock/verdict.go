package stock

import (
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// partsOf sums the lines of an order per product, in the order in which the
// products first appear, and tells for each line which part it belongs to.
func partsOf(lines []event.Line) (parts []part, of []int) {
	parts, of = make([]part, 0, len(lines)), make([]int, len(lines))
	find := func(id event.ID) (int, bool) {
		for i := range parts {
			if parts[i].Product == id {
				return i, true
			}
		}
		return 0, false
	}
	if len(lines) > 16 {
		at := make(map[event.ID]int, len(lines))
		find = func(id event.ID) (int, bool) {
			i, ok := at[id]
			if !ok {
				at[id] = len(parts)
			}
			return i, ok
		}
	}
	for l := range lines {
		i, ok := find(lines[l].Product)
		if !ok {
			i = len(parts)
			parts = append(parts, part{Product: lines[l].Product})
		}
		parts[i].Quantity += lines[l].Quantity
		of[l] = i
	}
	return parts, of
}

// outcome is what a product answered for one part of an order.
type outcome struct {
	Kind answerKind
	Part int
	Name string
}

// judge gives the verdict on an order whose parts have all been answered, and
// the parts to release: those reserved for an order that is refused. of is
// which part each line belongs to.
func judge(o *event.Order, parts []part, of []int, outcomes []outcome, now time.Time) (v event.Verdict, releases []part) {
	v = event.Verdict{
		Order: o.ID, Status: event.StatusValid, Customer: o.Customer, Amount: o.Amount, Currency: o.Currency,
		Lines: make([]event.VerdictLine, len(o.Lines)), OrderedAt: o.OrderedAt, At: now,
	}
	byPart := outcomes
	if len(parts) > 1 {
		byPart = make([]outcome, len(parts))
		for _, a := range outcomes {
			byPart[a.Part] = a
		}
	}
	for _, a := range byPart {
		switch {
		case a.Kind == answerUnknown:
			v.Status, v.Reason = event.StatusRefused, event.ReasonUnknownProduct
		case a.Kind == answerShort && v.Reason == "":
			v.Status, v.Reason = event.StatusRefused, event.ReasonOutOfStock
		}
	}
	refused := v.Status == event.StatusRefused
	for i := range o.Lines {
		l, a := &o.Lines[i], &byPart[of[i]]
		line := event.VerdictLine{
			Product: l.Product, Name: displayName(l.Product, a.Name, l.Name), Quantity: l.Quantity,
			Amount: l.Amount, Price: l.Price, HasPrice: l.HasPrice, Reserved: !refused,
		}
		switch a.Kind {
		case answerUnknown:
			line.Reason = event.ReasonUnknownProduct
		case answerShort:
			line.Reason = event.ReasonOutOfStock
		}
		v.Lines[i] = line
	}
	if refused {
		for _, a := range byPart {
			if a.Kind == answerReserved {
				releases = append(releases, parts[a.Part])
			}
		}
	}
	return v, releases
}
