package streams

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// faultNet is the network of one App, between it and the brokers: it sees every
// request by its API key, and loses requests or answers when told to. It works
// with any broker.
type faultNet struct {
	tb testing.TB

	mu    sync.Mutex
	conns map[*faultConn]bool
	down  bool
	sent  map[int16]int
	rules []*netRule
	watch func(key int16, frame []byte)
	late  sync.WaitGroup // requests on their way although nobody waits for them
}

// fate is what happens to a request.
type fate string

const (
	lostBefore fate = "request lost" // the broker never gets it
	answerLost fate = "answer lost"  // the broker acts on it, nobody hears of it
	heldUp     fate = "held up"      // it waits at the sender until the release
	answerHeld fate = "answer held"  // the broker acts on it, its answer waits until the release
	late       fate = "late"         // its connection ends for the sender; the broker gets it at the release
	passed     fate = "passed"       // nothing, once what the test does at that moment is done
)

// netRule strikes the nth request of a key from now on.
type netRule struct {
	key     int16
	nth     int
	every   bool // this one and all after it, until it is lifted
	fate    fate
	fired   chan struct{} // closed when it has struck
	once    sync.Once
	release chan struct{} // of heldUp, answerHeld and late
	arrived chan struct{} // closed when a late request is answered, or cannot be
	failed  error         // why it cannot
	before  func()        // of passed
}

// hasFired tells whether a rule has struck.
func (r *netRule) hasFired() bool {
	select {
	case <-r.fired:
		return true
	default:
		return false
	}
}

var errCut = errors.New("connection cut by the test")

func newFaultNet(tb testing.TB) *faultNet {
	n := &faultNet{tb: tb, conns: map[*faultConn]bool{}, sent: map[int16]int{}}
	tb.Cleanup(n.late.Wait) // after every rule is lifted
	return n
}

// use is the option of launch that puts an App on this network.
func (n *faultNet) use(c *Config) { c.Kafka.Dial = n.dial }

func (n *faultNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	down := n.down
	n.mu.Unlock()
	if down {
		return nil, errCut
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	f := &faultConn{Conn: conn, net: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[f] = true
	return f, nil
}

// strike makes the nth request of a key, counted from now, meet its fate.
func (n *faultNet) strike(key kmsg.Key, nth int, f fate) *netRule {
	return n.strikeDoing(key, nth, f, nil)
}

// strikeDoing is strike with what the test does while the request waits to be sent.
func (n *faultNet) strikeDoing(key kmsg.Key, nth int, f fate, before func()) *netRule {
	r := &netRule{key: int16(key), nth: nth, fate: f, before: before, fired: make(chan struct{}), release: make(chan struct{}), arrived: make(chan struct{})}
	// A test that fails must not hang on what it held up.
	n.tb.Cleanup(func() { n.lift(r) })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules = append(n.rules, r)
	return r
}

// strikeAll makes every request of a key from now on meet its fate, until lift.
func (n *faultNet) strikeAll(key kmsg.Key, f fate) *netRule {
	r := n.strike(key, 1, f)
	n.mu.Lock()
	defer n.mu.Unlock()
	r.every = true
	return r
}

// lift ends a rule and lets go of what it held up.
func (n *faultNet) lift(r *netRule) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules = slices.DeleteFunc(n.rules, func(o *netRule) bool { return o == r })
	select {
	case <-r.release:
	default:
		close(r.release)
	}
}

// cut ends every connection; with stay, no new one is let through until heal.
func (n *faultNet) cut(stay bool) {
	n.mu.Lock()
	n.down = stay
	conns := n.conns
	n.conns = map[*faultConn]bool{}
	n.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

func (n *faultNet) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// count is how many requests of a key were sent.
func (n *faultNet) count(key kmsg.Key) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent[int16(key)]
}

// observe calls f with each request's frame, its size included.
func (n *faultNet) observe(f func(key int16, frame []byte)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch = f
}

// request finds the rule that a request meets.
func (n *faultNet) request(key int16, frame []byte) *netRule {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent[key]++
	if n.watch != nil {
		n.watch(key, frame)
	}
	for i, r := range n.rules {
		if r.key != key {
			continue
		}
		if r.nth--; r.nth > 0 {
			continue
		}
		if !r.every {
			n.rules = slices.Delete(n.rules, i, i+1)
		}
		return r
	}
	return nil
}

// faultConn is one connection. franz-go writes one whole request at a time.
type faultConn struct {
	net.Conn
	net *faultNet

	// reading is held while an answer is read: the owner may wait for an earlier one
	// when its late request is delivered.
	reading sync.Mutex
	partial []byte // of an answer

	mu     sync.Mutex
	victim map[int32]*netRule // correlation ids whose answers are lost, or wait
	gone   bool               // for its owner; a late request is still on its way
	last   []byte             // the answer that the owner read last, once it was gone
	rest   []byte             // of the answer at hand
}

func (c *faultConn) Write(b []byte) (int, error) {
	if len(b) < 12 || int(binary.BigEndian.Uint32(b)) != len(b)-4 {
		c.net.tb.Errorf("a write of %d bytes is not one request: the fault net cannot read it", len(b))
		return c.Conn.Write(b)
	}
	r := c.net.request(int16(binary.BigEndian.Uint16(b[4:])), b)
	if r == nil {
		return c.Conn.Write(b)
	}
	switch r.fate {
	case passed:
		r.before()
		r.once.Do(func() { close(r.fired) })
		return c.Conn.Write(b)
	case late:
		c.mu.Lock()
		c.gone = true
		c.mu.Unlock()
		frame := bytes.Clone(b)
		c.net.late.Go(func() { c.deliver(r, frame) })
		r.once.Do(func() { close(r.fired) })
		return 0, errCut
	case lostBefore:
		_ = c.Conn.Close()
		r.once.Do(func() { close(r.fired) })
		return 0, errCut
	case heldUp:
		r.once.Do(func() { close(r.fired) })
		<-r.release
		_ = c.Conn.SetDeadline(time.Time{})
		return c.Conn.Write(b)
	}
	c.mu.Lock()
	if c.victim == nil {
		c.victim = map[int32]*netRule{}
	}
	c.victim[int32(binary.BigEndian.Uint32(b[8:]))] = r
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// deliver brings a late request to the broker, and waits until it is dealt with.
func (c *faultConn) deliver(r *netRule, frame []byte) {
	<-r.release
	defer close(r.arrived)
	defer func() { _ = c.Conn.Close() }()
	_ = c.Conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, r.failed = c.Conn.Write(frame); r.failed != nil {
		return
	}
	for {
		c.reading.Lock()
		answer := c.lastRead()
		if answer == nil || !bytes.Equal(answer[4:8], frame[8:12]) {
			answer, r.failed = c.readAnswer()
		}
		c.reading.Unlock()
		if r.failed != nil || bytes.Equal(answer[4:8], frame[8:12]) {
			return
		}
	}
}

func (c *faultConn) lastRead() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// readAnswer reads one whole answer, its size included. What there is of it when
// the deadline passes is kept for the next call.
func (c *faultConn) readAnswer() ([]byte, error) {
	for {
		need := 4
		if len(c.partial) >= 4 {
			size := int(binary.BigEndian.Uint32(c.partial))
			if size < 4 || size > 256<<20 {
				return nil, fmt.Errorf("an answer of %d bytes", size)
			}
			if need += size; len(c.partial) == need {
				frame := c.partial
				c.partial = nil
				return frame, nil
			}
		}
		more := make([]byte, need-len(c.partial))
		n, err := c.Conn.Read(more)
		if c.partial = append(c.partial, more[:n]...); err != nil {
			return nil, err
		}
	}
}

// readOwn reads an answer for the owner, unless that is gone.
func (c *faultConn) readOwn() ([]byte, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.isGone() {
		return nil, errCut
	}
	frame, err := c.readAnswer()
	if err == nil && c.isGone() {
		c.mu.Lock()
		c.last = frame
		c.mu.Unlock()
		err = errCut
	}
	return frame, err
}

func (c *faultConn) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// Read passes answers on whole, except the one that is to be lost: it is waited
// for, so that the broker has acted, and then the connection ends.
func (c *faultConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		frame, err := c.readOwn()
		if err != nil {
			return 0, err
		}
		c.mu.Lock()
		r := c.victim[int32(binary.BigEndian.Uint32(frame[4:]))]
		c.mu.Unlock()
		if r != nil && r.fate == answerHeld {
			r.once.Do(func() { close(r.fired) })
			<-r.release
			r = nil
		}
		if r != nil {
			_ = c.Conn.Close()
			r.once.Do(func() { close(r.fired) })
			return 0, io.ErrUnexpectedEOF
		}
		c.rest = frame
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *faultConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if gone {
		return c.Conn.SetReadDeadline(time.Now()) // whoever reads is let go
	}
	return c.Conn.Close()
}
