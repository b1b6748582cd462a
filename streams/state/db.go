// Package state keeps the local state of stream tasks: one Pebble database per
// instance, shared by all its applications, locked against a second process.
//
// What it holds is a copy of the changelogs and may lag behind them; it has no
// log of its own: what was in memory when the process died, a prefix of the
// batches being on disk, is caught up from the changelogs. It must never be ahead
// of a committed transaction: callers apply a Batch only when the transaction's
// outcome is known.
//
// A disk that is full is waited out: the state goes on in memory as long as there
// is room, and then refuses batches. See DB.Health.
package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
)

// DB is the state of one instance. It is safe for concurrent use.
type DB struct {
	p        *pebble.DB
	disk     *disk
	room     room
	patience time.Duration
	instance string
	filters  atomic.Int64 // bytes that they take

	// For Loaders.
	dir    string
	tables sstable.WriterOptions
	loads  atomic.Uint64

	mu      sync.Mutex
	spaces  map[string]uint32
	next    uint32
	unsaved bool // the number of a space is in memory alone, perhaps
}

// Space is a key space of its own within a DB, named by (application, store,
// partition). It is a key prefix.
type Space [6]byte

// Keys of the database's own records live in space 0.
var (
	keyInstance = []byte("\x00\x00\x00\x00instance")
	keySpace    = []byte("\x00\x00\x00\x00space/")
)

// DefaultCacheBytes is the size of the cache of Open.
const DefaultCacheBytes = 32 << 20

// Open opens the state in dir, creating it if missing. It fails when another
// process holds the directory.
func Open(dir string) (*DB, error) { return OpenCached(dir, DefaultCacheBytes) }

// OpenCached is Open with a cache of so many bytes, filled as it is needed. It
// should have room for filters and indexes of all that the state holds, about two
// bytes for each entry: without, a busy stage reads them again and again.
func OpenCached(dir string, cacheBytes int64) (*DB, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return open(dir, vfs.Default, cacheBytes)
}

// OpenMemory opens an empty state in memory, for tests.
func OpenMemory() (*DB, error) { return open("state", vfs.NewMem(), DefaultCacheBytes) }

func open(dir string, fs vfs.FS, cacheBytes int64) (*DB, error) {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	db := &DB{
		disk: newDisk(fs), room: newRoom(), patience: patience, dir: dir,
		spaces: map[string]uint32{}, next: 1,
	}
	opts := &pebble.Options{
		FS:    db.disk,
		Cache: cache,
		// Up to three of them. Less makes more tables to look into and to merge, and
		// in more the lists have grown out of the processor's caches: 32 MiB cost
		// half as much CPU again.
		MemTableSize: memTable,
		// A memtable becomes a table of some 2 MiB that spans all stores, so merging
		// few of them rewrites most of the state each time. Pebble merges at half as
		// many as this says: an order's 250 bytes make it rewrite 1400 at ten and 600
		// at twenty beside a million orders (BenchmarkHistory), and more at thirty.
		// The price is a filter more for each table that a look-up must ask.
		L0CompactionThreshold: 20,
		// Never: who waits within Pebble could not be told that the disk is full.
		MemTableStopWritesThreshold: math.MaxInt32,
		L0StopWritesThreshold:       math.MaxInt32,
		DisableWAL:                  true,
		Logger:                      silent{db.disk},
		EventListener: &pebble.EventListener{
			FlushEnd:      func(pebble.FlushInfo) { db.room.kick() },
			CompactionEnd: func(pebble.CompactionInfo) { db.room.kick() },
		},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		// Small values, soon replaced: unpacking costs more than it saves.
		opts.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	var err error
	if db.p, err = pebble.Open(dir, opts); err != nil {
		return nil, fmt.Errorf("state: open %s (another process may be using it): %w", dir, err)
	}
	go db.watch()
	db.tables = opts.MakeWriterOptions(0, db.p.TableFormat())
	if err := errors.Join(removeLoads(fs, dir), db.load()); err != nil {
		return nil, errors.Join(err, db.close())
	}
	db.disk.open()
	return db, nil
}

func (db *DB) load() error {
	var id []byte
	there, err := db.Get(keyInstance, func(v []byte) error { id = bytes.Clone(v); return nil })
	if err != nil {
		return err
	}
	if !there {
		id = []byte(uuid.NewString())
		// The identity is on disk at once: a lost one would leave an unfenced twin.
		if err := errors.Join(db.p.Set(keyInstance, id, pebble.NoSync), db.flush()); err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	db.instance = string(id)
	it, err := db.p.NewIter(&pebble.IterOptions{LowerBound: keySpace, UpperBound: after(keySpace)})
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	for it.First(); it.Valid(); it.Next() {
		if len(it.Value()) != 4 {
			return errors.Join(fmt.Errorf("state: damaged entry %q", it.Key()), it.Close())
		}
		n := binary.BigEndian.Uint32(it.Value())
		db.spaces[string(it.Key()[len(keySpace):])] = n
		db.next = max(db.next, n+1)
	}
	return it.Close()
}

// Close writes to disk what is in memory alone, unless the disk cannot take it,
// and closes the database.
func (db *DB) Close() error {
	return errors.Join(db.flush(), db.close())
}

func (db *DB) close() error {
	db.disk.release()
	close(db.room.stop)
	<-db.room.done
	return db.p.Close()
}

// Instance returns the identity of this instance: a UUID that is made when the
// directory is and lives as long.
func (db *DB) Instance() string { return db.instance }

// Space returns the key space of a store of an application in one partition.
func (db *DB) Space(app, store string, partition int32) (Space, error) {
	name := app + "/" + store
	db.mu.Lock()
	defer db.mu.Unlock()
	n, ok := db.spaces[name]
	if !ok {
		n = db.next
		k := append(append([]byte{}, keySpace...), name...)
		// If it is lost, so is all that was written with it.
		if err := db.p.Set(k, binary.BigEndian.AppendUint32(nil, n), pebble.NoSync); err != nil {
			return Space{}, fmt.Errorf("state: %w", err)
		}
		db.next++
		db.spaces[name], db.unsaved = n, true
	}
	var s Space
	binary.BigEndian.PutUint32(s[:], n)
	binary.BigEndian.PutUint16(s[4:], uint16(partition))
	return s, nil
}

// Get calls read with the value of a key, which is valid during the call only,
// and tells whether the key exists.
func (db *DB) Get(key []byte, read func(value []byte) error) (bool, error) {
	v, c, err := db.p.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("state: get: %w", err)
	}
	err = read(v)
	return true, errors.Join(err, c.Close())
}

// Reader reads single keys, many of which may be missing: it sees the state as it
// was at its first Get after the last Close. One that stays open keeps what is
// overwritten meanwhile from being freed. It belongs to one goroutine.
//
// Pebble's own Get does not look into the filters of the lowest level, where most
// of the state lies: with 600,000 keys a missing one cost it three times as much
// as an iterator that is used again and again.
type Reader struct {
	db *DB
	it *pebble.Iterator
}

// NewReader makes a Reader, which takes nothing until it is used.
func (db *DB) NewReader() *Reader { return &Reader{db: db} }

// Get is DB.Get.
func (r *Reader) Get(key []byte, read func(value []byte) error) (bool, error) {
	if r.it == nil {
		it, err := r.db.p.NewIter(&pebble.IterOptions{UseL6Filters: true})
		if err != nil {
			return false, fmt.Errorf("state: get: %w", err)
		}
		r.it = it
	}
	if !r.it.SeekPrefixGE(key) || !bytes.Equal(r.it.Key(), key) {
		if err := r.it.Error(); err != nil {
			return false, fmt.Errorf("state: get: %w", err)
		}
		return false, nil
	}
	v, err := r.it.ValueAndErr()
	if err != nil {
		return false, fmt.Errorf("state: get: %w", err)
	}
	return true, read(v)
}

// Close lets go of the state seen so far. The Reader may be used again.
func (r *Reader) Close() {
	if r.it != nil {
		// Its error, if any, was returned by Get.
		_ = r.it.Close()
		r.it = nil
	}
}

// Scan calls fn for each key of a space from the given key on (nil: from the
// first), in order, without the space's prefix, until fn returns false. Both
// slices are valid during the call only.
func (db *DB) Scan(s Space, from []byte, fn func(key, value []byte) bool) error {
	it, err := db.Iter(s, from)
	if err != nil {
		return err
	}
	for it.Valid() && fn(it.Key(), it.Value()) {
		it.Next()
	}
	return it.Close()
}

// Iter is an ordered iterator over a space; see DB.Iter.
type Iter struct{ it *pebble.Iterator }

// Iter opens an iterator over a space, positioned at the first key not before
// from. It must be closed.
func (db *DB) Iter(s Space, from []byte) (*Iter, error) {
	it, err := db.p.NewIter(&pebble.IterOptions{LowerBound: s[:], UpperBound: after(s[:])})
	if err != nil {
		return nil, fmt.Errorf("state: scan: %w", err)
	}
	it.SeekGE(append(s[:], from...))
	return &Iter{it}, nil
}

// Valid tells whether the iterator stands on an entry.
func (i *Iter) Valid() bool { return i.it.Valid() }

// Next goes to the next entry.
func (i *Iter) Next() { i.it.Next() }

// Key returns the key without the space's prefix, valid until Next.
func (i *Iter) Key() []byte { return i.it.Key()[len(Space{}):] }

// Value returns the value, valid until Next.
func (i *Iter) Value() []byte { return i.it.Value() }

// Close closes the iterator and returns the error that ended it, if any.
func (i *Iter) Close() error {
	if err := i.it.Close(); err != nil {
		return fmt.Errorf("state: scan: %w", err)
	}
	return nil
}

// Batch is a set of writes that are applied together or not at all.
type Batch struct {
	db *DB
	b  *pebble.Batch
}

// NewBatch starts a batch.
func (db *DB) NewBatch() *Batch { return &Batch{db, db.p.NewBatch()} }

// NewBatchOf starts a batch with room for so many bytes.
func (db *DB) NewBatchOf(bytes int) *Batch { return &Batch{db, db.p.NewBatchWithSize(bytes)} }

// Set writes a key, given with its space's prefix. Errors come with Apply.
func (b *Batch) Set(key, value []byte) { _ = b.b.Set(key, value, nil) }

// Delete removes a key, given with its space's prefix.
func (b *Batch) Delete(key []byte) { _ = b.b.Delete(key, nil) }

// Wipe removes everything in a space, before any later write of the batch.
func (b *Batch) Wipe(s Space) { _ = b.b.DeleteRange(s[:], after(s[:]), nil) }

// Size returns the batch's size in bytes.
func (b *Batch) Size() int { return b.b.Len() }

// Apply writes the batch, without waiting for the disk, and ends it. While much
// waits to be written it waits too; it fails when the disk takes nothing.
func (b *Batch) Apply() error {
	if err := b.db.makeRoom(b.b.Len()); err != nil {
		b.Drop()
		return err
	}
	if err := b.b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("state: apply: %w", err)
	}
	return b.b.Close()
}

// Drop ends the batch without writing it.
func (b *Batch) Drop() { _ = b.b.Close() }

// after returns the first key after all keys with the prefix.
func after(prefix []byte) []byte {
	end := append([]byte{}, prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// silent drops Pebble's chatter: its errors are returned as well. What it calls
// fatal, a manifest that failed, ends the writing. A panic instead would leave
// Pebble's locks taken if somebody recovered from it.
type silent struct{ disk *disk }

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (s silent) Fatalf(format string, args ...any) {
	s.disk.end(fmt.Errorf(format, args...))
}
