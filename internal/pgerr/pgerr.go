// Package pgerr tells what PostgreSQL says of itself from what it says of a
// statement. It must not know whose statement that was, nor decide what follows.
package pgerr

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// Passing reports whether err holds an answer of the server that the same
// request may not get later: it starts or stops, lacks a resource, is not the
// primary now, or another session was in the way. It is false for what stays
// until somebody acts, damaged data (XX001, XX002) among it, and for errors that
// hold no answer, as of a connection that broke.
func Passing(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return false
	}
	switch Class(answer) {
	case "08", "25", "40", "53", "55", "57", "58":
		return true
	}
	// A server without disk space answers new connections with an internal error.
	var connecting *pgconn.ConnectError
	return answer.Code == "XX000" && errors.As(err, &connecting)
}

// Class returns the class of an answer's SQLSTATE, its first two characters, or ""
// if the answer has none: what stands between us and the server may send anything.
func Class(answer *pgconn.PgError) string {
	if len(answer.Code) != 5 {
		return ""
	}
	return answer.Code[:2]
}
