package audit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace: work takes its share of the time, and more while the process has
// nothing else to do.
func TestPace(t *testing.T) {
	for _, tc := range []struct {
		name   string
		share  float64
		others float64 // cores that the rest of the process takes
		yield  func() bool
		want   time.Duration
	}{
		{"beside others", 0.05, 0.8, nil, 20 * time.Second},
		{"beside a few orders", 0.05, 0.12, nil, 20 * time.Second},
		{"alone", 0.05, 0, nil, 12 * time.Second},
		{"beside many orders", 0.05, 0.8, func() bool { return true }, 160 * time.Second},
		{"no limit", 1, 0.8, nil, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, own := time.Now(), time.Duration(0)
				p := newPace(tc.share, tc.yield)
				p.looked = begin
				p.cpu = func() time.Duration { return own + time.Duration(tc.others*float64(time.Since(begin))) }
				p.used = 0
				p.work()
				for own < time.Second {
					time.Sleep(10 * time.Millisecond)
					own += 10 * time.Millisecond
					if err := p.rest(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if took := time.Since(begin); took < tc.want/2 || took > tc.want {
					t.Errorf("a second of work took %v, want %v or, with more at the beginning or the end, down to half", took, tc.want)
				}
			})
		})
	}
}

// TestPaceEnds: a rest does not outlive its context.
func TestPaceEnds(t *testing.T) {
	p := newPace(0.001, nil)
	p.began = time.Now().Add(-time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.rest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
