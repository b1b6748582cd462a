package streams

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Header is a record header, as on the wire.
type Header = kgo.RecordHeader

// Record is one typed record on its way through a topology. It is passed by
// value; Headers are shared and must not be modified in place.
type Record[K, V any] struct {
	Key   K
	Value V
	// Time is the record's timestamp, or the time of the transaction if that
	// is earlier: a record from the future counts as now. An Output writes it
	// as the timestamp; the zero value stands for the time of the transaction.
	Time    time.Time
	Headers []Header
}

// Serde turns values of T into bytes and back.
type Serde[T any] struct {
	// Append appends the encoding of v to b. A nil result is written as a null
	// (a tombstone, if it is a record's value).
	Append func(b []byte, v T) []byte
	// Parse reads an encoding. It must not keep data, which is reused. data is
	// nil for a null. An error wrapping ErrSkip drops the record without a word;
	// any other is logged and counted.
	Parse func(data []byte) (T, error)
}

// ErrSkip makes a source drop the record silently, when the error of a Serde's
// Parse wraps it.
var ErrSkip = errors.New("skip the record")

// Topic is a topic with its types.
type Topic[K, V any] struct {
	Name  string
	Key   Serde[K]
	Value Serde[V]
}

// Text is the Serde of strings; null and empty are both "".
var Text = Serde[string]{
	Append: func(b []byte, v string) []byte { return append(b, v...) },
	Parse:  func(data []byte) (string, error) { return string(data), nil },
}

// Bytes is the Serde of raw bytes; a null stays nil.
var Bytes = Serde[[]byte]{
	Append: func(b []byte, v []byte) []byte {
		if v == nil {
			return nil
		}
		return append(b, v...)
	},
	Parse: func(data []byte) ([]byte, error) {
		if data == nil {
			return nil, nil
		}
		return append(make([]byte, 0, len(data)), data...), nil
	},
}
