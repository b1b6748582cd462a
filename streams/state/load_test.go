package state

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestLoader writes the same at random by batches and by tables, over what is
// there and over each other's, and compares what can be read.
func TestLoader(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	// Keys that differ late, end early, and are beginnings of others.
	key := func(s Space) []byte {
		k := append(s[:], "\x06counts"[:rnd.IntN(8)]...)
		k = append(k, strings.Repeat("\x00", rnd.IntN(20))...)
		return fmt.Append(k, strings.Repeat("x", rnd.IntN(3)*7), rnd.IntN(30))
	}
	for round := range 20 {
		db, err := OpenMemory()
		if err != nil {
			t.Fatal(err)
		}
		spaces := []Space{space(t, db, "app", "state", 0), space(t, db, "app", "state", 1), space(t, db, "other", "state", 0)}
		want := map[string]string{}
		l := db.NewLoader()
		for range 6 {
			var into interface {
				Set(key, value []byte)
				Delete(key []byte)
				Apply() error
			} = l
			if rnd.IntN(2) == 0 {
				into = db.NewBatch()
			}
			for i := range rnd.IntN(200) {
				k := key(spaces[rnd.IntN(len(spaces))])
				if rnd.IntN(4) == 0 {
					into.Delete(k)
					delete(want, string(k))
				} else {
					v := strings.Repeat("v", rnd.IntN(3)) + fmt.Sprint(i)
					if rnd.IntN(10) == 0 {
						v = ""
					}
					into.Set(k, []byte(v))
					want[string(k)] = v
				}
			}
			if err := into.Apply(); err != nil {
				t.Fatal(err)
			}
		}
		if l.Size() != 0 {
			t.Errorf("%d bytes are left in the loader", l.Size())
		}
		got := map[string]string{}
		for _, s := range spaces {
			for k, v := range content(t, db, s) {
				got[string(s[:])+k] = v
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("round %d: %d keys, want %d", round, len(got), len(want))
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzSortWrites(f *testing.F) {
	f.Add([]byte("a,b,,a,aaaaaaaa,aaaaaaaab,aaaaaaaa"))
	f.Add([]byte("\x00,,\x00\x00,\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := &Loader{}
		keys := bytes.Split(text, []byte(","))
		for i, k := range keys {
			l.Set(k, fmt.Append(nil, i))
		}
		sortWrites(l.data, l.writes, 0)
		slices.SortStableFunc(keys, bytes.Compare)
		for i, w := range l.writes {
			if !bytes.Equal(keyOf(l.data, w), keys[i]) {
				t.Fatalf("key %d is %q, want %q", i, keyOf(l.data, w), keys[i])
			}
			if i > 0 && bytes.Equal(keys[i], keys[i-1]) && w.at <= l.writes[i-1].at {
				t.Fatalf("key %q: a later write comes first", keys[i])
			}
		}
	})
}

// TestLoadedBeforePowerCut: what a Loader has written is there after a power cut,
// under the name of its space; what another space gets afterwards is its own.
func TestLoadedBeforePowerCut(t *testing.T) {
	mem := vfs.NewCrashableMem()
	db, err := open("state", mem, DefaultCacheBytes)
	if err != nil {
		t.Fatal(err)
	}
	s := space(t, db, "app", "state", 3)
	l := db.NewLoader()
	l.Set(append(s[:], "k"...), []byte("v"))
	if err := l.Apply(); err != nil {
		t.Fatal(err)
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = open("state", after, DefaultCacheBytes); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if got := content(t, db, space(t, db, "other", "state", 3)); len(got) != 0 {
		t.Errorf("another space holds %v", got)
	}
	if got := content(t, db, space(t, db, "app", "state", 3)); got["k"] != "v" {
		t.Errorf("the space holds %v", got)
	}
}

// TestLoaderOnFullDisk: a Loader waits for room, but not for ever: whoever waits for
// it may have to end before the state is closed. A table that was not taken in when
// the process died is gone after the next start.
func TestLoaderOnFullDisk(t *testing.T) {
	disk := &fullDisk{FS: vfs.NewMem()}
	db := openImpatient(t, disk)
	s := space(t, db, "app", "state", 0)
	load := func(value string) error {
		l := db.NewLoader()
		l.Set(append(s[:], "k"...), []byte(value))
		return l.Apply()
	}
	if err := load("1"); err != nil {
		t.Fatal(err)
	}
	db.patience = time.Minute
	disk.full.Store(true)
	done := make(chan error, 1)
	go func() { done <- load("2") }()
	until(t, "health tells of the full disk", func() bool { return strings.Contains(fmt.Sprint(db.Health()), syscall.ENOSPC.Error()) })
	disk.full.Store(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := content(t, db, s); got["k"] != "2" {
		t.Errorf("the space holds %v", got)
	}
	db.patience = 10 * time.Millisecond
	disk.full.Store(true)
	go func() { done <- load("3") }()
	select {
	case err := <-done:
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("loaded on a full disk: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a Loader still waits for room")
	}
	// Closing gives it up at once.
	db.patience = time.Minute
	go func() { done <- load("4") }()
	until(t, "health tells of the full disk", func() bool { return db.Health() != nil })
	if err := db.Close(); err == nil {
		t.Error("closed as if the disk were well")
	}
	if err := <-done; err == nil {
		t.Error("loaded on a full disk")
	}
	f, err := disk.FS.Create("state/load-7.sst", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = open("state", disk.FS, DefaultCacheBytes); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := disk.FS.Stat("state/load-7.sst"); !os.IsNotExist(err) {
		t.Errorf("the leftover of a Loader: %v", err)
	}
	if got := content(t, db, space(t, db, "app", "state", 0)); got["k"] != "2" {
		t.Errorf("the space holds %v after opening again", got)
	}
}
