// Package store keeps the embedded broker's data: the record batches of
// partitions and the keys of the broker's state. One append-only journal is the
// only log, and a Pebble database without a log of its own is its index.
//
// It owns all files of its directory, and what a crash, a full disk, a failed
// write or a damaged byte mean for them. It knows nothing of topics, groups,
// transactions or the protocol, and looks into no record.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Mode says what Sync waits for.
type Mode byte

const (
	// SyncCommit waits until what was written is on the disk.
	SyncCommit Mode = iota
	// SyncInterval waits for nothing: the journal is synced at intervals, and a
	// power cut may take what was written within the last one.
	SyncInterval
)

// Options of Open.
type Options struct {
	FS       vfs.FS         // Defaults to vfs.Default.
	Dir      string         // The store's own; made if it is missing. Nobody else may have it open.
	Sync     Mode           // Defaults to SyncCommit.
	Interval time.Duration  // The longest time that anything stays unsynced. Defaults to 100 ms.
	FileSize int64          // A journal file of so many bytes is followed by a new one. Defaults to 64 MiB.
	Cached   int64          // The system keeps the journal's last so many bytes in memory, if it has some free. Defaults to 1 GiB.
	BootID   string         // Differs after every start of the machine. Empty is unknown.
	LowSpace uint64         // Writes are refused while the disk has fewer bytes free. Defaults to 0.
	Reserve  uint64         // Bytes of the disk that are kept for deletions and a start while it is full. Defaults to 0.
	Logger   *slog.Logger   // Defaults to none.
	OnSync   func(SyncInfo) // Called after each fsync of the journal, from any goroutine; it must be quick.
}

// Store is an open directory. Write and Close belong to one goroutine at a time;
// all else is safe for concurrent use.
type Store struct {
	opts    Options
	journal *journal
	index   *index
	handles *handles
	view    view
	log     *slog.Logger

	clean     bool
	powerLost bool

	mu      sync.Mutex // of what changes: Write and the background
	applier *applier
	begun   bool // a frame with our session is written
	durable applied
	flush   bool // asked Pebble to
	closed  bool
	prefix  []byte
	pins    int // backups that need all files
	frames  int64
	began   Mark // the process

	room    room
	reserve *reserve

	// Of the sweeper.
	looked    uint64 // the first file that was not synced when letGo looked last
	forgotten uint64 // by the system, up to this file

	failed atomic.Pointer[error]
	wake   chan struct{}
	tidy   chan struct{}
	stop   chan struct{}
	done   sync.WaitGroup
}

// room is what is known of the free space.
type room struct {
	mu     sync.Mutex
	looked time.Time
	err    error
}

// ErrClosed is returned after Close.
var ErrClosed = errors.New("store is closed")

// Open opens the store in a directory, whatever state a crash left it in: all
// that was synced is there, and of the rest what was written before some moment.
// It returns a *DamageError when something synced is not.
func Open(o Options) (*Store, error) { return open(o, true) }

// open without the background is for tests that decide themselves what happens
// when.
func open(o Options, background bool) (_ *Store, err error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Interval <= 0 {
		o.Interval = 100 * time.Millisecond
	}
	if o.FileSize <= 0 {
		o.FileSize = 64 << 20
	}
	if o.Cached <= 0 {
		o.Cached = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{opts: o, log: o.Logger, wake: make(chan struct{}, 1), tidy: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.journal = newJournal(o.FS, o.Dir, o.FileSize, o.OnSync)
	s.handles = newHandles(o.FS, s.journal.path)
	s.reserve = newReserve(o)
	if free, ok := s.Space(); ok && free < o.Reserve {
		s.reserve.give() // a start writes a little, and not only ours
	}
	fs := newIndexFS(o.FS, o.FS.PathJoin(o.Dir, "index"), s.journal.flush, s.fail)
	fs.makeRoom = s.reserve.give
	if s.index, err = openIndex(fs, s.log, false); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.release())
	}
	if background {
		s.done.Go(s.background)
		s.done.Go(s.sweeper)
	}
	return s, nil
}

// makeDir makes the directory and has its parent know it for sure, which the
// process that made it may not have come to.
func makeDir(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(dir))
}

// recover loads what the index holds and brings the rest of the journal into it.
func (s *Store) recover() error {
	a := newApplier(s.index)
	s.applier = a
	if err := a.load(); err != nil {
		return err
	}
	from := applied{}
	if v, ok, err := s.index.get(keyApplied); err != nil {
		return err
	} else if ok {
		if from, err = decodeApplied(v); err != nil {
			return err
		}
	}
	last, err := s.session()
	if err != nil {
		return err
	}
	numbers, err := listFiles(s.opts.FS, s.opts.Dir)
	if err != nil {
		return err
	}
	s.journal.begin(from)
	r := &recovery{
		fs: s.opts.FS, dir: s.opts.Dir,
		apply: func(f *frame) error {
			// What a table of the index may hold is synced before it is begun.
			s.journal.reached(f.end, f.synced)
			return a.apply(f)
		},
		read: s.journal.adopt,
		strict: func() (bool, error) {
			now, err := s.session()
			return now.bootID != "" && now.bootID == s.opts.BootID, err
		},
	}
	t, err := r.run(from, numbers)
	if err != nil {
		return err
	}
	if err := s.settle(t, from, numbers); err != nil {
		return err
	}
	if last, err = s.session(); err != nil {
		return err
	}
	s.clean = last.clean
	s.powerLost = !last.clean && (last.bootID == "" || last.bootID != s.opts.BootID)
	s.view.load(a.rows)
	s.durable, s.began = from, s.Written()
	return nil
}

// settle takes away what the recovery left out, and files that were to be
// removed when the last process ended.
func (s *Store) settle(t tail, from applied, numbers []uint64) error {
	if t.torn != nil || len(t.left) > 0 {
		s.log.Warn("left out the unsynced end of the journal",
			"file", s.journal.path(t.end.at.file), "offset", t.end.at.offset, "bytes", t.lost, "files", len(t.left))
	}
	remove := t.left
	there := map[uint64]bool{}
	for _, n := range numbers {
		there[n] = true
		s.journal.number = max(s.journal.number, n)
		if _, ok := s.applier.files[n]; n < from.at.file && !ok {
			remove = append(remove, n)
		}
	}
	for n, r := range s.applier.files {
		s.journal.number = max(s.journal.number, n)
		if there[n] {
			continue
		}
		if r.live > 0 {
			return &DamageError{s.journal.path(n), 0, errors.New("the file is missing")}
		}
		delete(s.applier.files, n)
		if err := s.index.db.Delete(fileKey(n), pebble.NoSync); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	for _, n := range remove {
		if err := s.opts.FS.Remove(s.journal.path(n)); err != nil {
			return fmt.Errorf("remove left journal file: %w", err)
		}
	}
	return nil
}

func (s *Store) session() (session, error) {
	v, ok, err := s.index.get(keySession)
	if err != nil {
		return session{}, err
	}
	if !ok || len(v) == 0 {
		return session{clean: true}, nil // a new store
	}
	return session{bootID: string(v[1:]), clean: v[0] == 1}, nil
}

// Write makes a commit exist, all or nothing. When it returns, readers see it, and
// a crash of the process loses nothing of it; Sync makes it safe from a power
// cut, as the first Write of a process does itself. After an error nothing of it
// exists, except that after a start it may. c can be used again after Reset.
func (s *Store) Write(c *Commit) (Mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.err != nil {
		return 0, fmt.Errorf("write: %w", c.err)
	}
	if err := s.writable(c); err != nil {
		return 0, err
	}
	prefix := s.prefix[:0]
	if c.looks {
		prefix = append(prefix, 1)
	} else {
		prefix = append(prefix, 0)
	}
	if !s.begun {
		prefix = appendSession(prefix, s.opts.BootID, false)
	}
	m, err := s.write(prefix, c)
	if err != nil {
		return 0, err
	}
	if !s.begun {
		// A power cut that takes all that this process wrote must not leave the
		// store as if none had been.
		if err := s.journal.sync(m); err != nil {
			return 0, fmt.Errorf("write: %w", err)
		}
		s.begun = true
	}
	return m, nil
}

// write is called with the lock.
func (s *Store) write(prefix []byte, c *Commit) (Mark, error) {
	s.prefix = prefix
	if err := s.index.throttle(len(c.ops)); err != nil {
		return 0, err
	}
	at, err := s.journal.append(prefix, c)
	if err != nil && c.urgent && noRoom(err) && s.reserve.give() {
		at, err = s.journal.append(prefix, c)
	}
	if err != nil {
		s.room.refuse(err)
		return 0, fmt.Errorf("write: %w", err)
	}
	s.frames++
	head := s.journal.head
	m := Mark(s.journal.written.Load())
	f := frame{
		head: head.fileHeader,
		ops:  append(prefix, c.ops...),
		list: c.batches,
		at:   at,
		end:  applied{place{head.number, head.end}, m},
	}
	s.prefix = f.ops[:0]
	if err := s.applier.apply(&f); err != nil {
		s.fail(err)
		return 0, err
	}
	s.view.publish(s.applier.rows, s.applier.moved, s.applier.edits)
	if err := s.advance(m); err != nil {
		s.fail(err) // of the next write: this one is done
	}
	return m, nil
}

// unflushed bounds the journal that a start reads again.
const unflushed = 32 << 20

// advance has the index written to the disk from time to time, and wakes the
// background when there is much to sync.
func (s *Store) advance(m Mark) error {
	if s.index.flushed.CompareAndSwap(true, false) {
		var err error
		if s.durable, err = s.index.durable(); err != nil {
			return err
		}
		s.flush = false
	}
	if !s.flush && m-s.durable.mark > unflushed {
		if _, err := s.index.db.AsyncFlush(); err != nil {
			return fmt.Errorf("flush index: %w", err)
		}
		s.flush = true
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// Sync returns when all that was written up to m is safe from a power cut, in
// mode SyncInterval at once. Callers that wait at the same time share one fsync.
// After an error nothing more can be written until the store is opened again.
func (s *Store) Sync(m Mark) error {
	if s.opts.Sync == SyncInterval {
		return s.journal.failure()
	}
	return s.journal.sync(m)
}

// Written returns the mark of the last Write.
func (s *Store) Written() Mark { return Mark(s.journal.written.Load()) }

// Synced returns the mark up to where all is safe from a power cut.
func (s *Store) Synced() Mark { return Mark(s.journal.synced.Load()) }

// Unclean tells whether the last process that wrote did not close the store.
func (s *Store) Unclean() bool { return !s.clean }

// PowerLost tells whether besides the machine was started anew since, or may have
// been: what was written but not synced can be missing. It stays true over
// further starts until a Write has been kept, so what follows from it belongs
// into the first.
func (s *Store) PowerLost() bool { return s.powerLost }

// Close syncs all and closes the store. What it wrote is safe if it returns nil.
// Reads must have ended before, and Read, Get and the like must not be called
// after it.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	s.mu.Unlock()
	s.done.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.failure()
	if err == nil && s.begun {
		_, err = s.write(appendSession([]byte{0}, s.opts.BootID, true), &Commit{})
	}
	if err == nil {
		err = s.journal.flush()
	}
	if err == nil && Mark(s.journal.written.Load()) > s.durable.mark {
		err = s.index.flush()
	}
	return errors.Join(err, s.release())
}

func (s *Store) release() error {
	return errors.Join(s.index.close(), s.journal.close(), s.handles.close())
}
