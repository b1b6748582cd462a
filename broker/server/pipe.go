package server

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// pipeBuffer is how many bytes a direction of a pipe holds before its writer
	// waits.
	pipeBuffer = 64 << 10
	// pipeLend is from how many bytes on a writer waits for its reader to take
	// them from where they are: copying them once is faster than twice.
	pipeLend = 32 << 10
)

// Pipe returns the two ends of a connection within the process. Unlike those of
// net.Pipe a small write does not wait for its reader as long as there is room.
// Both ends show addr as the address of the other.
func Pipe(addr net.Addr) (client, server net.Conn) {
	a, b := newFlow(), newFlow()
	return &pipeEnd{in: a, out: b, addr: addr}, &pipeEnd{in: b, out: a, addr: addr}
}

// flow is one direction: bytes on their way.
type flow struct {
	mu     sync.Mutex
	cond   sync.Cond
	b      []byte // what is unread, from at
	at     int
	lent   []byte // what comes behind b, unread: its writer waits
	closed bool   // nothing more will be written, or read

	read, write deadline
}

// deadline is a time at which waiting ends.
type deadline struct {
	passed bool
	timer  *time.Timer
}

func newFlow() *flow {
	f := &flow{}
	f.cond.L = &f.mu
	return f
}

func (f *flow) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.at < len(f.b):
			n := copy(p, f.b[f.at:])
			if f.at += n; f.at == len(f.b) {
				f.b, f.at = f.b[:0], 0
				if cap(f.b) > pipeBuffer {
					f.b = nil
				}
			}
			f.cond.Broadcast()
			return n, nil
		case len(p) == 0:
			return 0, nil
		case len(f.lent) > 0:
			n := copy(p, f.lent)
			if f.lent = f.lent[n:]; len(f.lent) == 0 {
				f.cond.Broadcast()
			}
			return n, nil
		case f.closed:
			return 0, io.EOF
		case f.read.passed:
			return 0, os.ErrDeadlineExceeded
		}
		f.cond.Wait()
	}
}

func (f *flow) Write(p []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(p) > 0 {
		switch room := pipeBuffer - (len(f.b) - f.at); {
		case f.closed:
			return n, io.ErrClosedPipe
		case f.write.passed:
			return n, os.ErrDeadlineExceeded
		case len(f.lent) > 0:
			f.cond.Wait() // for another writer's
		case len(p) >= pipeLend && f.at == len(f.b):
			taken := f.lend(p)
			p, n = p[taken:], n+taken
		case room > 0:
			if f.at > 0 && len(f.b)+len(p) > cap(f.b) {
				f.b, f.at = f.b[:copy(f.b, f.b[f.at:])], 0
			}
			c := min(room, len(p))
			f.b = append(f.b, p[:c]...)
			p, n = p[c:], n+c
			f.cond.Broadcast()
		default:
			f.cond.Wait()
		}
	}
	return n, nil
}

// lend lets the reader take bytes from where they are. It is called with the lock,
// and returns how many were taken when there are none left, or no more will be.
func (f *flow) lend(p []byte) int {
	f.lent = p
	f.cond.Broadcast()
	for len(f.lent) > 0 && !f.closed && !f.write.passed {
		f.cond.Wait()
	}
	taken := len(p) - len(f.lent)
	f.lent = nil
	return taken
}

func (f *flow) close() {
	f.mu.Lock()
	f.closed = true
	f.cond.Broadcast()
	f.mu.Unlock()
}

// set moves a deadline of f; the zero time takes it away.
func (f *flow) set(d *deadline, t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.passed = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.passed = true
		f.cond.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if d.timer == timer { // and not moved meanwhile
			d.passed = true
			f.cond.Broadcast()
		}
	})
	d.timer = timer
}

// pipeEnd is one end of a pipe.
type pipeEnd struct {
	in, out *flow
	addr    net.Addr
}

func (e *pipeEnd) Read(p []byte) (int, error)  { return e.in.Read(p) }
func (e *pipeEnd) Write(p []byte) (int, error) { return e.out.Write(p) }

// Close ends both directions. What was written before can still be read.
func (e *pipeEnd) Close() error {
	e.in.close()
	e.out.close()
	for _, d := range []struct {
		f *flow
		d *deadline
	}{{e.in, &e.in.read}, {e.out, &e.out.write}} {
		d.f.set(d.d, time.Time{})
	}
	return nil
}

func (e *pipeEnd) LocalAddr() net.Addr  { return e.addr }
func (e *pipeEnd) RemoteAddr() net.Addr { return e.addr }

func (e *pipeEnd) SetDeadline(t time.Time) error {
	e.in.set(&e.in.read, t)
	e.out.set(&e.out.write, t)
	return nil
}

func (e *pipeEnd) SetReadDeadline(t time.Time) error {
	e.in.set(&e.in.read, t)
	return nil
}

func (e *pipeEnd) SetWriteDeadline(t time.Time) error {
	e.out.set(&e.out.write, t)
	return nil
}
