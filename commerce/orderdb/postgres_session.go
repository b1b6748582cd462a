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
	cfg  *pgx.ConnConfig
	log  *slog.Logger
	life context.Context // ends with the database

	turn chan struct{} // has an element while somebody uses conn
	conn *pgx.Conn     // nil if there is none
	work sync.WaitGroup

	mu     sync.Mutex // never held while the server is asked
	held   map[int]*postgresLock
	closed bool
}

const (
	// sessionTime bounds every question to the session: how long a broken network
	// may go unnoticed, with the second between two questions.
	sessionTime = 2 * time.Second
	// releaseTime is how long Release waits for the server to hear of it.
	releaseTime = 500 * time.Millisecond
)

func newSession(life context.Context, cfg *pgx.ConnConfig, log *slog.Logger) *session {
	return &session{cfg: cfg, log: log, life: life, turn: make(chan struct{}, 1), held: make(map[int]*postgresLock)}
}

// watch asks every second whether the connection lives, until the database is
// closed.
func (s *session) watch() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.life.Done():
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
			s.work.Wait()
			s.drop()
			return
		case <-tick.C:
		}
		_ = s.use(s.life, func(ctx context.Context) error {
			if s.conn == nil {
				return nil
			}
			return s.ask(ctx, func(ctx context.Context) error { return s.conn.Ping(ctx) })
		}) // ask has dealt with it
	}
}

// use runs f when it has its turn at the connection, and waits for it until ctx
// ends; f goes on then. The caller's context must not reach the connection: what
// is cut off breaks it, and with it all locks.
func (s *session) use(ctx context.Context, f func(context.Context) error) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return unavailable(errClosed)
	}
	done := make(chan error, 1)
	s.work.Go(func() {
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		ctx, cancel := context.WithTimeout(s.life, sessionTime)
		defer cancel()
		done <- f(ctx)
	})
	s.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return unavailable(fmt.Errorf("gave up waiting for the connection for locks: %w", ctx.Err()))
	}
}

// ask uses the connection, opened if there is none. After an error it is gone,
// and with it all locks.
func (s *session) ask(ctx context.Context, f func(context.Context) error) (err error) {
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
	if err := f(ctx); err != nil {
		if n := s.drop(); n > 0 && s.life.Err() == nil {
			s.log.Warn("connection for outbox locks lost", "locks", n, "error", err)
		}
		return unavailable(err)
	}
	return nil
}

// drop ends the connection, and says how many locks are lost by it.
func (s *session) drop() (lost int) {
	s.mu.Lock()
	lost = len(s.held)
	for shard, l := range s.held {
		close(l.lost)
		delete(s.held, shard)
	}
	s.mu.Unlock()
	if s.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), sessionTime)
		defer cancel()
		_ = s.conn.Close(ctx) // it may be broken already
		s.conn = nil
	}
	return lost
}

// holds says whether it holds any shard.
func (s *session) holds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held) > 0
}

// postgresLock is a shard held by the session.
type postgresLock struct {
	s        *session
	shard    int
	lost     chan struct{}
	released bool // guarded by s.mu: nobody wants it, even if it is to come yet
}

func (d *postgresDB) Hold(ctx context.Context, shard int) (Lock, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, unavailable(err)
	}
	s, ok := d.session, false
	l := &postgresLock{s: s, shard: shard, lost: make(chan struct{})}
	err := s.use(ctx, func(ctx context.Context) error {
		s.mu.Lock()
		// Asked by the one who holds it, the server would say yes.
		pointless := l.released || s.held[shard] != nil
		s.mu.Unlock()
		if pointless {
			return nil
		}
		return s.ask(ctx, func(ctx context.Context) error {
			if err := s.conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, $2)`, lockClass, shard).Scan(&ok); err != nil || !ok {
				return err
			}
			s.mu.Lock()
			unwanted := l.released
			if !unwanted {
				s.held[shard] = l
			}
			s.mu.Unlock()
			if unwanted {
				return s.unlock(ctx, shard)
			}
			return nil
		})
	})
	switch {
	case err == nil:
		return l, ok, nil
	case ctx.Err() != nil:
		l.Release() // the server may give it to us yet
	}
	return nil, false, err
}

func (l *postgresLock) Lost() <-chan struct{} { return l.lost }

// Release waits a little until the server knows of it: nothing depends on that
// but how soon somebody else may have the shard.
func (l *postgresLock) Release() {
	s := l.s
	s.mu.Lock()
	l.released = true
	ours := s.held[l.shard] == l
	s.mu.Unlock()
	if !ours {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	_ = s.use(ctx, func(ctx context.Context) error {
		s.mu.Lock()
		ours := s.held[l.shard] == l
		if ours {
			delete(s.held, l.shard)
		}
		s.mu.Unlock()
		if !ours {
			return nil
		}
		return s.ask(ctx, func(ctx context.Context) error { return s.unlock(ctx, l.shard) })
	}) // if it fails the connection is gone, and the lock with it
}

func (s *session) unlock(ctx context.Context, shard int) error {
	_, err := s.conn.Exec(ctx, `SELECT pg_advisory_unlock($1, $2)`, lockClass, shard)
	return err
}

// Leave ends the session: the next Hold begins another.
func (d *postgresDB) Leave(ctx context.Context) error {
	return d.session.use(ctx, func(context.Context) error {
		d.session.drop()
		return nil
	})
}

// Relays counts the sessions that take part.
func (d *postgresDB) Relays(ctx context.Context) (int, error) {
	n, _, err := postgresRow(ctx, d, func(scan func(...any) error) (n int, err error) {
		err = scan(&n)
		return n, err
	}, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND classid = $1 AND objid = $2 AND objsubid = 2 AND granted`, uint32(lockClass), uint32(1<<32-1))
	d.relays.Store(int64(n)) // 0 after an error: unknown
	return n, err
}
