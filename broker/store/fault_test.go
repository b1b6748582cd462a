package store

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faulty is a file system that fails on demand. A write that fails has written
// half of what it was given.
type faulty struct {
	vfs.FS
	fail atomic.Pointer[func(op errorfs.Op) error]
	free atomic.Uint64
}

func newFaulty(mem *vfs.MemFS) *faulty {
	f := &faulty{}
	f.free.Store(1 << 40)
	f.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fn := f.fail.Load(); fn != nil {
			return (*fn)(op)
		}
		return nil
	}))
	return f
}

func (f *faulty) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free.Load()}, nil
}

func (f *faulty) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	if err != nil {
		return nil, err
	}
	return halfFile{file}, nil
}

type halfFile struct{ vfs.File }

func (f halfFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(b, at)
	var half *halfError
	if errors.As(err, &half) {
		half.now.Store(true)
		n, _ = f.File.WriteAt(b[:len(b)/2], at)
		half.now.Store(false)
	}
	return n, err
}

type halfError struct {
	error
	now atomic.Bool // let the half through
}

func (e *halfError) Unwrap() error { return e.error }

func (f *faulty) set(fn func(op errorfs.Op) error) { f.fail.Store(&fn) }

func append1(base int64) *Commit {
	var c Commit
	c.Append(1, makeBatch(base, 1, 0, 300))
	return &c
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	mem := vfs.NewCrashableMem()
	fs := newFaulty(mem)
	s := mustOpen(t, Options{FS: fs, BootID: "one"})
	mustWrite(t, s, append1(0))
	full := &halfError{error: syscall.ENOSPC}
	fs.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && !full.now.Load() {
			return full
		}
		return nil
	})
	if _, err := s.Write(append1(1)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a write on a full disk: %v", err)
	}
	if !errors.Is(s.Health(), syscall.ENOSPC) {
		t.Errorf("health after it: %v", s.Health())
	}
	if got := readAll(t, s, 1); len(got) != batchOverhead+300 {
		t.Errorf("%d bytes can be read after it", len(got))
	}
	// Killed now, the half written frame is no damage.
	again := mustOpen(t, Options{FS: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newHistory(1).rng}), BootID: "one"})
	if got := readAll(t, again, 1); len(got) != batchOverhead+300 {
		t.Errorf("%d bytes can be read after a kill", len(got))
	}
	mustClose(t, again)
	fs.fail.Store(nil)
	s.room.looked = s.room.looked.Add(-lookEvery) // time goes by
	if err := s.Health(); err != nil {
		t.Errorf("health with space again: %v", err)
	}
	for i := range int64(20) {
		mustWrite(t, s, append1(1+i))
	}
	want := readAll(t, s, 1)
	if err := s.release(); err != nil { // killed
		t.Fatal(err)
	}
	s = mustOpen(t, Options{FS: fs, BootID: "one"})
	if !bytes.Equal(readAll(t, s, 1), want) || len(want) != 21*(batchOverhead+300) {
		t.Errorf("%d bytes after a kill, %d before", len(readAll(t, s, 1)), len(want))
	}
	mustClose(t, s)
}

func TestFailedSyncEndsTheWriting(t *testing.T) {
	fs := newFaulty(vfs.NewCrashableMem())
	s := mustOpen(t, Options{FS: fs})
	mustWrite(t, s, append1(0))
	m := mustWrite(t, s, append1(1))
	fs.set(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, fileSuffix) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			return syscall.EIO
		}
		return nil
	})
	if err := s.Sync(m); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	fs.fail.Store(nil)
	if err := s.Sync(m); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync after a failed one: %v", err)
	}
	if _, err := s.Write(append1(2)); !errors.Is(err, syscall.EIO) {
		t.Errorf("write after a failed sync: %v", err)
	}
	if !errors.Is(s.Health(), syscall.EIO) {
		t.Errorf("health: %v", s.Health())
	}
	if got := readAll(t, s, 1); len(got) != 2*(batchOverhead+300) {
		t.Errorf("%d bytes can be read", len(got))
	}
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
}

// TestFailedIndexEndsTheWriting fails every kind of change of the index, which
// happen in Pebble's own goroutines.
func TestFailedIndexEndsTheWriting(t *testing.T) {
	for nth := range 12 {
		mem := vfs.NewCrashableMem()
		fs := newFaulty(mem)
		s := mustOpen(t, Options{FS: fs, BootID: "one"})
		mustWrite(t, s, append1(0))
		var left atomic.Int64
		left.Store(int64(nth))
		fs.set(func(op errorfs.Op) error {
			if strings.Contains(op.Path, "index") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left.Add(-1) < 0 {
				return syscall.ENOSPC
			}
			return nil
		})
		err := s.index.flush()
		if err == nil {
			continue // it makes fewer changes than that
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("change %d: flush: %v", nth, err)
		}
		if _, err := s.Write(append1(1)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("change %d: write: %v", nth, err)
		}
		if got := readAll(t, s, 1); len(got) != batchOverhead+300 {
			t.Errorf("change %d: %d bytes can be read", nth, len(got))
		}
		if err := s.Close(); err == nil {
			t.Errorf("change %d: close said nothing", nth)
		}
		fs.fail.Store(nil)
		s = mustOpen(t, Options{FS: fs, BootID: "one"})
		if got := readAll(t, s, 1); len(got) != batchOverhead+300 {
			t.Errorf("change %d: %d bytes can be read after a start", nth, len(got))
		}
		mustClose(t, s)
	}
}

// TestManifestHoldsNobodyUp holds a write of Pebble's manifest: the store goes on,
// and tells of itself.
func TestManifestHoldsNobodyUp(t *testing.T) {
	fs := newFaulty(vfs.NewCrashableMem())
	s := mustOpen(t, Options{FS: fs})
	mustWrite(t, s, append1(0))
	held, on := make(chan struct{}, 1), make(chan struct{})
	fs.set(func(op errorfs.Op) error {
		if strings.Contains(op.Path, "MANIFEST") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			nudge(held)
			<-on
		}
		return nil
	})
	flushed := make(chan error, 1)
	go func() { flushed <- s.index.flush() }()
	<-held
	done := make(chan error, 1)
	go func() {
		var err error
		for i := int64(1); i < 5 && err == nil; i++ {
			c := append1(i)
			c.Set([]byte("large"), make([]byte, memTable/4))
			_, err = s.Write(c)
			s.Stats()
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the store waits for the manifest")
	}
	close(on)
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	mustClose(t, s)
}

// TestFullDiskWithoutReserve: where no room is kept a full disk is told apart from
// one that is nearly full, on which what makes room is still written.
func TestFullDiskWithoutReserve(t *testing.T) {
	fs := newFaulty(vfs.NewCrashableMem())
	s := mustOpen(t, Options{FS: fs, LowSpace: 1 << 20})
	for _, c := range []struct {
		free uint64
		want error
	}{{leastSpace, ErrLowSpace}, {leastSpace - 1, ErrNoSpace}, {0, ErrNoSpace}, {1 << 20, nil}} {
		fs.free.Store(c.free)
		if err := s.look(); !errors.Is(err, c.want) {
			t.Errorf("with %d bytes free: %v, want %v", c.free, err, c.want)
		}
	}
	mustClose(t, s)
}

func TestLowSpaceRefusesWrites(t *testing.T) {
	fs := newFaulty(vfs.NewCrashableMem())
	s := mustOpen(t, Options{FS: fs, LowSpace: 1 << 20})
	mustWrite(t, s, append1(0))
	fs.free.Store(1<<20 - 1)
	s.room.looked = s.room.looked.Add(-lookEvery)
	if _, err := s.Write(append1(1)); !errors.Is(err, ErrLowSpace) {
		t.Errorf("write: %v", err)
	}
	if got := readAll(t, s, 1); len(got) != batchOverhead+300 {
		t.Errorf("%d bytes can be read", len(got))
	}
	fs.free.Store(1 << 30)
	s.room.looked = s.room.looked.Add(-lookEvery)
	mustWrite(t, s, append1(1))
	mustClose(t, s)
}
