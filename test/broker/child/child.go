// Package child runs a broker in a process of its own, which a test may kill -9
// and start again on the same directory and address. The process is the test
// binary itself, so that nothing needs to be built: TestMain calls Main first.
// It owns nothing of what is asked of the broker.
package child

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/comptoir/comptoir/broker"
)

// The engines: ours, and franz-go's kfake as the yardstick.
const (
	Comptoir = "comptoir"
	Kfake    = "kfake"
)

const (
	variable  = "COMPTOIR_BROKER_CHILD"
	readyWord = "ready "
	// startLimit is how long a start may take before a test gives up.
	startLimit = time.Minute
)

// Config says what runs.
type Config struct {
	// Engine defaults to Comptoir.
	Engine string
	// Dir is the data directory. Required.
	Dir string
	// Sync is commit or interval, the broker's default if empty.
	Sync string
	// Addr is where it listens. Defaults to a free port, which a process started
	// again by Start keeps.
	Addr string
	// CleanEvery is how often logs are cleaned and cut to their retention.
	// Defaults to the engine's own.
	CleanEvery time.Duration
}

// Main runs the broker if this process was started to, and then does not
// return.
func Main() {
	raw := os.Getenv(variable)
	if raw == "" {
		return
	}
	var cfg Config
	if err := json.Unmarshal([]byte(raw), &cfg); err != nil {
		fail(err)
	}
	run := runComptoir
	if cfg.Engine == Kfake {
		run = runKfake
	}
	addr, stop, err := run(cfg)
	if err != nil {
		fail(err)
	}
	fmt.Println(readyWord + addr)
	// The parent closes our input to end us cleanly, also by its own end.
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := stop(); err != nil {
		fail(err)
	}
	os.Exit(0)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "broker:", err)
	os.Exit(1)
}

func runComptoir(cfg Config) (addr string, stop func() error, err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := broker.Open(broker.Config{Dir: cfg.Dir, Addr: cfg.Addr, Sync: broker.Sync(cfg.Sync), CleanEvery: cfg.CleanEvery, Logger: log})
	if err != nil {
		return "", nil, err
	}
	return b.Addr(), b.Close, nil
}

func runKfake(cfg Config) (addr string, stop func() error, err error) {
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return "", nil, err
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DataDir(filepath.Join(cfg.Dir, "kfake")),
		kfake.DefaultNumPartitions(broker.DefaultPartitions),
		kfake.AllowAutoTopicCreation(),
		kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return ln, nil }),
	}
	if cfg.CleanEvery > 0 {
		opts = append(opts, kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": fmt.Sprint(cfg.CleanEvery.Milliseconds())}))
	}
	if cfg.Sync == string(broker.SyncCommit) {
		opts = append(opts, kfake.SyncWrites())
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return "", nil, errors.Join(err, ln.Close())
	}
	return ln.Addr().String(), func() error { c.Close(); return nil }, nil
}

// Process is a broker's process. Its methods are for one goroutine.
type Process struct {
	cfg     Config
	took    time.Duration
	cmd     *exec.Cmd
	input   io.Closer
	out     *tail
	done    chan struct{}
	readyAt chan struct{} // closed once it takes connections
	err     error         // how it ended; valid after done
}

// New prepares a process, which is killed when the test ends; if the test
// failed, the end of what it printed is shown.
func New(t testing.TB, cfg Config) *Process {
	t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	p := &Process{cfg: cfg, out: &tail{}}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the broker's process printed:\n%s", p.out)
		}
	})
	return p
}

// Start starts the process and returns when it takes connections.
func (p *Process) Start() error {
	if err := p.Launch(); err != nil {
		return err
	}
	return p.Await()
}

// Launch starts the process and returns at once.
func (p *Process) Launch() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(p.cfg)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(exe)
	p.cmd.Env = append(os.Environ(), variable+"="+string(raw))
	p.cmd.Stderr = p.out
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	done, ready := make(chan struct{}), make(chan struct{})
	p.done, p.err = done, nil
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if addr, ok := strings.CutPrefix(lines.Text(), readyWord); ok {
				p.cfg.Addr, p.took = addr, time.Since(begun)
				close(ready)
			}
		}
		p.err = p.cmd.Wait()
		close(done)
	}()
	p.readyAt = ready
	return nil
}

// Await returns when the process that was launched takes connections.
func (p *Process) Await() error {
	select {
	case <-p.readyAt:
		return nil
	case <-p.done:
		return fmt.Errorf("the broker ended before it was ready: %w: %s", p.err, p.out)
	case <-time.After(startLimit):
		return fmt.Errorf("the broker is not ready after %v: %s", startLimit, p.out)
	}
}

// Kill ends the process as a crash does, and returns when it is gone.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop ends it cleanly and returns when it is gone.
func (p *Process) Stop() error {
	_ = p.input.Close()
	select {
	case <-p.done:
		return p.err
	case <-time.After(startLimit):
		return fmt.Errorf("the broker does not end: %s", p.out)
	}
}

// Started says where it listens, and how long the last start took until clients
// could connect.
func (p *Process) Started() (addr string, took time.Duration) { return p.cfg.Addr, p.took }

// Ended is closed once the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.done }

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Printed is the end of what it printed, of all its lives.
func (p *Process) Printed() string { return p.out.String() }

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *tail) Write(p []byte) (int, error) {
	const most = 32 << 10
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	if n := o.buf.Len(); n > 2*most {
		o.buf.Next(n - most)
	}
	return len(p), nil
}

func (o *tail) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
