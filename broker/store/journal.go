package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// journal is the append-only log: files of frames, the newest of which is the
// head. One goroutine at a time appends; any may sync.
type journal struct {
	fs       vfs.FS
	dir      string
	fileSize int64
	observe  func(SyncInfo)

	// Of the appender.
	head   *journalFile
	last   place  // where the next frame belongs while there is no head
	number uint64 // the highest number any file ever had
	broken bool   // a write failed: what stands behind head.end is no frame
	buf    []byte

	written atomic.Uint64 // marks
	synced  atomic.Uint64

	mu      sync.Mutex
	turn    sync.Cond // a sync has ended
	syncing bool
	waiting int            // callers that wait for one
	pending []*journalFile // may hold bytes that are not synced; oldest first
	failed  error          // of the first sync that failed: nothing is sure after it
}

// journalFile is a file as the appender sees it.
type journalFile struct {
	fileHeader
	f       vfs.File
	end     int64 // where the next frame goes; 0 if it is adopted
	adopted bool  // an earlier process wrote it
	named   bool  // the directory knows it for sure; of the syncing goroutine
}

// SyncInfo describes one fsync of the journal that served all who waited.
type SyncInfo struct {
	Took    time.Duration
	Bytes   int64 // written since the one before
	Waiters int   // callers it served, 0 for one that nobody waited for
	Err     error
}

func newJournal(fs vfs.FS, dir string, fileSize int64, observe func(SyncInfo)) *journal {
	j := &journal{fs: fs, dir: dir, fileSize: fileSize, observe: observe}
	j.turn.L = &j.mu
	return j
}

func (j *journal) path(number uint64) string { return j.fs.PathJoin(j.dir, fileName(number)) }

// large batches are written from where they are; smaller ones are copied behind
// the frame's header, for one write.
const large = 64 << 10

// append writes one frame: the operations in prefix and c, and the batches of c.
// It returns where its batches begin. After an error nothing has changed: the
// next frame begins a file that says where the one with the rest of this ends.
func (j *journal) append(prefix []byte, c *Commit) (at place, err error) {
	ops := len(prefix) + len(c.ops)
	length := ops + c.bytes
	if length > maxPayload {
		return place{}, fmt.Errorf("a write of %d bytes is larger than a frame may be", length)
	}
	if j.head == nil || j.broken || j.head.end >= j.fileSize {
		if err := j.rotate(); err != nil {
			return place{}, err
		}
	}
	h := j.head
	b := append(j.buf[:0], make([]byte, frameHeaderSize)...)
	b = append(append(b, prefix...), c.ops...)
	direct := len(c.batches)
	for i, batch := range c.batches {
		if len(batch) >= large {
			direct = i
			break
		}
		b = append(b, batch...)
	}
	crc := crc32.Checksum(b[frameHeaderSize:], castagnoli)
	for _, batch := range c.batches[direct:] {
		crc = crc32.Update(crc, castagnoli, batch)
	}
	frameHeader{
		length:     length,
		opsLength:  ops,
		synced:     Mark(j.synced.Load()),
		generation: h.generation,
		payloadCRC: crc,
	}.encode(b, place{h.number, h.end})
	if j.buf = b; cap(b) > 4<<20 {
		j.buf = nil
	}
	j.broken = true
	if err := writeAt(h.f, b, h.end); err != nil {
		return place{}, err
	}
	to := h.end + int64(len(b))
	for _, batch := range c.batches[direct:] {
		if err := writeAt(h.f, batch, to); err != nil {
			return place{}, err
		}
		to += int64(len(batch))
	}
	at = place{h.number, h.end + frameHeaderSize + int64(ops)}
	j.broken = false
	h.end = to
	j.written.Add(uint64(frameHeaderSize + length))
	return at, nil
}

func writeAt(f vfs.File, b []byte, at int64) error {
	n, err := f.WriteAt(b, at)
	if err == nil && n != len(b) {
		err = fmt.Errorf("wrote %d of %d bytes", n, len(b))
	}
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// end is where the next frame belongs.
func (j *journal) end() place {
	if j.head != nil {
		return place{j.head.number, j.head.end}
	}
	return j.last
}

// rotate begins a new file. Neither it nor the one before is synced here: a sync
// takes all that are not, in order, and until then the new one is part of the
// suffix that a power cut may take.
func (j *journal) rotate() (err error) {
	prev := j.end()
	h := fileHeader{
		number:     j.number + 1,
		generation: rand.Uint64(),
		start:      Mark(j.written.Load()),
		prev:       prev.file,
		prevEnd:    prev.offset,
	}
	name := j.path(h.number)
	if err := j.fs.Remove(name); err != nil && !oserror.IsNotExist(err) {
		return fmt.Errorf("begin journal file: %w", err)
	}
	f, err := j.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("begin journal file: %w", err)
	}
	if err := writeAt(f, h.encode(), 0); err != nil {
		return errors.Join(err, f.Close())
	}
	j.number = h.number
	j.head = &journalFile{fileHeader: h, f: f, end: fileHeaderSize}
	j.broken = false
	j.mu.Lock()
	j.pending = append(j.pending, j.head)
	j.mu.Unlock()
	return nil
}

// sync returns when all that was written up to m is on the disk. Of those who
// wait one syncs for all.
func (j *journal) sync(m Mark) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting++
	for {
		if j.failed != nil || Mark(j.synced.Load()) >= m {
			j.waiting--
			return j.failed
		}
		if j.syncing {
			j.turn.Wait()
			continue
		}
		j.lead(j.waiting)
	}
}

// flush syncs all that is written, for nobody in particular.
func (j *journal) flush() error {
	m := Mark(j.written.Load())
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.failed == nil && Mark(j.synced.Load()) < m {
		if j.syncing {
			j.turn.Wait()
			continue
		}
		j.lead(j.waiting)
	}
	return j.failed
}

// lead does one sync, without the lock that it is called with.
func (j *journal) lead(waiters int) {
	j.syncing = true
	// The mark first: what it covers is in the files that are pending after it.
	m := j.written.Load()
	from := j.synced.Load()
	files := append([]*journalFile(nil), j.pending...)
	j.mu.Unlock()
	began := time.Now()
	err := j.syncFiles(files, Mark(from), Mark(m))
	took := time.Since(began)
	j.mu.Lock()
	s := SyncInfo{Took: took, Bytes: int64(m - j.synced.Load()), Waiters: waiters, Err: err}
	if err != nil {
		// What the system had in memory for the disk may be gone from both.
		j.failed = fmt.Errorf("sync journal: %w", err)
	} else {
		j.synced.Store(m)
		if n := len(files); n > 1 {
			// Nothing was written any more to all but the last.
			for _, f := range files[:n-1] {
				_ = f.f.Close() // synced
			}
			j.pending = append([]*journalFile(nil), j.pending[n-1:]...)
		}
	}
	j.syncing = false
	j.turn.Broadcast()
	if j.observe != nil {
		j.observe(s)
	}
}

// syncFiles syncs files, which hold what was written between two marks.
func (j *journal) syncFiles(files []*journalFile, from, to Mark) error {
	for i, f := range files {
		if f.adopted {
			end := to
			if i+1 < len(files) {
				end = files[i+1].start
			}
			if err := j.renew(f, from, end); err != nil {
				return err
			}
		}
		if err := f.f.SyncData(); err != nil {
			return err
		}
	}
	if n := len(files); n == 0 || files[n-1].named {
		return nil
	}
	if err := syncDir(j.fs, j.dir); err != nil {
		return err
	}
	for _, f := range files {
		f.named = true
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// firstPending returns the first file that may hold bytes that are not synced. It
// is called by the appender.
func (j *journal) firstPending() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.pending) == 0 {
		return j.number + 1
	}
	return j.pending[0].number
}

// failure is why nothing can be made sure any more, or nil.
func (j *journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}

// close lets go of the files.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.syncing {
		j.turn.Wait()
	}
	var err error
	for _, f := range j.pending {
		err = errors.Join(err, f.f.Close())
	}
	j.pending, j.head = nil, nil
	return err
}

// begin sets where the journal goes on: what is before it is synced.
func (j *journal) begin(a applied) {
	j.last = a.at
	j.number = a.at.file
	j.written.Store(uint64(a.mark))
	j.synced.Store(uint64(a.mark))
}

// adopt takes a file of an earlier process, which may not be synced.
func (j *journal) adopt(h fileHeader) error {
	f, err := j.fs.OpenReadWrite(j.path(h.number), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	j.mu.Lock()
	j.pending = append(j.pending, &journalFile{fileHeader: h, f: f, adopted: true})
	j.mu.Unlock()
	return nil
}

// reached is append for a frame that stands there already, and knew as synced
// what is before a mark.
func (j *journal) reached(a applied, synced Mark) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last = a.at
	j.written.Store(uint64(a.mark))
	if synced := min(synced, a.mark); uint64(synced) > j.synced.Load() {
		j.synced.Store(uint64(synced))
	}
}
