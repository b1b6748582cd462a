package testenv

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Disk is a small file system in memory that a test can fill to the last byte.
type Disk struct {
	t       testing.TB
	ballast string
}

// NewDisk mounts one at dir, which is made if it is missing, until the test
// ends. Where mounting is not permitted it logs why and returns nil.
func NewDisk(t testing.TB, dir string, megabytes int) *Disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=755,size="+strconv.Itoa(megabytes)+"m", "comptoir-test", dir).CombinedOutput()
	if err != nil {
		t.Logf("no disk that can be full: mount: %v: %s", err, strings.TrimSpace(string(out)))
		return nil
	}
	t.Cleanup(func() {
		// Lazily: a process that is about to end may still hold a file.
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
	return &Disk{t: t, ballast: filepath.Join(dir, "ballast")}
}

// NeedDisk is NewDisk for a test that is left out without one.
func NeedDisk(t testing.TB, dir string, megabytes int) *Disk {
	t.Helper()
	d := NewDisk(t, dir, megabytes)
	if d == nil {
		leaveOut(t, "mounting a small disk is not permitted")
	}
	return d
}

// Fill takes all the room that is left.
func (d *Disk) Fill() {
	d.t.Helper()
	f, err := os.Create(d.ballast)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			if len(block) == 1 {
				return
			}
			block = block[:1+len(block)/8]
			if len(block) < 64 {
				block = block[:1]
			}
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
}

// Free gives the room back.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		d.t.Fatal(err)
	}
}
