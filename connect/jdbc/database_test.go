package jdbc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/comptoir/comptoir/connect"
)

// database is a real one to test against, empty at first.
type database struct {
	name string
	// config are the connection options.
	config map[string]string
	// table is how a test names the table of topic factures.ecommerce.
	table string
	exec  func(statement string) error
	query func(query string) (string, error) // rows as text, one per line
}

// databases returns SQLite, and PostgreSQL if COMPTOIR_TEST_POSTGRES is its URL.
func databases(t *testing.T) []*database {
	t.Helper()
	return append([]*database{sqliteDatabase(t)}, postgresDatabase(t)...)
}

func sqliteDatabase(t *testing.T) *database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.db")
	s, err := openSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return &database{
		name: "sqlite", config: map[string]string{"connection.url": "jdbc:sqlite:" + path}, table: "factures_ecommerce",
		exec: func(statement string) error { _, err := s.db.ExecContext(t.Context(), statement); return err },
		query: func(query string) (string, error) {
			rows, err := s.db.QueryContext(t.Context(), query)
			if err != nil {
				return "", err
			}
			defer func() { _ = rows.Close() }()
			columns, err := rows.Columns()
			if err != nil {
				return "", err
			}
			var out []string
			for rows.Next() {
				cells := make([]sql.NullString, len(columns))
				into := make([]any, len(columns))
				for i := range cells {
					into[i] = &cells[i]
				}
				if err := rows.Scan(into...); err != nil {
					return "", err
				}
				line := make([]string, len(cells))
				for i, c := range cells {
					if line[i] = c.String; !c.Valid {
						line[i] = "-"
					}
				}
				out = append(out, strings.Join(line, "|"))
			}
			return strings.Join(out, "\n"), rows.Err()
		},
	}
}

// postgresURL is where the tests find PostgreSQL. In CI it must be given.
func postgresURL(t *testing.T) *url.URL {
	t.Helper()
	raw := os.Getenv("COMPTOIR_TEST_POSTGRES")
	if raw == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("COMPTOIR_TEST_POSTGRES is not set: CI must test PostgreSQL")
		}
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal("COMPTOIR_TEST_POSTGRES is no URL")
	}
	return u
}

// postgresDatabase makes a database of its own on the test server.
func postgresDatabase(t *testing.T) []*database {
	t.Helper()
	u := postgresURL(t)
	if u == nil {
		t.Log("PostgreSQL left out: COMPTOIR_TEST_POSTGRES is not set")
		return nil
	}
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, u.String())
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("comptoir_test_%d", time.Now().UnixNano())
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	own := *u
	own.Path = "/" + name
	conn, err := pgx.Connect(ctx, own.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close(ctx)
		if _, err := admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		_ = admin.Close(ctx)
	})
	password, _ := u.User.Password()
	return []*database{{
		name: "postgres", table: `factures.ecommerce`,
		config: map[string]string{"connection.url": "jdbc:postgresql://" + u.Host + "/" + name + "?sslmode=disable",
			"connection.user": u.User.Username(), "connection.password": password},
		exec: func(statement string) error { _, err := conn.Exec(ctx, statement); return err },
		query: func(query string) (string, error) {
			rows, err := conn.Query(ctx, query, pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				return "", err
			}
			defer rows.Close()
			var out []string
			for rows.Next() {
				var line []string
				for _, raw := range rows.RawValues() {
					if raw == nil {
						line = append(line, "-")
					} else {
						line = append(line, string(raw))
					}
				}
				out = append(out, strings.Join(line, "|"))
			}
			return strings.Join(out, "\n"), rows.Err()
		},
	}}
}

func (d *database) want(t *testing.T, query, want string) {
	t.Helper()
	got, err := d.query(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	if got != want {
		t.Errorf("%s gives\n%s\nwant\n%s", query, got, want)
	}
}

var errReported = errors.New("refused")

// bench is a sink on a database, with what it reported.
type bench struct {
	*sink
	tolerate bool
	reported []string
}

func (d *database) sink(t *testing.T, with map[string]string) *bench {
	t.Helper()
	config := map[string]string{"auto.create": "true"}
	for _, m := range []map[string]string{d.config, with} {
		for k, v := range m {
			config[k] = v
		}
	}
	values := connect.NewValues(options(), config)
	if errs := append(connect.Validate(options(), config), check(values)...); len(errs) > 0 {
		t.Fatal(errs)
	}
	b := &bench{}
	made, err := newSink(connect.TaskContext{Connector: "c", Values: values, Logger: slog.New(slog.DiscardHandler),
		Report: func(_ context.Context, r *connect.Record, cause error) error {
			b.reported = append(b.reported, fmt.Sprintf("%d: %v", r.Offset, cause))
			if b.tolerate {
				return nil
			}
			return errReported
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.sink = made.(*sink)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	return b
}

func assignment(id string, start int64) connect.Assignment {
	return connect.Assignment{TopicPartition: connect.TopicPartition{Topic: "factures.ecommerce"}, TopicID: id, Start: start}
}

func (b *bench) assign(t *testing.T, a connect.Assignment) int64 {
	t.Helper()
	next, err := b.Assign(t.Context(), []connect.Assignment{a})
	if err != nil {
		t.Fatal(err)
	}
	return next[a.TopicPartition]
}

// TestClassify: what the server says of itself is waited out; what it says of a
// value is the record's, and damage is neither's.
func TestClassify(t *testing.T) {
	for code, waits := range map[string]bool{"53100": true, "28P01": true, "22P02": false, "XX000": false, "XX001": false, "XX002": false, "": false, "2": false} {
		err := classify(fmt.Errorf("write: %w", &pgconn.PgError{Severity: "FATAL", Code: code}))
		if got := connect.IsRetriable(err); got != waits {
			t.Errorf("SQLSTATE %s: retriable %v, want %v", code, got, waits)
		}
	}
}

// TestCommitFailed: only what the server says of the transaction tells that it is
// rolled back.
func TestCommitFailed(t *testing.T) {
	for code, unknown := range map[string]bool{"40001": false, "23505": false, "53100": false, "57P01": true, "08006": true, "": true, "2": true} {
		err := commitFailed(fmt.Errorf("commit: %w", &pgconn.PgError{Severity: "FATAL", Code: code}))
		var u *uncertain
		if got := errors.As(err, &u); got != unknown {
			t.Errorf("SQLSTATE %q: outcome unknown %v, want %v", code, got, unknown)
		}
	}
	var u *uncertain
	if !errors.As(commitFailed(io.ErrUnexpectedEOF), &u) {
		t.Error("a connection that broke tells an outcome")
	}
}
