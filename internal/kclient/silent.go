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
// passes over.
//
// It is a hook for kgo.WithHooks and safe for concurrent use. The zero value is
// ready.
type Silent struct {
	mu    sync.Mutex
	again map[string]time.Time // when the address may be dialled again
}

var _ kgo.HookBrokerRead = (*Silent)(nil)

// OnBrokerRead notes who answers, and who does not in time.
func (s *Silent) OnBrokerRead(meta kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	addr := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port)))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		delete(s.again, addr)
	case errors.Is(err, os.ErrDeadlineExceeded): // not a context's, which is the caller's
		if s.again == nil {
			s.again = map[string]time.Time{}
		}
		s.again[addr] = time.Now().Add(silentFor)
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
		return dial(ctx, network, addr)
	}
}
