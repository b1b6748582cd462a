// Package storetest has a disk in memory for tests of what is kept: one that
// forgets at a power cut what was not synced, and whose syncs can fail as Linux's
// do. It knows nothing of what is written to it.
package storetest

import (
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is a file system in memory. A sync that fails leaves what it should have
// written as it is for all who read, and unwritten for good: the system takes it
// for written, so that no later sync writes it either, and a power cut shows what
// was there before. Only who writes it again gets it onto the disk. It is safe for
// concurrent use.
type Disk struct {
	vfs.FS
	mem *vfs.MemFS
	rng *rand.Rand

	mu     sync.Mutex
	fail   int               // syncs until one fails, 0 for none
	of     string            // files whose syncs count
	failed bool              // one has
	base   *vfs.MemFS        // what the disk itself had at first; nil for nothing
	synced map[string][]byte // what it has of a file since that was synced or made
	lost   map[string][]hole
}

// hole is bytes of a file that are not what the disk has there.
type hole struct {
	from int64
	was  []byte
}

func (h hole) to() int64 { return h.from + int64(len(h.was)) }

// NewDisk returns an empty disk. The seed decides what a failed sync loses and
// what a power cut keeps.
func NewDisk(seed uint64) *Disk {
	return newDisk(vfs.NewCrashableMem(), rand.New(rand.NewPCG(seed, 11)))
}

func newDisk(mem *vfs.MemFS, rng *rand.Rand) *Disk {
	return &Disk{FS: mem, mem: mem, rng: rng, synced: map[string][]byte{}, lost: map[string][]hole{}}
}

// FailSync has the nth sync from now on fail, 1 being the next, of those of files
// and directories in whose path of occurs.
func (d *Disk) FailSync(nth int, of string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail, d.of, d.failed = nth, of, false
}

// Failed tells whether a sync has failed since FailSync.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// PowerCut returns the disk as it is after one: with all that was synced, and of
// the rest so many in a hundred blocks and directory entries.
func (d *Disk) PowerCut(percent int) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	mem := d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: d.rng})
	after := newDisk(mem, d.rng)
	defer func() { after.base = mem.CrashClone(vfs.CrashCloneCfg{}) }()
	for name, holes := range d.lost {
		f, err := mem.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			continue // its directory is gone
		}
		b := content(mem, name)
		for _, h := range holes {
			if h.from < int64(len(b)) {
				copy(b[h.from:], h.was)
			}
		}
		_, _ = f.WriteAt(b, 0) // in memory
		_ = f.Sync()
		_ = f.Close()
	}
	return after
}

// content returns what a reader sees of a file.
func content(fs vfs.FS, name string) []byte {
	f, err := fs.Open(name)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(f)
	if err != nil {
		return nil
	}
	return b
}

// wrote forgets the holes that have been written over.
func (d *Disk) wrote(name string, from, to int64) {
	var left []hole
	for _, h := range d.lost[name] {
		if h.to() <= from || h.from >= to {
			left = append(left, h)
			continue
		}
		if h.from < from {
			left = append(left, hole{h.from, h.was[:from-h.from]})
		}
		if h.to() > to {
			left = append(left, hole{to, h.was[to-h.from:]})
		}
	}
	d.lost[name] = left
}

// block is the least that a failed sync loses.
const block = 512

// sync is one sync of a file, or of a directory, of which nothing is lost: what
// file systems know of names goes through a journal of theirs, and they write
// nothing more once that fails.
func (d *Disk) sync(name string, dir bool, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail > 0 && strings.Contains(name, d.of) {
		if d.fail--; d.fail == 0 {
			d.failed = true
			if !dir {
				d.lose(name)
			}
			return syscall.EIO
		}
	}
	if !dir {
		b := content(d.mem, name)
		for _, h := range d.lost[name] {
			copy(b[h.from:], h.was)
		}
		d.synced[name] = b
	}
	return do()
}

// lose makes holes of what a sync that fails did not write.
func (d *Disk) lose(name string) {
	now, was := content(d.mem, name), d.has(name)
	for at := 0; at < len(now); at += block {
		to := min(at+block, len(now))
		old := make([]byte, to-at)
		if at < len(was) {
			copy(old, was[at:])
		}
		if !slices.Equal(old, now[at:to]) && d.rng.IntN(3) > 0 {
			d.wrote(name, int64(at), int64(to))
			d.lost[name] = append(d.lost[name], hole{int64(at), old})
		}
	}
}

// has returns what the disk itself has of a file.
func (d *Disk) has(name string) []byte {
	b, ok := d.synced[name]
	if !ok && d.base != nil {
		return content(d.base, name)
	}
	return b
}

func (d *Disk) forget(name string) {
	d.synced[name] = nil
	delete(d.lost, name)
}

func (d *Disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.mem.Create(name, c)
	if err != nil {
		return nil, err
	}
	d.forget(name)
	return &file{File: f, d: d, name: name}, nil
}

func (d *Disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.mem.OpenReadWrite(name, c, o...)
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d, name: name}, nil
}

func (d *Disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.mem.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d, name: name, dir: true}, nil
}

func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(name)
	return d.mem.Remove(name)
}

func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced[to], d.lost[to] = d.has(from), d.lost[from]
	d.forget(from)
	return d.mem.Rename(from, to)
}

// Lock locks nothing: a lock would have to end with a process that is killed.
func (d *Disk) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// file is a file that is written, or a directory.
type file struct {
	vfs.File
	d    *Disk
	name string
	dir  bool
	pos  int64
}

func (f *file) Write(b []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n, err := f.File.Write(b)
	f.d.wrote(f.name, f.pos, f.pos+int64(n))
	f.pos += int64(n)
	return n, err
}

func (f *file) WriteAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n, err := f.File.WriteAt(b, at)
	f.d.wrote(f.name, at, at+int64(n))
	return n, err
}

func (f *file) Sync() error     { return f.d.sync(f.name, f.dir, f.File.Sync) }
func (f *file) SyncData() error { return f.d.sync(f.name, f.dir, f.File.SyncData) }
