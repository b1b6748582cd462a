package store

import (
	"errors"
	"syscall"
	"testing"

	"github.com/comptoir/comptoir/broker/store/storetest"
)

// TestWhatAFailedSyncLeft fails a sync, starts the process again over the bytes
// that it still sees, goes on, and cuts the power: what the second process has
// acknowledged must stand, and with it all that is before.
func TestWhatAFailedSyncLeft(t *testing.T) {
	for _, c := range []struct {
		name string
		// write writes something, and returns the error of the sync that failed.
		write func(*testing.T, *Store, *storetest.Disk) error
	}{
		{"of a file that has been synced", func(t *testing.T, s *Store, d *storetest.Disk) error {
			mustWrite(t, s, append1(0))
			mustWrite(t, s, append1(1))
			d.FailSync(1, "")
			return s.Sync(mustWrite(t, s, append1(2)))
		}},
		{"of a file that has just begun", func(t *testing.T, s *Store, d *storetest.Disk) error {
			for i := range int64(2) {
				if err := s.Sync(mustWrite(t, s, append1(i))); err != nil {
					t.Fatal(err)
				}
			}
			d.FailSync(2, "")
			return s.Sync(mustWrite(t, s, append1(2)))
		}},
		{"of a manifest of the index", func(t *testing.T, s *Store, d *storetest.Disk) error {
			for i := range int64(3) {
				mustWrite(t, s, append1(i))
				if err := s.index.flush(); err != nil {
					t.Fatal(err)
				}
			}
			// The three tables become one, which Pebble's next opening would take for
			// sure if it did not begin a new manifest.
			d.FailSync(1, "MANIFEST")
			go func() { _ = s.index.db.Compact(t.Context(), []byte{0}, []byte{255}, false) }()
			<-s.index.fs.broken
			return s.failure()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				d := storetest.NewDisk(seed)
				o := Options{FS: d, BootID: "one", FileSize: 700}
				s := mustOpen(t, o)
				if err := c.write(t, s, d); !errors.Is(err, syscall.EIO) {
					t.Fatalf("the sync: %v", err)
				}
				if err := s.Close(); !errors.Is(err, syscall.EIO) {
					t.Fatalf("close: %v", err)
				}
				s = mustOpen(t, o)
				if got := readAll(t, s, 1); len(got) != 3*(batchOverhead+300) {
					t.Fatalf("%d bytes after a start", len(got))
				}
				if err := s.Sync(mustWrite(t, s, append1(3))); err != nil {
					t.Fatal(err)
				}
				// As the index's next table does, before its manifest.
				if err := syncDir(d, "store/index"); err != nil {
					t.Fatal(err)
				}
				o.FS, o.BootID = d.PowerCut(0), "two"
				mustRelease(t, s)
				s = mustOpen(t, o)
				if got := readAll(t, s, 1); len(got) != 4*(batchOverhead+300) {
					t.Errorf("seed %d: %d bytes after a power cut", seed, len(got))
				}
				mustClose(t, s)
			}
		})
	}
}

// mustRelease ends a store as a kill does.
func mustRelease(t *testing.T, s *Store) {
	t.Helper()
	if err := s.release(); err != nil {
		t.Fatal(err)
	}
}
