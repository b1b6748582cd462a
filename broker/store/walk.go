package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errShort says that the file ends within the frame.
var errShort = errors.New("file ends within the frame")

// walker reads the frames of one journal file. It reserves no more memory than
// the file has bytes.
type walker struct {
	f     vfs.File
	size  int64 // bytes to look at
	head  fileHeader
	pos   int64 // of the next frame
	buf   []byte
	bufAt int64
}

const walkAhead = 1 << 20

// openWalker opens a journal file and checks its header. With errHeader it
// returns the walker too, for a look at what follows.
func openWalker(fs vfs.FS, name string, number uint64) (*walker, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w := &walker{f: f, size: info.Size(), pos: fileHeaderSize}
	w.head.number = number
	b, err := w.bytes(0, fileHeaderSize)
	if err == errShort {
		return w, errHeader
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	h, err := decodeFileHeader(b)
	if err != nil || h.number != number {
		return w, errHeader
	}
	w.head = h
	return w, nil
}

func (w *walker) close() error { return w.f.Close() }

// bytes returns n bytes at pos, valid until the next call.
func (w *walker) bytes(pos int64, n int) ([]byte, error) {
	if pos+int64(n) > w.size {
		return nil, errShort
	}
	if pos < w.bufAt || pos+int64(n) > w.bufAt+int64(len(w.buf)) {
		want := int(min(int64(max(n, walkAhead)), w.size-pos))
		if cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		w.buf = w.buf[:want]
		w.bufAt = pos
		if m, err := w.f.ReadAt(w.buf, pos); m < want {
			w.buf = nil
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read journal: %w", err)
		}
	}
	at := pos - w.bufAt
	return w.buf[at : at+int64(n)], nil
}

// next reads the frame at pos and goes behind it. It returns io.EOF at the end,
// errFrame or errShort for what is not a frame, and stays there.
func (w *walker) next() (frameHeader, []byte, error) {
	if w.pos == w.size {
		return frameHeader{}, nil, io.EOF
	}
	h, payload, err := w.frame(w.pos)
	if err == nil && h.generation != w.head.generation {
		err = errFrame
	}
	if err != nil {
		return frameHeader{}, nil, err
	}
	w.pos += h.size()
	return h, payload, nil
}

func (w *walker) frame(pos int64) (frameHeader, []byte, error) {
	b, err := w.bytes(pos, frameHeaderSize)
	if err != nil {
		return frameHeader{}, nil, err
	}
	h, err := decodeFrameHeader(b, place{w.head.number, pos})
	if err != nil {
		return frameHeader{}, nil, err
	}
	payload, err := w.bytes(pos+frameHeaderSize, h.length)
	if err != nil {
		return frameHeader{}, nil, err
	}
	if crc32.Checksum(payload, castagnoli) != h.payloadCRC {
		return frameHeader{}, nil, errFrame
	}
	return h, payload, nil
}

// seek returns the position of the first whole frame at pos or behind it, looking
// at every byte; ok is false if there is none.
func (w *walker) seek(pos int64) (at int64, h frameHeader, ok bool, err error) {
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], frameMagic)
	for pos+frameHeaderSize <= w.size {
		b, err := w.bytes(pos, int(min(w.size-pos, walkAhead)))
		if err != nil {
			return 0, frameHeader{}, false, err
		}
		i := bytes.Index(b, magic[:])
		if i < 0 {
			pos += int64(len(b) - len(magic) + 1)
			continue
		}
		pos += int64(i)
		switch h, _, err := w.frame(pos); err {
		case nil:
			return pos, h, true, nil
		case errFrame, errShort:
			pos++
		default:
			return 0, frameHeader{}, false, err
		}
	}
	return 0, frameHeader{}, false, nil
}

// claims looks for whole frames from pos on, and returns the highest mark that one
// of them knew as synced.
func (w *walker) claims(pos int64) (Mark, error) {
	var highest Mark
	for {
		at, h, ok, err := w.seek(pos)
		if err != nil || !ok {
			return highest, err
		}
		highest = max(highest, h.synced)
		pos = at + h.size()
	}
}
