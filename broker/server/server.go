// Package server speaks the Kafka protocol with clients: connections, frames,
// versions, limits, and the requests that only read records. It owns what a
// client can do to a process (memory, sockets, time) and keeps it bounded. It
// must not decide anything that is kept: that is package core's.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// Reader is the store, as far as records are read from it.
type Reader interface {
	Read(p store.Partition, from, below int64, max int, dst []byte) ([]byte, error)
	ReadInto(p store.Partition, from, below int64, max int, take func(n int) []byte) ([]byte, error)
	Batches(p store.Partition, from, below int64, fn func(store.BatchInfo) error) error
	ScanRange(from, to []byte, fn func(key, value []byte) error) error
}

// Limits keep one client from taking what all need. Zero values take the
// defaults.
type Limits struct {
	// Connections is how many may be open. Default 1,000.
	Connections int
	// Frame is the largest produce request in bytes, Apache Kafka's
	// socket.request.max.bytes. Default 100 MiB.
	Frame int
	// OtherFrame is the largest request of any other kind. Default 2 MiB: its
	// decoding may take a hundred times as much.
	OtherFrame int
	// Memory is what requests on their way may take in all, in bytes, and records
	// on theirs as much again. Default 256 MiB, and at least twice Frame.
	Memory int64
	// Fetch is the largest answer to a fetch in bytes, except for a single
	// batch that is larger. Default 16 MiB.
	Fetch int
	// Stall is how long a client may take to send a begun request or to take an
	// answer, and how long a fetch waits for records at most. Default 30 s.
	Stall time.Duration
	// Idle is how long a connection may stay silent. Default 10 minutes.
	Idle time.Duration
}

func (l *Limits) setDefaults() {
	for _, d := range []struct {
		v   *int
		def int
	}{{&l.Connections, 1000}, {&l.Frame, 100 << 20}, {&l.OtherFrame, 2 << 20}, {&l.Fetch, 16 << 20}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if l.Memory == 0 {
		l.Memory = 256 << 20
	}
	l.Memory = max(l.Memory, 2*int64(l.Frame))
	if l.Stall == 0 {
		l.Stall = 30 * time.Second
	}
	if l.Idle == 0 {
		l.Idle = 10 * time.Minute
	}
}

// Config says what a server serves.
type Config struct {
	// Submit hands a request to the core, as core.Runner.Submit does.
	Submit  func(context.Context, *core.Request) error
	View    *core.View
	Reader  Reader
	Limits  Limits
	Metrics *Metrics
	Logger  *slog.Logger
}

// Server serves connections. Its methods are safe for concurrent use.
type Server struct {
	cfg    Config
	log    *slog.Logger
	memory *budget // of requests
	// answers is the memory of records on their way to clients. Nobody waits for
	// it: while there is little, answers are small.
	answers *budget
	// decoding lets one large request be decoded at a time: announced lengths
	// can make it take a multiple of its size for a moment.
	decoding sync.Mutex
	// looking has room for as many as look into records at a time, one a core: a
	// small batch may become large when it is decompressed.
	looking chan struct{}

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	conns map[*conn]struct{} // nil once closed
}

// New returns a server without connections.
func New(cfg Config) *Server {
	cfg.Limits.setDefaults()
	ctx, stop := context.WithCancel(context.Background())
	return &Server{
		cfg: cfg, log: cfg.Logger, memory: newBudget(cfg.Limits.Memory), answers: newBudget(cfg.Limits.Memory),
		looking: make(chan struct{}, runtime.GOMAXPROCS(0)),
		ctx:     ctx, stop: stop, conns: map[*conn]struct{}{},
	}
}

// Serve accepts connections until ln is closed.
func (s *Server) Serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			_ = s.ServeConn(c) // said in the log
		case errors.Is(err, net.ErrClosed):
			return
		default:
			// Such as too many open files: it passes.
			s.log.Warn("broker cannot accept a connection", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// ServeConn serves a connection in the background, and closes it at the end. If
// the server is closed or has too many it closes it at once, with an error.
func (s *Server) ServeConn(nc net.Conn) error {
	c := &conn{server: s, nc: nc, host: hostOf(nc), slots: make(chan *slot, inFlight)}
	s.mu.Lock()
	full := s.conns != nil && len(s.conns) >= s.cfg.Limits.Connections
	refused := s.conns == nil || full
	if !refused {
		s.conns[c] = struct{}{}
		s.wg.Add(1)
		s.cfg.Metrics.connections.Inc()
	}
	s.mu.Unlock()
	if refused {
		_ = nc.Close()
		if !full {
			return net.ErrClosed
		}
		s.cfg.Metrics.ended.WithLabelValues("too_many").Inc()
		s.log.Warn("broker refuses a connection: too many are open", "client", c.host, "limit", s.cfg.Limits.Connections)
		return fmt.Errorf("%d connections are open, which is the limit", s.cfg.Limits.Connections)
	}
	go func() {
		defer s.wg.Done()
		c.serve(s.ctx)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.cfg.Metrics.connections.Dec()
	}()
	return nil
}

// DropAll closes every connection; clients come back.
func (s *Server) DropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.nc.Close()
	}
}

// Close ends every connection and waits for them.
func (s *Server) Close() {
	s.stop()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		_ = c.nc.Close()
	}
	s.wg.Wait()
}

func hostOf(nc net.Conn) string {
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		return nc.RemoteAddr().String()
	}
	return host
}
