package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
)

// A file of the journal is removed when nothing points into it any more, and
// would not after a crash either: the index as it is on the disk says so, and is
// beyond the file. One of which little is still needed is emptied first, by
// writing that again at the journal's end.

// sweep frees what can be freed.
func (s *Store) sweep() error {
	if err := s.cut(); err != nil {
		return err
	}
	if err := s.remove(); err != nil {
		return err
	}
	moved := false
	for _, n := range s.sparse() {
		if err := s.empty(n); err != nil {
			return err
		}
		moved = true
	}
	if !moved && !s.dead() {
		return nil
	}
	if err := s.index.flush(); err != nil {
		return err
	}
	return s.remove()
}

// leastCut is how large a file is at least that is ended for want of room.
const leastCut = 256 << 10

// cut ends the newest file while the disk is nearly full, if little of it is
// needed: only files that are ended give room back.
func (s *Store) cut() error {
	if !errors.Is(s.Health(), ErrLowSpace) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.journal.end()
	if s.closed || !s.begun || at.offset < leastCut || 3*s.applier.files[at.file].live >= at.offset {
		return nil
	}
	s.journal.broken = true // as after a write that failed
	_, err := s.write([]byte{0}, &Commit{urgent: true})
	return err
}

// sparse returns the files of which less than a third of a full one is needed.
func (s *Store) sparse() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []uint64
	for n, r := range s.applier.files {
		if r.end > 0 && r.live > 0 && 3*r.live < s.opts.FileSize {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// dead tells whether a file is not needed any more and still there.
func (s *Store) dead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.applier.files {
		if r.end > 0 && r.live == 0 {
			return s.pins == 0
		}
	}
	return false
}

// remove removes the files that nothing needs.
func (s *Store) remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins > 0 {
		return nil
	}
	at, err := s.index.durable()
	if err != nil {
		return err
	}
	var dead []uint64
	err = s.index.scan([]byte{kindFile}, true, func(key, value []byte) error {
		n, r, err := decodeFileRow(key, value)
		if err == nil && r.live == 0 && r.end > 0 && n < at.at.file && s.applier.files[n].live == 0 {
			dead = append(dead, n)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, n := range dead {
		if _, ok := s.applier.files[n]; !ok {
			continue // removed since, which the disk does not know yet
		}
		s.handles.forget(n)
		if err := s.opts.FS.Remove(s.journal.path(n)); err != nil && !oserror.IsNotExist(err) {
			return fmt.Errorf("remove journal file: %w", err)
		}
		delete(s.applier.files, n)
		// Not by a frame: where this gets lost, the next start finds it out.
		if err := s.index.db.Delete(fileKey(n), pebble.NoSync); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	return nil
}

// moveBytes bounds what is moved by one frame.
const moveBytes = 1 << 20

// empty writes what is needed of a file again.
func (s *Store) empty(number uint64) error {
	w, err := openWalker(s.opts.FS, s.journal.path(number), number)
	if w == nil {
		return fmt.Errorf("open journal: %w", err)
	}
	defer func() { _ = w.close() }() // only read
	if err != nil {
		return &DamageError{s.journal.path(number), 0, err}
	}
	s.mu.Lock()
	w.size = min(w.size, s.applier.files[number].end)
	s.mu.Unlock()
	var c Commit
	var kept []byte
	for w.pos < w.size {
		at := w.pos
		h, payload, err := w.next()
		if err != nil {
			return &DamageError{s.journal.path(number), at, err}
		}
		batches := at + frameHeaderSize + int64(h.opsLength)
		r := opReader{ops: payload[1:h.opsLength], batches: payload[h.opsLength:]}
		for o := (op{}); r.next(&o); {
			if len(o.batch) == 0 {
				continue
			}
			b, err := parseBatch(o.batch)
			if err != nil {
				return &DamageError{s.journal.path(number), at, err}
			}
			old := place{number, batches + int64(o.batchAt)}
			if there, err := s.stands(o.p, b.LastOffset(), old); err != nil {
				return err
			} else if !there {
				continue
			}
			if c.bytes > 0 && c.bytes+len(o.batch) > moveBytes {
				if err := s.move(&c); err != nil {
					return err
				}
				kept = kept[:0]
			}
			from := len(kept)
			kept = append(kept, o.batch...)
			c.move(o.p, b.LastOffset(), old, kept[from:len(kept):len(kept)])
		}
	}
	return s.move(&c)
}

// stands tells whether a batch is still needed where it is.
func (s *Store) stands(p Partition, last int64, at place) (bool, error) {
	key := batchKey(nil, p, last)
	v, c, err := s.index.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read index: %w", err)
	}
	e, err := decodePointer(key, v)
	return e.at == at, errors.Join(err, c.Close())
}

func (s *Store) move(c *Commit) error {
	if c.Empty() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.failure(); err != nil {
		return err
	}
	c.urgent = true
	_, err := s.write([]byte{1}, c)
	c.Reset()
	return err
}
