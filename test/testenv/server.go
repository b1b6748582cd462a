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

	t      testing.TB
	script string
	dir    string
	port   int
}

// StartKafka starts a real Apache Kafka of the test's own, without topics.
func StartKafka(t testing.TB) *Server {
	t.Helper()
	return startServer(t, "kafka")
}

// StartPostgres starts a real PostgreSQL of the test's own, with an empty
// database "ecommerce" and the user postgres with password postgres.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	return startServer(t, "postgres")
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

func startServer(t testing.TB, name string) *Server {
	t.Helper()
	script := filepath.Join(scripts(t), name)
	dir, err := os.MkdirTemp("", "comptoir-"+name)
	if err != nil {
		t.Fatal(err)
	}
	// PostgreSQL runs as another user, who must be able to pass.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, script: script, dir: filepath.Join(dir, name), port: freePorts(t)}
	t.Cleanup(func() {
		if out, err := exec.Command(script, "stop", s.dir, "--kill").CombinedOutput(); err != nil {
			t.Errorf("stop %s: %v: %s", name, err, out)
		}
		if t.Failed() {
			t.Logf("the log of %s is kept in %s", name, s.dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	s.Addr = s.run("start", s.dir, "--port", strconv.Itoa(s.port))
	return s
}

// run calls the script and returns the last line it printed. The script closes
// what it inherited before it starts a daemon, so Output does not wait for it.
func (s *Server) run(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.script, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s %s: %v: %s", filepath.Base(s.script), strings.Join(args, " "), err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
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
	portsMu.Lock()
	defer portsMu.Unlock()
	for range portPairs {
		port := firstPort + 2*(nextPair%portPairs)
		nextPair++
		if free(port) && free(port+1) {
			return port
		}
	}
	t.Fatalf("no two free ports in a row between %d and %d", firstPort, firstPort+2*portPairs)
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
