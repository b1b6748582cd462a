package node

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/comptoir/comptoir/broker"
)

// Backup is a copy that was made.
type Backup struct {
	// Target is its absolute path.
	Target string `json:"target"`
	// Bytes is what it takes.
	Bytes int64 `json:"bytes"`
	// Running says that a running process made it.
	Running bool `json:"running"`
}

// copied are the databases of a data directory. Beside them only the broker's
// folder is copied: local state and the audit's are made anew from the topics.
var copied = []string{"commandes.db", "archive.db"}

// MakeBackup copies the data directory of an embedded node, running or not, to
// target, from which a node can start. Target must not exist, or be empty. It is
// there when the copy is whole and on the disk, and not before: until then the
// copy is a folder beside it whose name begins with a dot and has "partial" in it.
func MakeBackup(ctx context.Context, dir, target string) (Backup, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Backup{}, err
	}
	if target, err = filepath.Abs(target); err != nil {
		return Backup{}, err
	}
	if err := checkTarget(dir, target); err != nil {
		return Backup{}, err
	}
	conn, err := dialControl(ctx, dir)
	if err == nil {
		return askBackup(ctx, conn, target)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Backup{}, fmt.Errorf("ask the process that runs on %s: %w", dir, err)
	}
	stopped, err := broker.OpenStopped(dir)
	if held := (*broker.HeldError)(nil); errors.As(err, &held) {
		return Backup{}, fmt.Errorf("process %d runs on %s and cannot be asked for a backup, since it has no %s: stop it first", held.PID, dir, ControlSocket)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Backup{}, fmt.Errorf("%s: %w", dir, ErrNoData)
	}
	if err != nil {
		return Backup{}, err
	}
	b, err := copyNode(ctx, dir, target, stopped)
	return b, errors.Join(err, stopped.Release())
}

// ErrNoData says that there is nothing to copy.
var ErrNoData = errors.New("no data directory of `comptoir up`")

// ErrTarget says that a backup cannot be made where it was asked for.
var ErrTarget = errors.New("choose a folder that does not exist yet, or an empty one, outside of the data directory")

func checkTarget(dir, target string) error {
	if rel, err := filepath.Rel(dir, target); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("%s is inside of %s: %w", target, dir, ErrTarget)
	}
	entries, err := os.ReadDir(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s is a file: %w", target, ErrTarget)
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: %w", target, ErrTarget)
	}
	return nil
}

// maxControlAnswer bounds what is read of an answer.
const maxControlAnswer = 64 << 10

// askBackup has the process at the other end of conn make the backup.
func askBackup(ctx context.Context, conn net.Conn, target string) (b Backup, err error) {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	defer transport.CloseIdleConnections()
	body, err := json.Marshal(backupRequest{target})
	if err != nil {
		return b, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/backup", bytes.NewReader(body))
	if err != nil {
		return b, err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return b, fmt.Errorf("the running process did not finish the backup: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxControlAnswer))
	if err != nil {
		return b, fmt.Errorf("read the running process's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return b, errors.New(strings.TrimSpace(string(answer)))
	}
	if err := json.Unmarshal(answer, &b); err != nil {
		return b, fmt.Errorf("read the running process's answer: %w", err)
	}
	return b, nil
}

// brokerCopier is a broker, running or stopped.
type brokerCopier interface {
	Backup(ctx context.Context, dir string) error
}

// copyNode makes the copy. The databases come before the broker, so that they are
// never ahead of the topics: what the topics have more is read into them.
func copyNode(ctx context.Context, dir, target string, b brokerCopier) (_ Backup, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("backup of %s to %s: %w", dir, target, err)
		}
	}()
	if err := checkTarget(dir, target); err != nil {
		return Backup{}, err
	}
	parent := filepath.Dir(target)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return Backup{}, err
	}
	if err := checkRoom(dir, parent); err != nil {
		return Backup{}, err
	}
	partial, err := os.MkdirTemp(parent, "."+filepath.Base(target)+".partial-")
	if err != nil {
		return Backup{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	for _, name := range copied {
		if err := copyDatabase(ctx, filepath.Join(dir, name), filepath.Join(partial, name)); err != nil {
			return Backup{}, err
		}
	}
	if err := b.Backup(ctx, partial); err != nil {
		return Backup{}, err
	}
	home, err := readHome(dir)
	if err != nil {
		return Backup{}, err
	}
	if home == "" {
		home = dir
	}
	if err := writeHome(partial, home); err != nil {
		return Backup{}, err
	}
	size, err := treeSize(partial)
	if err != nil {
		return Backup{}, err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Backup{}, err
	}
	if err := errors.Join(syncFile(partial), ctx.Err(), os.Rename(partial, target)); err != nil {
		return Backup{}, err
	}
	return Backup{Target: target, Bytes: size}, syncFile(parent)
}

// copyDatabase copies a SQLite database as it is at one moment, if it is there.
func copyDatabase(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: from}).EscapedPath()+"?mode=rw&_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, to)
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return syncFile(to)
}

// checkRoom refuses when the copy would not fit on the disk of target.
func checkRoom(dir, target string) error {
	need, err := treeSize(filepath.Join(dir, "broker"))
	if err != nil {
		return err
	}
	for _, name := range copied {
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(filepath.Join(dir, name+suffix)); err == nil {
				need += info.Size()
			}
		}
	}
	u, err := vfs.Default.GetDiskUsage(target)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", target, err)
	}
	if u.AvailBytes < uint64(need) {
		return fmt.Errorf("the disk of %s has %d MB free and the copy takes up to %d MB: free some space or choose another", target, u.AvailBytes>>20, need>>20+1)
	}
	return nil
}

// treeSize adds up the files of a folder. Those that go meanwhile do not count.
func treeSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// syncFile forces a file or folder to the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// refused says that nobody listens at a socket that is there.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
