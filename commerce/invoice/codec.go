package invoice

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
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
		r := newReader(data)
		switch r.byte() {
		case kindPaid:
		case kindBill:
			p.bill = r.bill()
		default:
			r.bad = true
		}
		return p, r.end("part of an invoice")
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
		r := newReader(data)
		kind := r.byte()
		s.at = time.UnixMilli(r.varint()).UTC()
		switch kind {
		case kindPaid:
		case kindBill:
			s.bill = r.bill()
		case kindIssued:
			s.issued = true
		default:
			r.bad = true
		}
		return s, r.end("state of an order")
	},
}

var counterSerde = streams.Serde[Counter]{
	Append: func(b []byte, c Counter) []byte {
		b = binary.AppendVarint(append(b, codecVersion), int64(c.Year))
		b = binary.AppendVarint(b, c.Number)
		return appendText(b, c.Date)
	},
	Parse: func(data []byte) (c Counter, err error) {
		r := newReader(data)
		c = Counter{Year: int(r.varint()), Number: r.varint(), Date: r.text()}
		if c.Year < 0 || c.Year > 9999 || c.Number < 1 {
			r.bad = true
		}
		return c, r.end("counter of invoices")
	},
}

func (b *bill) append(to []byte) []byte {
	to = appendText(to, b.customer.Name)
	to = appendText(to, string(b.customer.ID))
	to = appendText(to, b.customer.Email)
	to = binary.AppendVarint(to, int64(b.amount))
	to = appendText(to, b.currency)
	to = appendText(to, b.orderedAt)
	to = binary.AppendUvarint(to, uint64(len(b.lines)))
	for i := range b.lines {
		l := &b.lines[i]
		to = appendText(to, string(l.Product))
		to = appendText(to, l.Name)
		to = binary.AppendVarint(to, l.Quantity)
		to = binary.AppendVarint(to, int64(l.Amount))
		if l.HasPrice {
			to = binary.AppendVarint(append(to, 1), int64(l.Price))
		} else {
			to = append(to, 0)
		}
	}
	return to
}

func (r *reader) bill() *bill {
	b := &bill{
		customer: event.Customer{Name: r.text(), ID: event.ID(r.text()), Email: r.text()},
		amount:   event.Amount(r.varint()), currency: r.text(), orderedAt: r.text(),
	}
	n := r.uvarint()
	const least = 5 // bytes of a line
	if n > uint64(len(r.data)/least) {
		r.bad = true
		return b
	}
	b.lines = make([]event.InvoiceLine, n)
	for i := range b.lines {
		l := &b.lines[i]
		l.Product, l.Name = event.ID(r.text()), r.text()
		l.Quantity, l.Amount = r.varint(), event.Amount(r.varint())
		switch r.byte() {
		case 0:
		case 1:
			l.Price, l.HasPrice = event.Amount(r.varint()), true
		default:
			r.bad = true
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader reads an encoding; after the first failure it returns zero values.
type reader struct {
	data []byte
	bad  bool
}

func newReader(data []byte) *reader {
	r := &reader{data: data}
	if r.byte() != codecVersion {
		r.bad = true
	}
	return r
}

func (r *reader) byte() byte {
	if r.bad || len(r.data) == 0 {
		r.bad = true
		return 0
	}
	c := r.data[0]
	r.data = r.data[1:]
	return c
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) text() string {
	n := r.uvarint()
	if r.bad || n > maxText || n > uint64(len(r.data)) {
		r.bad = true
		return ""
	}
	s := string(r.data[:n])
	r.data = r.data[n:]
	return s
}

func (r *reader) end(what string) error {
	if r.bad || len(r.data) > 0 {
		return fmt.Errorf("damaged %s", what)
	}
	return nil
}
