package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Finding is what Verify tells while it goes on: one call for each journal file
// that it has read, with a nil Damage, and one for each damage.
type Finding struct {
	File   string
	Bytes  int64 // read so far
	Total  int64 // to read
	Damage *DamageError
}

// Verify checks a store that nobody has open, and changes nothing: every frame of
// the journal, every record batch that the index points to, and what the index
// has counted. It goes on after a damage, and returns an error if there was any.
// What a crash left at the end of the journal is no damage; Open cuts it.
func Verify(fs vfs.FS, dir string, report func(Finding)) error {
	if _, err := fs.Stat(fs.PathJoin(dir, "index")); err != nil {
		return fmt.Errorf("verify: %s is no store: %w", dir, err)
	}
	v := &verifier{fs: fs, dir: dir, report: report}
	ifs := newIndexFS(fs, fs.PathJoin(dir, "index"), func() error { return nil }, func(error) {})
	x, err := openIndex(ifs, slog.New(slog.DiscardHandler), true)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	v.x, v.a = x, newApplier(x)
	v.handles = newHandles(fs, v.path)
	err = errors.Join(v.run(), v.handles.close(), x.close())
	if err == nil && v.damages > 0 {
		err = fmt.Errorf("found %d damages in %s", v.damages, dir)
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

type verifier struct {
	fs      vfs.FS
	dir     string
	report  func(Finding)
	x       *index
	a       *applier // of the rows only
	handles *handles
	from    applied

	bytes, total int64
	damages      int
}

func (v *verifier) path(n uint64) string { return v.fs.PathJoin(v.dir, fileName(n)) }

func (v *verifier) damage(file string, offset int64, err error) {
	v.damages++
	v.report(Finding{file, v.bytes, v.total, &DamageError{file, offset, err}})
}

func (v *verifier) run() error {
	if err := v.a.load(); err != nil {
		return err
	}
	if b, ok, err := v.x.get(keyApplied); err != nil {
		return err
	} else if ok {
		if v.from, err = decodeApplied(b); err != nil {
			return err
		}
	}
	numbers, err := listFiles(v.fs, v.dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		info, err := v.fs.Stat(v.path(n))
		if err != nil {
			return err
		}
		v.total += info.Size()
	}
	for n, r := range v.a.files {
		if r.live > 0 && !slices.Contains(numbers, n) {
			v.damage(v.path(n), 0, errors.New("the file is missing"))
		}
	}
	for _, n := range numbers {
		if err := v.file(n); err != nil {
			return err
		}
	}
	if err := v.end(numbers); err != nil {
		return err
	}
	return v.pointers()
}

// file checks the frames of one file that the index knows.
func (v *verifier) file(n uint64) error {
	r, ok := v.a.files[n]
	if n == v.from.at.file {
		r.end = v.from.at.offset
	}
	if !ok || n > v.from.at.file {
		return nil // end looks at it, or Open removes it
	}
	w, err := openWalker(v.fs, v.path(n), n)
	if w == nil {
		return err
	}
	defer func() { _ = w.close() }() // only read
	if err != nil {
		v.damage(v.path(n), 0, err)
	}
	size := w.size
	w.size = min(w.size, r.end)
	for w.pos < r.end {
		at := w.pos
		_, _, err := w.next()
		switch err {
		case nil:
			continue
		case io.EOF, errShort, errFrame:
		default:
			return err
		}
		v.damage(v.path(n), at, err)
		next, h, ok, err := w.seek(at + 1)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		w.head.generation, w.pos = h.generation, next
	}
	v.bytes += size
	v.report(Finding{v.path(n), v.bytes, v.total, nil})
	return nil
}

// end checks what follows on what the index knows, as a start reads it.
func (v *verifier) end(numbers []uint64) error {
	r := &recovery{
		fs: v.fs, dir: v.dir,
		apply: func(f *frame) error {
			o := opReader{ops: f.ops[1:], batches: f.batches}
			for x := (op{}); o.next(&x); {
			}
			return o.done()
		},
		read: func(h fileHeader) error {
			n := h.number
			if n == v.from.at.file {
				return nil // reported
			}
			info, err := v.fs.Stat(v.path(n))
			if err != nil {
				return err
			}
			v.bytes += info.Size()
			v.report(Finding{v.path(n), v.bytes, v.total, nil})
			return nil
		},
		strict: func() (bool, error) { return false, nil },
	}
	_, err := r.run(v.from, numbers)
	if d := (*DamageError)(nil); errors.As(err, &d) {
		v.damage(d.File, d.Offset, d.Err)
		return nil
	}
	return err
}

// pointers checks every batch that the index points to, and its sums.
func (v *verifier) pointers() error {
	rows, live := map[Partition]row{}, map[uint64]int64{}
	err := v.x.scan([]byte{kindBatch}, false, func(key, value []byte) error {
		p := Partition(binary.BigEndian.Uint64(key))
		e, err := decodePointer(append([]byte{kindBatch}, key...), value)
		if err != nil {
			return err
		}
		r, ok := rows[p]
		if !ok {
			r.first = e.base
		}
		if e.base < r.next {
			v.damage(v.path(e.at.file), e.at.offset, fmt.Errorf("offset %d of partition %d lies in two record batches", e.base, p))
		}
		r.next, r.size = e.last+1, r.size+int64(e.size)
		rows[p] = r
		live[e.at.file] += int64(e.size)
		return v.batch(e)
	})
	if err != nil {
		return err
	}
	index := v.fs.PathJoin(v.dir, "index")
	for n, r := range v.a.files {
		if r.live != live[n] {
			v.damage(index, 0, fmt.Errorf("%d bytes of %s are in use, counted were %d", live[n], v.path(n), r.live))
		}
	}
	for p, r := range rows {
		if v.a.rows[p] != r {
			v.damage(index, 0, fmt.Errorf("partition %d has %+v, counted was %+v", p, r, v.a.rows[p]))
		}
	}
	if len(rows) != len(v.a.rows) {
		v.damage(index, 0, fmt.Errorf("%d partitions, counted were %d", len(rows), len(v.a.rows)))
	}
	// The rest of the index is read for its own checksums.
	it, err := v.x.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindKey}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if _, err := it.ValueAndErr(); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}

func (v *verifier) batch(e pointer) error {
	h, err := v.handles.get(e.at.file)
	if err != nil {
		v.damage(v.path(e.at.file), e.at.offset, err)
		return nil
	}
	defer v.handles.put(h)
	if e.size < 0 || e.size > math.MaxInt32 {
		v.damage(v.path(e.at.file), e.at.offset, fmt.Errorf("a record batch of %d bytes is in the index", e.size))
		return nil
	}
	info, err := h.f.Stat()
	if err != nil {
		return err
	}
	if e.at.offset < 0 || e.at.offset > info.Size()-int64(e.size) {
		v.damage(v.path(e.at.file), e.at.offset, errors.New("the file ends before the record batch does"))
		return nil
	}
	b := make([]byte, e.size)
	if _, err := h.f.ReadAt(b, e.at.offset); err != nil {
		return err
	}
	if err := checkBatch(b, e.base); err != nil {
		v.damage(v.path(e.at.file), e.at.offset, err)
	}
	return nil
}
