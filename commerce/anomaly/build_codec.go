package anomaly

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
		b = appendText(append(b, codecVersion), string(s.order))
		b = appendText(b, string(s.client))
		b = append(b, s.digest[:]...)
		b = binary.AppendVarint(b, s.at.UnixMilli())
		if s.key == nil {
			b = append(b, 0)
		} else {
			b = appendText(append(b, 1), string(s.key))
		}
		b = appendText(b, string(s.value))
		b = appendText(b, s.origin.Topic)
		b = binary.AppendVarint(b, int64(s.origin.Partition))
		b = binary.AppendVarint(b, s.origin.Offset)
		b = binary.AppendUvarint(b, uint64(len(s.alerts)))
		for _, p := range s.alerts {
			b = appendText(appendText(appendText(b, p.Code), p.Field), p.Detail)
		}
		return b
	},
	Parse: func(data []byte) (s suspect, err error) {
		r := newReader(data)
		s.order, s.client = event.ID(r.text()), event.ID(r.text())
		copy(s.digest[:], r.bytes(uint64(len(s.digest))))
		s.at = r.time()
		switch r.byte() {
		case 0:
		case 1:
			s.key = []byte(r.text())
		default:
			r.bad = true
		}
		s.value = []byte(r.text())
		s.origin.Topic = r.text()
		partition := r.varint()
		if s.origin.Partition = int32(partition); int64(s.origin.Partition) != partition {
			r.bad = true
		}
		s.origin.Offset = r.varint()
		n := r.uvarint()
		if n > uint64(len(alertCodes)) {
			r.bad = true
		}
		for ; n > 0 && !r.bad; n-- {
			s.alerts = append(s.alerts, event.Problem{Code: r.text(), Field: r.text(), Detail: r.text()})
		}
		return s, r.end("suspicious order")
	},
}

var alertedSerde = streams.Serde[alerted]{
	Append: func(b []byte, a alerted) []byte {
		b = append(append(b, codecVersion, a.codes), a.digest[:]...)
		return binary.AppendVarint(b, a.at.UnixMilli())
	},
	Parse: func(data []byte) (a alerted, err error) {
		r := newReader(data)
		a.codes = r.byte()
		copy(a.digest[:], r.bytes(uint64(len(a.digest))))
		a.at = r.time()
		return a, r.end("alerts of an order")
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
		r := newReader(data)
		a.at = r.time()
		n := r.uvarint()
		if n > uint64(len(r.data))/4 {
			r.bad = true
			n = 0
		}
		if n > 0 {
			a.orders = make([]uint32, n)
		}
		for i := range a.orders {
			a.orders[i] = binary.BigEndian.Uint32(r.bytes(4))
		}
		if r.bad {
			return activity{}, r.end("activity of a client")
		}
		return a, a.recent.ParseBinary(r.data)
	},
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

// bytes returns the next n bytes, zeros after a failure; n is bounded by its
// callers.
func (r *reader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.data)) {
		r.bad = true
		return make([]byte, n)
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) byte() byte { return r.bytes(1)[0] }

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

func (r *reader) time() time.Time { return time.UnixMilli(r.varint()).UTC() }

func (r *reader) text() string {
	n := r.uvarint()
	if r.bad || n > maxText || n > uint64(len(r.data)) {
		r.bad = true
		return ""
	}
	return string(r.bytes(n))
}

func (r *reader) end(what string) error {
	if r.bad || len(r.data) > 0 {
		return fmt.Errorf("damaged %s", what)
	}
	return nil
}
