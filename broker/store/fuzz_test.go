package store

import (
	"bytes"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FuzzWalk reads a journal file of any bytes. Nothing panics, what is taken for a
// frame is one, and no memory is reserved that the file does not fill.
func FuzzWalk(f *testing.F) {
	fs := vfs.NewMem()
	s := mustOpen(f, Options{FS: fs})
	var c Commit
	c.Append(1, makeBatch(0, 3, 7, 100))
	c.Set([]byte("key"), []byte("value"))
	c.Delete([]byte("key"))
	c.DeleteRange([]byte("a"), []byte("b"))
	mustWrite(f, s, &c)
	c.Reset()
	c.Trim(1, 2)
	c.Replace(1, 0, 2, makeBatch(0, 3, 8, 10))
	c.Drop(1)
	c.move(1, 2, place{1, 100}, makeBatch(0, 3, 8, 10))
	mustWrite(f, s, &c)
	mustClose(f, s)
	file, err := fs.Open(s.journal.path(1))
	if err != nil {
		f.Fatal(err)
	}
	whole, err := io.ReadAll(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add(whole[:fileHeaderSize+10])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := vfs.NewMem()
		// A copy: under the race detector the file system spoils what it was given.
		if err := writeFile(fs, fileName(1), bytes.Clone(b)); err != nil {
			t.Fatal(err)
		}
		w, err := openWalker(fs, fileName(1), 1)
		if w == nil {
			t.Fatal(err)
		}
		defer w.close()
		if err == nil && !bytes.Equal(w.head.encode(), b[:fileHeaderSize]) && !zeroTail(b) {
			t.Error("a header that is accepted is encoded otherwise")
		}
		for {
			at := w.pos
			h, payload, err := w.next()
			if err != nil {
				break
			}
			again := make([]byte, frameHeaderSize)
			h.encode(again, place{1, at})
			if !bytes.Equal(again, b[at:at+frameHeaderSize]) {
				t.Error("a frame that is accepted is encoded otherwise")
			}
			if len(payload) == 0 || h.opsLength == 0 {
				continue
			}
			readOps(payload[1:h.opsLength], payload[h.opsLength:])
		}
		if _, err := w.claims(0); err != nil {
			t.Error(err)
		}
		if cap(w.buf) > len(b) {
			t.Errorf("reserved %d bytes for a file of %d", cap(w.buf), len(b))
		}
		readOps(b, b)
		_, _ = parseBatch(b)
		_, _ = decodePointer(make([]byte, 17), b)
		_, _ = decodeApplied(b)
	})
}

func readOps(ops, batches []byte) {
	r := opReader{ops: ops, batches: batches}
	for o := (op{}); r.next(&o); {
	}
	_ = r.done()
}

// zeroTail tells whether the bytes of the header that say nothing do so.
func zeroTail(b []byte) bool {
	return !bytes.Equal(b[52:fileHeaderSize], make([]byte, fileHeaderSize-52))
}

func writeFile(fs vfs.FS, name string, b []byte) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Close()
}
