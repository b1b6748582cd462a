package kclient

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestUnansweredIsRefused: what ends before its first answer was never open, and
// what ends later is told as it is.
func TestUnansweredIsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		end     error
		heard   int // bytes before it
		refused bool
	}{
		{"ended", io.EOF, 0, true},
		{"reset", syscall.ECONNRESET, 0, true},
		{"broken", syscall.EPIPE, 0, true},
		{"late", syscall.ETIMEDOUT, 0, false},
		{"ended after an answer", io.EOF, 1, false},
		{"reset after an answer", syscall.ECONNRESET, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dial := answered(func(context.Context, string, string) (net.Conn, error) {
				return &spoilt{left: c.heard, err: &net.OpError{Op: "read", Net: "tcp", Err: c.end}}, nil
			})
			conn, err := dial(t.Context(), "tcp", "a:1")
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 8)
			for range c.heard {
				if n, err := conn.Read(buf); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
			_, read := conn.Read(buf)
			_, written := conn.Write(buf)
			for _, err := range []error{read, written} {
				var op *net.OpError
				if !errors.As(err, &op) || !errors.Is(err, c.end) {
					t.Fatalf("%v has lost its cause", err)
				}
				if refused := op.Op == "dial" && !op.Timeout(); refused != c.refused {
					t.Errorf("%v is taken for a broker that is away: %v, want %v", err, refused, c.refused)
				}
			}
		})
	}
}

// spoilt is a connection that gives some bytes and then an error, at reads and writes.
type spoilt struct {
	net.Conn
	left int
	err  error
}

func (s *spoilt) Read(b []byte) (int, error) {
	if s.left > 0 {
		s.left--
		return 1, nil
	}
	return 0, s.err
}

func (s *spoilt) Write(b []byte) (int, error) { return 0, s.err }

// TestCoordinatorBehindAProxy: a proxy takes connections for a broker that is away,
// and resets them. A group's coordinator that has moved from there is looked for
// again, as if the connection had been refused.
func TestCoordinatorBehindAProxy(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1)) // else the end may come before the dialler is told of a connection
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}()
	var hosts [2]string
	var ports [2]int32
	for node, addr := range c.ListenAddrs() {
		hosts[node], ports[node] = split(t, addr)
	}
	var away atomic.Bool // node 1, whose address leads to the proxy then
	open := make(chan net.Conn, 100)
	cfg := Config{Brokers: c.ListenAddrs()[:1], Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != c.ListenAddrs()[1] {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
		if away.Load() {
			return new(net.Dialer).DialContext(ctx, network, proxy.Addr().String())
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			open <- conn
		}
		return conn, err
	}}
	c.ControlKey(int16(kmsg.FindCoordinator), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		node := int32(1)
		if away.Load() {
			node = 0
		}
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		for _, key := range req.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
			one := kmsg.NewFindCoordinatorResponseCoordinator()
			one.Key, one.NodeID, one.Host, one.Port = key, node, hosts[node], ports[node]
			resp.Coordinators = append(resp.Coordinators, one)
		}
		return resp, nil, true
	})
	asked := make(chan int32, 100)
	c.ControlKey(int16(kmsg.Heartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked <- c.CurrentNode()
		return req.ResponseKind(), nil, true
	})
	cl, err := cfg.New(kgo.RetryTimeout(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	heartbeat := func(want int32) {
		t.Helper()
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group = "g"
		if _, err := req.RequestWith(t.Context(), cl); err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != want {
			t.Errorf("node %d was asked, want %d", got, want)
		}
	}
	heartbeat(1)
	away.Store(true)
	for len(open) > 0 {
		_ = (<-open).Close()
	}
	heartbeat(0)
}

func split(t *testing.T, addr string) (host string, port int32) {
	t.Helper()
	host, name, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := net.LookupPort("tcp", name)
	if err != nil {
		t.Fatal(err)
	}
	return host, int32(n)
}
