package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// listener hands the engine two kinds of connections: those of a TCP port and
// those that clients of this process open by dial. Each is guarded.
type listener struct {
	tcp   net.Listener
	log   *slog.Logger
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup

	mu   sync.Mutex
	open map[*guard]struct{} // nil once closed
}

func listen(addr string, log *slog.Logger) (*listener, error) {
	tcpAddr, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	if !tcpAddr.IP.IsLoopback() {
		return nil, fmt.Errorf("listen on %q: the embedded broker has no sign-in and listens on loopback addresses only, such as 127.0.0.1:9092", addr)
	}
	tcp, err := net.ListenTCP("tcp", tcpAddr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	l := &listener{
		tcp:   tcp,
		log:   log,
		conns: make(chan net.Conn),
		done:  make(chan struct{}),
		open:  make(map[*guard]struct{}),
	}
	l.wg.Add(1)
	go l.acceptTCP()
	return l, nil
}

// acceptTCP goes on after errors such as "too many open files", which end the
// engine's own loop for ever.
func (l *listener) acceptTCP() {
	defer l.wg.Done()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		c, err := l.tcp.Accept()
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return
		default:
			l.log.Warn("broker cannot accept a connection", "error", err)
			wait.Reset(100 * time.Millisecond)
			select {
			case <-wait.C:
				continue
			case <-l.done:
				return
			}
		}
		if err := l.offer(context.Background(), c); err != nil {
			c.Close()
		}
	}
}

// dial gives the engine one end of a pipe and returns the other.
func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	if err := l.offer(ctx, local{server, l.Addr()}); err != nil {
		client.Close()
		server.Close()
		return nil, fmt.Errorf("connect to the embedded broker: %w", err)
	}
	return client, nil
}

func (l *listener) offer(ctx context.Context, c net.Conn) error {
	g := &guard{Conn: c, log: l.log, closed: l.forget}
	l.mu.Lock()
	if l.open == nil {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.open[g] = struct{}{}
	l.mu.Unlock()
	var err error
	select {
	case l.conns <- g:
		return nil
	case <-l.done:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.forget(g)
	return err
}

func (l *listener) forget(g *guard) {
	l.mu.Lock()
	delete(l.open, g)
	l.mu.Unlock()
}

// Accept gives the engine its next connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr is what the engine tells clients to connect to.
func (l *listener) Addr() net.Addr { return l.tcp.Addr() }

// Close ends listening; open connections stay.
func (l *listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.done)
		err = l.tcp.Close()
	})
	l.wg.Wait()
	return err
}

// closeConns ends listening and every open connection.
func (l *listener) closeConns() error {
	err := l.Close()
	l.mu.Lock()
	open := l.open
	l.open = nil
	l.mu.Unlock()
	for g := range open {
		g.Conn.Close()
	}
	return err
}

// local is an in-process connection that shows the broker's own address as its
// peer's, so that group descriptions name a host.
type local struct {
	net.Conn
	addr net.Addr
}

func (l local) RemoteAddr() net.Addr { return l.addr }
