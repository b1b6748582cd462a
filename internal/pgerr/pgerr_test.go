package pgerr

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestPassing(t *testing.T) {
	for code, want := range map[string]bool{
		"08006": true, "25006": true, "40001": true, "40P01": true, "53100": true, "55P03": true, "57P01": true, "58030": true,
		"22P02": false, "23505": false, "28P01": false, "42P01": false, "XX000": false, "XX001": false, "XX002": false, "": false,
	} {
		if got := Passing(fmt.Errorf("write: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("SQLSTATE %q passes: %v, want %v", code, got, want)
		}
	}
	if Passing(nil) || Passing(errors.New("connection reset")) {
		t.Error("what the server did not say passes")
	}
}

// TestPassingConnection has a server refuse connections.
func TestPassingConnection(t *testing.T) {
	for code, want := range map[string]bool{"XX000": true, "53300": true, "57P03": true, "XX001": false, "XX002": false, "28P01": false} {
		_, err := pgconn.Connect(t.Context(), "postgres://u@"+refuses(t, code)+"/d?sslmode=disable")
		if err == nil {
			t.Fatalf("SQLSTATE %s: connected", code)
		}
		if got := Passing(fmt.Errorf("open: %w", err)); got != want {
			t.Errorf("SQLSTATE %s passes: %v, want %v (%v)", code, got, want, err)
		}
	}
}

// refuses is the address of a server that answers one connection with an error.
func refuses(t *testing.T, code string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b := pgproto3.NewBackend(conn, conn)
		if _, err := b.ReceiveStartupMessage(); err != nil {
			t.Error(err)
			return
		}
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: "refused"})
		if err := b.Flush(); err != nil {
			t.Error(err)
		}
	}()
	return l.Addr().String()
}
