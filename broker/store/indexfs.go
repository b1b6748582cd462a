package store

import (
	"errors"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// indexFS is the file system that Pebble sees. It keeps three rules that Pebble
// does not know of.
//
// Before a table is begun, all that is in the journal is synced: a table may
// hold what any frame up to now said, and must not survive a frame that a power
// cut takes.
//
// Before a marker is made, which names the manifest that counts, the directory is
// synced, so that the marker is not there without the manifest.
//
// After the first failed write nothing more is written. Pebble repeats a failed
// flush at once and for ever, and could not tell what of its manifest stands on
// the disk. So who wants to write after that waits until the index is closed,
// and then fails.
type indexFS struct {
	vfs.FS
	dir    string
	before func() error // syncs the journal
	failed func(error)  // told of the first failure
	// makeRoom, if set, is asked for room when there is none; it reports whether
	// it has made some.
	makeRoom func() bool

	mu      sync.Mutex
	err     error
	opened  bool
	broken  chan struct{} // closed at the first failure
	closing chan struct{}
}

func newIndexFS(fs vfs.FS, dir string, before func() error, failed func(error)) *indexFS {
	return &indexFS{FS: fs, dir: dir, before: before, failed: failed, broken: make(chan struct{}), closing: make(chan struct{})}
}

// check is called with the result of every change. While Pebble opens a failure
// does not come back to it: it would go on trying for ever, or close what its own
// goroutines still use. See openPebble.
func (fs *indexFS) check(err error) error {
	if err == nil {
		return nil
	}
	fs.mu.Lock()
	first, opened := fs.err == nil, fs.opened
	if first {
		fs.err = err
	}
	fs.mu.Unlock()
	if first {
		fs.failed(err)
		close(fs.broken)
	}
	if !opened {
		<-fs.closing
	}
	return err
}

// open says that Pebble is open.
func (fs *indexFS) open() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.opened = true
}

// full tells whether a change that failed for want of room may be tried again.
func (fs *indexFS) full(err error) bool {
	return err != nil && noRoom(err) && fs.makeRoom != nil && fs.makeRoom()
}

// failure is the first failure, or nil.
func (fs *indexFS) failure() error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.err
}

// ready is called before every change.
func (fs *indexFS) ready() error {
	err := fs.failure()
	if err != nil {
		<-fs.closing
	}
	return err
}

// release lets those fail who wait. It is called once, before Pebble is closed.
func (fs *indexFS) release() { close(fs.closing) }

func (fs *indexFS) own(name string) bool {
	return name == fs.dir || fs.PathDir(name) == fs.dir
}

func (fs *indexFS) Unwrap() vfs.FS { return fs.FS }

func (fs *indexFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !fs.own(name) { // a checkpoint's
		return fs.FS.Create(name, category)
	}
	if err := fs.ready(); err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, ".sst") {
		if err := fs.before(); err != nil {
			return nil, fs.check(err)
		}
	}
	if strings.HasPrefix(fs.PathBase(name), "marker.") {
		if err := syncDir(fs.FS, fs.dir); err != nil {
			return nil, fs.check(err)
		}
	}
	f, err := fs.FS.Create(name, category)
	if fs.full(err) {
		f, err = fs.FS.Create(name, category)
	}
	if err != nil {
		return nil, fs.check(err)
	}
	return &indexFile{f, fs}, nil
}

func (fs *indexFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, category, opts...)
	if err != nil || !fs.own(name) {
		return f, err
	}
	return &indexFile{f, fs}, nil
}

func (fs *indexFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.ready(); err != nil {
		return nil, err
	}
	f, err := fs.FS.ReuseForWrite(oldname, newname, category)
	if err != nil {
		return nil, fs.check(err)
	}
	return &indexFile{f, fs}, nil
}

func (fs *indexFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil || !fs.own(name) {
		return f, err
	}
	return &indexDir{indexFile{f, fs}}, nil
}

// Remove is refused after a failure: Pebble may take for written what is not, and
// what it replaces for obsolete.
func (fs *indexFS) Remove(name string) error {
	if !fs.own(name) {
		return fs.FS.Remove(name)
	}
	if err := fs.ready(); err != nil {
		return err
	}
	return fs.FS.Remove(name)
}

func (fs *indexFS) Rename(oldname, newname string) error {
	if !fs.own(newname) {
		return fs.FS.Rename(oldname, newname)
	}
	if err := fs.ready(); err != nil {
		return err
	}
	return fs.check(fs.FS.Rename(oldname, newname))
}

// errShared makes Pebble copy.
var errShared = errors.New("files are not shared")

// Link is refused: a checkpoint is to survive what damages the index.
func (fs *indexFS) Link(string, string) error { return errShared }

// indexDir is the directory of the index.
type indexDir struct{ indexFile }

// Sync waits, if it fails, until the index is closed, and is silent then: Pebble
// ends the process at once with a panic when it is told that its marker is not
// sure, and reads are to go on. What it writes after that fails.
func (d *indexDir) Sync() error {
	if d.indexFile.Sync() != nil {
		<-d.fs.closing
	}
	return nil
}

// indexFile is a file of the index.
type indexFile struct {
	vfs.File
	fs *indexFS
}

func (f *indexFile) Write(b []byte) (int, error) {
	if err := f.fs.ready(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(b)
	if f.fs.full(err) {
		var more int
		more, err = f.File.Write(b[n:])
		n += more
	}
	return n, f.fs.check(err)
}

func (f *indexFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.fs.ready(); err != nil {
		return 0, err
	}
	n, err := f.File.WriteAt(b, at)
	return n, f.fs.check(err)
}

func (f *indexFile) Sync() error {
	if err := f.fs.ready(); err != nil {
		return err
	}
	return f.fs.check(f.File.Sync())
}

func (f *indexFile) SyncData() error {
	if err := f.fs.ready(); err != nil {
		return err
	}
	return f.fs.check(f.File.SyncData())
}

func (f *indexFile) SyncTo(length int64) (bool, error) {
	if err := f.fs.ready(); err != nil {
		return false, err
	}
	full, err := f.File.SyncTo(length)
	return full, f.fs.check(err)
}
