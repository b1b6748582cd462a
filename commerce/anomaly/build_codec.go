package anomaly

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire"
	"github.com/comptoir/comptoir/streams"
)

// codecVersion is the first byte of everything this package stores or sends
// internally.
const codecVersion = 1

// maxText bounds each text in an encoding, in bytes; the longest is an order.
const maxText = event.MaxOrderBytes

// suspect is a coherent order on its way to the task of its client, or, with
// alerts, to that of its id.
type suspect struct {
	order, client event.ID
	digest        [16]byte
	at            time.Time // ms; the record's
	key, value    []byte    // of the record; a key may be nil
	origin        event.Origin
	alerts        []event.Problem
}

var suspectSerde = streams.Serde[suspect]{
	Append: func(b []byte, s suspect) []byte {
		b = wire.AppendText(append(b, codecVersion), s.order)
		b = wire.AppendText(b, s.client)
		b = append(b, s.digest[:]...)
		b = binary.AppendVarint(b, s.at.UnixMilli())
		b = wire.AppendNullable(b, s.key)
		b = wire.AppendText(b, s.value)
		b = wire.AppendText(b, s.origin.Topic)
		b = binary.AppendVarint(b, int64(s.origin.Partition))
		b = binary.AppendVarint(b, s.origin.Offset)
		b = binary.AppendUvarint(b, uint64(len(s.alerts)))
		for _, p := range s.alerts {
			b = wire.AppendText(wire.AppendText(wire.AppendText(b, p.Code), p.Field), p.Detail)
		}
		return b
	},
	Parse: func(data []byte) (s suspect, err error) {
		d := wire.Decode("suspicious order", data).Version(codecVersion)
		s.order, s.client = event.ID(d.Text(maxText)), event.ID(d.Text(maxText))
		d.Fixed(s.digest[:])
		s.at = d.Millis()
		s.key = d.Nullable(maxText)
		s.value = []byte(d.Text(maxText))
		s.origin.Topic = d.Text(maxText)
		partition := d.Varint()
		if s.origin.Partition = int32(partition); int64(s.origin.Partition) != partition {
			d.Fail()
		}
		s.origin.Offset = d.Varint()
		for range d.Count(len(alertCodes), 3) {
			s.alerts = append(s.alerts, event.Problem{Code: d.Text(maxText), Field: d.Text(maxText), Detail: d.Text(maxText)})
		}
		return s, d.End()
	},
}

var alertedSerde = streams.Serde[alerted]{
	Append: func(b []byte, a alerted) []byte {
		b = append(append(b, codecVersion, a.codes), a.digest[:]...)
		return binary.AppendVarint(b, a.at.UnixMilli())
	},
	Parse: func(data []byte) (a alerted, err error) {
		d := wire.Decode("alerts of an order", data).Version(codecVersion)
		a.codes = d.Byte()
		d.Fixed(a.digest[:])
		a.at = d.Millis()
		return a, d.End()
	},
}

var activitySerde = streams.Serde[activity]{
	Append: func(b []byte, a activity) []byte {
		b = binary.AppendVarint(append(b, codecVersion), a.at.UnixMilli())
		b = binary.AppendUvarint(b, uint64(len(a.orders)))
		for _, h := range a.orders {
			b = binary.BigEndian.AppendUint32(b, h)
		}
		return a.recent.AppendBinary(b)
	},
	Parse: func(data []byte) (a activity, err error) {
		d := wire.Decode("activity of a client", data).Version(codecVersion)
		a.at = d.Millis()
		if n := d.Count(math.MaxInt, 4); n > 0 {
			a.orders = make([]uint32, n)
		}
		for i := range a.orders {
			var h [4]byte
			d.Fixed(h[:])
			a.orders[i] = binary.BigEndian.Uint32(h[:])
		}
		recent := d.Rest()
		if err := d.End(); err != nil {
			return activity{}, err
		}
		return a, a.recent.ParseBinary([]byte(recent))
	},
}
