package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/comptoir/comptoir/broker/store"
)

// Finding is what Verify tells while it goes on.
type Finding = store.Finding

// Verify checks what a stopped broker keeps in dir, its data directory: every
// frame of the journal, every record batch, and what the index says of them.
// report is called for each file that was read and for each damage. The error is
// a *HeldError while a process uses the directory, and fs.ErrNotExist if no broker
// was ever there; any other says that something is damaged or cannot be read.
func Verify(dir string, report func(Finding)) error {
	d, err := openExisting(filepath.Join(dir, "broker"))
	if err != nil {
		return err
	}
	err = store.Verify(vfs.Default, d.data(), report)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("a part is missing: %v", err) // a broker was there
	}
	return errors.Join(err, d.release())
}

// Backup copies all that the broker holds into dir, a data directory in the
// making: a broker opened there has every record, offset and transaction that was
// written when Backup was called. The broker goes on meanwhile. dir must have no
// broker yet. After an error, or when ctx has ended, a part may be there.
func (b *Broker) Backup(ctx context.Context, dir string) error {
	b.using.RLock()
	defer b.using.RUnlock()
	if b.closing.Err() != nil {
		return net.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.closing, cancel)()
	return b.dir.copyTo(dir, func(data string) error { return b.store.Backup(ctx, data) })
}

// Stopped is a broker's directory that no process uses, and that none can use
// until Release.
type Stopped struct{ dir *directory }

// OpenStopped takes the directory of a stopped broker. Its errors are those of
// Verify.
func OpenStopped(dir string) (*Stopped, error) {
	d, err := openExisting(filepath.Join(dir, "broker"))
	if err != nil {
		return nil, err
	}
	return &Stopped{d}, nil
}

// Backup is that of Broker. It copies the files as they are, also those that a
// crash has left: the copy is opened as the original would be.
func (s *Stopped) Backup(ctx context.Context, dir string) error {
	return s.dir.copyTo(dir, func(data string) error { return copyTree(ctx, s.dir.data(), data) })
}

// Release gives the directory up.
func (s *Stopped) Release() error { return s.dir.release() }

// copyTo copies the folder, its data with copyData.
func (d *directory) copyTo(dir string, copyData func(data string) error) error {
	to := filepath.Join(dir, "broker")
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := copyData(filepath.Join(to, "data")); err != nil {
		return err
	}
	for _, name := range []string{formatFile, lostFile} {
		err := copyFile(filepath.Join(d.path, name), filepath.Join(to, name))
		if err != nil && (name != lostFile || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return errors.Join(syncDir(to), syncDir(dir))
}

// copyTree copies a folder of folders and files.
func copyTree(ctx context.Context, from, to string) error {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if e.IsDir() {
			err = copyTree(ctx, src, dst)
		} else {
			err = copyFile(src, dst)
		}
		if err != nil {
			return err
		}
	}
	return syncDir(to)
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // only read
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync()
	}
	if err := errors.Join(err, dst.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}
