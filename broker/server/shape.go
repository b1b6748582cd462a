package server

import (
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxPartitionsPerRequest bounds what a produce request's decoding takes.
const maxPartitionsPerRequest = 20_000

var (
	errShape = errors.New("produce request: its arrays do not fit its size")
	errTags  = errors.New("its fields or tags do not fit its size")
)

// replicaState is the tag of what a follower says of itself in a Fetch; it has
// tags of its own.
const replicaState = 1

// checkShape walks a request of any kind, see layout.
func checkShape(b []byte, req kmsg.Request) error {
	if req.Key() == int16(kmsg.Produce) {
		return checkProduceShape(b, req.GetVersion())
	}
	if !req.IsFlexible() {
		return nil
	}
	w := walker{b: b, flexible: true}
	w.fields(layouts()[layoutKey{req.Key(), req.GetVersion()}])
	w.tags(func(tag int) {
		// Nobody follows here.
		w.bad = w.bad || tag == replicaState && req.Key() == int16(kmsg.Fetch)
	})
	if w.bad {
		return errTags
	}
	return nil
}

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
			w.tags(nil)
		}
		w.tags(nil)
	}
	w.tags(nil)
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

// tags walks tags, and calls see, if there is one, for each.
func (w *walker) tags(see func(tag int)) {
	if !w.flexible || w.bad {
		return
	}
	for n := w.uvarint(); n > 0 && !w.bad; n-- {
		tag := w.uvarint()
		w.skip(w.uvarint())
		if see != nil {
			see(tag)
		}
	}
}

// fields walks the fields of a struct, without its tags.
func (w *walker) fields(l layout) {
	for _, f := range l {
		switch f.kind {
		case fixedField:
			w.skip(f.size)
		case textField:
			w.skip(w.length(4))
		case optionalField:
			if len(w.b) > 0 && int8(w.b[0]) < 0 {
				w.skip(1)
				continue
			}
			w.skip(1)
			w.fields(f.each)
			w.tags(nil)
		case arrayField:
			// No element is smaller than a byte.
			for n := w.length(4); n > 0 && !w.bad; n-- {
				switch {
				case f.each != nil:
					w.fields(f.each)
					w.tags(nil)
				case f.size > 0:
					w.skip(f.size)
				default:
					w.skip(w.length(4))
				}
			}
		}
		if w.bad {
			return
		}
	}
}
