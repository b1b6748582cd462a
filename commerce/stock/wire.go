package stock

import (
	"math"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire"
)

// wireVersion is the first byte of every internal message and stored value. A
// reader refuses others, so that an old instance never misreads a newer one.
const wireVersion = 1

// Limits of what is read.
const (
	maxID   = event.MaxIDBytes
	maxName = event.MaxNameBytes
	// maxKept bounds the key, and the headers together, that an order in a queue
	// is kept with.
	maxKept    = 64 << 10
	maxHeaders = maxKept / 2
	// largest is the bound of numbers that have no other.
	largest = math.MaxInt64
)

// decode starts on data, which begins with the version.
func decode(what string, data []byte) *wire.Decoder {
	return wire.Decode(what, data).Version(wireVersion)
}

// readID reads an id, which is never empty.
func readID(d *wire.Decoder) event.ID {
	id := event.ID(d.Text(maxID))
	if id == "" {
		d.Fail()
	}
	return id
}
