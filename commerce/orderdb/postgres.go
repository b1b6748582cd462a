package orderdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"

	"github.com/comptoir/comptoir/internal/pgerr"
)

const (
	// How long a call may take before the database counts as unavailable,
	// whatever the caller's context allows.
	connectTime = 2 * time.Second
	readTime    = 5 * time.Second
	writeTime   = 10 * time.Second
	// longTime is for what reads a whole table, or a large batch.
	longTime = 2 * time.Minute

	// committers is how many batches of submissions are under way at a time: one,
	// so that what comes meanwhile gathers and PostgreSQL has fewer to end; and the
	// other if that one takes longer than overtake, as it may wait for rows that
	// somebody else has locked.
	committers = 2
	overtake   = 20 * time.Millisecond
	// submitPace is the least time between two batches of submissions when several
	// come at a time, and submitBurst how many may come sooner: a transaction costs
	// the server about the same however few orders it has.
	submitPace  = 8 * time.Millisecond
	submitBurst = 5

	minPostgres = 15
)

// Advisory locks of the database, as (lockClass, number): shards are numbered
// from 0.
const (
	lockClass   = 0x636d7074
	lockMember  = -1 // shared by all who relay
	lockMigrate = -2
)

// postgresDB is the database of any number of processes.
type postgresDB struct {
	pool    *pgxpool.Pool
	shards  int
	log     *slog.Logger
	m       *metrics
	queue   *queue
	turn    chan struct{} // who holds its one element may take a batch of submissions
	pace    *rate.Limiter // of these
	last    int           // submissions of the last batch; of who has the turn
	woken   broadcast
	tell    chan struct{} // has one element if other instances are to be woken
	name    string        // of this instance, to know its own calls
	session *session
	relays  atomic.Int64 // as last counted; 0 if that is not known

	topicsMu sync.Mutex
	topics   map[string]int64

	closing context.Context
	stop    context.CancelFunc
	done    sync.WaitGroup
	once    sync.Once
}

func openPostgres(ctx context.Context, cfg Config) (DB, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		// The library's message leaves the password out.
		return nil, fmt.Errorf("--database is no PostgreSQL address such as postgres://user:password@host:5432/name: %w", err)
	}
	where := net.JoinHostPort(pc.ConnConfig.Host, strconv.Itoa(int(pc.ConnConfig.Port))) + "/" + pc.ConnConfig.Database
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = connectTime
	}
	pc.MaxConns = max(pc.MaxConns, 12)
	for name, value := range map[string]string{
		"application_name": "comptoir",
		"search_path":      "comptoir",
		// A table that has grown since a plan was made must not be read from its
		// start.
		"plan_cache_mode": "force_custom_plan",
		"jit":             "off",
		// An instance that died without a word must not keep its locks for long.
		"idle_in_transaction_session_timeout": "15s",
		"lock_timeout":                        "8s",
		"tcp_keepalives_idle":                 "2",
		"tcp_keepalives_interval":             "1",
		"tcp_keepalives_count":                "3",
		"tcp_user_timeout":                    "5000",
	} {
		if pc.ConnConfig.RuntimeParams[name] == "" {
			pc.ConnConfig.RuntimeParams[name] = value
		}
	}
	d := &postgresDB{log: cfg.Logger, queue: newQueue(), turn: make(chan struct{}, 1), pace: rate.NewLimiter(rate.Every(submitPace), submitBurst),
		tell: make(chan struct{}, 1), name: strconv.FormatUint(rand.Uint64(), 36), topics: make(map[string]int64)}
	d.closing, d.stop = context.WithCancel(context.Background())
	if d.pool, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return nil, fmt.Errorf("open order database %s: %w", where, err)
	}
	fail := func(err error) (DB, error) {
		d.stop()
		d.pool.Close()
		var connect *pgconn.ConnectError
		if errors.As(err, &connect) {
			return nil, classifyPostgres(fmt.Errorf("cannot reach the order database at %s: start PostgreSQL, or correct --database: %w", where, err))
		}
		return nil, classifyPostgres(fmt.Errorf("open order database %s: %w", where, err))
	}
	if d.shards, err = migratePostgres(ctx, d.pool, cfg.Shards); err != nil {
		return fail(err)
	}
	if err := d.loadTopics(ctx); err != nil {
		return fail(err)
	}
	d.session = newSession(d.closing, pc.ConnConfig.Copy(), cfg.Logger)
	d.done.Go(d.session.watch)
	d.done.Go(func() { d.listen(pc.ConnConfig.Copy()) })
	d.done.Go(d.notify)
	for range committers {
		d.done.Go(d.commit)
	}
	d.m = newMetrics(cfg.Registerer, d.Pending)
	return d, nil
}

// migratePostgres brings the database to the newest version and returns its
// number of shards. A lock makes several at once wait for each other.
func migratePostgres(ctx context.Context, pool *pgxpool.Pool, shards int) (int, error) {
	var text string
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var server string
		if err := tx.QueryRow(ctx, `SHOW server_version_num`).Scan(&server); err != nil {
			return err
		}
		if n, err := strconv.Atoi(server); err != nil || n < minPostgres*10000 {
			return &unfit{fmt.Errorf("the server is PostgreSQL %s, version %d or later is needed", server, minPostgres)}
		}
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '60s'`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, $2)`, lockClass, lockMigrate); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass('comptoir.versions') IS NOT NULL`).Scan(&there); err != nil {
			return err
		}
		if !there {
			// Simple protocol: several statements, of which none returns rows.
			if _, err := tx.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS comptoir; CREATE TABLE comptoir.versions (version integer PRIMARY KEY, since timestamptz NOT NULL DEFAULT now())`,
				pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("make schema comptoir (its user needs CREATE on the database): %w", err)
			}
		}
		var version int
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM versions`).Scan(&version); err != nil {
			return err
		}
		steps := migrations("postgres")
		if version > len(steps) {
			return &unfit{errNewer("schema comptoir", version, len(steps))}
		}
		for ; version < len(steps); version++ {
			if _, err := tx.Exec(ctx, steps[version], pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("migration %d: %w", version+1, err)
			}
			if _, err := tx.Exec(ctx, `INSERT INTO versions (version) VALUES ($1)`, version+1); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `INSERT INTO meta (name, value) VALUES ('shards', $1) ON CONFLICT DO NOTHING`, strconv.Itoa(shards)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT value FROM meta WHERE name = 'shards'`).Scan(&text)
	})
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, &unfit{fmt.Errorf("its number of shards is %q", text)}
	}
	return n, nil
}

// unfit is a database that we must not use.
type unfit struct{ error }

// classifyPostgres marks what may pass: everything but what the server says of
// a statement, of our rights or of damage.
func classifyPostgres(err error) error {
	var ours *unfit
	var answer *pgconn.PgError
	switch {
	case err == nil, errors.Is(err, ErrMoved), errors.As(err, &ours):
		return err
	case errors.As(err, &answer) && !pgerr.Passing(err):
		return err
	}
	return unavailable(err)
}

// again says whether a transaction failed because of others, and may be done
// again at once: nothing of it was done.
func again(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code == "40P01" || pe.Code == "40001"
	}
	return pgconn.SafeToRetry(err)
}

// transaction runs f in a transaction, again if others were in its way. The
// error is classified.
func (d *postgresDB) transaction(ctx context.Context, within time.Duration, f func(context.Context, pgx.Tx) error) error {
	return d.attempt(ctx, within, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error { return f(ctx, tx) })
	})
}

// attempt does the same for what is a transaction by itself.
func (d *postgresDB) attempt(ctx context.Context, within time.Duration, f func(context.Context) error) error {
	if d.closing.Err() != nil {
		return unavailable(errClosed)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := f(ctx)
		if err == nil || attempt == 5 || !again(err) {
			return classifyPostgres(err)
		}
	}
}

func (d *postgresDB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	return classifyPostgres(d.pool.Ping(ctx))
}

func (d *postgresDB) Shards() int           { return d.shards }
func (d *postgresDB) Wake() <-chan struct{} { return d.woken.wait() }

func (d *postgresDB) Close() error {
	d.once.Do(func() {
		d.stop()
		d.queue.close()
		d.done.Wait()
		d.m.close()
		d.pool.Close()
	})
	return nil
}
