package store

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Backup copies the store to a directory that does not exist yet, while it goes on
// being written. The copy holds all that was written when Backup was called, is
// synced, and opens as a store. Where target is on the same disk, files that do
// not change any more are shared with the copy.
func (s *Store) Backup(target string) (err error) {
	fs := s.opts.FS
	if _, err := fs.Stat(target); err == nil {
		return fmt.Errorf("backup: %s exists", target)
	}
	if err := s.backup(fs, target); err != nil {
		return fmt.Errorf("backup to %s: %w", target, errors.Join(err, fs.RemoveAll(target)))
	}
	return nil
}

func (s *Store) backup(fs vfs.FS, target string) error {
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
		from, to := s.journal.path(n), fs.PathJoin(target, fileName(n))
		var err error
		if n == end.file {
			err = copyPrefix(fs, from, to, end.offset)
		} else {
			err = vfs.LinkOrCopy(fs, from, to)
		}
		if err != nil {
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
