// Package program builds the real binary once and runs it as its users do: as a
// process with a folder, flags, signals and an exit code. It owns nothing of
// what the binary does, and reaches it only by what the public contract names.
package program

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startLimit is how long a process may take to be ready before a test gives up:
// generous, because a machine that tests is busy.
const startLimit = 60 * time.Second

var build struct {
	once sync.Once
	dir  string
	err  error
}

// Binary builds cmd/comptoir, once per test binary, and returns its path. Its
// folder holds nothing else, so that it may stand on a PATH.
func Binary(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "comptoir-binary"); build.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", build.dir+"/comptoir", "github.com/comptoir/comptoir/cmd/comptoir")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if build.err != nil {
		t.Fatalf("go build ./cmd/comptoir: %v", build.err)
	}
	return filepath.Join(build.dir, "comptoir")
}

// Clean removes what Binary built; a package that uses it calls it from TestMain.
func Clean() {
	if build.dir != "" {
		_ = os.RemoveAll(build.dir)
	}
}

// Endpoints is the file endpoints.json of a running process.
type Endpoints struct {
	HTTP     string `json:"http"`
	Kafka    string `json:"kafka"`
	Connect  string `json:"connect"`
	Database string `json:"database"`
	Archive  string `json:"archive"`
	PID      int    `json:"pid"`
}

// Process is a running `comptoir up` or `comptoir serve`.
type Process struct {
	// Dir is its data directory.
	Dir string
	// Endpoints are where it listens.
	Endpoints Endpoints
	// Ready is how long it took to answer /readyz.
	Ready time.Duration

	t    testing.TB
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed once it ended
	err  error         // how; valid after done
}

// output collects what a process prints, on both outputs.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

// Up runs `comptoir up` on dir, with free ports, and returns when it is ready.
func Up(t testing.TB, dir string, args ...string) *Process {
	t.Helper()
	p := Start(t, dir, append([]string{"up", "--data-dir", dir, "--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--connect", "127.0.0.1:0"}, args...)...)
	p.AwaitReady()
	return p
}

// Serve runs `comptoir serve` against a cluster and a database, with free ports,
// and returns when it is ready.
func Serve(t testing.TB, dir, brokers, database string, args ...string) *Process {
	t.Helper()
	p := Start(t, dir, append([]string{"serve", "--data-dir", dir, "--brokers", brokers, "--database", database, "--http", "127.0.0.1:0", "--connect", "127.0.0.1:0"}, args...)...)
	p.AwaitReady()
	return p
}

// Start runs the binary on dir and returns at once. The folder dir is in is its
// working directory, so that a relative path in a configuration leaves nothing
// in the tree. The process is killed when the test ends; if the test failed, the end of what it printed is shown.
func Start(t testing.TB, dir string, args ...string) *Process {
	t.Helper()
	p := &Process{Dir: dir, t: t, out: &output{}, done: make(chan struct{})}
	p.cmd = exec.Command(Binary(t), args...)
	p.cmd.Dir = filepath.Dir(dir)
	p.cmd.Env = Environment()
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start comptoir: %v", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("comptoir %s\n%s", strings.Join(args, " "), tail(p.Output(), 8000))
		}
	})
	return p
}

// Environment is that of the test without what would configure Comptoir.
func Environment() (kept []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "COMPTOIR_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// AwaitReady returns once the process says where it listens and is ready.
func (p *Process) AwaitReady() {
	p.t.Helper()
	begun := time.Now()
	Until(p.t, startLimit, "ready", func() error {
		select {
		case <-p.done:
			p.t.Fatalf("comptoir ended before it was ready: %v\n%s", p.err, tail(p.Output(), 4000))
		default:
		}
		raw, err := os.ReadFile(filepath.Join(p.Dir, "endpoints.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &p.Endpoints); err != nil {
			return err
		}
		if p.Endpoints.PID != p.cmd.Process.Pid {
			return fmt.Errorf("endpoints.json is of process %d", p.Endpoints.PID)
		}
		return p.Health("/readyz")
	})
	p.Ready = time.Since(begun)
}

// Health is nil if a health check answers 200 and nothing is degraded, else what
// it says.
func (p *Process) Health(path string) error {
	status, body, err := p.Get(p.Endpoints.HTTP + path)
	if err == nil && (status != http.StatusOK || strings.Contains(body, `"degraded"`)) {
		err = fmt.Errorf("%s answers %d: %s", path, status, body)
	}
	return err
}

// Get asks for a URL, waiting at most 10 s.
func (p *Process) Get(url string) (status int, body string, err error) {
	return p.Do(http.MethodGet, url, "")
}

// Do sends a request with a JSON body (none if empty), waiting at most 10 s.
func (p *Process) Do(method, url, send string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(send))
	if err != nil {
		return 0, "", err
	}
	if send != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return response.StatusCode, string(raw), err
}

// Output is everything it printed so far.
func (p *Process) Output() string { return p.out.String() }

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends it as a crash does, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// Stop asks it to end with a signal, and returns how long that took and its exit
// code. The test fails if it does not end within limit.
func (p *Process) Stop(signal syscall.Signal, limit time.Duration) (took time.Duration, code int) {
	p.t.Helper()
	begun := time.Now()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatalf("%v: %v", signal, err)
	}
	select {
	case <-p.done:
		return time.Since(begun), p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("comptoir still runs %v after %v", limit, signal)
		return 0, 0
	}
}

// Ended is closed once the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Command runs a command to its end, at most two minutes, and returns its
// outputs and exit code.
func Command(t testing.TB, input string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	cmd.Env = Environment()
	cmd.Stdin = strings.NewReader(input)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("comptoir %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Until asks every few milliseconds whether a condition holds, and fails the
// test with its last error if it does not within limit.
func Until(t testing.TB, limit time.Duration, what string, condition func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s: %v", limit, what, err)
		case <-tick.C:
		}
	}
}

// During asks again and again, for as long as d lasts, whether something holds
// all the while.
func During(t testing.TB, d time.Duration, what string, condition func() error) {
	t.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if err := condition(); err != nil {
			t.Fatalf("does not hold: %s: %v", what, err)
		}
	}
}

func tail(text string, n int) string {
	if len(text) > n {
		return "…" + text[len(text)-n:]
	}
	return text
}
