package orderdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// waiting has n submissions wait in a queue, and returns what they come to.
func waiting(t *testing.T, q *queue, ctx context.Context, n int) (errs []error, wait func()) {
	t.Helper()
	errs = make([]error, n)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = q.submit(ctx, &Submission{Key: fmt.Sprint(i)}) })
	}
	eventually(t, "all wait", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.waiting) == n
	})
	return errs, wg.Wait
}

func TestQueueGivenUp(t *testing.T) {
	q := newQueue()
	ctx, cancel := context.WithCancel(t.Context())
	errs, wait := waiting(t, q, ctx, 1)
	cancel()
	wait()
	if !errors.Is(errs[0], ErrUnavailable) || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("given up: %v", errs[0])
	}
	if jobs := q.take(); len(jobs) != 0 {
		t.Error("what was given up is executed")
	}

	ctx, cancel = context.WithCancel(t.Context())
	errs, wait = waiting(t, q, ctx, 1)
	jobs := q.take()
	cancel()
	wait()
	if !errors.Is(errs[0], ErrUnavailable) {
		t.Errorf("given up while it is executed: %v", errs[0])
	}
	jobs[0].answer(Outcome{}, nil) // nobody listens, which is fine
}

func TestQueueFull(t *testing.T) {
	q := newQueue()
	for range maxWaiting {
		q.waiting = append(q.waiting, &job{done: make(chan struct{})})
	}
	if _, err := q.submit(t.Context(), &Submission{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("one too many: %v", err)
	}
	if n := len(q.take()); n != maxTogether {
		t.Errorf("%d taken together, want %d", n, maxTogether)
	}
	select {
	case <-q.ready:
	default:
		t.Error("the rest is not taken")
	}
	q.close()
	if _, err := q.submit(t.Context(), &Submission{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after close: %v", err)
	}
}

// TestQueueFullOfBytes: few large submissions fill the queue too. One that is
// given up makes room at once.
func TestQueueFullOfBytes(t *testing.T) {
	q := newQueue()
	large := &Submission{Messages: []Message{{Value: make([]byte, maxWaitingBytes/4)}}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := q.submit(ctx, large); !errors.Is(err, context.Canceled) {
				t.Errorf("one that waits: %v", err)
			}
		})
	}
	bytes := func() int {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.bytes
	}
	eventually(t, "all wait", func() bool { return bytes() == maxWaitingBytes })
	small := &Submission{Messages: []Message{{Key: []byte("k")}}}
	if _, err := q.submit(t.Context(), small); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a byte too many: %v", err)
	}
	cancel()
	wg.Wait()
	if n := bytes(); n != 0 {
		t.Errorf("%d bytes wait after all were given up", n)
	}
	wg.Go(func() { _, _ = q.submit(t.Context(), large) })
	eventually(t, "another waits", func() bool { return bytes() > 0 })
	jobs := q.take()
	if len(jobs) != 1 || bytes() != 0 {
		t.Fatalf("%d taken, %d bytes wait", len(jobs), bytes())
	}
	jobs[0].answer(Outcome{}, nil)
	wg.Wait()
}

// TestTogether: one bad submission fails alone; an unavailable database fails
// all, tried once.
func TestTogether(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		fails     error
		want      []error
		wantSizes []int
	}{
		{nil, []error{nil, nil, nil}, []int{3}},
		{bad, []error{nil, bad, nil}, []int{3, 1, 1, 1}},
		{unavailable(bad), []error{bad, bad, bad}, []int{3}},
	} {
		q := newQueue()
		errs, wait := waiting(t, q, t.Context(), 3)
		var sizes []int
		jobs := q.take()
		slices.SortFunc(jobs, func(a, b *job) int { return int(a.s.Key[0]) - int(b.s.Key[0]) })
		together(jobs, func(jobs []*job) ([]Outcome, error) {
			sizes = append(sizes, len(jobs))
			for _, j := range jobs {
				if j.s.Key == "1" && c.fails != nil {
					return nil, c.fails
				}
			}
			return make([]Outcome, len(jobs)), nil
		})
		wait()
		for i := range errs {
			if !errors.Is(errs[i], c.want[i]) {
				t.Errorf("%v: submission %d: %v, want %v", c.fails, i, errs[i], c.want[i])
			}
		}
		equal(t, "sizes", sizes, c.wantSizes)
	}
}

func FuzzParseHeaders(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendHeaders(nil, []Header{{"comptoir-order", []byte("991")}, {"", nil}}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		headers, err := parseHeaders(b)
		if err != nil {
			return
		}
		again, err := parseHeaders(appendHeaders(nil, headers))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "again", again, headers)
	})
}
