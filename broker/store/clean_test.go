package store

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestSweepFreesSpaceAndKeepsWhatIsNeeded(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, Options{FS: fs, FileSize: 10_000})
	var c Commit
	for i := range 300 {
		c.Reset()
		c.Append(1, makeBatch(int64(i), 1, 0, 300))
		if i%20 == 0 {
			c.Append(2, makeBatch(int64(i), 1, 0, 300))
		}
		mustWrite(t, s, &c)
	}
	before := s.Stats()
	c.Reset()
	c.Trim(1, 295)
	mustWrite(t, s, &c)
	want1, want2 := readAll(t, s, 1), readAll(t, s, 2)
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	after := s.Stats()
	if after.FileBytes > 20_000 || before.FileBytes < 100_000 || after.LiveBytes != 20*(batchOverhead+300) {
		t.Errorf("%+v became %+v", before, after)
	}
	if files, err := listFiles(fs, "store"); err != nil || len(files) != after.Files {
		t.Errorf("%d files are there of %d, %v", len(files), after.Files, err)
	}
	if !bytes.Equal(readAll(t, s, 1), want1) || !bytes.Equal(readAll(t, s, 2), want2) {
		t.Error("sweeping changed what is read")
	}
	if damages, _, err := verify(fs, "store"); err == nil && len(damages) > 0 {
		t.Errorf("damages: %q", damages)
	}
	mustClose(t, s)
	s = mustOpen(t, Options{FS: fs, FileSize: 10_000})
	if !bytes.Equal(readAll(t, s, 1), want1) || !bytes.Equal(readAll(t, s, 2), want2) {
		t.Error("a start after sweeping changed what is read")
	}
	mustClose(t, s)
}

func TestBackupOpensAsAStore(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, Options{FS: fs, FileSize: 5000, BootID: "one"})
	h := newHistory(5)
	step := func() {
		var c Commit
		for range 3 {
			e := h.randomEffect()
			e.commit(&c)
			e.model(h.current)
		}
		mustWrite(t, s, &c)
	}
	for range 100 {
		step()
	}
	if err := s.Backup(t.Context(), "copy"); err != nil {
		t.Fatal(err)
	}
	want := &model{parts: maps.Clone(h.current.parts), keys: maps.Clone(h.current.keys)}
	for range 50 { // the copy does not change with it
		step()
		if err := s.sweep(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Backup(t.Context(), "copy"); err == nil {
		t.Error("a backup overwrote another")
	}
	mustClose(t, s)
	// Only what is safe from a power cut.
	fs = fs.CrashClone(vfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(1, 1))})
	if damages, _, err := verify(fs, "copy"); err != nil {
		t.Errorf("verify of the copy: %v, %q", err, damages)
	}
	s = mustOpen(t, Options{FS: fs, Dir: "copy", FileSize: 5000, BootID: "two"})
	if err := want.difference(s); err != nil {
		t.Errorf("the copy: %v", err)
	}
	mustClose(t, s)
}

// TestFileStaysUntilTheIndexOnTheDiskIsWithoutIt: a power cut may still take the
// commit that freed it.
func TestFileStaysUntilTheIndexOnTheDiskIsWithoutIt(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, Options{FS: fs, FileSize: 3000})
	for i := range int64(30) {
		mustWrite(t, s, append1(i))
	}
	if err := s.index.flush(); err != nil {
		t.Fatal(err)
	}
	var c Commit
	c.Trim(1, 15)
	mustWrite(t, s, &c)
	if err := s.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat(s.journal.path(1)); err != nil {
		t.Errorf("removed too early: %v", err)
	}
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat(s.journal.path(1)); err == nil {
		t.Error("not removed")
	}
	mustClose(t, s)
}
