package orderdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/comptoir/comptoir/internal/lifecycle"
)

// sqliteDB is the database of one process. All writes go through one goroutine
// with one connection (sqlite_writer.go); readers have connections of their own
// and do not wait for it.
type sqliteDB struct {
	path   string
	shards int
	log    *slog.Logger
	m      *metrics

	read  *sql.DB
	reads sqliteReads
	write *sql.DB

	queue *queue
	tasks chan *task
	woken broadcast

	mu   sync.Mutex
	held map[int]*sqliteLock

	closing  context.Context
	stop     context.CancelFunc
	done     sync.WaitGroup
	closeErr error
	once     sync.Once
}

// sqliteApplication marks our files: "cmpt".
const sqliteApplication = 0x636d7074

func openSQLite(ctx context.Context, cfg Config) (DB, error) {
	d := &sqliteDB{path: cfg.URL, log: cfg.Logger, queue: newQueue(), tasks: make(chan *task), held: make(map[int]*sqliteLock)}
	d.closing, d.stop = context.WithCancel(context.Background())
	if err := d.open(ctx, cfg.Shards); err != nil {
		d.stop()
		d.closeFiles()
		return nil, fmt.Errorf("open order database %s: %w", cfg.URL, classifySQLite(err))
	}
	d.m = newMetrics(cfg.Registerer, d.Pending)
	return d, nil
}

func (d *sqliteDB) open(ctx context.Context, shards int) (err error) {
	dsn := func(pragmas ...string) string {
		q := url.Values{"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...), "_txlock": {"immediate"}}
		return "file:" + (&url.URL{Path: d.path}).EscapedPath() + "?" + q.Encode()
	}
	// A foreign file must not be changed, not even its journal mode. Caches take
	// about twice what they are told, since a page with its header needs a slot of
	// 8 KiB; what they lack is in the system's.
	if d.write, err = sql.Open("sqlite", dsn("cache_size(-8192)")); err != nil {
		return err
	}
	d.write.SetMaxOpenConns(1)
	if err := migrateSQLite(ctx, d.write, shards); err != nil {
		return err
	}
	var text string
	if err := d.write.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'shards'`).Scan(&text); err != nil {
		return err
	}
	if d.shards, err = strconv.Atoi(text); err != nil || d.shards < 1 {
		return fmt.Errorf("its number of shards is %q", text)
	}
	if d.read, err = sql.Open("sqlite", dsn("query_only(1)", "cache_size(-1024)")); err != nil {
		return err
	}
	d.read.SetMaxOpenConns(8)
	d.read.SetMaxIdleConns(8)
	if err := d.reads.prepare(ctx, d.read); err != nil {
		return err
	}
	conn, err := d.write.Conn(ctx)
	if err != nil {
		return err
	}
	w, err := newSQLiteWriter(ctx, conn, d.shards)
	if err != nil {
		_ = conn.Close()
		return err
	}
	d.done.Go(func() { d.work(w) })
	return nil
}

// migrateSQLite brings the file to the newest version. The write lock makes
// several at once wait for each other.
func migrateSQLite(ctx context.Context, db *sql.DB, shards int) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), `ROLLBACK`) }() // nothing to do after a commit
	var application, version, tables int
	if err := conn.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`).Scan(&application, &version, &tables); err != nil {
		return err
	}
	steps := migrations("sqlite")
	switch {
	case application != sqliteApplication && tables > 0:
		return errors.New("it is a SQLite file of another program: choose another path")
	case version > len(steps):
		return errNewer("it", version, len(steps))
	}
	for ; version < len(steps); version++ {
		if _, err := conn.ExecContext(ctx, steps[version]); err != nil {
			return fmt.Errorf("migration %d: %w", version+1, err)
		}
	}
	if _, err := conn.ExecContext(ctx, `INSERT INTO meta (name, value) VALUES ('shards', ?) ON CONFLICT DO NOTHING`, strconv.Itoa(shards)); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`, sqliteApplication, version)); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `COMMIT`); err != nil {
		return err
	}
	// SQLite does not wait by itself while another one is about the same.
	for wait := time.Millisecond; ; wait *= 2 {
		_, err = conn.ExecContext(ctx, `PRAGMA journal_mode = WAL`)
		var se *sqlite.Error
		if !errors.As(err, &se) || se.Code()&0xff != sqlite3.SQLITE_BUSY || wait > 2*time.Second {
			return err
		}
		if !lifecycle.Sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// classifySQLite marks what may pass, or be mended from outside.
func classifySQLite(err error) error {
	var se *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, sql.ErrConnDone):
		return unavailable(err)
	case !errors.As(err, &se):
		return err
	}
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOMEM:
		return unavailable(err)
	case sqlite3.SQLITE_FULL:
		return unavailable(fmt.Errorf("%w; free space on the disk", err))
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR:
		return unavailable(fmt.Errorf("%w; check the path, the file's rights and the disk", err))
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: choose another path", err)
	}
	return err
}

func (d *sqliteDB) Ping(ctx context.Context) error {
	var one int
	return classifySQLite(d.read.QueryRowContext(ctx, `SELECT 1 FROM meta LIMIT 1`).Scan(&one))
}

func (d *sqliteDB) Shards() int           { return d.shards }
func (d *sqliteDB) Wake() <-chan struct{} { return d.woken.wait() }

func (d *sqliteDB) Close() error {
	d.once.Do(func() {
		d.stop()
		d.done.Wait()
		d.mu.Lock()
		d.drop()
		d.mu.Unlock()
		d.m.close()
		d.closeErr = d.closeFiles()
	})
	return d.closeErr
}

func (d *sqliteDB) closeFiles() (err error) {
	if d.read != nil {
		err = d.read.Close()
	}
	if d.write != nil {
		// The last one to close writes the log into the file.
		err = errors.Join(err, d.write.Close())
	}
	return err
}

// sqliteLock is a shard held by this process, which is alone.
type sqliteLock struct {
	d     *sqliteDB
	shard int
	lost  chan struct{}
}

func (d *sqliteDB) Hold(ctx context.Context, shard int) (Lock, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, unavailable(err)
	}
	if d.closing.Err() != nil {
		return nil, false, unavailable(errClosed)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held[shard] != nil {
		return nil, false, nil
	}
	l := &sqliteLock{d: d, shard: shard, lost: make(chan struct{})}
	d.held[shard] = l
	return l, true, nil
}

func (l *sqliteLock) Lost() <-chan struct{} { return l.lost }

func (l *sqliteLock) Release() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.d.held[l.shard] == l {
		delete(l.d.held, l.shard)
	}
}

func (d *sqliteDB) Relays(context.Context) (int, error) { return 1, nil }

// Leave leaves nothing to anybody: there are no others.
func (d *sqliteDB) Leave(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
	return nil
}

// drop loses all locks.
func (d *sqliteDB) drop() {
	for shard, l := range d.held {
		close(l.lost)
		delete(d.held, shard)
	}
}

// now is when messages are marked as sent.
func now() int64 { return time.Now().UnixMilli() }
