package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Decoder reads what the append functions wrote. It accepts any bytes without a
// panic, and takes no more memory than they and the caller's limits allow. The
// first thing that does not fit makes it bad: from there on it yields zero
// values, and End reports where that was. So a caller reads a whole layout and
// looks for an error once. It is not safe for concurrent use.
type Decoder struct {
	what string
	s    string // what is left; empty when bad
	size int    // of the whole input
	at   int    // where it became bad
	bad  bool
}

// Decode starts on data, of which it takes one copy that all texts share. what
// names the encoding in errors.
func Decode(what string, data []byte) *Decoder {
	return &Decoder{what: what, s: string(data), size: len(data)}
}

// Version reads a byte that must be want, and returns d. With the version as
// their first byte, encodings that an old program does not know are refused and
// not misread.
func (d *Decoder) Version(want byte) *Decoder {
	if d.s == "" || d.s[0] != want {
		d.Fail()
	} else {
		d.s = d.s[1:]
	}
	return d
}

// Fail makes d bad: the caller has read a value that does not fit.
func (d *Decoder) Fail() {
	if !d.bad {
		d.bad, d.at, d.s = true, d.size-len(d.s), ""
	}
}

// End returns an error if d is bad, or if not all was read.
func (d *Decoder) End() error {
	if d.s != "" {
		d.Fail()
	}
	if d.bad {
		return fmt.Errorf("%s: not understood at byte %d of %d: it is damaged, or a newer version wrote it", d.what, d.at, d.size)
	}
	return nil
}

// Rest returns what is left, and thereby reads it.
func (d *Decoder) Rest() string {
	s := d.s
	d.s = ""
	return s
}

// Byte reads a byte.
func (d *Decoder) Byte() byte {
	if d.s == "" {
		d.Fail()
		return 0
	}
	c := d.s[0]
	d.s = d.s[1:]
	return c
}

// Flag reads what AppendFlag wrote.
func (d *Decoder) Flag() bool {
	c := d.Byte()
	if c > 1 {
		d.Fail()
	}
	return c == 1
}

// Uvarint reads a number from 0 to limit.
func (d *Decoder) Uvarint(limit int64) int64 {
	v, n := d.uvarint()
	if n == 0 || v > math.MaxInt64 || int64(v) > limit {
		d.Fail()
		return 0
	}
	d.s = d.s[n:]
	return int64(v)
}

// Varint reads a number of either sign.
func (d *Decoder) Varint() int64 {
	v, n := d.uvarint()
	if n == 0 {
		d.Fail()
		return 0
	}
	d.s = d.s[n:]
	return int64(v>>1) ^ -int64(v&1) // zigzag, as binary.AppendVarint
}

// uvarint returns the number that comes next and its size, 0 if there is none.
// It is binary.Uvarint, of a string.
func (d *Decoder) uvarint() (v uint64, size int) {
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		if c < 0x80 {
			if i == binary.MaxVarintLen64-1 && c > 1 {
				break // more than 64 bits
			}
			return v | uint64(c)<<(7*i), i + 1
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	return 0, 0
}

// Millis reads a time, written as the Varint of its milliseconds since 1970.
func (d *Decoder) Millis() time.Time { return time.UnixMilli(d.Varint()).UTC() }

// Text reads a text of at most limit bytes.
func (d *Decoder) Text(limit int) string {
	n := d.Uvarint(int64(limit))
	if n > int64(len(d.s)) {
		d.Fail()
		return ""
	}
	if n == 0 {
		return "" // and not an end of the input, which would stay in memory with it
	}
	t := d.s[:n]
	d.s = d.s[n:]
	return t
}

// Nullable reads what AppendNullable wrote, at most limit bytes. The result is
// the caller's.
func (d *Decoder) Nullable(limit int) []byte {
	if !d.Flag() {
		return nil
	}
	return append([]byte{}, d.Text(limit)...)
}

// Fixed reads as many bytes as to has, into it. On failure it leaves to as it is.
func (d *Decoder) Fixed(to []byte) {
	if len(to) > len(d.s) {
		d.Fail()
		return
	}
	d.s = d.s[copy(to, d.s):]
}

// Count reads how many elements follow, at most limit and each of at least least
// bytes, which is positive. So an input cannot ask for more memory than it has
// elements.
func (d *Decoder) Count(limit, least int) int {
	n := d.Uvarint(int64(limit))
	if n > int64(len(d.s)/least) {
		d.Fail()
		return 0
	}
	return int(n)
}
