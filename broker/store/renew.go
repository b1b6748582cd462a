package store

import (
	"errors"
	"fmt"
	"io"
)

// After a sync that failed, Linux takes the pages that it could not write for
// written: who reads sees them, no later sync writes them, and after a loss of
// power there is what was before. The process that met the failure writes no
// more, but the next one cannot know of it. So what a start finds and cannot know
// as synced it writes again, at the same place, before its first sync. What file
// systems know of names and sizes needs no such care: it goes through a journal
// of theirs, and they write nothing more once that has failed. Nor does the index:
// Pebble names only tables that have been synced, and begins a new manifest when
// it opens.

// renew writes again what stands in a file of an earlier process from a mark on,
// up to another.
func (j *journal) renew(f *journalFile, from, to Mark) error {
	if from >= to && f.start < from {
		return nil
	}
	w, err := openWalker(j.fs, j.path(f.number), f.number)
	if w == nil || err != nil {
		if w != nil {
			err = errors.Join(err, w.close())
		}
		return fmt.Errorf("read again what is not synced: %w", err)
	}
	err = j.renewFrames(w, f, max(from, f.start), to)
	return errors.Join(err, w.close())
}

// renewSpan is how much is written at once.
const renewSpan = 1 << 20

func (j *journal) renewFrames(w *walker, f *journalFile, from, to Mark) error {
	// Each frame is checked anew: pages that the system took for written may have
	// left its memory since the start has read them.
	var b []byte
	at := fileHeaderSize + int64(from-f.start)
	if from == f.start {
		b, at = f.fileHeader.encode(), 0
	}
	for w.pos = fileHeaderSize + int64(from-f.start); from < to; {
		here := place{f.number, w.pos}
		h, payload, err := w.next()
		if err != nil {
			return fmt.Errorf("read again what is not synced: %w", &DamageError{j.path(f.number), here.offset, noEOF(err)})
		}
		n := len(b)
		b = append(b, make([]byte, frameHeaderSize)...)
		h.encode(b[n:], here)
		b = append(b, payload...)
		if from += Mark(h.size()); len(b) >= renewSpan {
			if err := writeAt(f.f, b, at); err != nil {
				return err
			}
			at, b = at+int64(len(b)), b[:0]
		}
	}
	return writeAt(f.f, b, at)
}

// noEOF is for an end where more is expected.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
