package streams

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/comptoir/comptoir/streams/state"
)

// A store keeps decoded entries in memory between transactions, in two
// generations: when the young one is full it becomes the old one, and the old one
// is forgotten. Entries of the open transaction come on top.
const (
	// cacheEntries and cacheBytes bound a generation, per store and task.
	cacheEntries = 4096
	cacheBytes   = 1 << 20
	// entryBytes is about what an entry takes besides its key and value, and
	// decodedBytes about how much larger these are decoded: texts that a value
	// holds may share one copy of the whole event.
	entryBytes   = 128
	decodedBytes = 4
)

// KeyValue is a store of one value per key, in every task, kept in the task's
// changelog. Reads see the task's own uncommitted writes. Values are shared
// with the store's cache: a value that was read or written must not be modified,
// write a new one.
type KeyValue[K comparable, V any] struct {
	name  string
	index int
	key   Serde[K]
	value Serde[V]
	ttl   time.Duration
	since func(V) time.Time
	cold  func(V) bool
	fresh bool
}

// storeDef is a store as the topology knows it.
type storeDef interface {
	Resource
	open(t *task) (storeState, error)
}

// storeState is a store of one task.
type storeState interface {
	// flush emits the writes of the open transaction, in the order in which
	// their keys were first written; nil is a deletion.
	flush(emit func(key, value []byte))
	// settle ends the transaction: its writes are now the state.
	settle()
	// sweep deletes what has expired at now, a slice of the store at a time.
	sweep(c *Context)
	// close frees what the store has beside memory; the task is of no use after it.
	close()
	// bytes is a rough size of what the open transaction has written and read,
	// without the values that it wrote: those came with its input, which the
	// task counts.
	bytes() int
}

// NewKeyValue defines a store.
func NewKeyValue[K comparable, V any](b *Builder, name string, key Serde[K], value Serde[V]) *KeyValue[K, V] {
	b.name("store", name)
	if len(name) > 255 {
		b.fail("store %q: the name is longer than 255 bytes", name)
	}
	s := &KeyValue[K, V]{name: name, index: len(b.stores), key: key, value: value}
	b.stores = append(b.stores, s)
	return s
}

// Expire makes the store forget an entry once ttl has passed, by wall clock,
// since the time that the function reads from its value. Expired entries are
// swept a slice at a time and may live on for a while; ttl 0 keeps all.
func (s *KeyValue[K, V]) Expire(ttl time.Duration, since func(V) time.Time) *KeyValue[K, V] {
	s.ttl, s.since = ttl, since
	return s
}

// Cold tells the store which values are hardly ever read again, so that they do
// not stay in memory once they are committed, where they would be in the way of
// others. It changes nothing of what Get returns.
func (s *KeyValue[K, V]) Cold(cold func(V) bool) *KeyValue[K, V] {
	s.cold = cold
	return s
}

// Fresh tells the store that most keys it is asked for are new, so that it keeps in
// memory which ones have been written; see state.Filter. It changes nothing of what
// Get returns.
func (s *KeyValue[K, V]) Fresh() *KeyValue[K, V] {
	s.fresh = true
	return s
}

func (s *KeyValue[K, V]) describe() (string, string) { return "store", s.name }

type entry[K comparable, V any] struct {
	key     K
	value   V
	size    int // of key and value, encoded, as of the last read or flush
	present bool
	dirty   bool
	absent  bool // from the committed state, as far as we know
	filter  passage
}

// passage is what we know of whether the filter lets a key through.
type passage uint8

const (
	unknown passage = iota
	barred          // it did not, and nothing was written since
	open            // it does, as the key is or was there
)

// weight is about what the entry takes in memory.
func (e *entry[K, V]) weight() int { return entryBytes + decodedBytes*e.size }

type keyValueState[K comparable, V any] struct {
	def     *KeyValue[K, V]
	t       *task
	prefix  []byte             // of Pebble keys: space, then name length and name
	entries map[K]*entry[K, V] // the young generation, and all that is not committed
	old     map[K]*entry[K, V] // the old generation: read and committed, unless it is in entries too
	weight  int                // of entries
	dirty   []*entry[K, V]
	free    []*entry[K, V] // cold ones, to be used again
	size    int
	scratch []byte
	filter  *state.Filter // of a fresh store
	cursor  []byte        // where the next sweep goes on
	swept   bool          // sweeps have been by all entries
	oldest  int64         // ms; none that they passed by, or that was written since, is older
}

func (s *KeyValue[K, V]) open(t *task) (storeState, error) {
	st := &keyValueState[K, V]{def: s, t: t, entries: map[K]*entry[K, V]{}, oldest: math.MaxInt64}
	st.prefix = append(st.prefix, t.space[:]...)
	st.prefix = appendStoreName(st.prefix, s.name)
	return st, nil
}

// lacks tells whether a key of the local state is certainly not there.
func (st *keyValueState[K, V]) lacks(key []byte) bool {
	f := st.keys()
	return f != nil && f.Lacks(key)
}

// read looks a key up in the local state. A key of a fresh store that the filter
// lets through is nearly always there, and mostly young: it is found from the
// newest table down, without the filters of the oldest. They are megabytes each,
// and beside millions of orders more than the cache holds: so too when our own
// filter has met its bound and most keys are not there.
func (st *keyValueState[K, V]) read(key []byte, value func([]byte) error) (bool, error) {
	if st.def.fresh {
		return st.t.db.Get(key, value)
	}
	return st.t.reads.Get(key, value)
}

// keys returns the filter of a fresh store, nil of others. It is made when it is
// first needed: a task that was opened in vain has nothing to close.
func (st *keyValueState[K, V]) keys() *state.Filter {
	if st.filter == nil && st.def.fresh {
		var err error
		if st.filter, err = st.t.db.NewFilter(st.prefix); err != nil {
			panic(fmt.Errorf("store %q: %w", st.def.name, err))
		}
	}
	return st.filter
}

func (st *keyValueState[K, V]) close() {
	if st.filter != nil {
		st.filter.Close()
	}
}

// appendStoreName writes what stands before a store's keys in changelog and
// local state: the name's length in one byte, and the name.
func appendStoreName(b []byte, name string) []byte {
	return append(append(b, byte(len(name))), name...)
}

func (s *KeyValue[K, V]) state(c *Context) *keyValueState[K, V] {
	c.check(s)
	return c.t.stores[s.index].(*keyValueState[K, V])
}

// Get returns the value of a key and whether there is one.
func (s *KeyValue[K, V]) Get(c *Context, k K) (V, bool) {
	st := s.state(c)
	if e := st.cached(k); e != nil {
		return e.value, e.present
	}
	enc := st.dbKey(k)
	e := st.newEntry(k, enc)
	if st.lacks(enc) {
		e.filter = barred
	} else {
		var err error
		e.present, err = st.read(enc, func(data []byte) (err error) {
			e.size += len(data)
			e.value, err = s.value.Parse(data)
			return err
		})
		if err != nil {
			// Local state that cannot be read is a failure of the machinery: the
			// transaction is aborted and tried again.
			panic(fmt.Errorf("store %q: %w", s.name, err))
		}
		if e.present {
			e.filter = open
		}
	}
	e.absent = !e.present
	st.keep(e)
	st.size += e.size
	return e.value, e.present
}

// cached returns the entry of a key that is in memory, which is young from now
// on, or nil.
func (st *keyValueState[K, V]) cached(k K) *entry[K, V] {
	if e := st.entries[k]; e != nil {
		return e
	}
	e := st.old[k]
	if e != nil {
		st.keep(e)
	}
	return e
}

func (st *keyValueState[K, V]) keep(e *entry[K, V]) {
	st.entries[e.key] = e
	st.weight += e.weight()
}

// newEntry makes an entry for a key, also given as it stands in the local state.
// It is read from there: the caller's may be a few bytes of a large event, all of
// which would stay in memory with it.
func (st *keyValueState[K, V]) newEntry(k K, enc []byte) *entry[K, V] {
	enc = enc[len(st.prefix):]
	if own, err := st.def.key.Parse(enc); err == nil && own == k {
		k = own
	}
	if n := len(st.free); n > 0 {
		e := st.free[n-1]
		st.free = st.free[:n-1]
		*e = entry[K, V]{key: k, size: len(enc)}
		return e
	}
	return &entry[K, V]{key: k, size: len(enc)}
}

// freeEntries bounds the entries that are kept to be used again.
const freeEntries = 4096

// forget drops an entry that is committed from memory.
func (st *keyValueState[K, V]) forget(e *entry[K, V]) {
	delete(st.entries, e.key)
	delete(st.old, e.key)
	st.weight -= e.weight()
	if len(st.free) < freeEntries {
		*e = entry[K, V]{} // it holds on to nothing
		st.free = append(st.free, e)
	}
}

// Put writes the value of a key.
func (s *KeyValue[K, V]) Put(c *Context, k K, v V) {
	s.state(c).write(k, v, true)
}

// Delete removes a key.
func (s *KeyValue[K, V]) Delete(c *Context, k K) {
	var none V
	s.state(c).write(k, none, false)
}

func (st *keyValueState[K, V]) write(k K, v V, present bool) {
	e := st.cached(k)
	if e == nil {
		e = st.newEntry(k, st.dbKey(k))
		st.keep(e)
	}
	if !e.dirty {
		e.dirty = true
		st.dirty = append(st.dirty, e)
		st.size += entryBytes
	}
	e.value, e.present = v, present
	if present {
		st.met(v)
	}
	st.t.touched = true
}

// Scan calls fn for every entry, in the order of the encoded keys, until it
// returns false. fn may write to the store; whether it then meets what it wrote
// is not defined.
func (s *KeyValue[K, V]) Scan(c *Context, fn func(K, V) bool) {
	s.state(c).scan(nil, func(k K, _ []byte, v V) bool { return fn(k, v) })
}

// scan merges the uncommitted writes with the local state from an encoded key on.
func (st *keyValueState[K, V]) scan(from []byte, fn func(k K, encoded []byte, v V) bool) {
	type written struct {
		encoded []byte
		entry   *entry[K, V]
	}
	var own []written
	for _, e := range st.dirty {
		if enc := st.def.key.Append([]byte{}, e.key); bytes.Compare(enc, from) >= 0 {
			own = append(own, written{enc, e})
		}
	}
	slices.SortFunc(own, func(a, b written) int { return bytes.Compare(a.encoded, b.encoded) })
	fail := func(err error) {
		if err != nil {
			panic(fmt.Errorf("store %q: %w", st.def.name, err))
		}
	}
	name := st.prefix[len(st.t.space):]
	it, err := st.t.db.Iter(st.t.space, append(bytes.Clone(name), from...))
	fail(err)
	defer func() { fail(it.Close()) }()
	for {
		var enc []byte
		if it.Valid() && bytes.HasPrefix(it.Key(), name) {
			enc = it.Key()[len(name):]
		}
		if enc == nil && len(own) == 0 {
			return
		}
		order := -1
		if len(own) > 0 {
			order = 1
			if enc != nil {
				order = bytes.Compare(enc, own[0].encoded)
			}
		}
		if order >= 0 {
			w := own[0]
			own = own[1:]
			if order == 0 {
				it.Next()
			}
			if w.entry.present && !fn(w.entry.key, w.encoded, w.entry.value) {
				return
			}
			continue
		}
		k, err := st.def.key.Parse(enc)
		fail(err)
		v, err := st.def.value.Parse(it.Value())
		fail(err)
		if e := st.entries[k]; e != nil && e.dirty {
			// Written by fn while scanning.
			if !e.present {
				it.Next()
				continue
			}
			v = e.value
		}
		if !fn(k, enc, v) {
			return
		}
		it.Next()
	}
}

func (st *keyValueState[K, V]) dbKey(k K) []byte {
	st.scratch = st.def.key.Append(append(st.scratch[:0], st.prefix...), k)
	return st.scratch
}

func (st *keyValueState[K, V]) flush(emit func(key, value []byte)) {
	t := st.t
	for _, e := range st.dirty {
		if !e.present && e.absent {
			continue // it came and went within the transaction
		}
		start := len(t.arena)
		t.arena = st.def.key.Append(appendStoreName(t.arena, st.def.name), e.key)
		key := t.arena[start:len(t.arena):len(t.arena)]
		var value []byte
		if e.present {
			value = encode(t, st.def.value, e.value)
			if f := st.keys(); f != nil && e.filter != open {
				f.Add(st.dbKey(e.key), e.filter == barred)
				e.filter = open
			}
		}
		emit(key, value)
		st.weight -= e.weight()
		e.size = len(key) + len(value)
		st.weight += e.weight()
	}
}

func (st *keyValueState[K, V]) settle() {
	for _, e := range st.dirty {
		e.dirty, e.absent = false, !e.present
		if e.present && st.def.cold != nil && st.def.cold(e.value) {
			st.forget(e)
		}
	}
	if len(st.entries) > cacheEntries || st.weight > cacheBytes {
		st.old, st.entries, st.weight = st.entries, make(map[K]*entry[K, V], min(len(st.entries), cacheEntries)), 0
	}
	clear(st.dirty) // or what they point to would stay
	st.dirty, st.size = st.dirty[:0], 0
}

func (st *keyValueState[K, V]) bytes() int { return st.size }

// sweepSlice is how many entries a sweep looks at.
const sweepSlice = 5000

// met notes the age of an entry that stays for now.
func (st *keyValueState[K, V]) met(v V) {
	if st.def.ttl <= 0 {
		return
	}
	st.oldest = min(st.oldest, st.def.since(v).UnixMilli())
}

func (st *keyValueState[K, V]) sweep(c *Context) {
	if st.def.ttl <= 0 {
		return
	}
	before := c.Now().Add(-st.def.ttl)
	if st.swept {
		if st.oldest > before.UnixMilli() {
			return // nothing can have expired
		}
		st.oldest = math.MaxInt64
	}
	var expired []K
	n, from := 0, st.cursor
	st.cursor = nil
	st.scan(from, func(k K, encoded []byte, v V) bool {
		if n++; n > sweepSlice {
			st.cursor = bytes.Clone(encoded)
			return false
		}
		if st.def.since(v).Before(before) {
			expired = append(expired, k)
		} else {
			st.met(v)
		}
		return true
	})
	st.swept = st.cursor == nil
	for _, k := range expired {
		st.def.Delete(c, k)
	}
}

// Window is a store of one value per key and window of time. Windows are
// aligned: the window of t starts at t rounded down to the window size. The
// store's stream time is the highest time put into it in the task, kept across
// restarts; windows that ended a retention before it are deleted, and late
// writes to them are ignored.
type Window[K comparable, V any] struct {
	kv        *KeyValue[windowKey[K], V]
	size      time.Duration
	retention time.Duration
	clock     int
}

type windowKey[K comparable] struct {
	start int64 // ms
	key   K
}

// NewWindow defines a window store. Keys are ordered by window first, so that
// expired windows are deleted without looking at the others.
func NewWindow[K comparable, V any](b *Builder, name string, key Serde[K], value Serde[V], size, retention time.Duration) *Window[K, V] {
	if size < time.Millisecond || retention < 0 {
		b.fail("window store %q: size must be at least 1 ms and retention not negative", name)
	}
	k := Serde[windowKey[K]]{
		Append: func(b []byte, w windowKey[K]) []byte {
			return key.Append(binary.BigEndian.AppendUint64(b, uint64(w.start)), w.key)
		},
		Parse: func(data []byte) (w windowKey[K], err error) {
			if len(data) < 8 {
				return w, fmt.Errorf("window key of %d bytes", len(data))
			}
			w.start = int64(binary.BigEndian.Uint64(data))
			w.key, err = key.Parse(data[8:])
			return w, err
		},
	}
	return &Window[K, V]{kv: NewKeyValue(b, name, k, value), size: size, retention: retention, clock: b.clock("window " + name)}
}

func (w *Window[K, V]) describe() (string, string) { return w.kv.describe() }
func (w *Window[K, V]) resource() Resource         { return w.kv }

// Start returns the start of the window that t lies in.
func (w *Window[K, V]) Start(t time.Time) time.Time {
	return time.UnixMilli(w.start(t)).UTC()
}

func (w *Window[K, V]) start(t time.Time) int64 {
	ms, size := t.UnixMilli(), w.size.Milliseconds()
	return ms - ((ms%size)+size)%size
}

// Get returns the value of a key in the window that t lies in.
func (w *Window[K, V]) Get(c *Context, k K, t time.Time) (V, bool) {
	return w.kv.Get(c, windowKey[K]{w.start(t), k})
}

// Put writes the value of a key in the window that t lies in, and reports
// whether the window was still open.
func (w *Window[K, V]) Put(c *Context, k K, t time.Time, v V) bool {
	start := w.start(t)
	if start < w.cutoff(c) {
		return false
	}
	w.kv.Put(c, windowKey[K]{start, k}, v)
	before := w.cutoff(c)
	c.t.advance(w.clock, t)
	if cutoff := w.cutoff(c); cutoff > before {
		w.expire(c, cutoff)
	}
	return true
}

// cutoff is the start below which windows are expired: that of the first window
// whose end is less than a retention ago.
func (w *Window[K, V]) cutoff(c *Context) int64 {
	now := c.t.clocks[w.clock]
	if now.IsZero() {
		return -1 << 62
	}
	return w.start(now.Add(-w.size-w.retention)) + w.size.Milliseconds()
}

func (w *Window[K, V]) expire(c *Context, cutoff int64) {
	var old []windowKey[K]
	w.kv.state(c).scan(nil, func(k windowKey[K], _ []byte, _ V) bool {
		if k.start >= cutoff {
			return false
		}
		old = append(old, k)
		return true
	})
	for _, k := range old {
		w.kv.Delete(c, k)
	}
}

// Table is a topic read as the latest value of each key, in the task that owns
// the key's partition.
type Table[K comparable, V any] struct{ kv *KeyValue[K, V] }

// TableFrom reads a topic into a table; a null value deletes its key. Who joins
// a stream with it needs the two topics co-partitioned, which is checked at start.
func TableFrom[K comparable, V any](b *Builder, name string, t Topic[K, V]) *Table[K, V] {
	kv := NewKeyValue(b, name, t.Key, t.Value)
	s := from(b, nullable(t), nil)
	s.Process("table "+name, func(c *Context, r Record[K, *V]) {
		if r.Value == nil {
			kv.Delete(c, r.Key)
		} else {
			kv.Put(c, r.Key, *r.Value)
		}
	}, kv)
	return &Table[K, V]{kv}
}

// Get returns the latest value of a key that this task has read.
func (t *Table[K, V]) Get(c *Context, k K) (V, bool) { return t.kv.Get(c, k) }

func (t *Table[K, V]) describe() (string, string) { return t.kv.describe() }
func (t *Table[K, V]) resource() Resource         { return t.kv }

// nullable tells a null value from any other.
func nullable[K, V any](t Topic[K, V]) Topic[K, *V] {
	return Topic[K, *V]{Name: t.Name, Key: t.Key, Value: Serde[*V]{
		Parse: func(data []byte) (*V, error) {
			if data == nil {
				return nil, nil
			}
			v, err := t.Value.Parse(data)
			return &v, err
		},
	}}
}
