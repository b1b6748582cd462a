package stock

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/comptoir/comptoir/commerce/event"
)

// wireVersion is the first byte of every internal message and stored value. A
// reader refuses others, so that an old instance never misreads a newer one.
const wireVersion = 1

// Limits of what a decoder accepts.
const (
	maxID   = event.MaxIDBytes
	maxName = event.MaxNameBytes
	// maxKept bounds the key, and the headers together, that an order in a queue
	// is kept with.
	maxKept    = 64 << 10
	maxHeaders = maxKept / 2
)

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder reads what the append functions wrote. The first thing that does not
// fit makes it bad; it then yields zero values, and end reports it. Texts share
// one copy of the input.
type decoder struct {
	what string
	s    string
	size int
	bad  bool
}

// decode starts on data, which begins with the version.
func decode(what string, data []byte) decoder {
	d := decoder{what: what, s: string(data), size: len(data)}
	if d.byte() != wireVersion {
		d.fail()
	}
	return d
}

func (d *decoder) fail() { d.bad, d.s = true, "" }

func (d *decoder) end() error {
	if d.bad || d.s != "" {
		return fmt.Errorf("%s: %d bytes that this version does not understand, %d before the end", d.what, d.size, len(d.s))
	}
	return nil
}

func (d *decoder) byte() byte {
	if d.s == "" {
		d.fail()
		return 0
	}
	c := d.s[0]
	d.s = d.s[1:]
	return c
}

// uvarint reads a number up to limit.
func (d *decoder) uvarint(limit uint64) uint64 {
	var v uint64
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		if c < 0x80 {
			if i == binary.MaxVarintLen64-1 && c > 1 {
				break
			}
			if v |= uint64(c) << (7 * i); v > limit {
				break
			}
			d.s = d.s[i+1:]
			return v
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	d.fail()
	return 0
}

func (d *decoder) int63() int64 { return int64(d.uvarint(math.MaxInt64)) }

// text reads a text of at most limit bytes.
func (d *decoder) text(limit int) string {
	n := d.uvarint(uint64(limit))
	if n > uint64(len(d.s)) {
		d.fail()
		return ""
	}
	t := d.s[:n]
	d.s = d.s[n:]
	return t
}

// id reads an id, which is never empty.
func (d *decoder) id() event.ID {
	t := d.text(maxID)
	if t == "" {
		d.fail()
	}
	return event.ID(t)
}

// optionalID reads an id that may be empty.
func (d *decoder) optionalID() event.ID { return event.ID(d.text(maxID)) }

func (d *decoder) digest() (sum [16]byte) {
	if len(d.s) < len(sum) {
		d.fail()
		return sum
	}
	copy(sum[:], d.s)
	d.s = d.s[len(sum):]
	return sum
}

// count reads how many elements follow, each of at least one byte.
func (d *decoder) count(limit int) int {
	n := d.uvarint(uint64(limit))
	if n > uint64(len(d.s)) {
		d.fail()
		return 0
	}
	return int(n)
}

// varint reads a number of either sign.
func (d *decoder) varint() int64 {
	u := d.uvarint(math.MaxUint64)
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) flag() bool {
	c := d.byte()
	if c > 1 {
		d.fail()
	}
	return c == 1
}

// nullable reads bytes that may be nil.
func (d *decoder) nullable(limit int) []byte {
	if !d.flag() {
		return nil
	}
	return append([]byte{}, d.text(limit)...)
}
