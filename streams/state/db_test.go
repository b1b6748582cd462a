package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

func TestAfter(t *testing.T) {
	table := []struct{ prefix, want []byte }{
		{[]byte{1}, []byte{2}},
		{[]byte{1, 0xff}, []byte{2}},
		{[]byte{0, 0xfe, 0xff}, []byte{0, 0xff}},
		{[]byte{0xff, 0xff}, nil},
		{nil, nil},
	}
	for _, row := range table {
		if got := after(row.prefix); !bytes.Equal(got, row.want) {
			t.Errorf("after %x is %x, want %x", row.prefix, got, row.want)
		}
	}
}

func space(t *testing.T, db *DB, app, store string, p int32) Space {
	t.Helper()
	s, err := db.Space(app, store, p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func content(t *testing.T, db *DB, s Space) map[string]string {
	t.Helper()
	got := map[string]string{}
	if err := db.Scan(s, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true }); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestRule19WipingOneSpaceLeavesTheOthers fills neighbouring spaces and wipes
// one: of the same application, of another, of a partition that is next to it.
func TestRule19WipingOneSpaceLeavesTheOthers(t *testing.T) {
	db, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var spaces []Space
	for _, name := range []string{"a", "ab", "b"} {
		for _, p := range []int32{0, 1, 254, 255, 256} {
			spaces = append(spaces, space(t, db, name, "state", p))
		}
	}
	fill := func() {
		b := db.NewBatch()
		for i, s := range spaces {
			for _, k := range []string{"", "\x00", "k", "\xff\xff"} {
				b.Set(append(s[:], k...), fmt.Append(nil, i))
			}
		}
		if err := b.Apply(); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	for i := range spaces {
		b := db.NewBatch()
		b.Wipe(spaces[i])
		if err := b.Apply(); err != nil {
			t.Fatal(err)
		}
		for j, s := range spaces {
			got := content(t, db, s)
			want := 4
			if i == j {
				want = 0
			}
			if len(got) != want {
				t.Fatalf("space %d has %d keys after space %d was wiped, want %d", j, len(got), i, want)
			}
			for k, v := range got {
				if v != fmt.Sprint(j) {
					t.Fatalf("space %d holds %s of space %s", j, k, v)
				}
			}
		}
		fill()
	}
}

func TestBatchIsAllOrNothing(t *testing.T) {
	db, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := space(t, db, "a", "state", 0)
	key := func(k string) []byte { return append(s[:], k...) }
	b := db.NewBatch()
	b.Set(key("x"), []byte("1"))
	b.Set(key("y"), []byte("1"))
	if got := content(t, db, s); len(got) > 0 {
		t.Errorf("%v is there before the batch is applied", got)
	}
	if err := b.Apply(); err != nil {
		t.Fatal(err)
	}
	b = db.NewBatch()
	b.Wipe(s)
	b.Set(key("z"), []byte("2"))
	b.Drop()
	if got, want := content(t, db, s), map[string]string{"x": "1", "y": "1"}; !maps.Equal(got, want) {
		t.Errorf("%v after a dropped batch, want %v", got, want)
	}
	b = db.NewBatch()
	b.Wipe(s)
	b.Set(key("z"), []byte("2"))
	b.Delete(key("y"))
	if err := b.Apply(); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, db, s), map[string]string{"z": "2"}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v: a write after the wipe stays", got, want)
	}
}

// TestReopen closes and opens a directory: identity, spaces and content are the
// same; another directory has another identity.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	instance := db.Instance()
	a, b := space(t, db, "a", "state", 3), space(t, db, "b", "state", 3)
	batch := db.NewBatch()
	batch.Set(append(a[:], 'k'), []byte("v"))
	if err := batch.Apply(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory that is in use was opened again")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if db.Instance() != instance {
		t.Errorf("instance %s, was %s", db.Instance(), instance)
	}
	if space(t, db, "b", "state", 3) != b || space(t, db, "a", "state", 3) != a {
		t.Error("spaces differ after opening again")
	}
	if c := space(t, db, "c", "state", 3); c == a || c == b {
		t.Error("a new space is an old one")
	}
	if got := content(t, db, a); !maps.Equal(got, map[string]string{"k": "v"}) {
		t.Errorf("content %v", got)
	}
	other, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if other.Instance() == instance || instance == "" {
		t.Errorf("two directories are one instance %q", instance)
	}
}

func TestScanFromAndStop(t *testing.T) {
	db, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, next := space(t, db, "a", "state", 0), space(t, db, "a", "state", 1)
	b := db.NewBatch()
	for _, k := range []string{"d", "a", "c", "b"} {
		b.Set(append(s[:], k...), nil)
	}
	b.Set(append(next[:], 'e'), nil)
	if err := b.Apply(); err != nil {
		t.Fatal(err)
	}
	table := []struct {
		from  string
		limit int
		want  []string
	}{
		{"", 9, []string{"a", "b", "c", "d"}}, {"b", 9, []string{"b", "c", "d"}}, {"bb", 1, []string{"c"}}, {"e", 9, nil},
	}
	for _, row := range table {
		var got []string
		err := db.Scan(s, []byte(row.from), func(k, _ []byte) bool {
			got = append(got, string(k))
			return len(got) < row.limit
		})
		if err != nil || !slices.Equal(got, row.want) {
			t.Errorf("from %q: %v (%v), want %v", row.from, got, err, row.want)
		}
	}
	found, err := db.Get(append(s[:], "zz"...), func([]byte) error { return fmt.Errorf("called") })
	if found || err != nil {
		t.Errorf("missing key: %v %v", found, err)
	}
	if _, err := db.Get(append(s[:], 'a'), func([]byte) error { return fmt.Errorf("refused") }); err == nil {
		t.Error("the reader's error is lost")
	}
}

// TestReader: one moment between its first Get and Close, and no key but the one
// that was asked for.
func TestReader(t *testing.T) {
	db, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	set := func(key, value string) {
		b := db.NewBatch()
		b.Set([]byte(key), []byte(value))
		if err := b.Apply(); err != nil {
			t.Fatal(err)
		}
	}
	r := db.NewReader()
	defer r.Close()
	get := func(key string) string {
		t.Helper()
		got := "none"
		ok, err := r.Get([]byte(key), func(v []byte) error { got = string(v); return nil })
		if err != nil || ok != (got != "none") {
			t.Fatalf("%q: %v, %v, value %q", key, ok, err, got)
		}
		return got
	}
	set("key", "1")
	set("key2", "2")
	for key, want := range map[string]string{"key": "1", "key2": "2", "ke": "none", "key1": "none", "key3": "none"} {
		if got := get(key); got != want {
			t.Errorf("%q is %q, want %q", key, got, want)
		}
	}
	set("key", "3")
	if got := get("key"); got != "1" {
		t.Errorf("%q before the end, want what stood there at the first Get", got)
	}
	r.Close()
	if got := get("key"); got != "3" {
		t.Errorf("%q after Close, want 3", got)
	}
	bad := errors.New("bad")
	if _, err := r.Get([]byte("key"), func([]byte) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("error %v, want that of read", err)
	}
}

// TestStateWithALog opens what a version has left that wrote a log, as after its
// death: all of it is in the log alone.
func TestStateWithALog(t *testing.T) {
	dir := t.TempDir()
	old, err := pebble.Open(dir, &pebble.Options{Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range [][2]string{{string(keyInstance), "me"}, {string(keySpace) + "app/state", "\x00\x00\x00\x01"}, {"\x00\x00\x00\x01\x00\x00k", "v"}} {
		if err := old.Set([]byte(kv[0]), []byte(kv[1]), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil { // which leaves the log as it is
		t.Fatal(err)
	}
	for range 2 {
		db, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := content(t, db, space(t, db, "app", "state", 0)); db.Instance() != "me" || len(got) != 1 || got["k"] != "v" {
			t.Errorf("instance %s holds %q", db.Instance(), got)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkYoung reads keys that were written lately, beside half a million that
// were not and a cache that does not hold the filters of their tables: by DB.Get,
// from the newest table down, and by a Reader, which asks all of them.
func BenchmarkYoung(b *testing.B) {
	const old, young = 500_000, 1000
	db, err := OpenCached(b.TempDir(), 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([][]byte, 0, old+young)
	write := func(n int) {
		batch := db.NewBatch()
		for range n {
			k := binary.BigEndian.AppendUint64([]byte("123456"), rng.Uint64())
			keys = append(keys, k)
			batch.Set(k, make([]byte, 40))
		}
		if err := batch.Apply(); err != nil {
			b.Fatal(err)
		}
		if err := db.flush(); err != nil {
			b.Fatal(err)
		}
	}
	for range old / 10_000 {
		write(10_000)
	}
	if err := db.p.Compact(b.Context(), []byte("1"), []byte("2"), false); err != nil {
		b.Fatal(err)
	}
	write(young)
	r := db.NewReader()
	defer r.Close()
	for _, way := range []struct {
		name string
		get  func([]byte, func([]byte) error) (bool, error)
	}{{"get", db.Get}, {"reader", r.Get}} {
		b.Run(way.name, func(b *testing.B) {
			for i := range b.N {
				ok, err := way.get(keys[old+i%young], func([]byte) error { return nil })
				if !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
