package audit

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// filled is a store with some of the keys 0 to n-1 under a prefix, and one behind
// them all.
func filled(t *testing.T, prefix key, n int) *store {
	t.Helper()
	s, err := openStore(t.TempDir(), FollowerMemory, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	for i := range n {
		if rand.N(4) == 0 {
			s.set(slices.Clone(prefix).u32(uint32(i)), []byte{byte(i)})
		}
	}
	s.set(after(prefix), []byte{1})
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStanding: the view answers as the store does, in whatever order it is asked.
func TestStanding(t *testing.T) {
	const n = 2000
	s := filled(t, key{keyStatus, keyOrder}, n)
	done, err := s.stand(keyOrder)
	if err != nil {
		t.Fatal(err)
	}
	at, found := 0, 0
	for range 20 * n {
		if at += rand.N(5) - 1; at < 0 || at >= n || rand.N(100) == 0 {
			at = rand.N(n)
		}
		k := key{keyStatus, keyOrder}.u32(uint32(at))
		got, err := s.standing.get(k)
		want, errWant := s.get(k)
		if errors.Join(err, errWant) != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Fatalf("key %d: %x, want %x (%v)", at, got, want, errors.Join(err, errWant))
		}
		if got != nil {
			found++
		}
	}
	if found == 0 {
		t.Error("the test tests nothing")
	}
	if err := done(); err != nil || s.standing != nil {
		t.Error(err, s.standing)
	}
}

// TestForward: steps end where a search does.
func TestForward(t *testing.T) {
	const n = 2000
	s := filled(t, key{keyOrder}, n)
	steps, err := s.iter(key{keyOrder})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = steps.Close() }()
	search, err := s.iter(key{keyOrder})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = search.Close() }()
	steps.First()
	for at := 0; at < n+100; at += rand.N(90) {
		k := key{keyOrder}.u32(uint32(at))
		if got, want := forward(steps, k), search.SeekGE(k); got != want || got && !bytes.Equal(steps.Key(), search.Key()) {
			t.Fatalf("from %d: %v, want %v", at, got, want)
		}
	}
}
