package jdbc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comptoir/comptoir/connect"
	"github.com/comptoir/comptoir/internal/pgerr"
)

// postgres keeps offsets and writes rows in PostgreSQL. What it knows of
// tables stands in postgres_ddl.go.
type postgres struct {
	pool *pgxpool.Pool

	mu    sync.Mutex
	ready bool // _connect_offsets exists
}

func openPostgres(ctx context.Context, cfg *pgxpool.Config) (*postgres, error) {
	cfg = cfg.Copy()
	// One connection writes, the other takes partitions over meanwhile.
	cfg.MaxConns, cfg.MinConns = 2, 0
	params := cfg.ConnConfig.RuntimeParams
	setDefault := func(name, value string) {
		if params[name] == "" {
			params[name] = value
		}
	}
	setDefault("application_name", "comptoir-connect")
	// A task that died without a word must not hold its rows for long, and
	// waiting for someone else's lock must show in the status.
	setDefault("idle_in_transaction_session_timeout", "60s")
	setDefault("lock_timeout", "15s")
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return &postgres{pool: pool}, nil
}

func (p *postgres) close() { p.pool.Close() }

const createOffsets = `CREATE TABLE IF NOT EXISTS _connect_offsets (
	connector text NOT NULL, topic text NOT NULL, part int NOT NULL, topic_id text NOT NULL DEFAULT '',
	next_offset bigint NOT NULL, epoch bigint NOT NULL, PRIMARY KEY (connector, topic, part))`

// takeOver inserts a partition's row or raises its epoch. A topic id other than
// the stored one is a re-created topic, which is read from its start.
const takeOver = `INSERT INTO _connect_offsets AS o (connector, topic, part, topic_id, next_offset, epoch)
	VALUES ($1, $2, $3, $4, $5, 1)
	ON CONFLICT (connector, topic, part) DO UPDATE SET epoch = o.epoch + 1,
	next_offset = CASE WHEN o.topic_id = '' OR excluded.topic_id = '' OR o.topic_id = excluded.topic_id THEN o.next_offset ELSE $6 END,
	topic_id = CASE WHEN excluded.topic_id = '' THEN o.topic_id ELSE excluded.topic_id END
	RETURNING next_offset, epoch`

const alterOffset = `INSERT INTO _connect_offsets AS o (connector, topic, part, next_offset, epoch)
	VALUES ($1, $2, $3, $4, 1)
	ON CONFLICT (connector, topic, part) DO UPDATE SET epoch = o.epoch + 1, next_offset = excluded.next_offset`

const forgetOffset = `DELETE FROM _connect_offsets WHERE connector = $1 AND topic = $2 AND part = $3`

const listOffsets = `SELECT topic, part, next_offset FROM _connect_offsets WHERE connector = $1`

// ensure makes the offsets table once.
func (p *postgres) ensure(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready {
		return nil
	}
	var there bool
	if err := p.pool.QueryRow(ctx, `SELECT to_regclass('_connect_offsets') IS NOT NULL`).Scan(&there); err != nil {
		return classify(err)
	}
	if !there {
		if err := p.ddl(ctx, createOffsets); err != nil {
			return fmt.Errorf("create table _connect_offsets: %w", err)
		}
	}
	p.ready = true
	return nil
}

// ddl runs statements in one transaction, one task at a time: concurrent
// CREATE … IF NOT EXISTS can fail in PostgreSQL.
func (p *postgres) ddl(ctx context.Context, statements ...string) error {
	return classify(pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		const lock = 0x636f6d70746f6972 // "comptoir"
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(lock)); err != nil {
			return err
		}
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (p *postgres) assign(ctx context.Context, connector string, partitions []connect.Assignment) (map[connect.TopicPartition]owned, error) {
	if err := p.ensure(ctx); err != nil {
		return nil, err
	}
	out := make(map[connect.TopicPartition]owned, len(partitions))
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		for _, a := range sorted(partitions) {
			var o owned
			if err := tx.QueryRow(ctx, takeOver, connector, a.Topic, a.Partition, a.TopicID, a.Start, a.Earliest).Scan(&o.next, &o.epoch); err != nil {
				return err
			}
			out[a.TopicPartition] = o
		}
		return nil
	})
	return out, p.forget(classify(err))
}

// forget makes ensure look again if the offsets table is gone.
func (p *postgres) forget(err error) error {
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == "42P01" {
		p.mu.Lock()
		p.ready = false
		p.mu.Unlock()
	}
	return err
}

// sorted orders partitions, so that two tasks never wait for each other.
func sorted(partitions []connect.Assignment) []connect.Assignment {
	out := slices.Clone(partitions)
	slices.SortFunc(out, func(a, b connect.Assignment) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition - b.Partition)
	})
	return out
}

func (p *postgres) offsets(ctx context.Context, connector string) (map[connect.TopicPartition]int64, error) {
	if err := p.ensure(ctx); err != nil {
		return nil, err
	}
	rows, err := p.pool.Query(ctx, listOffsets, connector)
	if err != nil {
		return nil, classify(err)
	}
	out := make(map[connect.TopicPartition]int64)
	var tp connect.TopicPartition
	var next int64
	_, err = pgx.ForEachRow(rows, []any{&tp.Topic, &tp.Partition, &next}, func() error {
		out[tp] = next
		return nil
	})
	return out, classify(err)
}

func (p *postgres) setOffsets(ctx context.Context, connector string, offsets map[connect.TopicPartition]int64) error {
	if err := p.ensure(ctx); err != nil {
		return err
	}
	return classify(pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		for tp, at := range offsets {
			var err error
			if at < 0 {
				_, err = tx.Exec(ctx, forgetOffset, connector, tp.Topic, tp.Partition)
			} else {
				_, err = tx.Exec(ctx, alterOffset, connector, tp.Topic, tp.Partition, at)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// oneLine joins pgx's list of attempts.
var oneLine = strings.NewReplacer(":\n\t", ": ", "\n\t", "; ", "\n", " ")

// classify says what an error means for the runtime.
func classify(err error) error {
	if err == nil || errors.Is(err, connect.ErrFenced) {
		return err
	}
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		var bad *refused
		var unknown *uncertain
		var halt *stopped
		if errors.As(err, &bad) || errors.As(err, &unknown) || errors.As(err, &halt) || connect.IsRetriable(err) {
			return err
		}
		// Anything but an answer of the server is a connection that broke.
		return connect.Retriable(&explained{"PostgreSQL cannot be reached: " + oneLine.Replace(err.Error()) + "; start it, or correct connection.url", err})
	}
	if remedy, heals := remedies[pe.Code]; heals {
		return connect.Retriable(fmt.Errorf("%w; %s", err, remedy))
	}
	if pgerr.Passing(err) {
		return connect.Retriable(err)
	}
	switch pgerr.Class(pe) {
	case "28":
		return connect.Retriable(fmt.Errorf("%w; correct connection.user and connection.password", err))
	case "22", "23", "P0", "54":
		return &refused{err}
	}
	return err
}

// remedies are for errors that an operator repairs while the task waits.
var remedies = map[string]string{
	"3D000": "create the database, or correct connection.url",
	"42501": "grant the right to connection.user",
	"42P01": "the table was removed; it is looked for again",
	"42703": "the table was changed; it is looked at again",
	"3F000": "create the schema, or set auto.create=true",
	"25006": "the server is read-only; connect to the primary",
	"53100": "the server's disk is full; free space",
	"53300": "raise max_connections, or lower tasks.max",
	"57014": "a statement was cancelled or took too long",
	"55P03": "another session holds a lock on the table",
}

var hints = map[string]string{
	"23505": "a row with this key exists: set insert.mode=upsert to replace it",
	"23502": "the column must not be null: give it a default, or correct the producer",
	"23503": "the row refers to one that does not exist",
	"23514": "the row violates a check of the table",
	"22P02": "the text does not fit the column's type: change the type, or the producer",
	"22001": "the text is too long: widen the column",
	"22003": "the number is out of range: widen the column",
	"22007": "the text is no date or time: change the column's type, or the producer",
	"22008": "the date or time is out of range",
	"22021": "PostgreSQL cannot store the character U+0000: correct the producer",
	"22P05": "PostgreSQL cannot store the character U+0000: correct the producer",
}
