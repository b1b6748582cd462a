package store

import "golang.org/x/sys/unix"

// dropPages drops the pages of a file that need not be written any more.
func dropPages(fd uintptr) error { return unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) }
