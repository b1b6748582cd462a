package kclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// silentFor is how long nobody dials an address that gave no answer, before one
// attempt finds out whether it does now.
const silentFor = 3 * time.Second

// Silent remembers the brokers that take connections and give no answer (a process
// that is stopped, a cable that is cut), so that of all clients of a process one
// waits for them, and not each of them, with each new connection, again and again.
// For the others such a broker is one that refuses connections, which franz-go
// passes over. What was asked of it before is given up at once on every connection:
// an answer to JoinGroup, for one, is else awaited for the time of a rebalance.
//
// It is a hook for kgo.WithHooks and safe for concurrent use. The zero value is
// ready.
type Silent struct {
	mu    sync.Mutex
	again map[string]time.Time // when the address may be dialled again
	heard map[string]time.Time // when it last gave an answer
	open  map[string]map[*held]bool
}

// held is a connection that Silent may close.
type held struct {
	net.Conn
	s    *Silent
	addr string
}

// Close closes the connection.
func (c *held) Close() error {
	c.s.mu.Lock()
	delete(c.s.open[c.addr], c)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

var _ kgo.HookBrokerRead = (*Silent)(nil)

// OnBrokerRead notes who answers, and who does not in time.
func (s *Silent) OnBrokerRead(meta kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	addr := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port)))
	now := time.Now()
	var hang map[*held]bool
	s.mu.Lock()
	if s.again == nil {
		s.again, s.heard = map[string]time.Time{}, map[string]time.Time{}
	}
	switch {
	case err == nil:
		delete(s.again, addr)
		s.heard[addr] = now
	case errors.Is(err, os.ErrDeadlineExceeded) && now.Sub(s.heard[addr]) >= answerTimeout:
		// It is not a context's end, which is the caller's, nor only this request
		// that is slow: a group's coordinator, for one, answers no heartbeat while
		// a replica of its topic is away.
		s.again[addr] = now.Add(silentFor)
		hang = s.open[addr]
		delete(s.open, addr)
	}
	s.mu.Unlock()
	for c := range hang {
		_ = c.Conn.Close() // its reader is told
	}
}

// may tells whether an address may be dialled now.
func (s *Silent) may(addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	again, silent := s.again[addr]
	if silent && time.Now().Before(again) {
		return false
	}
	if silent {
		s.again[addr] = time.Now().Add(silentFor) // this attempt is the one
	}
	return true
}

// through returns dial, which refuses addresses that are silent.
func (s *Silent) through(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !s.may(addr) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s gave no answer a moment ago: %w", addr, syscall.ECONNREFUSED)}
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return s.keep(conn, addr), nil
	}
}

// keep remembers a connection for as long as it is open.
func (s *Silent) keep(conn net.Conn, addr string) net.Conn {
	c := &held{conn, s, addr}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]map[*held]bool{}
	}
	if s.open[addr] == nil {
		s.open[addr] = map[*held]bool{}
	}
	s.open[addr][c] = true
	return c
}
