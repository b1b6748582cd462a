package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// tailBytes is how much of what a process says last is kept, for the error when
// it ends by itself.
const tailBytes = 8 << 10

// Process is a child process that is measured: apart from the load, so that its
// CPU time and its memory are its own.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done
	said tail
}

// StartProcess starts a program. Its output is kept only for errors.
func StartProcess(path string, args, environ []string) (*Process, error) {
	p := &Process{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Env = environ
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended returns nil while the process runs, and how it ended after.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("process ended (%v): %s", p.cmd.ProcessState, p.said.String())
	default:
		return nil
	}
}

// Kill ends the process at once, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.done
}

// Stop asks the process to end, and kills it if it does not within a time. The
// error says how it ended, if not well.
func (p *Process) Stop(within time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Kill()
		return nil // a system without such a signal
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("process had to be killed: it did not stop within %v: %s", within, p.said.String())
	}
	if p.err != nil {
		return fmt.Errorf("process stopped badly (%w): %s", p.err, p.said.String())
	}
	return nil
}

// tail keeps the last bytes written.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if cut := len(t.b) - tailBytes; cut > 0 {
		t.b = append(t.b[:0], t.b[cut:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
