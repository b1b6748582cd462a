package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Loader writes much at once: what it is given becomes a table on the disk by
// itself, of which the last write of each key is kept, and Pebble takes it in. The
// way through memtables, their flushes and merges costs twice as much.
//
// A table is there as a whole or not at all. It must bring its position with it, as
// a Batch does: if nothing of the keys between its first and last is in memory alone
// it is on the disk at once, before other batches that came earlier, and after what
// is in memory otherwise. A Loader belongs to one goroutine.
type Loader struct {
	db     *DB
	data   []byte // keys and values, in the order in which they came
	writes []write
}

// write is one in Loader.data, at an offset there. value is its length and one, 0
// for a deletion; word is eight bytes of the key, see sortWrites.
type write struct {
	word           uint64
	at, key, value uint32
}

const writeBytes = 24

// NewLoader makes a Loader, which keeps the memory that it comes to need.
func (db *DB) NewLoader() *Loader { return &Loader{db: db} }

// Set writes a key, given with its space's prefix.
func (l *Loader) Set(key, value []byte) { l.add(key, value, uint32(len(value))+1) }

// Delete removes a key, given with its space's prefix.
func (l *Loader) Delete(key []byte) { l.add(key, nil, 0) }

func (l *Loader) add(key, value []byte, n uint32) {
	l.writes = append(l.writes, write{at: uint32(len(l.data)), key: uint32(len(key)), value: n})
	l.data = append(append(l.data, key...), value...)
}

// Size returns how much memory is in use for what was given, in bytes. It must
// stay below 1 GiB.
func (l *Loader) Size() int { return len(l.data) + writeBytes*len(l.writes) }

// Apply writes what was given. The Loader is empty then and may be used again,
// after an error as well. Others that apply batches need not wait meanwhile; it
// waits for merges, if there are too many tables, and fails when the disk takes
// nothing for some seconds. Only what Pebble notes of a table that is written waits
// until there is room.
func (l *Loader) Apply() error {
	defer func() { l.data, l.writes = l.data[:0], l.writes[:0] }()
	if len(l.writes) == 0 {
		return nil
	}
	if err := l.db.makeRoom(0); err != nil {
		return err
	}
	// A table that outlives the number of its space would be that of another.
	if err := l.db.saveSpaces(); err != nil {
		return err
	}
	sortWrites(l.data, l.writes, 0)
	path := l.db.disk.PathJoin(l.db.dir, fmt.Sprintf("%s%d.sst", loadPrefix, l.db.loads.Add(1)))
	if err := l.write(path); err != nil {
		_ = l.db.disk.Remove(path) // removed at the next start otherwise
		return fmt.Errorf("state: load: %w", err)
	}
	if err := l.db.p.Ingest(context.Background(), []string{path}); err != nil {
		_ = l.db.disk.Remove(path)
		return fmt.Errorf("state: load: %w", err)
	}
	l.db.room.kick()
	return nil
}

// loadPrefix begins the names of files that Pebble has not taken in yet.
const loadPrefix = "load-"

// removeLoads removes what a process that died has left of its Loaders.
func removeLoads(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if len(name) > len(loadPrefix) && name[:len(loadPrefix)] == loadPrefix {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes the sorted writes as a table.
func (l *Loader) write(path string) error {
	f, err := l.db.disk.create(path, vfs.WriteCategoryUnspecified, l.db.patience)
	if err != nil {
		return err
	}
	t := sstable.NewWriter(objstorageprovider.NewFileWritable(f), l.db.tables)
	for i, w := range l.writes {
		key := keyOf(l.data, w)
		if i+1 < len(l.writes) && bytes.Equal(key, keyOf(l.data, l.writes[i+1])) {
			continue // written again later
		}
		if w.value == 0 {
			err = t.Delete(key)
		} else {
			end := w.at + w.key
			err = t.Set(key, l.data[end:end+w.value-1])
		}
		if err != nil {
			_ = t.Close() // it fails with the same error
			return err
		}
	}
	return t.Close() // with a sync
}

func keyOf(data []byte, w write) []byte { return data[w.at : w.at+w.key] }

// sortWrites sorts writes by their keys, and those of one key by their order in
// data, given that the first depth bytes of all keys are the same. It looks at
// eight bytes of each at a time: comparing whole keys, which lie all over the
// memory and have long beginnings in common, takes several times as long.
func sortWrites(data []byte, writes []write, depth int) {
	for i := range writes {
		writes[i].word = word(keyOf(data, writes[i]), depth)
	}
	slices.SortFunc(writes, func(a, b write) int {
		if a.word != b.word {
			if a.word < b.word {
				return -1
			}
			return 1
		}
		// Keys that end here: a missing byte counts as 0, but comes before it.
		if c := min(int(a.key), depth+8) - min(int(b.key), depth+8); c != 0 {
			return c
		}
		return int(a.at) - int(b.at)
	})
	for len(writes) > 1 {
		n := 1
		for n < len(writes) && writes[n].word == writes[0].word && min(int(writes[n].key), depth+8) == min(int(writes[0].key), depth+8) {
			n++
		}
		if n > 1 && int(writes[0].key) >= depth+8 {
			sortWrites(data, writes[:n], depth+8)
		}
		writes = writes[n:]
	}
}

// word returns the eight bytes of a key from depth on as a number, with zeros
// where it has ended.
func word(key []byte, depth int) uint64 {
	if len(key) >= depth+8 {
		return binary.BigEndian.Uint64(key[depth:])
	}
	var b [8]byte
	if depth < len(key) {
		copy(b[:], key[depth:])
	}
	return binary.BigEndian.Uint64(b[:])
}

// saveSpaces waits until the numbers of all spaces are on the disk.
func (db *DB) saveSpaces() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if !db.unsaved {
		return nil
	}
	err := db.flush()
	db.unsaved = err != nil
	return err
}
