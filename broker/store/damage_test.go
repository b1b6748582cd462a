package store

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// flip changes one bit of a file.
func flip(t *testing.T, fs vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	b[0] ^= 1 << (at % 8)
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func verify(fs vfs.FS, dir string) (damages []string, bytes int64, err error) {
	err = Verify(fs, dir, func(f Finding) {
		bytes = f.Bytes
		if f.Damage != nil {
			damages = append(damages, f.Damage.Error())
		}
	})
	return damages, bytes, err
}

// TestDamageIsNeverSilent flips bits of synced bytes, one at a time: the start or
// the read says so, with file and offset, and so does Verify.
func TestDamageIsNeverSilent(t *testing.T) {
	step := int64(40)
	if testing.Short() {
		step = 200
	}
	for _, boot := range []string{"one", "two"} { // the same run of the machine, and another
		for _, flushed := range []bool{false, true} {
			t.Run(fmt.Sprintf("boot %s, flushed %t", boot, flushed), func(t *testing.T) {
				mem := vfs.NewCrashableMem()
				s := mustOpen(t, Options{FS: mem, FileSize: 3000, BootID: "one"})
				var c Commit
				var m Mark
				for i := range 25 {
					c.Reset()
					c.Append(1, makeBatch(int64(i), 1, 0, 200))
					c.Set([]byte{byte(i)}, []byte("some value"))
					m = mustWrite(t, s, &c)
					if err := s.Sync(m); err != nil {
						t.Fatal(err)
					}
				}
				if flushed {
					if err := s.index.flush(); err != nil {
						t.Fatal(err)
					}
				}
				// One more, which knows that those before are synced. After a power
				// cut nothing tells of the last.
				c.Reset()
				c.Append(1, makeBatch(25, 1, 0, 200))
				mustWrite(t, s, &c)
				last := s.journal.end()
				rng := rand.New(rand.NewPCG(1, 2))
				for n := uint64(1); n <= last.file; n++ {
					name := s.journal.path(n)
					info, err := mem.Stat(name)
					if err != nil {
						t.Fatal(err)
					}
					end := info.Size()
					if n == last.file && boot != "one" {
						end = last.offset - 1
						end -= frameHeaderSize + 3 + batchOverhead + 200 + 2
					}
					for at := int64(0); at < end; at += 1 + rng.Int64N(step) {
						if at >= 52 && at < fileHeaderSize {
							continue // says nothing
						}
						fs := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
						flip(t, fs, name, at)
						noticed(t, fs, name, at, boot, flushed)
					}
				}
				mustClose(t, s)
			})
		}
	}
}

func noticed(t *testing.T, fs vfs.FS, name string, at int64, boot string, flushed bool) {
	t.Helper()
	damages, _, err := verify(fs, "store")
	if boot != "one" && err == nil {
		t.Errorf("verify found nothing of a flip at %s:%d", name, at)
	}
	for _, d := range damages {
		if !strings.Contains(d, name) {
			t.Errorf("flip at %s:%d: verify says %s", name, at, d)
		}
	}
	var d *DamageError
	s, err := open(Options{FS: fs, Dir: "store", BootID: boot, FileSize: 3000}, false)
	if err == nil {
		b, err2 := s.Read(1, 0, math.MaxInt64, math.MaxInt, nil)
		// Only what is in no batch any more may be damaged without a word: the
		// index has the keys.
		if err = err2; err == nil && len(b) == 26*(batchOverhead+200) && flushed {
			err = &DamageError{File: name}
		}
		mustClose(t, s)
	}
	if !errors.As(err, &d) {
		t.Errorf("a flip at %s:%d was not noticed: %v", name, at, err)
	} else if d.File != name {
		t.Errorf("a flip at %s:%d was noticed as %v", name, at, d)
	}
}

func TestVerifyFindsNothingInWhatIsWell(t *testing.T) {
	for seed := range uint64(30) {
		fs := vfs.NewMem()
		s := mustOpen(t, Options{FS: fs, FileSize: 3000})
		h := newHistory(seed)
		for range 80 {
			var c Commit
			for range 3 {
				e := h.randomEffect()
				e.commit(&c)
				e.model(h.current)
			}
			mustWrite(t, s, &c)
			if h.rng.IntN(20) == 0 {
				if err := s.sweep(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if seed%2 == 0 {
			mustClose(t, s)
		} else if err := s.release(); err != nil {
			t.Fatal(err)
		}
		damages, bytes, err := verify(fs, "store")
		if err != nil || bytes == 0 {
			t.Errorf("seed %d: %v, %q, %d bytes read", seed, err, damages, bytes)
		}
	}
}
