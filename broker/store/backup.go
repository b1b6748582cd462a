package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Backup copies the store to a directory that does not exist yet, while it goes on
// being written. The copy holds all that was written when Backup was called, is
// synced, and opens as a store. It shares no file with the store: it is to
// survive what damages this one. When ctx ends it is given up between two files.
// After an error there is no copy.
func (s *Store) Backup(ctx context.Context, target string) (err error) {
	fs := s.opts.FS
	if _, err := fs.Stat(target); err == nil {
		return fmt.Errorf("backup: %s exists", target)
	}
	if err := s.backup(ctx, fs, target); err != nil {
		return fmt.Errorf("backup to %s: %w", target, errors.Join(err, fs.RemoveAll(target)))
	}
	return nil
}

func (s *Store) backup(ctx context.Context, fs vfs.FS, target string) error {
	s.pin(1)
	defer s.pin(-1)
	if err := s.journal.flush(); err != nil {
		return err
	}
	if err := s.index.flush(); err != nil {
		return err
	}
	if err := makeDir(fs, target); err != nil {
		return err
	}
	if err := s.index.db.Checkpoint(fs.PathJoin(target, "index")); err != nil {
		return err
	}
	// What the copied index does not know yet is in the files from here on.
	s.mu.Lock()
	files := maps.Clone(s.applier.files)
	end := s.journal.end()
	s.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(files)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := s.journal.path(n), fs.PathJoin(target, fileName(n))
		length := int64(math.MaxInt64)
		if n == end.file {
			length = end.offset
		}
		if err := copyPrefix(fs, from, to, length); err != nil {
			return err
		}
	}
	return syncDir(fs, target)
}

// pin keeps files from being removed.
func (s *Store) pin(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins += by
}

// copyPrefix copies the first n bytes of a file, or all that it has.
func copyPrefix(fs vfs.FS, from, to string, n int64) error {
	src, err := fs.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // only read
	dst, err := fs.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, io.NewSectionReader(src, 0, n))
	if err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}
