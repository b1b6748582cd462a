package batch

import (
	"encoding/binary"
	"errors"
)

// Record is a record of a batch. Its bytes are the batch's, or those of its
// decompressed copy.
type Record struct {
	Offset    int64
	Timestamp int64  // milliseconds since 1970
	Key       []byte // nil for none
	Value     []byte // nil for a tombstone
	// Raw is the whole record as the batch has it, with its length before it.
	Raw []byte
}

var errRecords = errors.New("record batch: its records do not fit its header")

// Records calls fn for each record of the whole batch b, of which h is the
// header, until it returns false.
func Records(b []byte, h Header, fn func(Record) bool) error {
	rest, err := decompress(b[HeaderSize:h.Size], h.Compression())
	if err != nil {
		return err
	}
	for range h.NumRecords {
		length, n := binary.Varint(rest)
		if n <= 0 || length < 0 || length > int64(len(rest)-n) {
			return errRecords
		}
		raw := rest[:n+int(length)]
		r, ok := record(raw[n:], h)
		if !ok {
			return errRecords
		}
		r.Raw = raw
		rest = rest[len(raw):]
		if !fn(r) {
			return nil
		}
	}
	if len(rest) > 0 {
		return errRecords
	}
	return nil
}

func record(b []byte, h Header) (r Record, ok bool) {
	if len(b) < 1 {
		return r, false
	}
	b = b[1:] // attributes: none are defined
	var delta, offset int64
	if delta, b, ok = varint(b); !ok {
		return r, false
	}
	if offset, b, ok = varint(b); !ok || offset < 0 || offset > int64(h.LastOffsetDelta) {
		return r, false
	}
	r.Offset = h.BaseOffset + offset
	r.Timestamp = h.FirstTimestamp + delta
	if h.LogAppendTime() {
		r.Timestamp = h.MaxTimestamp
	}
	if r.Key, b, ok = field(b); !ok {
		return r, false
	}
	if r.Value, _, ok = field(b); !ok {
		return r, false
	}
	return r, true // headers may follow
}

func varint(b []byte) (int64, []byte, bool) {
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// field reads bytes after their length, which is -1 for nil.
func field(b []byte) (f, rest []byte, ok bool) {
	n, b, ok := varint(b)
	if !ok || n < -1 || n > int64(len(b)) {
		return nil, nil, false
	}
	if n == -1 {
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}
