package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// trace records calls in order.
type trace struct{ calls []string }

func (tr *trace) component(name string, startErr, stopErr error) Component {
	return Func(
		func(context.Context) error { tr.calls = append(tr.calls, "start "+name); return startErr },
		func(context.Context) error { tr.calls = append(tr.calls, "stop "+name); return stopErr },
	)
}

func newTestGroup() *Group { return NewGroup(slog.New(slog.DiscardHandler)) }

func TestOrder(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		name      string
		order     []string
		startErr  map[string]error
		stopErr   map[string]error
		want      []string
		wantStart bool
		wantStop  bool
	}{
		{name: "reverse", want: []string{"start a", "start b", "start c", "stop c", "stop b", "stop a"}},
		{name: "given", order: []string{"b"}, want: []string{"start a", "start b", "start c", "stop b", "stop c", "stop a"}},
		{name: "failed start stops what ran", startErr: map[string]error{"b": boom}, want: []string{"start a", "start b", "stop a"}, wantStart: true},
		{name: "failed stop does not keep the others", stopErr: map[string]error{"c": boom, "a": boom},
			want: []string{"start a", "start b", "start c", "stop c", "stop b", "stop a"}, wantStop: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var tr trace
			g := newTestGroup()
			for _, n := range []string{"a", "b", "c"} {
				g.Add(n, tr.component(n, tc.startErr[n], tc.stopErr[n]))
			}
			g.StopOrder(tc.order...)
			err := g.Start(t.Context())
			if got := errors.Is(err, boom); got != tc.wantStart {
				t.Errorf("Start: %v", err)
			}
			err = g.Stop(t.Context())
			if got := errors.Is(err, boom); got != tc.wantStop {
				t.Errorf("Stop: %v", err)
			}
			if tc.wantStop && (!strings.Contains(err.Error(), "stop a") || !strings.Contains(err.Error(), "stop c")) {
				t.Errorf("Stop does not name both: %v", err)
			}
			if err := g.Stop(t.Context()); err != nil {
				t.Errorf("second Stop: %v", err)
			}
			if !slices.Equal(tr.calls, tc.want) {
				t.Errorf("calls: %v\nwant:  %v", tr.calls, tc.want)
			}
		})
	}
}

func TestCancelledStartStopsWhatRan(t *testing.T) {
	var tr trace
	ctx, cancel := context.WithCancel(t.Context())
	g := newTestGroup()
	g.Add("a", Func(func(context.Context) error { cancel(); return nil }, func(context.Context) error {
		tr.calls = append(tr.calls, "stop a")
		return nil
	}))
	g.Add("b", tr.component("b", nil, nil))
	if err := g.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Start: %v", err)
	}
	if want := []string{"stop a"}; !slices.Equal(tr.calls, want) {
		t.Errorf("calls: %v, want %v", tr.calls, want)
	}
}

func TestStopIsGracefulForThreeQuarters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGroup()
		var second error
		g.Add("b", Func(nil, func(ctx context.Context) error { second = ctx.Err(); return nil }))
		g.Add("a", Func(nil, func(ctx context.Context) error { <-ctx.Done(); return nil }))
		if err := g.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if d := time.Since(begin); d != 6*time.Second {
			t.Errorf("graceful for %v, want 6s", d)
		}
		if second == nil {
			t.Error("the component after it was called with a live context")
		}
	})
}

func TestCancellingCutsTheStopShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGroup()
		g.Add("a", Func(nil, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }))
		if err := g.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		begin := time.Now()
		time.AfterFunc(time.Second, cancel)
		if err := g.Stop(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Stop: %v", err)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("took %v, want 1s", d)
		}
	})
}

func TestStuckComponentIsNamedAndTheRestReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGroup()
		free := make(chan struct{})
		released := false
		g.Add("broker", Func(nil, func(context.Context) error { released = true; return nil }))
		g.Add("stuck", Func(nil, func(context.Context) error { <-free; return nil }))
		if err := g.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		begin := time.Now()
		err := g.Stop(ctx)
		if !errors.Is(err, ErrStopTimeout) || !strings.Contains(err.Error(), "stuck") || strings.Contains(err.Error(), "broker") {
			t.Errorf("Stop: %v", err)
		}
		if d := time.Since(begin); d != 4*time.Second {
			t.Errorf("took %v, want 4s", d)
		}
		if !released {
			t.Error("the component after the stuck one was not stopped")
		}
		close(free)
		synctest.Wait()
	})
}

func TestAddTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	g := newTestGroup()
	g.Add("a", Func(nil, nil))
	g.Add("a", Func(nil, nil))
}
