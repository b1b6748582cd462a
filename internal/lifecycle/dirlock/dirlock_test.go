package dirlock

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAcquireRefusesASecondHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	l, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Acquire(dir)
	var held *HeldError
	if !errors.As(err, &held) {
		t.Fatalf("second Acquire: got %v, want a HeldError", err)
	}
	if held.PID != os.Getpid() || held.Dir != dir {
		t.Errorf("got holder %d of %s, want %d of %s", held.PID, held.Dir, os.Getpid(), dir)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("error does not name the directory: %v", err)
	}
	for range 2 {
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Acquire(dir)
	if err != nil {
		t.Fatalf("after Release: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestReadPIDOfAStrangeFile(t *testing.T) {
	for _, tc := range []struct {
		content string
		want    int
	}{{"", 0}, {"12\n", 12}, {"twelve", 0}, {strings.Repeat("9", 100), 0}} {
		name := filepath.Join(t.TempDir(), File)
		if err := os.WriteFile(name, []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := readPID(f); got != tc.want {
			t.Errorf("readPID(%q) = %d, want %d", tc.content, got, tc.want)
		}
		f.Close()
	}
}
