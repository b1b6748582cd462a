package payment

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

// maxText bounds each text in an encoding, in bytes. The longest comes from an
// record: an order's e-mail address, or its trace header, may fill it.
const maxText = 16 << 20

// decision is what is remembered of an order whose payment is settled.
type decision struct {
	at       time.Time // ms
	accepted bool
}

// pending is a payment whose outcome is not known yet.
type pending struct {
	customer event.Customer
	amount   event.Amount
	currency string
	headers  []streams.Header // of the events to come
	since    time.Time
}

func (p pending) request(order event.ID) Request {
	return Request{Order: order, Amount: p.amount, Currency: p.currency}
}

var decisionSerde = streams.Serde[decision]{
	Append: func(b []byte, d decision) []byte {
		b = appendBool(append(b, codecVersion), d.accepted)
		return binary.AppendVarint(b, d.at.UnixMilli())
	},
	Parse: func(data []byte) (d decision, err error) {
		r := newReader(data)
		d.accepted = r.boolean()
		d.at = r.time()
		return d, r.end("decision")
	},
}

var pendingSerde = streams.Serde[pending]{
	Append: func(b []byte, p pending) []byte {
		b = append(b, codecVersion, byte(len(p.headers))) // at most two, see event.Headers
		for _, h := range p.headers {
			b = appendText(b, h.Key)
			b = append(binary.AppendUvarint(b, uint64(len(h.Value))), h.Value...)
		}
		b = appendText(b, p.customer.Name)
		b = appendText(b, string(p.customer.ID))
		b = appendText(b, p.customer.Email)
		b = binary.AppendVarint(b, int64(p.amount))
		b = appendText(b, p.currency)
		return binary.AppendVarint(b, p.since.UnixMilli())
	},
	Parse: func(data []byte) (p pending, err error) {
		r := newReader(data)
		for n := r.byte(); n > 0 && !r.bad; n-- {
			p.headers = append(p.headers, streams.Header{Key: r.text(), Value: []byte(r.text())})
		}
		p.customer = event.Customer{Name: r.text(), ID: event.ID(r.text()), Email: r.text()}
		p.amount = event.Amount(r.varint())
		p.currency = r.text()
		p.since = r.time()
		return p, r.end("pending payment")
	},
}

// outcomeSerde encodes what the Workers send back.
var outcomeSerde = streams.Serde[Outcome]{
	Append: func(b []byte, o Outcome) []byte {
		b = appendBool(append(b, codecVersion), o.Accepted)
		b = appendText(b, o.Method)
		b = appendText(b, o.Reference)
		return appendText(b, o.Reason)
	},
	Parse: func(data []byte) (o Outcome, err error) {
		r := newReader(data)
		o = Outcome{Accepted: r.boolean(), Method: r.text(), Reference: r.text(), Reason: r.text()}
		return o, r.end("payment outcome")
	},
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
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

func (r *reader) boolean() bool {
	c := r.byte()
	r.bad = r.bad || c > 1
	return c == 1
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

func (r *reader) time() time.Time { return time.UnixMilli(r.varint()).UTC() }

func (r *reader) text() string {
	l, n := binary.Uvarint(r.data)
	if r.bad || n <= 0 || l > maxText || l > uint64(len(r.data)-n) {
		r.bad = true
		return ""
	}
	s := string(r.data[n : n+int(l)])
	r.data = r.data[n+int(l):]
	return s
}

func (r *reader) end(what string) error {
	if r.bad || len(r.data) > 0 {
		return fmt.Errorf("damaged %s", what)
	}
	return nil
}
