package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Partition names a partition's log for ever: a topic made anew gets new numbers.
type Partition uint64

// Commit is what one Write makes exist, all or nothing. The zero value is empty
// and ready. It keeps the order of its calls. It is not safe for concurrent use.
type Commit struct {
	ops     []byte   // as they stand in the frame
	batches [][]byte // what Append and Replace got, in order
	bytes   int      // of batches
	looks   bool     // an op needs to see what the ones before it did
	urgent  bool     // see Urgent
	err     error    // the first misuse, for Write to return
}

// The operations of a frame. Their numbers are part of the format.
const (
	opAppend byte = iota + 1
	opSet
	opDelete
	opDeleteRange
	opTrim
	opDrop
	opReplace
	opMove
	opSession
)

// Append adds a record batch at the end of p. Its base offset and leader epoch
// are set already, and it lies behind all that p has. b is kept until Write
// returns.
func (c *Commit) Append(p Partition, b []byte) {
	if _, err := parseBatch(b); err != nil {
		c.fail(err)
		return
	}
	c.ops = append(c.ops, opAppend)
	c.ops = binary.AppendUvarint(c.ops, uint64(p))
	c.add(b)
}

// Set gives key a value. Both are copied.
func (c *Commit) Set(key, value []byte) {
	c.ops = appendBytes(appendBytes(append(c.ops, opSet), key), value)
}

// Delete removes key, if it is there.
func (c *Commit) Delete(key []byte) { c.ops = appendBytes(append(c.ops, opDelete), key) }

// DeleteRange removes the keys from <= key < to.
func (c *Commit) DeleteRange(from, to []byte) {
	c.ops = appendBytes(appendBytes(append(c.ops, opDeleteRange), from), to)
}

// Trim forgets the batches of p whose last offset is below before. It takes time
// with the number of batches that go, as Drop does.
func (c *Commit) Trim(p Partition, before int64) {
	c.looks = true
	c.ops = binary.AppendUvarint(append(c.ops, opTrim), uint64(p))
	c.ops = binary.AppendUvarint(c.ops, uint64(max(before, 0)))
}

// Drop forgets everything of p.
func (c *Commit) Drop(p Partition) {
	c.looks = true
	c.ops = binary.AppendUvarint(append(c.ops, opDrop), uint64(p))
}

// Replace puts b in the place of the batch of p with these base and last offsets;
// an empty b leaves none. It does nothing if the batch is no longer there. b has
// the same base and last offset, and is kept until Write returns.
func (c *Commit) Replace(p Partition, base, last int64, b []byte) {
	if len(b) > 0 {
		h, err := parseBatch(b)
		if err == nil && (h.BaseOffset != base || h.LastOffset() != last) {
			err = fmt.Errorf("record batch of offsets %d to %d cannot replace %d to %d", h.BaseOffset, h.LastOffset(), base, last)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
	c.looks = true
	c.ops = binary.AppendUvarint(append(c.ops, opReplace), uint64(p))
	c.ops = binary.AppendUvarint(c.ops, uint64(base))
	c.ops = binary.AppendUvarint(c.ops, uint64(last))
	c.add(b)
}

// move says that the batch of p that stands at old stands in this frame from now
// on, if it still stands there.
func (c *Commit) move(p Partition, last int64, old place, b []byte) {
	c.looks = true
	c.ops = binary.AppendUvarint(append(c.ops, opMove), uint64(p))
	c.ops = binary.AppendUvarint(c.ops, uint64(last))
	c.ops = binary.AppendUvarint(c.ops, old.file)
	c.ops = binary.AppendUvarint(c.ops, uint64(old.offset))
	c.add(b)
}

func (c *Commit) add(b []byte) {
	c.ops = binary.AppendUvarint(c.ops, uint64(len(b)))
	if len(b) > 0 {
		c.batches = append(c.batches, b)
		c.bytes += len(b)
	}
}

func (c *Commit) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// Urgent lets the commit be written while the disk is nearly full, with the room
// that is kept for that. It is for what makes room, and for a start.
func (c *Commit) Urgent() { c.urgent = true }

// Empty tells whether nothing was asked for since the last Reset.
func (c *Commit) Empty() bool { return len(c.ops) == 0 && c.err == nil }

// Reset makes the commit empty, and keeps its memory unless it is large.
func (c *Commit) Reset() {
	const keep = 1 << 20
	clear(c.batches)
	ops, batches := c.ops[:0], c.batches[:0]
	if cap(ops) > keep {
		ops, batches = nil, nil
	}
	*c = Commit{ops: ops, batches: batches}
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// appendSession is the op of a process's first frame and of its last.
func appendSession(dst []byte, bootID string, clean bool) []byte {
	dst = appendBytes(append(dst, opSession), []byte(bootID))
	if clean {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// op is one decoded operation. Its slices lie in the frame.
type op struct {
	code       byte
	p          Partition
	key, value []byte // value is the end of a range too
	base, last int64  // before, of a trim
	old        place
	batch      []byte // of append, replace and move
	batchAt    int    // where batch begins in the frame's batches
	clean      bool
}

var errOps = errors.New("operations of the frame do not make sense")

// opReader decodes the operations of a frame. It trusts no length. The batches
// are either all in one piece, as read, or a list, as they are to be written.
type opReader struct {
	ops     []byte
	batches []byte
	list    [][]byte
	at      int
	bad     bool
}

// next returns false at the end and on an error, which done tells apart.
func (r *opReader) next(o *op) bool {
	if len(r.ops) == 0 || r.bad {
		return false
	}
	*o = op{code: r.ops[0]}
	r.ops = r.ops[1:]
	switch o.code {
	case opAppend:
		o.p = Partition(r.uvarint())
		r.batch(o)
	case opSet, opDeleteRange:
		o.key, o.value = r.bytes(), r.bytes()
	case opDelete:
		o.key = r.bytes()
	case opTrim:
		o.p, o.last = Partition(r.uvarint()), r.offset()
	case opDrop:
		o.p = Partition(r.uvarint())
	case opReplace:
		o.p, o.base, o.last = Partition(r.uvarint()), r.offset(), r.offset()
		r.batch(o)
	case opMove:
		o.p, o.last = Partition(r.uvarint()), r.offset()
		o.old = place{file: r.uvarint(), offset: r.offset()}
		r.batch(o)
	case opSession:
		o.value = r.bytes()
		o.clean = r.byte() == 1
	default:
		r.bad = true
	}
	return !r.bad
}

// done tells whether all was read and understood.
func (r *opReader) done() error {
	if r.bad || len(r.ops) > 0 || len(r.batches) > 0 || len(r.list) > 0 {
		return errOps
	}
	return nil
}

func (r *opReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.ops)
	if n <= 0 {
		r.bad, r.ops = true, nil
		return 0
	}
	r.ops = r.ops[n:]
	return v
}

func (r *opReader) offset() int64 {
	v := r.uvarint()
	if v > math.MaxInt64 {
		r.bad = true
		return 0
	}
	return int64(v)
}

func (r *opReader) byte() byte {
	if len(r.ops) == 0 {
		r.bad = true
		return 0
	}
	b := r.ops[0]
	r.ops = r.ops[1:]
	return b
}

func (r *opReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.ops)) {
		r.bad, r.ops = true, nil
		return nil
	}
	b := r.ops[:n:n]
	r.ops = r.ops[n:]
	return b
}

func (r *opReader) batch(o *op) {
	n := r.uvarint()
	if len(r.list) > 0 && n > 0 {
		o.batch, r.list = r.list[0], r.list[1:]
	} else if n <= uint64(len(r.batches)) {
		o.batch, r.batches = r.batches[:n:n], r.batches[n:]
	} else {
		r.bad = true
	}
	o.batchAt = r.at
	r.at += len(o.batch)
}
