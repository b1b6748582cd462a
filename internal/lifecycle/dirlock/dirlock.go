// Package dirlock lets one process own a directory: a second one that opens
// the same data is refused, with the name of the directory and of the process
// that holds it. It must not know what the directory contains.
package dirlock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// File is the name of the lock file inside the directory. It holds the
// holder's process id and stays when the lock is released.
const File = "lock"

// Lock is a held directory.
type Lock struct{ f *os.File }

// HeldError says who holds a directory.
type HeldError struct {
	// Dir is the directory as it was given.
	Dir string
	// PID is the holder's process id, 0 if it could not be read.
	PID int
}

func (e *HeldError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("directory %s is in use by %s: stop it or choose another directory", e.Dir, who)
}

// errHeld is what the operating system's lock answers when it is taken.
var errHeld = errors.New("lock is held")

// Acquire creates dir if it is missing and takes its lock, without waiting.
// If another process (or this one) has it, the error is a *HeldError. The lock
// ends with Release or with the process, however that dies.
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create directory %s: %w", dir, err)
	}
	name := filepath.Join(dir, File)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := lockFile(f); err != nil {
		defer f.Close()
		if errors.Is(err, errHeld) {
			return nil, &HeldError{Dir: dir, PID: readPID(f)}
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if err := errors.Join(f.Truncate(0), writeAt0(f, pid)); err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock file %s: %w", name, err)
	}
	return &Lock{f: f}, nil
}

// Release gives the directory up. It may be called twice.
func (l *Lock) Release() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close() // closing the only descriptor ends the lock
	l.f = nil
	return err
}

func writeAt0(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

func readPID(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}
