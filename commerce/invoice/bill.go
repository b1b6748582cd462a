package invoice

import (
	"math/bits"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// bill is what an invoice needs of a verdict.
type bill struct {
	customer  event.Customer
	amount    event.Amount
	currency  string
	orderedAt string
	lines     []event.InvoiceLine
}

func billOf(v *event.Verdict) *bill {
	b := &bill{customer: v.Customer, amount: v.Amount, currency: v.Currency, orderedAt: v.OrderedAt}
	b.lines = make([]event.InvoiceLine, len(v.Lines))
	for i, l := range v.Lines {
		b.lines[i] = event.InvoiceLine{Product: l.Product, Name: l.Name, Quantity: l.Quantity, Amount: l.Amount, Price: l.Price, HasPrice: l.HasPrice}
	}
	return b
}

// invoice makes the bill an invoice.
func (b *bill) invoice(order event.ID, number, date string, rate event.Percent, now time.Time) event.Invoice {
	net := netOf(b.amount, rate)
	return event.Invoice{
		Number: number, Type: event.InvoiceTypeInvoice, Order: order, Customer: b.customer, Date: date,
		Lines: b.lines, Net: net, VAT: b.amount - net, VATRate: rate, Amount: b.amount, Currency: b.currency,
		OrderedAt: b.orderedAt, At: now,
	}
}

// netOf returns the part of a total that is not tax: total × 100 / (100 + rate),
// rounded half up to the cent. Total and rate are not negative.
func netOf(total event.Amount, rate event.Percent) event.Amount {
	const whole = 100_00 // 100 %
	divisor := whole + uint64(rate)
	// The product may take more than 64 bits; the quotient is at most total.
	hi, lo := bits.Mul64(uint64(total), whole)
	net, rest := bits.Div64(hi, lo, divisor)
	if rest >= divisor-rest {
		net++
	}
	return event.Amount(net)
}

// part is one of the two halves that make an invoice: a verdict's bill, or, if
// that is nil, the fact that the order is paid.
type part struct{ bill *bill }

// state is what is known of an order.
type state struct {
	at     time.Time // ms; of the last change
	bill   *bill     // of the verdict, while the payment is awaited
	issued bool      // the invoice is; else, without a bill, the payment came first
}

// join adds a part to what is known. bill is to be invoiced now, if it is not
// nil. ok is false for a part that has come before.
func (st state) join(known bool, p part) (next state, bill *bill, ok bool) {
	switch {
	case !known:
		return state{bill: p.bill}, nil, true
	case st.issued || (st.bill == nil) == (p.bill == nil):
		return st, nil, false
	case p.bill != nil:
		return state{issued: true}, p.bill, true
	default:
		return state{issued: true}, st.bill, true
	}
}
