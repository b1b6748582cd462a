package store

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// smallDisk is a file system of so many bytes.
type smallDisk struct {
	vfs.FS
	size int64

	mu    sync.Mutex
	files map[string]int64 // bytes that each takes
}

func newSmallDisk(size int64) *smallDisk {
	return &smallDisk{FS: vfs.NewMem(), size: size, files: map[string]int64{}}
}

func (d *smallDisk) free() int64 {
	free := d.size
	for _, n := range d.files {
		free -= n
	}
	return free
}

// grow makes a file take so many bytes, or as many as there is room for.
func (d *smallDisk) grow(name string, to int64) (got int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if more := to - d.files[name]; more > d.free() {
		to, err = d.files[name]+d.free(), syscall.ENOSPC
	}
	d.files[name] = max(d.files[name], to)
	return to, err
}

// fill leaves so many bytes free.
func (d *smallDisk) fill(left int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files["others"] = 0
	d.files["others"] = d.free() - left
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return vfs.DiskUsage{AvailBytes: uint64(max(d.free(), 0)), TotalBytes: uint64(d.size)}, nil
}

func (d *smallDisk) forget(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
}

func (d *smallDisk) file(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &smallFile{File: f, d: d, name: name}, nil
}

// Create needs a little room itself.
func (d *smallDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	d.forget(name)
	if _, err := d.grow(name, 512); err != nil {
		d.forget(name)
		return nil, err
	}
	f, err := d.FS.Create(name, c)
	return d.file(name, f, err)
}

func (d *smallDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, o...)
	return d.file(name, f, err)
}

func (d *smallDisk) Remove(name string) error {
	err := d.FS.Remove(name)
	if err == nil {
		d.forget(name)
	}
	return err
}

func (d *smallDisk) Rename(from, to string) error {
	d.mu.Lock()
	d.files[to] = d.files[from]
	delete(d.files, from)
	d.mu.Unlock()
	return d.FS.Rename(from, to)
}

type smallFile struct {
	vfs.File
	d    *smallDisk
	name string
	at   int64
}

func (f *smallFile) Preallocate(offset, length int64) error {
	_, err := f.d.grow(f.name, offset+length)
	return err
}

func (f *smallFile) Write(b []byte) (int, error) {
	n, err := f.write(b, f.at, f.File.Write)
	f.at += int64(n)
	return n, err
}

func (f *smallFile) WriteAt(b []byte, at int64) (int, error) {
	return f.write(b, at, func(b []byte) (int, error) { return f.File.WriteAt(b, at) })
}

func (f *smallFile) write(b []byte, at int64, write func([]byte) (int, error)) (int, error) {
	got, full := f.d.grow(f.name, at+int64(len(b)))
	n, err := write(b[:max(0, min(int64(len(b)), got-at))])
	return n, errors.Join(err, full)
}

// look has the store look at the disk now.
func (s *Store) look() error {
	s.room.mu.Lock()
	s.room.looked = time.Time{}
	s.room.mu.Unlock()
	return s.Health()
}

// TestFullDiskIsMadeRoomOn fills the disk to the last byte: what is not urgent is
// refused, a deletion is done, its room comes back, even that of the newest file,
// and all goes on. Then room is kept again.
func TestFullDiskIsMadeRoomOn(t *testing.T) {
	disk := newSmallDisk(64 << 20)
	o := Options{FS: disk, Dir: "store", LowSpace: 1 << 20, Reserve: 1 << 19, BootID: "one"}
	s := mustOpen(t, o)
	if err := s.look(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(200) {
		var c Commit
		c.Append(1, makeBatch(i, 1, 0, 100<<10))
		c.Set([]byte{byte(i)}, nil)
		mustWrite(t, s, &c)
	}
	disk.fill(0)
	if err := s.look(); !errors.Is(err, ErrLowSpace) {
		t.Fatalf("health of a full disk: %v", err)
	}
	if _, err := s.Write(append1(200)); !errors.Is(err, ErrLowSpace) {
		t.Errorf("a write that is not urgent: %v", err)
	}
	var c Commit
	c.Drop(1)
	c.Urgent()
	mustWrite(t, s, &c)
	if err := s.sweep(); err != nil {
		t.Fatalf("freeing the space: %v", err)
	}
	if u, _ := disk.GetDiskUsage(""); u.AvailBytes < 15<<20 {
		t.Errorf("%d bytes are free after 20 MB were deleted", u.AvailBytes)
	}
	if err := s.look(); err != nil {
		t.Errorf("health with room again: %v", err)
	}
	if !s.reserve.held {
		t.Error("no room is kept again")
	}
	mustWrite(t, s, append1(200))
	mustClose(t, s)
	if names, err := disk.List("store"); err != nil || !strings.Contains(strings.Join(names, " "), "reserve") {
		t.Errorf("after the end there are %v (%v)", names, err)
	}
}

// TestStartOnAFullDisk kills a store and fills the disk to the last byte: it
// opens, says what is the matter, and takes its first write.
func TestStartOnAFullDisk(t *testing.T) {
	disk := newSmallDisk(64 << 20)
	o := Options{FS: disk, Dir: "store", LowSpace: 1 << 20, Reserve: 1 << 19, BootID: "one"}
	s := mustOpen(t, o)
	if err := s.look(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) {
		mustWrite(t, s, append1(i))
	}
	want := len(readAll(t, s, 1))
	if err := s.release(); err != nil { // killed
		t.Fatal(err)
	}
	disk.fill(0)
	s = mustOpen(t, o)
	if got := len(readAll(t, s, 1)); got != want {
		t.Errorf("%d bytes can be read, of %d", got, want)
	}
	if err := s.look(); !errors.Is(err, ErrLowSpace) {
		t.Errorf("health of a full disk: %v", err)
	}
	var c Commit
	c.Set([]byte("epoch"), []byte("2"))
	c.Urgent()
	mustWrite(t, s, &c)
	mustClose(t, s)
}
