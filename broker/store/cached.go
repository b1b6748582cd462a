package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The system keeps in its memory what was written, as long as some is free. Of the
// journal that is of use at its end, where the readers are. The rest would have
// every byte that is ever written take new memory, which a virtual machine may get
// from its host page by page, while pages of old files would do.

// letGo has the system forget the files before those that fill Options.Cached. Who
// reads them brings them back. A file that it fails with is left as it is.
func (s *Store) letGo() (err error) {
	for _, n := range s.old() {
		s.forgotten = n
		if e := forget(s.opts.FS, s.journal.path(n)); e != nil {
			err = errors.Join(err, fmt.Errorf("let go of journal file: %w", e))
		}
	}
	return err
}

// old returns the files to let go of, in order. What is not on the disk yet would
// stay, so files that are not synced have to wait.
func (s *Store) old() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	synced := s.journal.firstPending()
	if synced == s.looked {
		return nil
	}
	s.looked = synced
	var list []uint64
	for n, r := range s.applier.files {
		if n > s.forgotten && r.end > 0 {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	room := s.opts.Cached
	for i := len(list) - 1; i >= 0; i-- {
		if room -= s.applier.files[list[i]].end; room < 0 {
			n, _ := slices.BinarySearch(list, synced)
			return list[:min(i+1, n)]
		}
	}
	return nil
}

// forget has the system drop a file from its memory. A file that is not there any more is none to drop.
func forget(fs vfs.FS, name string) error {
	f, err := fs.Open(name)
	if oserror.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if fd := f.Fd(); fd != vfs.InvalidFd {
		err = dropPages(fd)
	}
	return errors.Join(err, f.Close())
}
