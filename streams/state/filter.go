package state

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

const (
	// maxFilters bounds the memory of all filters of a DB, in bytes: some 20 million
	// keys.
	maxFilters = 48 << 20
	// firstPart is how many keys the first part of a set takes; the next one takes
	// partGrowth times as many as all before it together.
	firstPart, partGrowth = 16 << 10, 3
	// All bits of a key lie in a line of the processor's cache, a block, which
	// blockKeys keys share: twelve bits each, of which a key sets keyBits.
	blockWords, blockKeys, keyBits = 8, 42, 6
)

// Filter knows of most keys that are not in a part of the state that they are not
// there, so that nobody need look for them: of a hundred it lets one to three
// through, and never says so of a key that is there. It keeps two to six bytes for
// each key, also for those that are deleted later. When all filters together take
// 48 MiB, those that would grow let everything through from then on.
//
// It belongs to one goroutine, which tells it of each key that is written, and
// nobody else may write to its part of the state meanwhile.
type Filter struct {
	db    *DB
	seed  maphash.Seed
	added keySet
	held  keySet        // what the state held at the beginning, once that is known
	found <-chan keySet // gives it; nil when it has
	off   bool          // it has met its bound

	stop atomic.Bool // ends the walk through the state
	done chan struct{}
}

// NewFilter makes a filter of the keys with a prefix, which begins with a space. It
// reads what the state holds of them beside the caller, and lets everything through
// until then. It must be closed before the DB is.
func (db *DB) NewFilter(prefix []byte) (*Filter, error) {
	var s Space
	prefix = bytes.Clone(prefix[copy(s[:], prefix):])
	it, err := db.Iter(s, prefix)
	if err != nil {
		return nil, err
	}
	found := make(chan keySet, 1)
	f := &Filter{db: db, seed: maphash.MakeSeed(), found: found, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		held, ok := f.walk(it, prefix)
		if !ok {
			// Whoever asks looks into the state, and meets the error if there is one.
			held.free(&db.filters)
			return
		}
		found <- held
	}()
	return f, nil
}

func (f *Filter) walk(it *Iter, prefix []byte) (held keySet, ok bool) {
	for ok = true; ok && it.Valid() && bytes.HasPrefix(it.Key(), prefix); it.Next() {
		// A key comes once, so nobody need look whether it is there already.
		ok = held.add(maphash.Bytes(f.seed, it.Key()), &f.db.filters) && !f.stop.Load()
	}
	return held, it.Close() == nil && ok
}

// Lacks tells whether a key, given with its space's prefix, is certainly not there.
func (f *Filter) Lacks(key []byte) bool {
	if f.found != nil {
		select {
		case f.held = <-f.found:
			f.found = nil
		default:
			return false
		}
	}
	h := f.hash(key)
	return !f.off && !f.added.has(h) && !f.held.has(h)
}

// Add tells of a key that will be written, given with its space's prefix. Of one
// that Lacks was true of, and that was not added since, lacked spares the look
// whether it is there already, which is several times as dear as the rest.
func (f *Filter) Add(key []byte, lacked bool) {
	if f.off {
		return
	}
	h := f.hash(key)
	if !lacked && (f.held.has(h) || f.added.has(h)) {
		return
	}
	if !f.added.add(h, &f.db.filters) {
		f.off = true
		f.free()
	}
}

func (f *Filter) hash(key []byte) uint64 { return maphash.Bytes(f.seed, key[len(Space{}):]) }

func (f *Filter) free() {
	f.added.free(&f.db.filters)
	f.held.free(&f.db.filters)
}

// Close ends the filter, and its reading if that goes on.
func (f *Filter) Close() {
	f.stop.Store(true)
	<-f.done
	if f.found != nil {
		select {
		case f.held = <-f.found:
		default:
		}
	}
	f.off = true
	f.free()
}

// keySet is a set of hashes that grows by parts, each a Bloom filter in blocks.
type keySet struct {
	parts [][]uint64
	room  int // for keys in the last part
	keys  int // in all parts
}

// has tells whether a hash may be in the set.
func (s *keySet) has(h uint64) bool {
	// The block is chosen by the hash's upper bits, the bits within it by all of
	// them, mixed.
	at, mix := h>>32, h*0x9e3779b97f4a7c15
	for i := len(s.parts) - 1; i >= 0; i-- {
		if has(block(s.parts[i], at), mix) {
			return true
		}
	}
	return false
}

// add adds a hash that is not there, unless it would take more memory than there
// may be.
func (s *keySet) add(h uint64, taken *atomic.Int64) bool {
	if s.room == 0 {
		keys := max(firstPart, partGrowth*s.keys)
		words := (keys + blockKeys - 1) / blockKeys * blockWords
		if bytes := int64(8 * words); taken.Add(bytes) > maxFilters {
			taken.Add(-bytes)
			return false
		}
		s.parts, s.room = append(s.parts, make([]uint64, words)), keys
	}
	s.room--
	s.keys++
	b, mix := block(s.parts[len(s.parts)-1], h>>32), h*0x9e3779b97f4a7c15
	for range keyBits {
		b[mix>>6%blockWords] |= 1 << (mix % 64)
		mix = bits.RotateLeft64(mix, -9)
	}
	return true
}

func (s *keySet) free(taken *atomic.Int64) {
	for _, p := range s.parts {
		taken.Add(-int64(8 * len(p)))
	}
	*s = keySet{}
}

func block(part []uint64, at uint64) *[blockWords]uint64 {
	n := uint64(len(part) / blockWords)
	return (*[blockWords]uint64)(part[at*n>>32*blockWords:])
}

func has(b *[blockWords]uint64, mix uint64) bool {
	for range keyBits {
		if b[mix>>6%blockWords]&(1<<(mix%64)) == 0 {
			return false
		}
		mix = bits.RotateLeft64(mix, -9)
	}
	return true
}
