package store

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
)

// BatchInfo is what the index knows of a record batch.
type BatchInfo struct {
	Base, Last   int64 // offsets of its first record and of its last
	MaxTimestamp int64 // in milliseconds since 1970
	Size         int   // bytes
	Attributes   int16 // as in its header
}

// Read appends whole record batches of p to dst: from the one that holds from, or
// the next one after it, while their base offset is below below, and until max
// bytes are read; at least one if there is one. It checks the checksum of each
// and returns a *DamageError for one that is not as it was written, together with
// those before it.
func (s *Store) Read(p Partition, from, below int64, max int, dst []byte) ([]byte, error) {
	return s.read(p, from, below, max, dst, nil)
}

// ReadInto is Read into memory that take gives, of n bytes with anything in them.
// It is not called when there is nothing to read, and may be called again for
// more; what it gave is the caller's.
func (s *Store) ReadInto(p Partition, from, below int64, max int, take func(n int) []byte) ([]byte, error) {
	return s.read(p, from, below, max, nil, take)
}

func (s *Store) read(p Partition, from, below int64, max int, dst []byte, take func(n int) []byte) ([]byte, error) {
	list := pointers.Get().(*[]pointer)
	defer func() {
		*list = (*list)[:0]
		pointers.Put(list)
	}()
	for tried := (place{}); ; {
		var err error
		*list, err = s.collect(p, from, below, max, (*list)[:0])
		if err != nil {
			return dst, err
		}
		var n int
		dst, n, err = s.readAll(*list, dst, take)
		if !oserror.IsNotExist(err) {
			return dst, err
		}
		// The batch has been moved since, and its file removed.
		if at := (*list)[n].at; at == tried {
			return dst, &DamageError{s.journal.path(at.file), at.offset, errors.New("the file is missing")}
		} else {
			tried = at
		}
		from = (*list)[n].base
		for _, e := range (*list)[:n] {
			max -= e.size
		}
	}
}

var pointers = sync.Pool{New: func() any { return new([]pointer) }}

// collect lists the batches that a read wants.
func (s *Store) collect(p Partition, from, below int64, max int, dst []pointer) ([]pointer, error) {
	total := 0
	want := func(e *pointer) bool {
		if e.base >= below || total > 0 && total+e.size > max {
			return false
		}
		total += e.size
		return true
	}
	dst, ok := s.view.collect(p, from, dst, want)
	if ok {
		return dst, nil
	}
	err := s.index.each(batchKey(nil, p, maxOffset(from)), batchesEnd(nil, p), func(e *pointer) bool {
		if !want(e) {
			return false
		}
		dst = append(dst, *e)
		return true
	})
	return dst, err
}

func maxOffset(o int64) int64 { return max(o, 0) }

// each calls fn for the pointers in a range until it returns false.
func (x *index) each(from, to []byte, fn func(*pointer) bool) error {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	var e pointer
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			e, err = decodePointer(it.Key(), v)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !fn(&e) {
			break
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return nil
}

// readAll appends the batches, and returns how many they were. Batches that lie
// close to each other are read at once.
func (s *Store) readAll(list []pointer, dst []byte, take func(n int) []byte) ([]byte, int, error) {
	total := 0
	for i := range list {
		total += list[i].size
	}
	switch room := cap(dst) - len(dst); {
	case room >= total:
	case take != nil:
		dst = append(take(len(dst) + total)[:0], dst...)
	default:
		dst = slices.Grow(dst, total)
	}
	for done := 0; done < len(list); {
		n := run(list[done:])
		var err error
		var m int
		if dst, m, err = s.readRun(list[done:done+n], dst); err != nil {
			return dst, done + m, err
		}
		done += n
	}
	return dst, len(list), nil
}

// span bounds what is read at once beside what is wanted.
const span = 256 << 10

// run is how many of the first batches are worth one read: they stand in one
// file, one behind the other, and what lies between them is not more than they.
func run(list []pointer) int {
	if list[0].size >= large/2 {
		return 1
	}
	n, bytes := 1, list[0].size
	for ; n < len(list); n++ {
		e, prev := &list[n], &list[n-1]
		to := e.at.offset + int64(e.size) - list[0].at.offset
		if e.at.file != prev.at.file || e.at.offset < prev.at.offset || to > span || to > int64(2*(bytes+e.size)) {
			break
		}
		bytes += e.size
	}
	return n
}

var spans = sync.Pool{New: func() any { b := make([]byte, span); return &b }}

func (s *Store) readRun(list []pointer, dst []byte) ([]byte, int, error) {
	h, err := s.handles.get(list[0].at.file)
	if err != nil {
		return dst, 0, err
	}
	defer s.handles.put(h)
	if len(list) == 1 {
		at := len(dst)
		b := dst[at : at+list[0].size]
		if err := s.readBatch(h, &list[0], b); err != nil {
			return dst, 0, err
		}
		return dst[:at+len(b)], 1, nil
	}
	first, last := &list[0], &list[len(list)-1]
	buf := spans.Get().(*[]byte)
	defer spans.Put(buf)
	b := (*buf)[:last.at.offset+int64(last.size)-first.at.offset]
	if _, err := h.f.ReadAt(b, first.at.offset); err != nil {
		// One at a time, to tell which.
		for i := range list {
			var err error
			if dst, _, err = s.readRun(list[i:i+1], dst); err != nil {
				return dst, i, err
			}
		}
		return dst, len(list), nil
	}
	for i := range list {
		e := &list[i]
		from := e.at.offset - first.at.offset
		part := b[from : from+int64(e.size)]
		if err := checkBatch(part, e.base); err != nil {
			return dst, i, s.damaged(e, err)
		}
		dst = append(dst, part...)
	}
	return dst, len(list), nil
}

func (s *Store) readBatch(h *handle, e *pointer, b []byte) error {
	if n, err := h.f.ReadAt(b, e.at.offset); n < len(b) {
		if err == io.EOF {
			return s.damaged(e, errors.New("the file ends before the record batch does"))
		}
		return fmt.Errorf("read journal: %w", err)
	}
	if err := checkBatch(b, e.base); err != nil {
		return s.damaged(e, err)
	}
	return nil
}

func (s *Store) damaged(e *pointer, err error) error {
	return &DamageError{s.journal.path(e.at.file), e.at.offset, err}
}

// Bounds returns the base offset of the first batch of p, and the last offset of
// its last batch plus one; ok is false if it has none.
func (s *Store) Bounds(p Partition) (first, next int64, ok bool) {
	r, ok := s.view.row(p)
	return r.first, r.next, ok
}

// Size returns the bytes of p's batches.
func (s *Store) Size(p Partition) int64 {
	r, _ := s.view.row(p)
	return r.size
}

// Batches calls fn for the batches of p in order, from the one that holds from
// on, while their base offset is below below, until fn returns an error.
func (s *Store) Batches(p Partition, from, below int64, fn func(BatchInfo) error) error {
	var failed error
	err := s.index.each(batchKey(nil, p, maxOffset(from)), batchesEnd(nil, p), func(e *pointer) bool {
		if e.base >= below {
			return false
		}
		failed = fn(BatchInfo{e.base, e.last, e.maxTimestamp, e.size, e.attributes})
		return failed == nil
	})
	return errors.Join(failed, err)
}

// Get returns the value of a key.
func (s *Store) Get(key []byte) (value []byte, ok bool, err error) {
	return s.index.get(append([]byte{kindKey}, key...))
}

// Scan calls fn for every key that has the prefix, in order, until fn returns an
// error. Both slices are valid during the call only.
func (s *Store) Scan(prefix []byte, fn func(key, value []byte) error) error {
	full := append([]byte{kindKey}, prefix...)
	var b []byte
	return s.index.scan(full, false, func(key, value []byte) error {
		b = append(append(b[:0], prefix...), key...)
		return fn(b, value)
	})
}
