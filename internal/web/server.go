package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	headerTimeout = 10 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// ServerConfig says where a Server listens and what it serves.
type ServerConfig struct {
	// Listener is where it serves, see Listen. Required; the server closes it.
	Listener net.Listener
	// Handler is served as it is: see Chain and Routes. Required.
	Handler http.Handler
	// Logger receives what net/http reports, and start and stop. Required.
	Logger *slog.Logger
}

// Server is an HTTP listener with the life of a lifecycle.Component. It is
// started once.
type Server struct {
	cfg      ServerConfig
	bodyTime time.Duration

	mu   sync.Mutex
	http *http.Server
	addr string
	end  chan struct{} // closed when serving has ended
	kill context.CancelFunc

	fresh freshConns
}

// Listen takes addr, host:port, of which port 0 is a free one. The error names
// flag, the command-line flag that changes addr, such as "--http".
func Listen(ctx context.Context, addr, flag string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, ListenError(err, addr, flag)
	}
	return ln, nil
}

// NewServer returns a server that does not serve yet.
func NewServer(cfg ServerConfig) *Server { return &Server{cfg: cfg, bodyTime: bodyTime} }

// Start begins to serve and returns.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return errors.New("http server started twice")
	}
	ln := s.cfg.Listener
	// Requests end with the server, not with the context of Start.
	base, kill := context.WithCancel(context.WithoutCancel(ctx))
	s.kill = kill
	s.addr = ln.Addr().String()
	s.http = &http.Server{
		Handler:           timeBodies(base, s.bodyTime, s.cfg.Handler),
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnState:         s.fresh.observe,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	s.end = make(chan struct{})
	go func() {
		defer close(s.end)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Logger.Error("http server failed", "addr", s.addr, "error", err)
		}
	}()
	s.cfg.Logger.Info("http server ready", "addr", s.addr)
	return nil
}

// Addr returns the address in use, host:port; empty before Start.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

const (
	// streamGrace is how long requests in progress may finish by themselves
	// before their contexts end: enough for any answer but an event stream, which
	// ends only with its context.
	streamGrace = 500 * time.Millisecond
	// freshGrace is how long the first request of a new connection may take to
	// arrive once we stop: it may be on its way.
	freshGrace = 100 * time.Millisecond
)

// Stop takes no new request and lets those in progress finish: after half a
// second their contexts end, a body that is not whole by then is given up, and
// when ctx ends their connections are closed. A connection on which no request
// has come is no reason to wait.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	srv, end, kill := s.http, s.end, s.kill
	s.mu.Unlock()
	if srv == nil {
		return nil
	}
	defer kill()
	defer time.AfterFunc(freshGrace, s.fresh.close).Stop()
	grace, cancel := context.WithTimeout(ctx, streamGrace)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		// Once more, for it looks less and less often whether requests have ended.
		kill()
		err = srv.Shutdown(ctx)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("http server %s: requests in progress were cut off: %w", s.addr, err), srv.Close())
	}
	<-end
	return err
}

// freshConns are the connections on which no whole request head has come yet:
// those that browsers open in advance, and those of clients that fall silent.
// net/http would wait five seconds for each when it shuts down.
type freshConns struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func (f *freshConns) observe(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(f.conns, c)
	case f.closed:
		_ = c.Close() // nobody has asked for anything on it
	default:
		if f.conns == nil {
			f.conns = map[net.Conn]struct{}{}
		}
		f.conns[c] = struct{}{}
	}
}

func (f *freshConns) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for c := range f.conns {
		_ = c.Close()
	}
}

// ListenError explains why addr cannot be listened on and names the flag that
// changes it.
func ListenError(err error, addr, flag string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("address %s is in use: stop the program that has it or choose another with %s", addr, flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("no permission to listen on %s: choose a port above 1023 with %s", addr, flag)
	}
	return fmt.Errorf("cannot listen on %s (%s): %w", addr, flag, err)
}

// Stream prepares an answer without end, such as server-sent events: the
// server's time limit for writing does not hold for it.
func Stream(w http.ResponseWriter) error {
	return http.NewResponseController(w).SetWriteDeadline(time.Time{})
}
