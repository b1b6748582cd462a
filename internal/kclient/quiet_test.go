package kclient

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestQuiet(t *testing.T) {
	var b bytes.Buffer
	l := Quiet(slog.New(slog.NewTextHandler(&b, nil))).With("client", 1)
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	say := func(after time.Duration, msg string) {
		if err := l.Handler().Handle(context.Background(), slog.NewRecord(start.Add(after), slog.LevelWarn, msg, 0)); err != nil {
			t.Fatal(err)
		}
	}
	say(0, "down")
	say(time.Second, "down")
	say(2*time.Second, "other")
	say(9*time.Second, "down")
	say(10*time.Second, "down")
	say(30*time.Second, "down")
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[2], "left_out=2") || strings.Contains(lines[3], "left_out") {
		t.Fatalf("logged:\n%s", b.String())
	}
}
