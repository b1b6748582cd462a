package orderdb

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// session is a connection of its own that holds the locks of this instance:
// PostgreSQL gives them free when the connection ends, however that happens. It
// is asked every second whether it lives. When it does not answer all locks are
// lost, and the next Hold opens another.
type session struct {
	cfg *pgx.ConnConfig
	log *slog.Logger

	mu     sync.Mutex
	conn   *pgx.Conn // nil if there is none
	held   map[int]*postgresLock
	closed bool
}

// sessionTime bounds every question to the session: how long a broken network
// may go unnoticed, with the second between two questions.
const sessionTime = 2 * time.Second

func newSession(cfg *pgx.ConnConfig, log *slog.Logger) *session {
	return &session{cfg: cfg, log: log, held: make(map[int]*postgresLock)}
}

// watch asks every second whether the connection lives, until ctx ends.
func (s *session) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.closed = true
			s.drop()
			s.mu.Unlock()
			return
		case <-tick.C:
		}
		s.mu.Lock()
		if s.conn != nil {
			_ = s.ask(func(ctx context.Context, c *pgx.Conn) error { return c.Ping(ctx) }) // ask has dealt with it
		}
		s.mu.Unlock()
	}
}

// ask uses the connection, opened if there is none. After an error it is gone,
// and with it all locks. The caller's context must not reach it: what is cut off
// breaks the connection.
func (s *session) ask(f func(context.Context, *pgx.Conn) error) (err error) {
	if s.closed {
		return unavailable(errClosed)
	}
	ctx, cancel := context.WithTimeout(context.Background(), sessionTime)
	defer cancel()
	if s.conn == nil {
		if s.conn, err = pgx.ConnectConfig(ctx, s.cfg); err != nil {
			s.conn = nil
			return unavailable(fmt.Errorf("open connection for locks: %w", err))
		}
		if _, err = s.conn.Exec(ctx, `SELECT pg_advisory_lock_shared($1, $2)`, lockClass, lockMember); err != nil {
			s.drop()
			return unavailable(fmt.Errorf("take part in relaying: %w", err))
		}
	}
	if err := f(ctx, s.conn); err != nil {
		if n := len(s.held); n > 0 {
			s.log.Warn("connection for outbox locks lost", "locks", n, "error", err)
		}
		s.drop()
		return unavailable(err)
	}
	return nil
}

// drop ends the connection.
func (s *session) drop() {
	for shard, l := range s.held {
		close(l.lost)
		delete(s.held, shard)
	}
	if s.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), sessionTime)
		defer cancel()
		_ = s.conn.Close(ctx) // it may be broken already
		s.conn = nil
	}
}

// postgresLock is a shard held by the session.
type postgresLock struct {
	s     *session
	shard int
	lost  chan struct{}
}

func (d *postgresDB) Hold(ctx context.Context, shard int) (Lock, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, unavailable(err)
	}
	s := d.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[shard] != nil {
		return nil, false, nil
	}
	var ok bool
	err := s.ask(func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, $2)`, lockClass, shard).Scan(&ok)
	})
	if err != nil || !ok {
		return nil, false, err
	}
	l := &postgresLock{s: s, shard: shard, lost: make(chan struct{})}
	s.held[shard] = l
	return l, true, nil
}

func (l *postgresLock) Lost() <-chan struct{} { return l.lost }

func (l *postgresLock) Release() {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[l.shard] != l {
		return
	}
	delete(s.held, l.shard)
	// If this fails the connection is gone, and the lock with it.
	_ = s.ask(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `SELECT pg_advisory_unlock($1, $2)`, lockClass, l.shard)
		return err
	})
}

// Relays counts the sessions that take part.
func (d *postgresDB) Relays(ctx context.Context) (int, error) {
	n, _, err := postgresRow(ctx, d, func(scan func(...any) error) (n int, err error) {
		err = scan(&n)
		return n, err
	}, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND classid = $1 AND objid = $2 AND objsubid = 2 AND granted`, uint32(lockClass), uint32(1<<32-1))
	return n, err
}
