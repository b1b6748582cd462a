package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Server is a server of one test's own, which the test may stop, kill and start
// again with its data. It is killed and its folder removed when the test ends.
type Server struct {
	// Addr is how to reach it: host:port of Kafka, URL of a PostgreSQL database.
	Addr string
	// Disk holds its data, if it was asked for by OnDisk and could be made.
	Disk *Disk

	t      testing.TB
	script string
	dir    string
	port   int
}

// Option changes how a server is started.
type Option func(*Server)

// OnDisk gives the server a file system of its own, which the test can fill. A
// machine that does not allow it leaves Server.Disk nil.
func OnDisk(megabytes int) Option {
	return func(s *Server) { s.Disk = NewDisk(s.t, s.dir, megabytes) }
}

// StartKafka starts a real Apache Kafka of the test's own, without topics.
func StartKafka(t testing.TB, opts ...Option) *Server {
	t.Helper()
	return newServer(t, "kafka", freePorts(t), opts).started()
}

// StartPostgres starts a real PostgreSQL of the test's own, with an empty
// database "ecommerce" and the user postgres with password postgres.
func StartPostgres(t testing.TB, opts ...Option) *Server {
	t.Helper()
	return newServer(t, "postgres", freePorts(t), opts).started()
}

// Start starts a server that was stopped or killed, at the same address.
func (s *Server) Start() {
	s.t.Helper()
	s.Addr = s.run("start", s.dir)
}

// Stop ends the server cleanly and returns when it is gone.
func (s *Server) Stop() {
	s.t.Helper()
	s.run("stop", s.dir)
}

// Kill ends the server with SIGKILL and returns when it is gone.
func (s *Server) Kill() {
	s.t.Helper()
	s.run("stop", s.dir, "--kill")
}

// Pause stops all its processes where they stand (SIGSTOP): to others the
// server is there and does not answer.
func (s *Server) Pause() {
	s.t.Helper()
	s.run("pause", s.dir)
}

// Resume lets a paused server go on.
func (s *Server) Resume() {
	s.t.Helper()
	s.run("resume", s.dir)
}

// Running says whether it runs: a server may end by itself, when its disk is full.
func (s *Server) Running() bool { return exec.Command(s.script, "running", s.dir).Run() == nil }

// Port is the TCP port it listens on.
func (s *Server) Port() int { return s.port }

// KafkaTool runs one of Apache Kafka's own command-line tools (topics,
// console-producer, console-consumer, consumer-groups, …) with input on its
// standard input, and returns what it printed on both outputs. The error is not
// nil if the tool failed.
func KafkaTool(t testing.TB, input, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(scripts(t), "kafka"), append([]string{"tool", name}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func scripts(t testing.TB) string {
	t.Helper()
	return need(t, servers, "real servers started by the scripts named")
}

// newServer prepares a server's folder and its end.
func newServer(t testing.TB, name string, port int, opts []Option) *Server {
	t.Helper()
	script := filepath.Join(scripts(t), name)
	dir, err := os.MkdirTemp("", "comptoir-"+name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s is kept in %s", name, dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return newServerIn(t, script, dir, name, port, opts)
}

func newServerIn(t testing.TB, script, dir, name string, port int, opts []Option) *Server {
	t.Helper()
	// PostgreSQL runs as another user, who must be able to pass.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, script: script, dir: filepath.Join(dir, name), port: port}
	for _, o := range opts {
		o(s)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(script, "stop", s.dir, "--kill").CombinedOutput(); err != nil {
			t.Errorf("stop %s: %v: %s", name, err, out)
		}
		if t.Failed() && s.Disk != nil {
			s.keepLog()
		}
	})
	return s
}

// keepLog saves the log from a disk that is about to go.
func (s *Server) keepLog() {
	log, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err == nil {
		err = os.WriteFile(s.dir+".log", log, 0o644)
	}
	if err != nil {
		s.t.Logf("its log is lost: %v", err)
	}
}

func (s *Server) started(args ...string) *Server {
	s.t.Helper()
	s.Addr = s.run(append([]string{"start", s.dir, "--port", strconv.Itoa(s.port)}, args...)...)
	return s
}

// run calls the script and returns the last line it printed.
func (s *Server) run(args ...string) string {
	s.t.Helper()
	last, err := s.try(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return last
}

// try is run for a goroutine that is not the test's. The script closes what it
// inherited before it starts a daemon, so Output does not wait for it.
func (s *Server) try(args ...string) (string, error) {
	cmd := exec.Command(s.script, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(s.script), strings.Join(args, " "), err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], nil
}

// Ports from firstPort on are outside of the range from which the system hands
// out ports by itself, so that nobody takes one while its server is stopped.
const (
	firstPort = 24000
	portPairs = 4000
)

// nextPair is the next pair of ports to try. Test binaries that run at the same
// time begin at different ones: between the look and the server's start, a port
// would seem free to both.
var (
	portsMu  sync.Mutex
	nextPair = os.Getpid() % 100 * (portPairs / 100)
)

// freePorts finds two free ports in a row.
func freePorts(t testing.TB) int {
	t.Helper()
	return freeRow(t, 1)
}

// freeRow finds free ports in a row, so many pairs.
func freeRow(t testing.TB, pairs int) int {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	run := 0
	for range 2 * portPairs {
		port := firstPort + 2*(nextPair%portPairs)
		if nextPair++; port == firstPort {
			run = 0 // begun anew at the first
		}
		if run++; !free(port) || !free(port+1) {
			run = 0
		}
		if run == pairs {
			return port - 2*(pairs-1)
		}
	}
	t.Fatalf("no %d free ports in a row between %d and %d", 2*pairs, firstPort, firstPort+2*portPairs)
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
