package jdbc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/comptoir/comptoir/connect"
)

// sqliteStore keeps offsets and writes rows in a SQLite file.
//
// The file is in WAL mode with synchronous=NORMAL: a power cut may undo the
// last commits, but never part of one, and as the offsets are in it the records
// are read from Kafka again. So it costs no fsync per batch and loses nothing.
type sqliteStore struct {
	db *sql.DB
}

func openSQLite(path string) (*sqliteStore, error) {
	q := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// SQLite has one writer: a second connection would only wait for it.
	db.SetMaxOpenConns(1)
	return &sqliteStore{db: db}, nil
}

func (s *sqliteStore) close() { _ = s.db.Close() } // everything of worth is committed

// positional turns PostgreSQL's parameters into SQLite's.
func positional(query string) string { return strings.ReplaceAll(query, "$", "?") }

func classifySQLite(err error) error {
	if err == nil {
		return nil
	}
	var se *sqlite.Error
	if !errors.As(err, &se) {
		var bad *refused
		if errors.As(err, &bad) || errors.Is(err, connect.ErrFenced) || connect.IsRetriable(err) {
			return err
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return connect.Retriable(err)
		}
		return err
	}
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return &refused{err}
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_NOMEM:
		return connect.Retriable(err)
	case sqlite3.SQLITE_CANTOPEN:
		return connect.Retriable(fmt.Errorf("%w; create its folder, or correct connection.url", err))
	case sqlite3.SQLITE_FULL:
		return connect.Retriable(fmt.Errorf("%w; free space on the disk", err))
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_IOERR:
		return connect.Retriable(fmt.Errorf("%w; check the file's rights and disk", err))
	}
	if strings.Contains(se.Error(), "no such table") || strings.Contains(se.Error(), "no column named") {
		return connect.Retriable(fmt.Errorf("%w; the table was changed, it is looked at again", err))
	}
	return err
}

// inTx runs f in a transaction that has the write lock from its start.
func (s *sqliteStore) inTx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return classifySQLite(err)
	}
	defer func() { _ = tx.Rollback() }() // nothing to do after a commit
	if err := f(tx); err != nil {
		return classifySQLite(err)
	}
	if err := tx.Commit(); err != nil {
		return &uncertain{err}
	}
	return nil
}

// settled is inTx for work that may simply be done again.
func (s *sqliteStore) settled(ctx context.Context, f func(*sql.Tx) error) error {
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, createOffsets); err != nil {
			return err
		}
		return f(tx)
	})
	var unknown *uncertain
	if errors.As(err, &unknown) {
		return connect.Retriable(err)
	}
	return err
}

func (s *sqliteStore) assign(ctx context.Context, connector string, partitions []connect.Assignment) (map[connect.TopicPartition]owned, error) {
	out := make(map[connect.TopicPartition]owned, len(partitions))
	err := s.settled(ctx, func(tx *sql.Tx) error {
		for _, a := range partitions {
			var o owned
			if err := tx.QueryRowContext(ctx, positional(takeOver), connector, a.Topic, a.Partition, a.TopicID, a.Start, a.Earliest).Scan(&o.next, &o.epoch); err != nil {
				return err
			}
			out[a.TopicPartition] = o
		}
		return nil
	})
	return out, err
}

func (s *sqliteStore) offsets(ctx context.Context, connector string) (map[connect.TopicPartition]int64, error) {
	out := make(map[connect.TopicPartition]int64)
	err := s.settled(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, positional(listOffsets), connector)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var tp connect.TopicPartition
			var next int64
			if err := rows.Scan(&tp.Topic, &tp.Partition, &next); err != nil {
				return err
			}
			out[tp] = next
		}
		return rows.Err()
	})
	return out, err
}

func (s *sqliteStore) setOffsets(ctx context.Context, connector string, offsets map[connect.TopicPartition]int64) error {
	return s.settled(ctx, func(tx *sql.Tx) error {
		for tp, at := range offsets {
			var err error
			if at < 0 {
				_, err = tx.ExecContext(ctx, positional(forgetOffset), connector, tp.Topic, tp.Partition)
			} else {
				_, err = tx.ExecContext(ctx, positional(alterOffset), connector, tp.Topic, tp.Partition, at)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// describe reads a table's columns. SQLite has no schemas: dots of the name
// become underscores.
func (s *sqliteStore) describe(ctx context.Context, name string) (*table, error) {
	name = strings.ReplaceAll(name, ".", "_")
	if name == "" || strings.ContainsRune(name, 0) {
		return nil, errors.New("table.name.format gives no usable name")
	}
	rows, err := s.db.QueryContext(ctx, `SELECT name, type FROM pragma_table_info(?)`, name)
	if err != nil {
		return nil, classifySQLite(err)
	}
	defer func() { _ = rows.Close() }()
	var columns []column
	for rows.Next() {
		c := column{scale: -1}
		if err := rows.Scan(&c.name, &c.typ); err != nil {
			return nil, classifySQLite(err)
		}
		c.class = sqliteClass(c.typ)
		columns = append(columns, c)
	}
	return newTable("", name, columns), classifySQLite(rows.Err())
}

// sqliteClass follows SQLite's rules of affinity, with BOOLEAN set apart.
func sqliteClass(typ string) class {
	up := strings.ToUpper(typ)
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(up, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("BOOL"):
		return classBool
	case has("INT"):
		return classInteger
	case has("CHAR", "CLOB", "TEXT", "JSON", "DATE", "TIME", "UUID"):
		return classText
	case up == "" || has("BLOB"):
		return classBytes
	case has("REAL", "FLOA", "DOUB"):
		return classFloat
	}
	return classNumeric
}

func sqliteType(c cell) string {
	switch c.value.Type {
	case "int8", "int16", "int32", "int64":
		return "INTEGER"
	case "float", "float32", "double", "float64":
		return "REAL"
	}
	switch c.value.Kind {
	case connect.Bool:
		return "BOOLEAN"
	case connect.Bytes:
		return "BLOB"
	}
	// Numbers too: SQLite's own would round them to a float.
	return "TEXT"
}

func sqliteColumns(cells []cell) ([]string, error) {
	var out []string
	for _, c := range cells {
		if c.name == "" || strings.ContainsRune(c.name, 0) {
			return nil, &refused{fmt.Errorf("field %q cannot be a column's name", c.name)}
		}
		out = append(out, quote(c.name)+" "+sqliteType(c))
	}
	return out, nil
}

func (s *sqliteStore) create(ctx context.Context, t *table, cells []cell, keys int) error {
	columns, err := sqliteColumns(cells)
	if err != nil {
		return err
	}
	if keys > 0 {
		names := make([]string, keys)
		for i := range keys {
			columns[i] += " NOT NULL"
			names[i] = quote(cells[i].name)
		}
		columns = append(columns, "PRIMARY KEY ("+strings.Join(names, ", ")+")")
	}
	_, err = s.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+t.sql()+" ("+strings.Join(columns, ", ")+")")
	return classifySQLite(err)
}

// addColumns adds one at a time: SQLite knows no other way, and another task
// may have added some meanwhile.
func (s *sqliteStore) addColumns(ctx context.Context, t *table, cells []cell) error {
	columns, err := sqliteColumns(cells)
	if err != nil {
		return err
	}
	for _, c := range columns {
		if _, err := s.db.ExecContext(ctx, "ALTER TABLE "+t.sql()+" ADD COLUMN "+c); err != nil && !strings.Contains(err.Error(), "duplicate column name") {
			return classifySQLite(err)
		}
	}
	return nil
}

func (s *sqliteStore) bind(c *column, in cell) (any, error) {
	v := in.value
	if c.class == classBytes {
		if v.Kind == connect.Bytes {
			return []byte(v.Text), nil
		}
		return v.Text, nil // no affinity: text stays text
	}
	text, err := bindText(c, in)
	if err != nil {
		return nil, err
	}
	if c.class == classBool {
		if text == "true" {
			return int64(1), nil
		}
		return int64(0), nil
	}
	// A column with number affinity turns text of a number into one.
	return text, nil
}
