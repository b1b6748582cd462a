package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident returns how many bytes of a file the system has in memory, and how many
// there are. Of what it has, mincore(2) leaves out pages that were written in part
// of a larger unit.
func resident(name string) (in, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(mapped)) }()
	page := os.Getpagesize()
	pages := make([]byte, (len(mapped)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		return 0, 0, errno
	}
	for i, p := range pages {
		if p&1 != 0 {
			in += int64(min(len(mapped)-i*page, page))
		}
	}
	return in, info.Size(), nil
}

// diskDir returns a directory whose files the system can drop from its memory,
// which those of a tmpfs are not.
func diskDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		t.Skip("temporary files are in memory only: set TMPDIR to a directory on a disk")
	}
	return dir
}

func TestOldFilesAreForgottenByTheSystem(t *testing.T) {
	const fileSize, cached = 256 << 10, 4 * 256 << 10
	o := Options{Dir: diskDir(t) + "/store", FileSize: fileSize, Cached: cached, Interval: time.Millisecond}
	p := Partition(1)
	// wrong tells of the first file that is in memory and should not be, or should
	// be and is not.
	wrong := func(s *Store) string {
		numbers, err := listFiles(s.opts.FS, s.opts.Dir)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(numbers)
		room := int64(cached)
		for i, n := range numbers {
			in, size, err := resident(s.journal.path(n))
			if errors.Is(err, os.ErrNotExist) {
				continue // the sweeper found little of use in it
			}
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 { // the head counts for nothing
				room -= size
			}
			if i > 0 && room >= 0 && in == 0 || room < 0 && in != 0 {
				return fmt.Sprintf("of the newest file of %d but %d, %d bytes, %d are in memory", len(numbers), i, size, in)
			}
		}
		if room > -cached {
			return fmt.Sprintf("only %d files", len(numbers))
		}
		return ""
	}
	var next int64
	for run := range 3 {
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			var c Commit
			c.Append(p, makeBatch(next, 1, next, 64<<10))
			mustWrite(t, s, &c)
			next++
		}
		deadline := time.Now().Add(20 * time.Second)
		for wrong(s) != "" {
			if time.Now().After(deadline) {
				t.Fatalf("run %d: %s", run, wrong(s))
			}
			time.Sleep(time.Millisecond)
		}
		if got := len(readAll(t, s, p)); got != int(next)*(batchOverhead+64<<10) {
			t.Errorf("read %d bytes of %d batches", got, next)
		}
		mustClose(t, s) // all is in memory again, which the next process is to see to
	}
}
