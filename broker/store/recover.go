package store

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// DamageError says that what was safe on the disk is not what was written.
type DamageError struct {
	File   string
	Offset int64
	Err    error // what is wrong there
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %v", e.File, e.Offset, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

// listFiles returns the numbers of the journal files, ascending.
func listFiles(fs vfs.FS, dir string) ([]uint64, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := parseFileName(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// recovery reads the journal from a position to its end.
type recovery struct {
	fs  vfs.FS
	dir string
	// strict tells, after the frames, whether the machine was on ever since: then
	// only the last frame can be cut short, by a kill.
	strict func() (bool, error)
	apply  func(*frame) error
	read   func(fileHeader) error // told of every file before its frames
}

// tail is where the journal ends, and why.
type tail struct {
	end  applied
	torn error    // what was found there that is no frame, or nil
	lost int64    // bytes after the end that were left out
	more bool     // a file goes on behind what was found there
	left []uint64 // files after the end, which are not part of the history
}

// run applies the frames from a position on. It decides what follows the last
// one that is whole: bytes that were never synced may be missing or torn, which
// is no harm; bytes that some later frame knew as synced are damage.
func (r *recovery) run(from applied, numbers []uint64) (tail, error) {
	// File 0 is what the first one follows: nothing.
	numbers = slices.DeleteFunc(slices.Clone(numbers), func(n uint64) bool { return n < from.at.file })
	successor, err := r.successors(numbers)
	if err != nil {
		return tail{}, err
	}
	t := tail{end: from}
	if from.at.file != 0 && (len(numbers) == 0 || numbers[0] != from.at.file) {
		return tail{}, &DamageError{r.path(from.at.file), from.at.offset, errors.New("the file is missing")}
	}
	for {
		next, linked := successor[t.end.at.file]
		t.more = linked
		limit := int64(-1)
		if linked {
			limit = next.prevEnd
		}
		// A file that its successor continues from here has nothing more to say,
		// whatever is in it.
		if t.end.at.file != 0 && limit != t.end.at.offset {
			if t.torn, err = r.file(&t.end, limit); err != nil {
				return tail{}, err
			}
		}
		if t.torn != nil || !linked {
			break
		}
		if next.start != t.end.mark {
			return tail{}, &DamageError{r.path(next.number), 0, fmt.Errorf("it begins at mark %d, and what is before it ends at %d", next.start, t.end.mark)}
		}
		t.end = applied{place{next.number, fileHeaderSize}, next.start}
	}
	return t, r.judge(&t, numbers)
}

func (r *recovery) path(n uint64) string { return r.fs.PathJoin(r.dir, fileName(n)) }

// successors tells which file continues which. A start after a crash cuts what
// is torn, and begins a file with a higher number than any: where two name the
// same predecessor, the later is right.
func (r *recovery) successors(numbers []uint64) (map[uint64]fileHeader, error) {
	m := map[uint64]fileHeader{}
	for _, n := range numbers {
		w, err := openWalker(r.fs, r.path(n), n)
		if w == nil {
			return nil, fmt.Errorf("open journal: %w", err)
		}
		if err == nil {
			m[w.head.prev] = w.head
		}
		if err := w.close(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// file applies the frames of one file, up to limit if that is not negative. torn
// is what it met before that which is no frame.
func (r *recovery) file(end *applied, limit int64) (torn, err error) {
	number := end.at.file
	w, err := openWalker(r.fs, r.path(number), number)
	if w == nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer func() { _ = w.close() }() // only read
	if err != nil {
		// The index knows frames of this file, or its header was good just now.
		return nil, &DamageError{r.path(number), 0, err}
	}
	if err := r.read(w.head); err != nil {
		return nil, err
	}
	if limit >= 0 {
		w.size = min(w.size, limit)
	}
	for w.pos = end.at.offset; ; {
		at := w.pos
		h, payload, err := w.next()
		if err == io.EOF && (limit < 0 || at == limit) {
			return nil, nil
		}
		if err == io.EOF || err == errFrame || err == errShort {
			return err, nil
		}
		if err != nil {
			return nil, err
		}
		end.at.offset, end.mark = w.pos, end.mark+Mark(h.size())
		f := &frame{
			head:    w.head,
			ops:     payload[:h.opsLength],
			batches: payload[h.opsLength:],
			at:      place{number, at + frameHeaderSize + int64(h.opsLength)},
			end:     *end,
			synced:  h.synced,
		}
		if err := r.apply(f); errors.Is(err, errOps) {
			return nil, &DamageError{r.path(number), at, err}
		} else if err != nil {
			return nil, err
		}
	}
}

// judge looks at what stands behind the end.
func (r *recovery) judge(t *tail, numbers []uint64) error {
	strict, err := r.strict()
	if err != nil {
		return err
	}
	at := t.end.at
	where := &DamageError{r.path(at.file), at.offset, t.torn}
	if t.torn == nil {
		where.Err = errFrame
	}
	var known Mark // the highest mark that anything behind the end knew as synced
	for _, n := range numbers {
		if n < at.file {
			continue
		}
		w, err := openWalker(r.fs, r.path(n), n)
		if w == nil {
			return fmt.Errorf("open journal: %w", err)
		}
		from := int64(0)
		if n == at.file {
			from = at.offset
		} else {
			t.left = append(t.left, n)
			if err == errHeader && w.size > fileHeaderSize && t.torn == nil {
				// What comes next is in a file that does not say so.
				t.torn = err
				where = &DamageError{r.path(n), 0, err}
			}
		}
		t.lost += max(w.size-from, 0)
		claim, err := w.claims(from)
		if err = errors.Join(err, w.close()); err != nil {
			return err
		}
		known = max(known, claim)
	}
	if known > t.end.mark {
		where.Err = fmt.Errorf("%w, and what stood there was on the disk", where.Err)
		return where
	}
	// A kill leaves a frame short, at the end of the last file.
	if strict && t.torn != nil && (t.torn != errShort || t.more) {
		where.Err = fmt.Errorf("%w, and the machine was not off since it was written", where.Err)
		return where
	}
	return nil
}
