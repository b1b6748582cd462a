package state

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// filterKey is the i-th key of a store "s" in a space.
func filterKey(s Space, i uint64) []byte {
	return binary.BigEndian.AppendUint64(append(s[:len(s):len(s)], "s"...), i)
}

func apply(t *testing.T, b *Batch) {
	t.Helper()
	if err := b.Apply(); err != nil {
		t.Fatal(err)
	}
}

// TestFilterLacksNothingThatIsThere: neither of what was there at its beginning,
// which is more than one part of it takes, nor of what was added since; and it
// knows most of what is not there.
func TestFilterLacksNothingThatIsThere(t *testing.T) {
	db, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, other := space(t, db, "a", "state", 1), space(t, db, "a", "state", 2)
	const before, after = 3 * firstPart, 6 * firstPart
	write := func(from, to uint64, f *Filter) {
		b := db.NewBatch()
		for i := from; i < to; i++ {
			b.Set(filterKey(s, i), nil)
			if f != nil {
				f.Add(filterKey(s, i), f.Lacks(filterKey(s, i)))
			}
		}
		apply(t, b)
	}
	write(0, before, nil)
	b := db.NewBatch()
	b.Set(filterKey(other, 1<<40), nil)
	b.Set(append(s[:len(s):len(s)], "r"...), nil) // of a store before
	b.Set(append(s[:len(s):len(s)], "t"...), nil) // and of one behind
	apply(t, b)

	f, err := db.NewFilter(append(s[:len(s):len(s)], "s"...))
	if err != nil {
		t.Fatal(err)
	}
	write(before, before+100, f) // while it reads, or not
	rng := rand.New(rand.NewPCG(1, 0))
	check := func(n uint64) {
		t.Helper()
		for i := range n {
			if f.Lacks(filterKey(s, i)) {
				t.Fatalf("it lacks key %d of %d", i, n)
			}
		}
	}
	check(before + 100)
	<-f.done
	check(before + 100)
	write(before+100, after, f)
	check(after)
	const asked = 100_000
	let := 0
	for range asked {
		if !f.Lacks(filterKey(s, 1<<32+rng.Uint64N(1<<32))) {
			let++
		}
	}
	if let > asked*3/100 {
		t.Errorf("of %d keys that are not there it lets %d through", asked, let)
	}
	taken := db.filters.Load()
	if least, most := int64(after*3/2), int64(after*6); taken < least || taken > most {
		t.Errorf("it takes %d bytes, want %d to %d", taken, least, most)
	}
	write(0, after, f)
	if again := db.filters.Load(); again != taken {
		t.Errorf("it takes %d bytes, and %d after the same keys were written again", taken, again)
	}
	f.Close()
	if taken := db.filters.Load(); taken != 0 {
		t.Errorf("it takes %d bytes when it is closed", taken)
	}
}

// TestFilterAtItsBound lets everything through, whether it meets the bound while it
// reads or later, and gives back what it had.
func TestFilterAtItsBound(t *testing.T) {
	for _, there := range []uint64{0, 2 * firstPart} {
		db, err := OpenMemory()
		if err != nil {
			t.Fatal(err)
		}
		s := space(t, db, "a", "state", 1)
		b := db.NewBatch()
		for i := range there {
			b.Set(filterKey(s, i), nil)
		}
		apply(t, b)
		const others = maxFilters - firstPart*2
		db.filters.Store(others)
		f, err := db.NewFilter(s[:])
		if err != nil {
			t.Fatal(err)
		}
		<-f.done
		for i := range uint64(2 * firstPart) {
			f.Add(filterKey(s, there+i), false)
		}
		for i := range there + 2*firstPart + 1000 {
			if f.Lacks(filterKey(s, i)) {
				t.Fatalf("with %d keys there at the beginning it lacks key %d", there, i)
			}
		}
		if taken := db.filters.Load() - others; taken != 0 && there == 0 {
			t.Errorf("it takes %d bytes", taken)
		}
		f.Close()
		if taken := db.filters.Load() - others; taken != 0 {
			t.Errorf("with %d keys there at the beginning it takes %d bytes when it is closed", there, taken)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFilterIsClosedWhileItReads: the state can be closed after it.
func TestFilterIsClosedWhileItReads(t *testing.T) {
	db, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	s := space(t, db, "a", "state", 1)
	b := db.NewBatch()
	for i := range uint64(firstPart) {
		b.Set(filterKey(s, i), nil)
	}
	apply(t, b)
	for range 50 {
		f, err := db.NewFilter(s[:])
		if err != nil {
			t.Fatal(err)
		}
		f.Add(filterKey(s, 1), false)
		f.Close()
		if f.Lacks(filterKey(s, 1)) {
			t.Error("a closed filter lacks a key")
		}
	}
	if taken := db.filters.Load(); taken != 0 {
		t.Errorf("closed filters take %d bytes", taken)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
