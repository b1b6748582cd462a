package state

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system that Pebble writes through. Pebble repeats a failed
// flush at once and for ever, and calls a failed manifest fatal. So it is not
// told of a failed write, of which a full disk is the usual cause: the write is
// tried again until it succeeds or the state is closed. Meanwhile the state goes
// on in memory. A failed sync is told, after a pause: nobody knows what stands on
// the disk then, and Pebble writes the table again.
type disk struct {
	vfs.FS

	mu      sync.Mutex
	err     error // of the last write or sync that failed
	waiting int   // writes that are tried again
	unsure  bool  // a sync has failed, and none has succeeded since
	fatal   error // ends the writing until the state is opened again
	opened  bool  // failures are waited out
	stuck   chan struct{}
	closing chan struct{}
}

const (
	// tryAgain is how long a write that failed waits.
	tryAgain = 100 * time.Millisecond
	// forever is how long Pebble's own writes are tried.
	forever time.Duration = math.MaxInt64
)

func newDisk(fs vfs.FS) *disk {
	return &disk{FS: fs, stuck: make(chan struct{}, 1), closing: make(chan struct{})}
}

// health is why nothing can be written at the moment, or nil.
func (d *disk) health() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.fatal != nil:
		return fmt.Errorf("local state is not written any more, until the next start: %w", d.fatal)
	case d.waiting > 0 || d.unsure:
		return fmt.Errorf("local state cannot be written: %w", d.err)
	}
	return nil
}

// broken is why nothing will be written any more, or nil.
func (d *disk) broken() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fatal
}

// ready is called before every change. After what Pebble calls fatal nothing may
// be written: who wants to waits until the end.
func (d *disk) ready() error {
	err := d.broken()
	if err != nil {
		<-d.closing
	}
	return err
}

// write does a change until it succeeds, for so long at most.
func (d *disk) write(limit time.Duration, change func() error) error {
	if err := d.ready(); err != nil {
		return err
	}
	err := change()
	if err == nil {
		return nil
	}
	begin := time.Now()
	d.mu.Lock()
	wait := d.opened
	d.waiting++
	d.mu.Unlock()
	for err != nil && wait && time.Since(begin) < limit && d.pause(err) {
		err = change()
	}
	d.mu.Lock()
	d.waiting--
	d.mu.Unlock()
	return err
}

// pause waits before the next try, unless the state is being closed.
func (d *disk) pause(err error) bool {
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
	select {
	case d.stuck <- struct{}{}:
	default:
	}
	timer := time.NewTimer(tryAgain)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.closing:
		return false
	}
}

// sync makes something sure.
func (d *disk) sync(do func() error) error {
	if err := d.ready(); err != nil {
		return err
	}
	err := do()
	d.mu.Lock()
	d.unsure = err != nil
	wait := d.unsure && d.opened
	d.mu.Unlock()
	if wait {
		d.pause(err)
	}
	return err
}

// end notes what Pebble calls fatal.
func (d *disk) end(err error) {
	d.mu.Lock()
	if d.fatal == nil {
		d.fatal = err
	}
	d.mu.Unlock()
	select {
	case d.stuck <- struct{}{}:
	default:
	}
}

// from here on failures are waited out.
func (d *disk) open() {
	d.mu.Lock()
	d.opened = true
	d.mu.Unlock()
}

// release has those fail who wait.
func (d *disk) release() { close(d.closing) }

func (d *disk) Unwrap() vfs.FS { return d.FS }

func (d *disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.create(name, category, forever)
}

// create creates a file whose writes are tried for so long.
func (d *disk) create(name string, category vfs.DiskWriteCategory, limit time.Duration) (f vfs.File, err error) {
	err = d.write(limit, func() error { f, err = d.FS.Create(name, category); return err })
	return d.file(f, err, limit)
}

func (d *disk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = d.write(forever, func() error { f, err = d.FS.ReuseForWrite(from, to, category); return err })
	return d.file(f, err, forever)
}

func (d *disk) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (f vfs.File, err error) {
	f, err = d.FS.OpenReadWrite(name, category, opts...)
	return d.file(f, err, forever)
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	return d.file(f, err, forever)
}

func (d *disk) file(f vfs.File, err error, limit time.Duration) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{f, d, limit}, nil
}

func (d *disk) Rename(from, to string) error {
	return d.write(forever, func() error { return d.FS.Rename(from, to) })
}

// diskFile is a file of the state, or its directory.
type diskFile struct {
	vfs.File
	d     *disk
	limit time.Duration // of one write
}

func (f *diskFile) Write(b []byte) (n int, err error) {
	err = f.d.write(f.limit, func() error {
		m, err := f.File.Write(b[n:])
		n += m
		return err
	})
	return n, err
}

func (f *diskFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.d.write(f.limit, func() error { n, err = f.File.WriteAt(b, at); return err })
	return n, err
}

func (f *diskFile) Sync() error { return f.d.sync(f.File.Sync) }

func (f *diskFile) SyncData() error { return f.d.sync(f.File.SyncData) }

func (f *diskFile) SyncTo(length int64) (full bool, err error) {
	err = f.d.sync(func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}
