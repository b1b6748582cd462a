//go:build !linux

package store

// dropPages does nothing: the system is not asked.
func dropPages(uintptr) error { return nil }
