package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The kinds of keys in Pebble: the first byte of each.
const (
	kindMeta  byte = iota
	kindBatch      // partition, last offset → pointer
	kindKey        // what Commit.Set sets
	kindFile       // journal file → fileRow
	kindRow        // partition → row
)

var (
	keyApplied = []byte{kindMeta, 'a'}
	keySession = []byte{kindMeta, 's'}
)

const (
	memTable  = 4 << 20
	cacheSize = 8 << 20
)

// index is what Pebble holds. It runs without a log of its own: the journal is
// its log, and each of its batches says up to where that is applied. Tables
// are flushed in the order of the batches, each whole or not, so what is found
// after a crash is the state of one such position.
type index struct {
	db       *pebble.DB
	fs       *indexFS
	flushed  atomic.Bool   // a table was flushed since durable was last asked
	progress chan struct{} // Pebble was looked at after it has done something
	look     chan struct{} // it has
	stop     chan struct{}
	watched  sync.WaitGroup

	// As they were at the last look, memory with what was written since.
	memory, levels, bytes atomic.Int64
}

func openIndex(fs *indexFS, log *slog.Logger, readOnly bool) (*index, error) {
	x := &index{fs: fs, progress: make(chan struct{}, 1), look: make(chan struct{}, 1), stop: make(chan struct{})}
	cache := pebble.NewCache(cacheSize)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                 fs,
		Cache:              cache,
		DisableWAL:         true,
		FormatMajorVersion: pebble.FormatTableFormatV6,
		MemTableSize:       memTable,
		// Never: who waits within Pebble could not be told that it has failed.
		MemTableStopWritesThreshold: math.MaxInt32,
		L0StopWritesThreshold:       math.MaxInt32,
		L0CompactionThreshold:       4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		MaxOpenFiles:                100,
		DisableTableStats:           true,
		Logger:                      pebbleLog{log, fs},
		EventListener: &pebble.EventListener{
			FlushEnd: func(pebble.FlushInfo) {
				x.flushed.Store(true)
				nudge(x.look)
			},
			CompactionEnd:   func(pebble.CompactionInfo) { nudge(x.look) },
			BackgroundError: func(err error) { _ = fs.check(err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { _ = fs.check(i.Details) },
		},
	}
	for i := range opts.Levels {
		opts.Levels[i].BlockSize = 8 << 10
		opts.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	db, err := openPebble(fs, opts)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", fs.dir, err)
	}
	x.db = db
	fs.open()
	nudge(x.look)
	x.watched.Go(x.watch)
	return x, nil
}

// openPebble fails with the first change of a file that fails. What is left of
// Pebble's own Open then waits until the process ends.
func openPebble(fs *indexFS, opts *pebble.Options) (*pebble.DB, error) {
	type opened struct {
		db  *pebble.DB
		err error
	}
	done := make(chan opened, 1)
	go func() {
		db, err := pebble.Open(fs.dir, opts)
		done <- opened{db, err}
	}()
	select {
	case o := <-done:
		return o.db, o.err
	case <-fs.broken:
		return nil, fs.failure()
	}
}

// pebbleLog takes what Pebble says. What it calls fatal is a failure of the
// index, which ends the writing and not the process.
type pebbleLog struct {
	log *slog.Logger
	fs  *indexFS
}

func (l pebbleLog) Infof(string, ...any) {}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Warn("index complains", "error", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Fatalf(format string, args ...any) {
	_ = l.fs.check(fmt.Errorf("index: "+format, args...))
}

// pointer tells where a batch is and what the index knows of it.
type pointer struct {
	base, last   int64
	maxTimestamp int64
	at           place
	size         int
	attributes   int16
}

func batchKey(dst []byte, p Partition, last int64) []byte {
	dst = append(dst, kindBatch)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p))
	return binary.BigEndian.AppendUint64(dst, uint64(last))
}

// batchesEnd is the key behind all batches of p.
func batchesEnd(dst []byte, p Partition) []byte {
	if p == math.MaxUint64 {
		return append(dst, kindBatch+1)
	}
	return batchKey(dst, p+1, 0)
}

func (e pointer) encode(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(e.last-e.base))
	dst = binary.AppendVarint(dst, e.maxTimestamp)
	dst = binary.AppendUvarint(dst, e.at.file)
	dst = binary.AppendUvarint(dst, uint64(e.at.offset))
	dst = binary.AppendUvarint(dst, uint64(e.size))
	return binary.AppendUvarint(dst, uint64(uint16(e.attributes)))
}

func decodePointer(key, value []byte) (e pointer, err error) {
	if len(key) != 17 {
		return pointer{}, fmt.Errorf("entry %x of the index is damaged", key)
	}
	e.last = int64(binary.BigEndian.Uint64(key[9:]))
	d := numbers{b: value}
	e.base = e.last - int64(d.uvarint())
	e.maxTimestamp = d.varint()
	e.at.file = d.uvarint()
	e.at.offset = int64(d.uvarint())
	e.size = int(d.uvarint())
	e.attributes = int16(d.uvarint())
	if d.bad {
		return pointer{}, fmt.Errorf("entry %x of the index is damaged", key)
	}
	return e, nil
}

// row is what is known of a partition with batches.
type row struct {
	first, next int64 // base offset of the first batch, last offset of the last + 1
	size        int64
}

func rowKey(p Partition) []byte { return binary.BigEndian.AppendUint64([]byte{kindRow}, uint64(p)) }

func (r row) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(r.first))
	b = binary.AppendUvarint(b, uint64(r.next))
	return binary.AppendUvarint(b, uint64(r.size))
}

// fileRow is what is known of a journal file.
type fileRow struct {
	live int64 // bytes of its batches that are pointed to
	end  int64 // where its last frame ends, 0 while it is the newest
}

func fileKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{kindFile}, n) }

func (r fileRow) encode() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(r.live)), uint64(r.end))
}

// decodeFileRow takes the key without its kind.
func decodeFileRow(key, value []byte) (n uint64, r fileRow, err error) {
	d := numbers{b: value}
	r = fileRow{int64(d.uvarint()), int64(d.uvarint())}
	if len(key) != 8 || d.bad {
		return 0, r, fmt.Errorf("entry %x of the index is damaged", key)
	}
	return binary.BigEndian.Uint64(key), r, nil
}

// applied is up to where the journal is in the index.
type applied struct {
	at   place // of the next frame
	mark Mark
}

func (a applied) encode() []byte {
	b := binary.AppendUvarint(nil, a.at.file)
	b = binary.AppendUvarint(b, uint64(a.at.offset))
	return binary.AppendUvarint(b, uint64(a.mark))
}

func decodeApplied(b []byte) (applied, error) {
	d := numbers{b: b}
	a := applied{place{d.uvarint(), int64(d.uvarint())}, Mark(d.uvarint())}
	if d.bad {
		return a, errors.New("the index's position in the journal is damaged")
	}
	return a, nil
}

// session is which machine's run the last frame of a process belongs to.
type session struct {
	bootID string
	clean  bool
}

func (x *index) get(key []byte) ([]byte, bool, error) {
	v, c, err := x.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read index: %w", err)
	}
	v = bytes.Clone(v)
	return v, true, c.Close()
}

// scan calls fn for what has the prefix, without it.
func (x *index) scan(prefix []byte, durable bool, fn func(key, value []byte) error) error {
	it, err := x.db.NewIter(&pebble.IterOptions{
		LowerBound: prefix, UpperBound: after(prefix), OnlyReadGuaranteedDurable: durable,
	})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = fn(it.Key()[len(prefix):], v)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return nil
}

// durable is up to where the index would still be after a crash.
func (x *index) durable() (a applied, err error) {
	err = x.scan(keyApplied, true, func(_, v []byte) error {
		a, err = decodeApplied(v)
		return err
	})
	return a, err
}

// nudge wakes who waits for a channel of one.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is about to
	}
}

// watch looks at what Pebble has to do whenever it has done something. A look
// waits for a manifest that is being written, on a slow disk or for ever on a
// broken one: so nobody else may look.
func (x *index) watch() {
	for {
		select {
		case <-x.stop:
			return
		case <-x.look:
		}
		m := x.db.Metrics()
		x.memory.Store(int64(m.MemTable.Size))
		x.levels.Store(int64(m.Levels[0].Sublevels))
		x.bytes.Store(int64(m.DiskSpaceUsage()))
		nudge(x.progress)
	}
}

const (
	maxMemory = 8 * memTable // of what Pebble has not written yet
	maxLevels = 32           // sorted runs at the top of Pebble's tree
)

// throttle waits while Pebble has too much to do. It is called before a write
// with the bytes of its operations, from one goroutine at a time.
func (x *index) throttle(bytes int) error {
	x.memory.Add(int64(bytes) + 256)
	for first := true; x.memory.Load() >= maxMemory || x.levels.Load() >= maxLevels; first = false {
		if first {
			nudge(x.look) // memory is an estimate
		}
		select {
		case <-x.progress:
		case <-x.fs.broken:
			return x.fs.failure()
		}
	}
	return nil
}

// flush writes what Pebble has in memory to the disk.
func (x *index) flush() error {
	done, err := x.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush index: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-x.fs.broken:
		return fmt.Errorf("flush index: %w", x.fs.failure())
	}
}

// close closes Pebble. What it has in memory is lost unless it was flushed.
func (x *index) close() error {
	x.fs.release() // a look may wait, too
	close(x.stop)
	x.watched.Wait()
	return x.db.Close()
}

// after is the first key behind all that have the prefix.
func after(prefix []byte) []byte {
	b := bytes.Clone(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}

// numbers reads varints from bytes that should have them.
type numbers struct {
	b   []byte
	bad bool
}

func (d *numbers) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *numbers) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

var _ vfs.FS = (*indexFS)(nil)
