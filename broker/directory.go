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
	runningFile   = "running" // there while a broker runs
	formatVersion = 1
	engine        = "kfake"
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

// data is where the engine keeps its own files.
func (d *directory) data() string { return filepath.Join(d.path, "data") }

// begin leaves the mark of a broker that runs, and tells whether the last one
// left its own: it was killed.
func (d *directory) begin() (unclean bool, err error) {
	name := filepath.Join(d.path, runningFile)
	if _, err := os.Stat(name); err == nil {
		return true, nil
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		return false, fmt.Errorf("mark the directory as in use: %w", err)
	}
	return false, nil
}

// end takes the mark away, once everything is written.
func (d *directory) end() error { return os.Remove(filepath.Join(d.path, runningFile)) }

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
	if err := os.Rename(tmp.Name(), name); err != nil {
		return format{}, fmt.Errorf("write format: %w", err)
	}
	return f, nil
}
