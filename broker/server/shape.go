package server

import (
	"encoding/binary"
	"errors"
)

// maxPartitionsPerRequest bounds what a produce request's decoding takes.
const maxPartitionsPerRequest = 20_000

var errShape = errors.New("produce request: its arrays do not fit its size")

// checkProduceShape walks a produce request's arrays without taking memory:
// decoding takes as much as they announce, before it sees that they lie.
func checkProduceShape(b []byte, version int16) error {
	w := walker{b: b, flexible: version >= 9}
	if version >= 3 {
		w.skip(w.length(2)) // transactional id
	}
	w.skip(6) // acks, time-out
	left := maxPartitionsPerRequest
	for range w.count(&left) {
		if version >= 13 {
			w.skip(16)
		} else {
			w.skip(w.length(2))
		}
		for range w.count(&left) {
			w.skip(4)
			w.skip(w.length(4))
			w.tags()
		}
		w.tags()
	}
	w.tags()
	if w.bad {
		return errShape
	}
	return nil
}

type walker struct {
	b        []byte
	flexible bool
	bad      bool
}

func (w *walker) skip(n int) {
	if n < 0 {
		return // null
	}
	if n > len(w.b) {
		w.bad, w.b = true, nil
		return
	}
	w.b = w.b[n:]
}

func (w *walker) uvarint() int {
	v, n := binary.Uvarint(w.b)
	if n <= 0 || v > 1<<31 {
		w.bad, w.b = true, nil
		return 0
	}
	w.b = w.b[n:]
	return int(v)
}

// length reads the length of a text (of 2 bytes) or of bytes (of 4); -1 for null.
func (w *walker) length(size int) int {
	if w.flexible {
		return w.uvarint() - 1
	}
	if len(w.b) < size {
		w.bad, w.b = true, nil
		return -1
	}
	b := w.b[:size]
	w.b = w.b[size:]
	if size == 2 {
		return int(int16(binary.BigEndian.Uint16(b)))
	}
	return int(int32(binary.BigEndian.Uint32(b)))
}

// count reads the length of an array, and takes it from what is left.
func (w *walker) count(left *int) int {
	n := w.length(4)
	if n > *left {
		w.bad, w.b = true, nil
	}
	if n < 0 || w.bad {
		return 0
	}
	*left -= n
	return n
}

func (w *walker) tags() {
	if !w.flexible || w.bad {
		return
	}
	for n := w.uvarint(); n > 0 && !w.bad; n-- {
		w.uvarint()
		w.skip(w.uvarint())
	}
}
