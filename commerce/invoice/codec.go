package invoice

import (
	"encoding/binary"
	"math"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire"
	"github.com/comptoir/comptoir/streams"
)

// codecVersion is the first byte of everything this package stores or sends
// internally.
const codecVersion = 1

// maxText bounds each text in an encoding, in bytes. The longest comes from a
// record: an order's e-mail address may fill it.
const maxText = 16 << 20

// What follows the version in a part and in a state.
const (
	kindPaid   = 0
	kindBill   = 1
	kindIssued = 2
)

var partSerde = streams.Serde[part]{
	Append: func(b []byte, p part) []byte {
		if p.bill == nil {
			return append(b, codecVersion, kindPaid)
		}
		return p.bill.append(append(b, codecVersion, kindBill))
	},
	Parse: func(data []byte) (p part, err error) {
		d := wire.Decode("part of an invoice", data).Version(codecVersion)
		switch d.Byte() {
		case kindPaid:
		case kindBill:
			p.bill = readBill(d)
		default:
			d.Fail()
		}
		return p, d.End()
	},
}

var stateSerde = streams.Serde[state]{
	Append: func(b []byte, s state) []byte {
		kind := byte(kindPaid)
		switch {
		case s.issued:
			kind = kindIssued
		case s.bill != nil:
			kind = kindBill
		}
		b = binary.AppendVarint(append(b, codecVersion, kind), s.at.UnixMilli())
		if kind == kindBill {
			b = s.bill.append(b)
		}
		return b
	},
	Parse: func(data []byte) (s state, err error) {
		d := wire.Decode("state of an order", data).Version(codecVersion)
		kind := d.Byte()
		s.at = d.Millis()
		switch kind {
		case kindPaid:
		case kindBill:
			s.bill = readBill(d)
		case kindIssued:
			s.issued = true
		default:
			d.Fail()
		}
		return s, d.End()
	},
}

var counterSerde = streams.Serde[Counter]{
	Append: func(b []byte, c Counter) []byte {
		b = binary.AppendVarint(append(b, codecVersion), int64(c.Year))
		b = binary.AppendVarint(b, c.Number)
		return wire.AppendText(b, c.Date)
	},
	Parse: func(data []byte) (c Counter, err error) {
		d := wire.Decode("counter of invoices", data).Version(codecVersion)
		c = Counter{Year: int(d.Varint()), Number: d.Varint(), Date: d.Text(maxText)}
		if c.Year < 0 || c.Year > 9999 || c.Number < 1 {
			d.Fail()
		}
		return c, d.End()
	},
}

func (b *bill) append(to []byte) []byte {
	to = wire.AppendText(to, b.customer.Name)
	to = wire.AppendText(to, b.customer.ID)
	to = wire.AppendText(to, b.customer.Email)
	to = binary.AppendVarint(to, int64(b.amount))
	to = wire.AppendText(to, b.currency)
	to = wire.AppendText(to, b.orderedAt)
	to = binary.AppendUvarint(to, uint64(len(b.lines)))
	for i := range b.lines {
		l := &b.lines[i]
		to = wire.AppendText(to, l.Product)
		to = wire.AppendText(to, l.Name)
		to = binary.AppendVarint(to, l.Quantity)
		to = binary.AppendVarint(to, int64(l.Amount))
		if to = wire.AppendFlag(to, l.HasPrice); l.HasPrice {
			to = binary.AppendVarint(to, int64(l.Price))
		}
	}
	return to
}

func readBill(d *wire.Decoder) *bill {
	b := &bill{
		customer: event.Customer{Name: d.Text(maxText), ID: event.ID(d.Text(maxText)), Email: d.Text(maxText)},
		amount:   event.Amount(d.Varint()), currency: d.Text(maxText), orderedAt: d.Text(maxText),
	}
	const least = 5 // bytes of a line
	b.lines = make([]event.InvoiceLine, d.Count(math.MaxInt, least))
	for i := range b.lines {
		l := &b.lines[i]
		l.Product, l.Name = event.ID(d.Text(maxText)), d.Text(maxText)
		l.Quantity, l.Amount = d.Varint(), event.Amount(d.Varint())
		if l.HasPrice = d.Flag(); l.HasPrice {
			l.Price = event.Amount(d.Varint())
		}
	}
	return b
}
