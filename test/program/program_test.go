package program

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEnvironment(t *testing.T) {
	t.Setenv("COMPTOIR_HTTP", "127.0.0.1:1")
	t.Setenv("AUTRE", "1")
	kept := Environment()
	if slices.ContainsFunc(kept, func(e string) bool { return strings.HasPrefix(e, "COMPTOIR_") }) || !slices.Contains(kept, "AUTRE=1") {
		t.Errorf("environment %q", kept)
	}
}

func TestUntil(t *testing.T) {
	calls := 0
	Until(t, time.Minute, "three calls", func() error {
		if calls++; calls < 3 {
			return errEarly
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
}

type early struct{}

func (early) Error() string { return "early" }

var errEarly error = early{}
