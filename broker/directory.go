package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/comptoir/comptoir/internal/lifecycle/dirlock"
)

const (
	formatFile    = "format.json"
	lostFile      = "lost" // there from a loss of records until it is settled
	formatVersion = 1
	engine        = "journal"
)

// format is the first file written into a new directory: what wrote the rest,
// so that a later version knows whether it can read it, and the cluster's id,
// which clients remember.
type format struct {
	Version   int    `json:"version"`
	Engine    string `json:"engine"`
	ClusterID string `json:"cluster_id"`
}

// directory is the broker's locked folder.
type directory struct {
	path   string
	lock   *dirlock.Lock
	format format
}

func openDirectory(path string) (*directory, error) {
	lock, err := dirlock.Acquire(path)
	if err != nil {
		return nil, err
	}
	f, err := readFormat(path)
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return &directory{path: path, lock: lock, format: f}, nil
}

// openExisting is openDirectory for who only wants what is there: if there is
// nothing the error is fs.ErrNotExist, and nothing is made.
func openExisting(path string) (*directory, error) {
	_, missing := os.Stat(filepath.Join(path, formatFile))
	if missing != nil {
		if _, err := os.Stat(filepath.Join(path, "data")); err != nil {
			return nil, missing
		}
	}
	return openDirectory(path)
}

// data is where the engine keeps its own files.
func (d *directory) data() string { return filepath.Join(d.path, "data") }

// lost remembers a loss of records until settled, over stops and crashes, and
// tells whether one is remembered.
func (d *directory) lost(now bool) (bool, error) {
	name := filepath.Join(d.path, lostFile)
	if _, err := os.Stat(name); err == nil || !now {
		return err == nil, nil
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		return false, fmt.Errorf("remember that records are lost: %w", err)
	}
	return true, nil
}

// settled forgets a loss.
func (d *directory) settled() error {
	if err := os.Remove(filepath.Join(d.path, lostFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *directory) release() error { return d.lock.Release() }

func readFormat(dir string) (format, error) {
	name := filepath.Join(dir, formatFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
			return format{}, fmt.Errorf("%s is missing beside existing data: restore it or choose an empty directory", name)
		}
		return writeFormat(name)
	}
	if err != nil {
		return format{}, fmt.Errorf("read format: %w", err)
	}
	var f format
	if err := json.Unmarshal(b, &f); err != nil {
		return format{}, fmt.Errorf("read %s: %w", name, err)
	}
	if f.Version != formatVersion || f.Engine != engine || f.ClusterID == "" {
		return format{}, fmt.Errorf("%s says version %d of %q, this program reads version %d of %q: use the program that wrote it or choose an empty directory",
			name, f.Version, f.Engine, formatVersion, engine)
	}
	return f, nil
}

// writeFormat creates the file in one step, so that a crash leaves it whole or
// absent.
func writeFormat(name string) (format, error) {
	f := format{Version: formatVersion, Engine: engine, ClusterID: uuid.NewString()}
	b, err := json.Marshal(f)
	if err != nil {
		return format{}, err
	}
	tmp, err := os.Create(name + ".new")
	if err != nil {
		return format{}, fmt.Errorf("write format: %w", err)
	}
	_, err = tmp.Write(append(b, '\n'))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return format{}, fmt.Errorf("write format: %w", err)
	}
	if err := errors.Join(os.Rename(tmp.Name(), name), syncDir(filepath.Dir(name))); err != nil {
		return format{}, fmt.Errorf("write format: %w", err)
	}
	return f, nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
