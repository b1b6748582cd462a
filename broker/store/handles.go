package store

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxHandles bounds the journal files that are open for reading.
const maxHandles = 64

// handles keeps journal files open for readers.
type handles struct {
	fs   vfs.FS
	path func(uint64) string

	mu    sync.Mutex
	open  map[uint64]*handle
	clock uint64
}

type handle struct {
	f    vfs.File
	refs int
	used uint64
	gone bool // no longer in open: closed by the last who has it
}

func newHandles(fs vfs.FS, path func(uint64) string) *handles {
	return &handles{fs: fs, path: path, open: map[uint64]*handle{}}
}

// get returns an open file; put gives it back.
func (h *handles) get(n uint64) (*handle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	x := h.open[n]
	if x == nil {
		f, err := h.fs.Open(h.path(n), vfs.RandomReadsOption)
		if err != nil {
			return nil, err
		}
		x = &handle{f: f}
		h.open[n] = x
		if len(h.open) > maxHandles {
			h.evict(n)
		}
	}
	x.refs++
	x.used = h.clock
	return x, nil
}

// evict closes the file that was not used for longest, and is not n.
func (h *handles) evict(n uint64) {
	var oldest *handle
	var number uint64
	for m, x := range h.open {
		if m != n && x.refs == 0 && (oldest == nil || x.used < oldest.used) {
			oldest, number = x, m
		}
	}
	if oldest != nil {
		delete(h.open, number)
		_ = oldest.f.Close() // only read
	}
}

func (h *handles) put(x *handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.refs--; x.refs == 0 && x.gone {
		_ = x.f.Close() // only read
	}
}

// forget closes a file as soon as nobody reads it.
func (h *handles) forget(n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.open[n]; x != nil {
		delete(h.open, n)
		if x.gone = true; x.refs == 0 {
			_ = x.f.Close() // only read
		}
	}
}

func (h *handles) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	for n, x := range h.open {
		delete(h.open, n)
		if x.gone = true; x.refs == 0 {
			err = errors.Join(err, x.f.Close())
		}
	}
	return err
}
