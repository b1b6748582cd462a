package payment

import (
	"encoding/binary"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire"
	"github.com/comptoir/comptoir/streams"
)

// codecVersion is the first byte of everything this package stores or sends
// internally.
const codecVersion = 1

// maxText bounds each text in an encoding, in bytes. The longest comes from a
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
		b = wire.AppendFlag(append(b, codecVersion), d.accepted)
		return binary.AppendVarint(b, d.at.UnixMilli())
	},
	Parse: func(data []byte) (v decision, err error) {
		d := wire.Decode("decision", data).Version(codecVersion)
		v.accepted = d.Flag()
		v.at = d.Millis()
		return v, d.End()
	},
}

var pendingSerde = streams.Serde[pending]{
	Append: func(b []byte, p pending) []byte {
		b = append(b, codecVersion, byte(len(p.headers))) // at most two, see event.Headers
		for _, h := range p.headers {
			b = wire.AppendText(b, h.Key)
			b = wire.AppendText(b, h.Value)
		}
		b = wire.AppendText(b, p.customer.Name)
		b = wire.AppendText(b, p.customer.ID)
		b = wire.AppendText(b, p.customer.Email)
		b = binary.AppendVarint(b, int64(p.amount))
		b = wire.AppendText(b, p.currency)
		return binary.AppendVarint(b, p.since.UnixMilli())
	},
	Parse: func(data []byte) (p pending, err error) {
		d := wire.Decode("pending payment", data).Version(codecVersion)
		for range d.Byte() {
			p.headers = append(p.headers, streams.Header{Key: d.Text(maxText), Value: []byte(d.Text(maxText))})
		}
		p.customer = event.Customer{Name: d.Text(maxText), ID: event.ID(d.Text(maxText)), Email: d.Text(maxText)}
		p.amount = event.Amount(d.Varint())
		p.currency = d.Text(maxText)
		p.since = d.Millis()
		return p, d.End()
	},
}

// outcomeSerde encodes what the Workers send back.
var outcomeSerde = streams.Serde[Outcome]{
	Append: func(b []byte, o Outcome) []byte {
		b = wire.AppendFlag(append(b, codecVersion), o.Accepted)
		b = wire.AppendText(b, o.Method)
		b = wire.AppendText(b, o.Reference)
		return wire.AppendText(b, o.Reason)
	},
	Parse: func(data []byte) (o Outcome, err error) {
		d := wire.Decode("payment outcome", data).Version(codecVersion)
		o = Outcome{Accepted: d.Flag(), Method: d.Text(maxText), Reference: d.Text(maxText), Reason: d.Text(maxText)}
		return o, d.End()
	},
}
