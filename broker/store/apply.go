package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// frame is one frame of the journal, written or read.
type frame struct {
	head    fileHeader // of the file it stands in
	ops     []byte
	batches []byte   // read
	list    [][]byte // or to be written
	at      place    // where its batches begin
	end     applied  // what follows it
	synced  Mark     // what it knew as synced, if it was read
}

// applier brings frames into the index, one after the other. It is the same for
// those just written and for those read again at start, and all that it decides
// depends on the index alone, so that both have the same result.
type applier struct {
	x     *index
	rows  map[Partition]row
	files map[uint64]fileRow
	edits []edit // what the frame means to those who keep the newest pointers

	batch *pebble.Batch
	dirty map[uint64]struct{}    // files whose row changed
	moved map[Partition]struct{} // partitions whose row changed
	key   []byte
	value []byte
}

// edit is a change of a partition's pointers.
type edit struct {
	p    Partition
	kind byte // opAppend; opReplace or opMove: now e; opTrim: those before e.last are gone; opDelete: e is gone; opDrop
	e    pointer
}

func newApplier(x *index) *applier {
	return &applier{
		x: x, rows: map[Partition]row{}, files: map[uint64]fileRow{},
		dirty: map[uint64]struct{}{}, moved: map[Partition]struct{}{},
	}
}

// apply brings one frame into the index.
func (a *applier) apply(f *frame) error {
	a.edits = a.edits[:0]
	clear(a.dirty)
	clear(a.moved)
	if len(f.ops) == 0 || f.ops[0] > 1 {
		return errOps
	}
	// An indexed batch shows what the operations before have done; the other
	// kind is cheaper.
	if f.ops[0] == 1 {
		a.batch = a.x.db.NewIndexedBatch()
	} else {
		a.batch = a.x.db.NewBatch()
	}
	defer func() {
		_ = a.batch.Close() // has no error to tell
		a.batch = nil
	}()
	if _, ok := a.files[f.head.number]; !ok {
		if r, ok := a.files[f.head.prev]; ok {
			r.end = f.head.prevEnd
			a.setFile(f.head.prev, r)
		}
		a.setFile(f.head.number, fileRow{})
	}
	r := opReader{ops: f.ops[1:], batches: f.batches, list: f.list}
	for o := (op{}); r.next(&o); {
		if err := a.do(&o, f.at); err != nil {
			return err
		}
	}
	if err := r.done(); err != nil {
		return err
	}
	for n := range a.dirty {
		if err := a.batch.Set(fileKey(n), a.files[n].encode(), nil); err != nil {
			return err
		}
	}
	for p := range a.moved {
		r, ok := a.rows[p]
		var err error
		if ok {
			err = a.batch.Set(rowKey(p), r.encode(), nil)
		} else {
			err = a.batch.Delete(rowKey(p), nil)
		}
		if err != nil {
			return err
		}
	}
	if err := a.batch.Set(keyApplied, f.end.encode(), nil); err != nil {
		return err
	}
	if err := a.x.db.Apply(a.batch, pebble.NoSync); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

func (a *applier) do(o *op, at place) error {
	at.offset += int64(o.batchAt)
	switch o.code {
	case opAppend:
		return a.append(o.p, o.batch, at)
	case opSet:
		return a.batch.Set(a.user(o.key), o.value, nil)
	case opDelete:
		return a.batch.Delete(a.user(o.key), nil)
	case opDeleteRange:
		if bytes.Compare(o.key, o.value) >= 0 {
			return nil
		}
		from := a.user(o.key)
		return a.batch.DeleteRange(from, append([]byte{kindKey}, o.value...), nil)
	case opTrim:
		return a.trim(o.p, o.last)
	case opDrop:
		return a.drop(o.p)
	case opReplace, opMove:
		return a.change(o, at)
	case opSession:
		v := byte(0)
		if o.clean {
			v = 1
		}
		return a.batch.Set(keySession, append([]byte{v}, o.value...), nil)
	}
	return errOps
}

func (a *applier) user(key []byte) []byte {
	a.key = append(append(a.key[:0], kindKey), key...)
	return a.key
}

func (a *applier) setFile(n uint64, r fileRow) {
	a.files[n] = r
	a.dirty[n] = struct{}{}
}

func (a *applier) live(n uint64, bytes int) {
	r := a.files[n]
	r.live += int64(bytes)
	a.setFile(n, r)
}

func (a *applier) setRow(p Partition, r row, ok bool) {
	if ok {
		a.rows[p] = r
	} else {
		delete(a.rows, p)
	}
	a.moved[p] = struct{}{}
}

func (a *applier) set(p Partition, e pointer) error {
	a.key = batchKey(a.key[:0], p, e.last)
	a.value = e.encode(a.value[:0])
	return a.batch.Set(a.key, a.value, nil)
}

func (a *applier) append(p Partition, b []byte, at place) error {
	h, err := parseBatch(b)
	if err != nil {
		return fmt.Errorf("%w: %w", errOps, err)
	}
	e := pointer{h.BaseOffset, h.LastOffset(), h.MaxTimestamp, at, len(b), h.Attributes}
	if err := a.set(p, e); err != nil {
		return err
	}
	r, ok := a.rows[p]
	if !ok {
		r.first = h.BaseOffset
	}
	r.next = h.LastOffset() + 1
	r.size += int64(len(b))
	a.setRow(p, r, true)
	a.live(at.file, len(b))
	a.edits = append(a.edits, edit{p, opAppend, e})
	return nil
}

// trim removes the batches of p whose last offset is below before.
func (a *applier) trim(p Partition, before int64) error {
	r, ok := a.rows[p]
	if !ok || before <= r.first {
		return nil
	}
	if before >= r.next {
		return a.drop(p)
	}
	freed, first, err := a.forget(p, batchKey(nil, p, before))
	if err != nil || freed == 0 {
		return err
	}
	r.first, r.size = first, r.size-freed
	a.setRow(p, r, true)
	a.edits = append(a.edits, edit{p, opTrim, pointer{last: before}})
	return nil
}

func (a *applier) drop(p Partition) error {
	if _, ok := a.rows[p]; !ok {
		return nil
	}
	if _, _, err := a.forget(p, batchesEnd(nil, p)); err != nil {
		return err
	}
	a.setRow(p, row{}, false)
	a.edits = append(a.edits, edit{p, opDrop, pointer{}})
	return nil
}

// forget removes the pointers of p below the key, and tells of how many bytes
// they were, and which offset follows.
func (a *applier) forget(p Partition, to []byte) (freed, first int64, err error) {
	from := batchKey(nil, p, 0)
	err = a.each(from, batchesEnd(nil, p), func(key []byte, e pointer) bool {
		if string(key) >= string(to) {
			first = e.base
			return false
		}
		freed += int64(e.size)
		a.live(e.at.file, -e.size)
		return true
	})
	if err != nil || freed == 0 {
		return 0, first, err
	}
	return freed, first, a.batch.DeleteRange(from, to, nil)
}

func (a *applier) each(from, to []byte, fn func(key []byte, e pointer) bool) error {
	it, err := a.batch.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		e, err := decodePointer(it.Key(), it.Value())
		if err != nil {
			_ = it.Close()
			return err
		}
		if !fn(it.Key(), e) {
			break
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return nil
}

// change replaces or moves a batch if it is still the one that is meant.
func (a *applier) change(o *op, at place) error {
	key := batchKey(nil, o.p, o.last)
	v, c, err := a.batch.Get(key)
	if err == pebble.ErrNotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	e, err := decodePointer(key, v)
	if err2 := c.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return err
	}
	if o.code == opMove && e.at != o.old || o.code == opReplace && e.base != o.base {
		return nil
	}
	r := a.rows[o.p]
	r.size += int64(len(o.batch) - e.size)
	a.live(e.at.file, -e.size)
	if len(o.batch) == 0 {
		return a.remove(o.p, key, e, r)
	}
	h, err := parseBatch(o.batch)
	if err != nil {
		return fmt.Errorf("%w: %w", errOps, err)
	}
	e = pointer{e.base, e.last, h.MaxTimestamp, at, len(o.batch), h.Attributes}
	a.live(at.file, e.size)
	a.setRow(o.p, r, true)
	a.edits = append(a.edits, edit{o.p, o.code, e})
	return a.set(o.p, e)
}

func (a *applier) remove(p Partition, key []byte, e pointer, r row) error {
	if err := a.batch.Delete(key, nil); err != nil {
		return err
	}
	a.edits = append(a.edits, edit{p, opDelete, e})
	if e.base != r.first && e.last+1 != r.next {
		a.setRow(p, r, true)
		return nil
	}
	it, err := a.batch.NewIter(&pebble.IterOptions{LowerBound: batchKey(nil, p, 0), UpperBound: batchesEnd(nil, p)})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	some := it.First()
	if some {
		e, err = decodePointer(it.Key(), it.Value())
		r.first = e.base
	}
	if err == nil && it.Last() {
		e, err = decodePointer(it.Key(), it.Value())
		r.next = e.last + 1
	}
	if err2 := it.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	a.setRow(p, r, some)
	return nil
}

// load reads what is known of partitions and files.
func (a *applier) load() error {
	err := a.x.scan([]byte{kindRow}, false, func(key, value []byte) error {
		d := numbers{b: value}
		r := row{int64(d.uvarint()), int64(d.uvarint()), int64(d.uvarint())}
		if len(key) != 8 || d.bad {
			return fmt.Errorf("entry %x of the index is damaged", key)
		}
		a.rows[Partition(binary.BigEndian.Uint64(key))] = r
		return nil
	})
	if err != nil {
		return err
	}
	return a.x.scan([]byte{kindFile}, false, func(key, value []byte) error {
		n, r, err := decodeFileRow(key, value)
		if err != nil {
			return err
		}
		a.files[n] = r
		return nil
	})
}
