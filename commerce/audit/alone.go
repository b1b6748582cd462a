package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// lockAudit is the advisory lock of who audits: not of the class that package
// orderdb uses.
const lockAudit = 0x636d7074_61756474

// alone holds what only one of several auditors of a database can hold. The lock
// belongs to a session of PostgreSQL and goes with it, when its process dies or
// the connection does. That two believe for a moment that they hold it does no
// harm: each keeps facts of its own and changes nothing.
type alone struct{ conn *sql.Conn }

// alone takes the lock, nil if another one has it. A SQLite database is in a
// folder that one process alone uses: nothing is to be locked.
func (d *SQLDatabase) alone(ctx context.Context) (*alone, error) {
	if !d.postgres {
		return &alone{}, nil
	}
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("order database: %w", err)
	}
	var ours bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lockAudit)).Scan(&ours); err != nil {
		return nil, errors.Join(fmt.Errorf("order database: lock: %w", err), conn.Close())
	}
	if !ours {
		return nil, conn.Close()
	}
	return &alone{conn}, nil
}

// held is nil as long as the session is there.
func (a *alone) held(ctx context.Context) error {
	if a.conn == nil {
		return nil
	}
	if err := a.conn.PingContext(ctx); err != nil {
		return fmt.Errorf("%w: the session of the lock ended: %w", errNotOurs, err)
	}
	return nil
}

// close ends it; the lock goes with the session when the database is closed.
func (a *alone) close() error {
	if a.conn == nil {
		return nil
	}
	return a.conn.Close()
}
