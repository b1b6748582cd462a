package kclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
)

// answered returns dial, whose connections count as never opened until the other
// end has said something: a proxy (a load balancer, a container platform's own)
// takes connections for a broker that is away, and ends them. franz-go looks for a
// group's coordinator anew when one cannot be dialled, but asks the same node for
// ever when its connections are reset.
func answered(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &young{Conn: conn, network: network, addr: addr}, nil
	}
}

// young is a connection that has to be answered to count as open.
type young struct {
	net.Conn
	network, addr string
	heard         atomic.Bool
}

func (c *young) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	return n, c.judge(err)
}

func (c *young) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.judge(err)
}

// judge makes the end of a connection that was never answered a failure to dial.
func (c *young) judge(err error) error {
	if err == nil || c.heard.Load() {
		return err
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	return &net.OpError{Op: "dial", Net: c.network, Err: fmt.Errorf("%s ended the connection before its first answer (a proxy before a broker that is away, or a broker that wants TLS): %w", c.addr, err)}
}
