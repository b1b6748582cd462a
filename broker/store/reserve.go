package store

import (
	"errors"
	"log/slog"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// reserve is room of the disk that is kept for when there is no other: a file
// without content that is removed then. What uses it is small, or makes room: a
// start, deletions, and what the index has to write.
type reserve struct {
	fs   vfs.FS
	path string
	size uint64
	log  *slog.Logger

	mu   sync.Mutex
	held bool // the file is there
	sure bool // and is ours: a copy of one keeps no room
	none bool // the file system keeps no room for anybody
}

func newReserve(o Options) *reserve {
	r := &reserve{fs: o.FS, path: o.FS.PathJoin(o.Dir, "reserve"), size: o.Reserve, log: o.Logger, none: o.Reserve == 0}
	_, err := r.fs.Stat(r.path)
	r.held = err == nil
	return r
}

// take takes the room, unless it is taken.
func (r *reserve) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sure || r.none {
		return
	}
	f, err := r.fs.Create(r.path, vfs.WriteCategoryUnspecified)
	if err == nil {
		err = errors.Join(f.Preallocate(0, int64(r.size)), f.Close())
	}
	if err != nil {
		r.none = !noRoom(err)
		_ = r.fs.Remove(r.path) // it may not be there
		r.held = false
		return
	}
	r.held, r.sure = true, true
}

// there tells whether there is room to give.
func (r *reserve) there() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// give gives the room back. It reports whether there was any.
func (r *reserve) give() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held {
		return false
	}
	if err := r.fs.Remove(r.path); err != nil {
		r.log.Error("cannot give back the room that was kept", "file", r.path, "error", err)
		return false
	}
	r.held, r.sure = false, false
	r.log.Warn("disk is full: the room that was kept is given back", "bytes", r.size)
	return true
}

// noRoom tells whether an error says that the disk is full.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
