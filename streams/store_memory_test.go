package streams

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/comptoir/comptoir/streams/state"
)

const large = 256 << 10 // the longest order

// largeValues is a task that stores what comes, under its key, and reads the
// entry that the key "get" names.
func largeValues(t *testing.T) (run func(key, value string), tk *task, commit func()) {
	t.Helper()
	db, err := state.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tk.reads.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	b := NewBuilder("app")
	store := NewKeyValue(b, "values", Text, Text)
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("keep", func(c *Context, r Record[string, string]) {
		if r.Key == "get" {
			if _, ok := store.Get(c, r.Value); !ok {
				t.Errorf("no value of %s", r.Value)
			}
			return
		}
		store.Put(c, r.Key, r.Value)
	}, store)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if tk, err = newTask(top, 0, db, nil, map[string]int32{"in": 1}, slog.New(slog.DiscardHandler), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	offset := int64(0)
	run = func(key, value string) {
		t.Helper()
		if err := tk.process(top.source("in"), offset, time.Unix(0, 0), []byte(key), []byte(value), nil); err != nil {
			t.Fatal(err)
		}
		offset++
	}
	commit = func() {
		t.Helper()
		batch := db.NewBatch()
		tk.flush(batch, func([]byte, []byte) {})
		if err := batch.Apply(); err != nil {
			t.Fatal(err)
		}
		tk.settle()
	}
	return run, tk, commit
}

// held is how many bytes of values a task's first store keeps in memory.
func held(tk *task) (n int) {
	st := tk.stores[0].(*keyValueState[string, string])
	for _, e := range st.entries {
		n += len(e.value)
	}
	for k, e := range st.old {
		if st.entries[k] != e {
			n += len(e.value)
		}
	}
	return n
}

// TestLargeValuesInMemory: what waits in a store counts before the commit, by
// which a buffer's limit is kept, and does not stay in memory after it.
func TestLargeValuesInMemory(t *testing.T) {
	run, tk, commit := largeValues(t)
	const n = 64
	for i := range n {
		run(fmt.Sprint(i), strings.Repeat("x", large))
	}
	if got, least := tk.size(), n*large; got < least {
		t.Errorf("an open transaction with %d bytes of values says that it holds %d", least, got)
	}
	commit()
	if got := tk.size(); got != 0 {
		t.Errorf("after the commit %d bytes count as open", got)
	}
	// A generation of the cache may be overdrawn by the transaction that fills
	// it, and is forgotten with the next one that does.
	for i := range 2 * n {
		run(fmt.Sprint("more", i), strings.Repeat("x", large))
		commit()
	}
	if got, most := held(tk), 2*(cacheBytes+large); got > most {
		t.Errorf("%d bytes of values stay in memory, want at most %d", got, most)
	}
	for i := range n {
		run("get", fmt.Sprint(i))
	}
	if got, least := tk.size(), n*large; got < least {
		t.Errorf("an open transaction that has read %d bytes of values says that it holds %d", least, got)
	}
	commit()
	for i := range n {
		run("get", fmt.Sprint(i))
		commit()
	}
	if got, most := held(tk), 2*(cacheBytes+large); got > most {
		t.Errorf("%d bytes of values stay in memory after they were read, want at most %d", got, most)
	}
}

// TestStoredKeysAreTheirOwn: a key that is a part of a large text must not keep
// all of it in memory.
func TestStoredKeysAreTheirOwn(t *testing.T) {
	_, tk, commit := largeValues(t)
	store := tk.top.stores[0].(*KeyValue[string, string])
	event := strings.Repeat("k", large)
	for i := range 3 { // new, in the cache, and of a committed entry
		store.Put(&tk.ctx, event[:5], fmt.Sprint(i))
		if i > 0 {
			commit()
		}
	}
	store.Get(&tk.ctx, event[:6])
	for k, e := range tk.stores[0].(*keyValueState[string, string]).entries {
		for _, p := range []*byte{unsafe.StringData(k), unsafe.StringData(e.key)} {
			if p == unsafe.StringData(event) {
				t.Errorf("the key %s is a part of the event", k)
			}
		}
	}
}

// TestColdValuesLeaveMemory: they are there, but not in memory.
func TestColdValuesLeaveMemory(t *testing.T) {
	run, tk, commit := largeValues(t)
	tk.stores[0].(*keyValueState[string, string]).def.Cold(func(v string) bool { return v != "warm" })
	for range 2 { // written, then read and written again
		run("a", "cold")
		run("b", "warm")
		commit()
		if got, want := held(tk), len("warm"); got != want {
			t.Errorf("%d bytes of values stay in memory, want %d", got, want)
		}
		run("get", "a")
		run("get", "b")
		run("b", "cold")
		run("a", "warm")
		commit()
		if got, want := held(tk), len("warm"); got != want {
			t.Errorf("%d bytes of values stay in memory, want %d", got, want)
		}
	}
}
