package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is the network between one relay and Kafka: it can be cut, and strikes
// single requests. It works with any broker.
type wire struct {
	mu    sync.Mutex
	conns map[*wireConn]bool
	down  bool
	rules []*strike
	wrote []kmsg.Key // the requests that went through since the last cut
}

// fate is what happens to a request.
type fate string

const (
	lostBefore fate = "request lost" // the broker never gets it
	answerLost fate = "answer lost"  // the broker acts on it, nobody hears of it
	heldUp     fate = "held up"      // it waits at the sender until the release
)

// strike meets the next request of a key.
type strike struct {
	key     kmsg.Key
	fate    fate
	fired   chan struct{} // closed when it has struck
	release chan struct{} // closed by the test to let go of what is held up
}

var errCut = errors.New("connection cut by the test")

func newWire() *wire { return &wire{conns: map[*wireConn]bool{}} }

func (w *wire) strike(key kmsg.Key, f fate) *strike {
	s := &strike{key: key, fate: f, fired: make(chan struct{}), release: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules = append(w.rules, s)
	return s
}

// cut ends every connection and lets no new one through until heal.
func (w *wire) cut() {
	w.mu.Lock()
	w.down, w.wrote = true, nil
	conns := w.conns
	w.conns = map[*wireConn]bool{}
	w.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		_ = conn.Close()
		return nil, errCut
	}
	c := &wireConn{Conn: conn, wire: w, hush: make(chan struct{})}
	w.conns[c] = true
	return c, nil
}

// requests returns the requests that went through since the last cut.
func (w *wire) requests() []kmsg.Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.wrote)
}

func (w *wire) next(key kmsg.Key) *strike {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.rules {
		if s.key == key {
			w.rules = append(w.rules[:i:i], w.rules[i+1:]...)
			return s
		}
	}
	return nil
}

// wireConn is one connection. franz-go writes one whole request at a time.
type wireConn struct {
	net.Conn
	wire *wire
	once sync.Once
	hush chan struct{} // closed when answers are lost
}

func (c *wireConn) Write(b []byte) (int, error) {
	s := c.wire.next(kmsg.Key(binary.BigEndian.Uint16(b[4:])))
	if s == nil {
		n, err := c.Conn.Write(b)
		if err == nil {
			c.wire.mu.Lock()
			c.wire.wrote = append(c.wire.wrote, kmsg.Key(binary.BigEndian.Uint16(b[4:])))
			c.wire.mu.Unlock()
		}
		return n, err
	}
	switch s.fate {
	case lostBefore:
		_ = c.Conn.Close()
		close(s.fired)
		return 0, errCut
	case answerLost:
		c.once.Do(func() { close(c.hush) })
		defer close(s.fired)
		return c.Conn.Write(b)
	default:
		close(s.fired)
		<-s.release
		return c.Conn.Write(b)
	}
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.hush:
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	default:
		return n, err
	}
}

func (c *wireConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}
