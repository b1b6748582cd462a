package streams

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

// TestSweepsRestUntilSomethingCanExpire: once sweeps have been by all entries they
// look at none before the oldest one's time has come, be it one that was written
// later.
func TestSweepsRestUntilSomethingCanExpire(t *testing.T) {
	b := NewBuilder("app")
	looked := 0
	store := NewKeyValue(b, "ids", Text, numberSerde).Expire(time.Hour, func(ms uint64) time.Time {
		looked++
		return time.UnixMilli(int64(ms))
	})
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("p", func(c *Context, r Record[string, string]) {
		age, err := strconv.Atoi(r.Value)
		if err != nil {
			t.Error(err)
		}
		store.Put(c, r.Key, uint64(c.Now().Add(-time.Duration(age)*time.Minute).UnixMilli()))
	}, store)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSandbox(top, time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func(key string, age int) {
		s.Pipe(RawRecord{Topic: "in", Key: []byte(key), Value: []byte(strconv.Itoa(age))})
	}
	left := func() (n int) {
		c := &s.tasks[0].ctx
		c.node = nil
		store.Scan(c, func(string, uint64) bool { n++; return true })
		return n
	}
	sweep := func(d time.Duration, want int) (seen int) {
		t.Helper()
		looked = 0
		s.Advance(d)
		seen = looked
		if got := left(); got != want {
			t.Fatalf("%d entries are left, want %d", got, want)
		}
		return seen
	}
	const many = sweepSlice + 100
	for i := range many {
		put(fmt.Sprint(i), 0)
	}
	for range 3 { // two slices at least, whenever the first of them was
		sweep(sweepEvery, many)
	}
	if seen := sweep(sweepEvery, many); seen > 0 {
		t.Errorf("a sweep looks at %d entries, none of which can have expired", seen)
	}
	put("old", 50)
	if seen := sweep(sweepEvery, many+1); seen > 0 {
		t.Errorf("a sweep looks at %d entries, none of which can have expired", seen)
	}
	s.Advance(11 * time.Minute)
	for range 2 {
		s.Advance(sweepEvery)
	}
	if seen := sweep(sweepEvery, many); seen > 0 {
		t.Errorf("a sweep looks at %d entries after the oldest one has gone", seen)
	}
	s.Advance(time.Hour)
	s.Advance(sweepEvery)
	sweep(sweepEvery, 0)
}
