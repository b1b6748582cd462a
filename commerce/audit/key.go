package audit

import (
	"bytes"
	"encoding/binary"
)

// The first byte of a key says what is kept under it.
const (
	keyMeta     = 'z' // positions and tally
	keyDirty    = 'd' // a group with new facts: the byte, then the key of the fact
	keyTimer    = 't' // when a group is to be judged again
	keyStatus   = 'S' // a group's judgement, unless clean
	keyName     = 'q' // products and their names
	keyIssued   = 'a' // an invoice by its number as it is written
	keyRow      = 'b' // a row of the archive, by the same
	keyOrder    = 'o' // an order's facts
	keyPlace    = 'p' // a record of commandes.ecommerce, and what accuses it
	keySupply   = 'u' // a supply and its movements
	keyProduct  = 'm' // a product's movements in their order
	keyNumber   = 'n' // the invoices of a series by year and number
	keySequence = 'i' // the invoices of a series in the order of their partition
	keyLane     = 'c' // a client's orders in one partition, and their verdicts
	keyRecord   = 'r' // only in a status: of one record
	keyRest     = 'x' // only in a status: of what is about no group
)

// The classes of an order's facts, in the order in which they are judged.
const (
	classVerdict byte = iota + 1
	classRecord       // then what rejects it
	classAccepted
	classRefused
	classConfirmation
	classInvoice
	classNotification
	classMovement // by product
	classAlert
	classOther // only the timeline knows it
	classRow   // the order database knows the order
)

// classTopics are the topics of the classes' records.
var classTopics = map[byte]byte{
	classVerdict: tVerdicts, classRecord: tOrders, classAccepted: tAccepted, classRefused: tRefused, classConfirmation: tConfirmations,
	classInvoice: tInvoices, classNotification: tNotifications, classMovement: tMovements, classAlert: tErrors,
}

// key is a key being built. Ids end with a zero byte, which none has inside.
type key []byte

func (k key) id(id string) key { return append(append(k, id...), 0) }

func (k key) place(p place) key {
	k = binary.BigEndian.AppendUint32(k, uint32(p.partition))
	return binary.BigEndian.AppendUint64(k, uint64(p.offset))
}

func (k key) u32(n uint32) key { return binary.BigEndian.AppendUint32(k, n) }
func (k key) u64(n uint64) key { return binary.BigEndian.AppendUint64(k, n) }

// newKey is the beginning of a key, with room for most of it.
func newKey(kind byte) key { return append(make(key, 0, 64), kind) }

func orderKey(id string, class byte) key { return append(newKey(keyOrder).id(id), class) }

const placeSize = 12

// readPlace reads the place at the beginning of what is left of a key.
func readPlace(b []byte, topic byte) (p place, rest []byte) {
	if len(b) < placeSize {
		return place{}, nil
	}
	return place{topic, int32(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint64(b[4:]))}, b[placeSize:]
}

// readID reads the id at the beginning of what is left of a key.
func readID(b []byte) (id string, rest []byte) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return string(b), nil
	}
	return string(b[:i]), b[i+1:]
}

// group is the part of a fact's key that all facts of its group share.
func group(k []byte) []byte {
	zero := func(from int) int {
		if i := bytes.IndexByte(k[from:], 0); i >= 0 {
			return from + i + 1
		}
		return len(k)
	}
	n := 1
	switch k[0] {
	case keyOrder, keyProduct:
		n = zero(1)
	case keySupply:
		n = zero(zero(1))
	case keyLane:
		n = zero(1) + 4
	case keyPlace:
		n = 1 + placeSize
	case keyNumber:
		n = 1 + 4
	case keySequence:
		n = 1 + 4 + 4
	}
	return k[:min(n, len(k))]
}

// sequence says whether a kind of groups is judged element by element.
func sequence(kind byte) bool {
	return kind == keyProduct || kind == keyNumber || kind == keySequence || kind == keyLane
}

// after is the first key behind all that begin with the prefix.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
