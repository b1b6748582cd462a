package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/comptoir/comptoir/internal/lifecycle"
)

// FollowerMemory is about what a Follower holds in memory unless configured.
const FollowerMemory = 24 << 20

// FollowerShare is the share of one core that a Follower takes unless
// configured.
const FollowerShare = 0.05

// FollowerEvery is the time between a Follower's rounds unless configured.
const FollowerEvery = 5 * time.Second

// followerStuck is how long a Follower may stand still until it is unwell.
const followerStuck = 2 * time.Minute

// followerAgain is how long one that lost its lock tries hard to get it again: the
// others may have to read all anew.
const followerAgain = time.Minute

// FollowerConfig says what a Follower audits.
type FollowerConfig struct {
	// Config is as for Follow, but for Database and Archive, which the Follower
	// opens by itself, and for the defaults of Share, Memory and Every. Every is also
	// the time before it tries again what failed, and before one that waits asks
	// whether it may take over.
	Config
	// DatabaseAt is the order database, as OpenDatabase takes it. Required. Of
	// several Followers on one database in PostgreSQL one audits, the others
	// wait to take over; each has its own Dir.
	DatabaseAt string
	// ArchiveAt returns where the archive is now, as OpenArchive takes it with
	// ArchiveTable; empty: there is none to compare with. nil: never. A file
	// that does not exist yet is an archive without rows.
	ArchiveAt    func() string
	ArchiveTable string
}

// Follower audits for ever as a part of a running process, and disturbs none of
// the others: what fails is logged and tried again. Start it once; its methods
// may be called from any goroutine.
type Follower struct {
	cfg  FollowerConfig
	log  *slog.Logger
	stop context.CancelFunc
	done chan struct{}

	ours time.Time // when it last audited

	mu     sync.Mutex
	moved  time.Time // when the work last went on
	waits  bool      // another one audits
	err    error     // why it does not audit
	broken []string  // the invariants that are violated, and how often
}

// NewFollower prepares one.
func NewFollower(cfg FollowerConfig) *Follower {
	if cfg.Share == 0 {
		cfg.Share = FollowerShare
	}
	if cfg.Memory == 0 {
		cfg.Memory = FollowerMemory
	}
	if cfg.Every == 0 {
		cfg.Every = FollowerEvery
	}
	cfg.defaults()
	f := &Follower{cfg: cfg, log: cfg.Logger, moved: time.Now()}
	f.cfg.moved = func() {
		f.mu.Lock()
		f.moved = time.Now()
		f.mu.Unlock()
	}
	return f
}

// Start begins in the background and never fails.
func (f *Follower) Start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop, f.done = cancel, make(chan struct{})
	go f.run(ctx)
	return nil
}

// Stop ends it within moments: what it has not judged it will judge when it is
// started again.
func (f *Follower) Stop(context.Context) error {
	if f.stop != nil {
		f.stop()
		<-f.done
	}
	return nil
}

// Health says why nothing is audited, if so. Where another one audits all is
// well.
func (f *Follower) Health() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return fmt.Errorf("the audit does not work: %w", f.err)
	}
	if still := time.Since(f.moved); still > followerStuck+f.cfg.Every {
		return fmt.Errorf("the audit has stood still for %s", still.Round(time.Second))
	}
	return nil
}

// Violated returns the invariants that were violated in all that was read, and
// how often: "payment-once (2)".
func (f *Follower) Violated() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.broken)
}

func (f *Follower) run(ctx context.Context) {
	defer close(f.done)
	for {
		err := f.audit(ctx)
		f.cfg.metrics.idle()
		if ctx.Err() != nil {
			return
		}
		again := f.cfg.Every
		switch {
		case errors.Is(err, errNotOurs):
			f.failed(nil, true)
			if time.Since(f.ours) < followerAgain {
				// Those who have no facts of this history yet ask less often.
				again /= 10
			}
		case errors.Is(err, errHistory), errors.Is(err, errStore) && !errors.Is(err, errOpen):
			// What was kept belongs to another history, to another version of this
			// program, or was damaged. The topics are the truth.
			f.log.Warn("audit begins anew", "folder", f.cfg.Dir, "error", err)
			if err := os.RemoveAll(f.cfg.Dir); err != nil {
				f.failed(fmt.Errorf("remove the facts of the audit: %w", err), false)
				break
			}
			f.failed(nil, false)
		default:
			f.failed(err, false)
		}
		if !lifecycle.Sleep(ctx, again) {
			return
		}
	}
}

// failed notes why nothing is audited, and logs what is new of it.
func (f *Follower) failed(err error, waits bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved = time.Now()
	if err != nil && f.err == nil {
		f.log.Error("audit does not work, tried again", "error", err)
	}
	if waits && !f.waits {
		f.log.Info("another instance audits")
	}
	f.err, f.waits, f.broken = err, waits, nil
}

// audit audits until ctx ends, something fails or another one has the lock.
func (f *Follower) audit(ctx context.Context) (err error) {
	db, err := OpenDatabase(ctx, f.cfg.DatabaseAt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	lock, err := db.alone(ctx)
	if err != nil {
		return err
	}
	if lock == nil {
		return errNotOurs
	}
	defer func() { err = errors.Join(err, lock.close()) }()
	archive := &laterArchive{at: f.cfg.ArchiveAt, table: f.cfg.ArchiveTable}
	defer func() { err = errors.Join(err, archive.close()) }()
	src, err := newKafka(f.cfg.Kafka, f.cfg.Memory)
	if err != nil {
		return err
	}
	defer src.close()
	cfg := f.cfg.Config
	cfg.Database, cfg.held = db, lock.held
	if f.cfg.ArchiveAt != nil {
		cfg.Archive = archive
	}
	f.log.Info("audit follows", "folder", cfg.Dir)
	cfg.metrics.following.Set(1)
	defer func() { f.ours = time.Now() }()
	return follow(ctx, cfg, src, f.told)
}

// told notes how a round ended.
func (f *Follower) told(r Report, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err, f.waits = err, false; err != nil {
		return
	}
	f.broken = f.broken[:0]
	for _, i := range r.Invariants {
		if i.Violations > 0 {
			f.broken = append(f.broken, fmt.Sprintf("%s (%d)", i.ID, i.Violations))
		}
	}
}

// laterArchive opens an archive when there is one.
type laterArchive struct {
	at    func() string
	table string

	where string // what is open
	*SQLArchive
}

// Rows implements Archive.
func (l *laterArchive) Rows(ctx context.Context, f func(func(string) (string, bool)) error) error {
	where := l.at()
	if where == "" {
		return errNoArchive
	}
	if where != l.where || l.SQLArchive == nil {
		if err := l.close(); err != nil {
			return err
		}
		archive, err := OpenArchive(ctx, where, l.table)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		l.SQLArchive, l.where = archive, where
	}
	return l.SQLArchive.Rows(ctx, f)
}

func (l *laterArchive) close() (err error) {
	if l.SQLArchive != nil {
		err = l.SQLArchive.Close()
		l.SQLArchive = nil
	}
	return err
}
