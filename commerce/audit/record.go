package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// Record is one record as a topic holds it.
type Record struct {
	Topic      string
	Partition  int32
	Offset     int64
	Key, Value []byte // nil: absent
	Headers    []Header
	Time       time.Time
	// Control marks a transaction marker, which only moves the position.
	Control bool
}

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}

func (r *Record) place() place { return place{topicIndex(r.Topic), r.Partition, r.Offset} }

// place is where a record stands: a topic by its place in topicNames.
type place struct {
	topic     byte
	partition int32
	offset    int64
}

// The topics that are read. What is stored of a topic is its number here, so
// new ones come at the end.
const (
	noTopic byte = iota
	tOrders
	tErrors
	tVerdicts
	tMovements
	tAccepted
	tRefused
	tConfirmations
	tInvoices
	tNotifications
	tProducts
	tSupplies
	tJournal
	topics // how many
)

var topicNames = [topics]string{
	tOrders: event.TopicOrders, tErrors: event.TopicErrors, tVerdicts: event.TopicVerdicts, tMovements: event.TopicMovements,
	tAccepted: event.TopicAccepted, tRefused: event.TopicRefused, tConfirmations: event.TopicConfirmations,
	tInvoices: event.TopicInvoices, tNotifications: event.TopicNotifications, tProducts: event.TopicProducts,
	tSupplies: event.TopicSupplies, tJournal: event.TopicJournal,
}

func topicIndex(name string) byte {
	for i, n := range topicNames {
		if n == name {
			return byte(i)
		}
	}
	return noTopic
}

// header returns the first header of a name, and how many there are.
func (r *Record) header(name string) (first []byte, n int) {
	for i := range r.Headers {
		if r.Headers[i].Key == name {
			if n++; n == 1 {
				first = r.Headers[i].Value
			}
		}
	}
	return first, n
}

// headerOrder is the order that the header names, empty if it names none.
func (r *Record) headerOrder() string {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == event.HeaderOrder && validID(string(h.Value)) {
			return string(h.Value)
		}
	}
	return ""
}

// Bounds up to which our stages promise to pass on what a producer gave.
const (
	maxTrace   = 256  // bytes of a traceparent
	maxHeaders = 1000 // bytes of all headers, with which all of them are kept
	maxKey     = 1000 // bytes of a key that is kept
)

// trace is the trace a record belongs to, 0 if none or too long to be passed on.
// A step may have a span of its own, so only the trace id counts.
func (r *Record) trace() uint64 {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == event.HeaderTrace && len(h.Value) <= maxTrace && r.headerSize() <= maxHeaders {
			if parts := strings.Split(string(h.Value), "-"); len(parts) == 4 {
				return hash(parts[1])
			}
			return hash(string(h.Value))
		}
	}
	return 0
}

// headerSum is a sum over the headers but comptoir-order, whatever their order.
func (r *Record) headerSum() (sum uint64) {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key != event.HeaderOrder {
			sum += hash(h.Key, string(h.Value))
		}
	}
	return sum
}

// headerSize is the size of the headers but comptoir-order.
func (r *Record) headerSize() (size int) {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key != event.HeaderOrder {
			size += len(h.Key) + len(h.Value) + 10
		}
	}
	return size
}

// hash is the beginning of a digest of texts, never 0.
func hash(texts ...string) uint64 {
	s := make(sum, 0, 200)
	for _, t := range texts {
		s.text(t)
	}
	d := s.digest()
	return binary.BigEndian.Uint64(d[:]) | 1
}

// digestOf is a digest of bytes.
func digestOf(b []byte) (d digest) {
	all := sha256.Sum256(b)
	copy(d[:], all[:])
	return d
}

// trimmed is a JSON value without the blanks around it.
func trimmed(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

// partitionOf is the partition among n that Kafka's default partitioner gives a
// key: murmur2, made positive.
func partitionOf(key []byte, n int32) int32 {
	const m, r = 0x5bd1e995, 24
	h := 0x9747b28c ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * m
		h = h*m ^ (k^k>>r)*m
	}
	for i := len(key) - 1; i >= 0; i-- {
		h ^= uint32(key[i]) << (8 * i)
		if i == 0 {
			h *= m
		}
	}
	h = (h ^ h>>13) * m
	h ^= h >> 15
	return int32(h&0x7fffffff) % n
}
