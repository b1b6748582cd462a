package orderdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

const (
	// maxWaiting is how many submissions may wait, and maxWaitingBytes how much
	// they may send; what is beyond is refused at once.
	maxWaiting      = 10_000
	maxWaitingBytes = 64 << 20
	// maxTogether is how many submissions share a transaction at most.
	maxTogether = 256
)

var errClosed = errors.New("the order database is closed")

// unavailable marks an error as one of a database that could not answer.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// job is a submission that waits for its transaction.
type job struct {
	s    *Submission
	size int // of what it sends, in bytes
	out  Outcome
	err  error
	done chan struct{} // closed when out and err stand
	// taken is set by whoever comes first: a committer, or the caller who gives
	// up.
	taken atomic.Bool
}

func (j *job) answer(out Outcome, err error) {
	j.out, j.err = out, err
	close(j.done)
}

// size is that of the messages in bytes: answers are short, and an order is in
// its message.
func (s *Submission) size() (n int) {
	for i := range s.Messages {
		n += len(s.Messages[i].Key) + len(s.Messages[i].Value)
	}
	return n
}

// queue gathers submissions for group commit.
type queue struct {
	ready chan struct{} // has one element if something may wait

	mu      sync.Mutex
	waiting []*job
	bytes   int // of those that wait and are not given up
	closed  bool
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

// submit waits until a committer has done s. If ctx ends before it began nothing
// was done, else the outcome is unknown.
func (q *queue) submit(ctx context.Context, s *Submission) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, unavailable(err)
	}
	j := &job{s: s, size: s.size(), done: make(chan struct{})}
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return Outcome{}, unavailable(errClosed)
	case len(q.waiting) >= maxWaiting:
		q.mu.Unlock()
		return Outcome{}, unavailable(fmt.Errorf("%d requests wait already", maxWaiting))
	case q.bytes > 0 && q.bytes+j.size > maxWaitingBytes:
		q.mu.Unlock()
		return Outcome{}, unavailable(fmt.Errorf("requests of %d bytes wait already", maxWaitingBytes))
	}
	q.waiting = append(q.waiting, j)
	q.bytes += j.size
	q.mu.Unlock()
	q.signal()
	select {
	case <-j.done:
		return j.out, j.err
	case <-ctx.Done():
	}
	if j.taken.CompareAndSwap(false, true) {
		q.mu.Lock()
		q.bytes -= j.size
		j.s = nil // j may stay in the queue for long
		q.mu.Unlock()
		return Outcome{}, unavailable(fmt.Errorf("gave up waiting, nothing was done: %w", ctx.Err()))
	}
	return Outcome{}, unavailable(fmt.Errorf("gave up waiting, the outcome is unknown: %w", ctx.Err()))
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// size is how many wait, those given up among them.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// take returns what waits, at most maxTogether, those given up left out.
func (q *queue) take() (jobs []*job) {
	q.mu.Lock()
	n := 0
	for n < len(q.waiting) && len(jobs) < maxTogether {
		if j := q.waiting[n]; j.taken.CompareAndSwap(false, true) {
			jobs = append(jobs, j)
			q.bytes -= j.size
		}
		n++
	}
	clear(q.waiting[:n])
	q.waiting = q.waiting[n:]
	more := len(q.waiting) > 0
	q.mu.Unlock()
	if more {
		q.signal()
	}
	return jobs
}

// close refuses what waits and what comes.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	for jobs := q.take(); len(jobs) > 0; jobs = q.take() {
		for _, j := range jobs {
			j.answer(Outcome{}, unavailable(errClosed))
		}
	}
}

// together executes jobs in one transaction. If that fails for a reason that
// lies in one of them they are executed one by one, so that it alone fails.
func together(jobs []*job, run func([]*job) ([]Outcome, error)) {
	outs, err := run(jobs)
	if err != nil && len(jobs) > 1 && !errors.Is(err, ErrUnavailable) {
		for i := range jobs {
			together(jobs[i:i+1], run)
		}
		return
	}
	for i, j := range jobs {
		if err != nil {
			j.answer(Outcome{}, err)
		} else {
			j.answer(outs[i], nil)
		}
	}
}

// broadcast wakes everyone who waits on its channel.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
