package state

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fullDisk is a file system that can be full: a write then takes half of what it
// is given.
type fullDisk struct {
	vfs.FS
	full  atomic.Bool
	tried atomic.Int64 // writes that found no room
	// only, if set, says which files are refused.
	only func(name string) bool
}

// openImpatient opens a DB that does not wait long for room.
func openImpatient(t *testing.T, disk *fullDisk) *DB {
	t.Helper()
	db, err := open("state", disk, DefaultCacheBytes)
	if err != nil {
		t.Fatal(err)
	}
	db.patience = 10 * time.Millisecond
	return db
}

func (d *fullDisk) refuses(name string) bool {
	if !d.full.Load() || d.only != nil && !d.only(name) {
		return false
	}
	d.tried.Add(1)
	return true
}

func (d *fullDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if d.refuses(name) {
		return nil, syscall.ENOSPC
	}
	f, err := d.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return &fullFile{f, d, name}, nil
}

func (d *fullDisk) Rename(from, to string) error {
	if d.refuses(to) {
		return syscall.ENOSPC
	}
	return d.FS.Rename(from, to)
}

type fullFile struct {
	vfs.File
	d    *fullDisk
	name string
}

func (f *fullFile) Write(b []byte) (int, error) {
	if f.d.refuses(f.name) {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, syscall.ENOSPC
	}
	return f.File.Write(b)
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never: %s", what)
		}
	}
}

// fill applies batches of 256 KiB until one fails or there are so many.
func fill(db *DB, s Space, from, to int) (n int, err error) {
	value := make([]byte, 256<<10)
	for n = from; n < to; n++ {
		b := db.NewBatch()
		b.Set(binary.BigEndian.AppendUint32(append([]byte{}, s[:]...), uint32(n)), value)
		if err := b.Apply(); err != nil {
			return n, err
		}
	}
	return n, nil
}

func count(t *testing.T, db *DB, s Space) (n int) {
	t.Helper()
	if err := db.Scan(s, nil, func([]byte, []byte) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFullDisk: while the disk is full the state goes on in memory, says what is
// the matter, and refuses what is too much for that. With room again it goes on
// as if nothing had been, whichever file the disk had no room for.
func TestFullDisk(t *testing.T) {
	for name, only := range map[string]func(string) bool{
		"any file":   nil,
		"a table":    func(name string) bool { return strings.HasSuffix(name, ".sst") },
		"a manifest": func(name string) bool { return strings.Contains(name, "MANIFEST") },
	} {
		t.Run(name, func(t *testing.T) {
			disk := &fullDisk{FS: vfs.NewMem(), only: only}
			db := openImpatient(t, disk)
			s := space(t, db, "app", "state", 0)
			done, err := fill(db, s, 0, 50)
			if err != nil {
				t.Fatal(err)
			}
			disk.full.Store(true)
			n, err := fill(db, s, done, 1000)
			if err == nil || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
				t.Fatalf("after %d batches: %v, want that there is no space", n, err)
			}
			if n < done+16 {
				t.Errorf("refused after %d batches: there was room in memory", n-done)
			}
			if err := db.Health(); err == nil || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
				t.Errorf("health of a full disk: %v", err)
			}
			if tried := disk.tried.Load(); tried > 1000 {
				t.Errorf("%d writes were tried on a full disk", tried)
			}
			if got := count(t, db, s); got != n {
				t.Errorf("%d keys can be read, of %d", got, n)
			}
			disk.full.Store(false)
			until(t, "health with room again", func() bool { return db.Health() == nil })
			if n, err = fill(db, s, n, n+100); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if db, err = open("state", disk.FS, DefaultCacheBytes); err != nil {
				t.Fatal(err)
			}
			if got := count(t, db, space(t, db, "app", "state", 0)); got != n {
				t.Errorf("%d keys after opening again, of %d", got, n)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestClosedWhileFull: closing does not wait for room, and what is on the disk
// then is some earlier state.
func TestClosedWhileFull(t *testing.T) {
	disk := &fullDisk{FS: vfs.NewMem()}
	db := openImpatient(t, disk)
	instance, s := db.Instance(), space(t, db, "app", "state", 0)
	if _, err := fill(db, s, 0, 100); err != nil {
		t.Fatal(err)
	}
	until(t, "a table is on the disk", func() bool { return db.p.Metrics().Flush.Count > 1 })
	disk.full.Store(true)
	n, err := fill(db, s, 100, 1000)
	if err == nil {
		t.Fatal("the disk is not full")
	}
	if err := db.Close(); err == nil {
		t.Error("closed as if all were on the disk")
	}
	disk.full.Store(false)
	if db, err = open("state", disk.FS, DefaultCacheBytes); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if db.Instance() != instance {
		t.Error("the identity is lost")
	}
	got := count(t, db, space(t, db, "app", "state", 0))
	next := -1
	if err := db.Scan(s, nil, func(k, _ []byte) bool { next++; return binary.BigEndian.Uint32(k) == uint32(next) }); err != nil {
		t.Fatal(err)
	}
	if got == 0 || got > n || next+1 != got {
		t.Errorf("%d keys of %d, the first %d without a gap", got, n, next+1)
	}
}

// TestUnsureManifest: when nobody knows what the disk has of the manifest, nothing
// is written any more, which batches and health tell, and the next start goes on
// from what there is.
func TestUnsureManifest(t *testing.T) {
	mem := vfs.NewMem()
	disk := &unsureDisk{FS: mem}
	db, err := open("state", disk, DefaultCacheBytes)
	if err != nil {
		t.Fatal(err)
	}
	s := space(t, db, "app", "state", 0)
	if _, err := fill(db, s, 0, 10); err != nil {
		t.Fatal(err)
	}
	disk.unsure.Store(true)
	if err := db.flush(); err == nil {
		t.Error("flushed")
	}
	until(t, "the end of the writing", func() bool { return strings.Contains(fmt.Sprint(db.Health()), "until the next start") })
	disk.unsure.Store(false)
	if _, err := fill(db, s, 10, 11); err == nil {
		t.Error("a batch is taken")
	}
	if got := count(t, db, s); got != 10 {
		t.Errorf("%d keys can be read, want 10", got)
	}
	if err := db.Close(); err == nil {
		t.Error("closed as if all were on the disk")
	}
	if db, err = open("state", mem, DefaultCacheBytes); err != nil {
		t.Fatal(err)
	}
	s = space(t, db, "app", "state", 0)
	if _, err := fill(db, s, 10, 20); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// unsureDisk is a file system that may fail to sync a manifest.
type unsureDisk struct {
	vfs.FS
	unsure atomic.Bool
}

func (d *unsureDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	if err != nil || !strings.Contains(name, "MANIFEST") {
		return f, err
	}
	return &unsureFile{f, d}, nil
}

type unsureFile struct {
	vfs.File
	d *unsureDisk
}

func (f *unsureFile) Sync() error {
	if f.d.unsure.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}
