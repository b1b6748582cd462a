package kclient

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quietFor is how long a message is not repeated.
const quietFor = 10 * time.Second

// Quiet returns a logger that writes each message at most once in ten seconds,
// whatever its attributes, and says how often it was left out. A dozen clients
// that cannot reach a broker would else fill the log with one line. It may be
// shared by all clients.
func Quiet(l *slog.Logger) *slog.Logger {
	return slog.New(&quiet{Handler: l.Handler(), said: &said{at: map[string]time.Time{}, left: map[string]int{}}})
}

type quiet struct {
	slog.Handler
	said *said
}

type said struct {
	mu   sync.Mutex
	at   map[string]time.Time
	left map[string]int
}

func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	q.said.mu.Lock()
	if r.Time.Sub(q.said.at[r.Message]) < quietFor {
		q.said.left[r.Message]++
		q.said.mu.Unlock()
		return nil
	}
	left := q.said.left[r.Message]
	q.said.at[r.Message], q.said.left[r.Message] = r.Time, 0
	q.said.mu.Unlock()
	if left > 0 {
		r.AddAttrs(slog.Int("left_out", left))
	}
	return q.Handler.Handle(ctx, r)
}

func (q *quiet) WithAttrs(a []slog.Attr) slog.Handler {
	return &quiet{q.Handler.WithAttrs(a), q.said}
}

func (q *quiet) WithGroup(name string) slog.Handler {
	return &quiet{q.Handler.WithGroup(name), q.said}
}
