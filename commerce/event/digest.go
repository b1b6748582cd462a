package event

import (
	"crypto/sha256"
	"encoding/binary"
)

// digest is the content of an order in 16 bytes: two orders with the same id
// and digest are one order sent twice. It covers values, not their spelling:
// client, the given clientId, email, montant, devise, the instant of the given
// timestamp, and the product or the lines with quantities and prices. The
// record's key, unknown fields and nom_produit are no part of it.
//
// The encoding must never change: identity is remembered for more than a year.
func digest(o *Order) (d [16]byte) {
	var buf [512]byte
	b := append(buf[:0], 1) // version of the encoding
	b = digestText(b, o.Customer.Name)
	given := ID("")
	if o.ClientGiven {
		given = o.Customer.ID
	}
	b = digestText(b, string(given))
	b = digestText(b, o.Customer.Email)
	b = binary.BigEndian.AppendUint64(b, uint64(o.Amount))
	b = digestText(b, o.Currency)
	b = digestTime(b, o)
	if o.SingleLine {
		b = append(b, 1)
		b = digestText(b, o.Product)
		b = binary.BigEndian.AppendUint64(b, uint64(o.Lines[0].Quantity))
	} else {
		b = append(b, 2)
		b = binary.AppendUvarint(b, uint64(len(o.Lines)))
		for i := range o.Lines {
			l := &o.Lines[i]
			b = digestText(b, string(l.Product))
			b = binary.BigEndian.AppendUint64(b, uint64(l.Quantity))
			b = binary.BigEndian.AppendUint64(b, uint64(l.Price))
		}
	}
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

// digestText appends s and its length, so that no two sequences of texts look
// alike. None of them may be empty when it is given, so empty means absent.
func digestText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// digestTime appends the given timestamp as seconds and the digits of its
// fraction, of which there may be more than time.Time holds.
func digestTime(b []byte, o *Order) []byte {
	if !o.TimestampGiven {
		return append(b, 0)
	}
	t, fraction, _ := splitTime(o.OrderedAt)
	for len(fraction) > 0 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	b = binary.BigEndian.AppendUint64(append(b, 1), uint64(t.Unix()))
	return digestText(b, fraction)
}
