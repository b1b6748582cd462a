package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/comptoir/comptoir/internal/bench"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/node"
)

const (
	// benchReady is how long a process of a measurement may take to start.
	benchReady = 2 * time.Minute
	// benchPoll is how often is looked whether it has.
	benchPoll = 10 * time.Millisecond
	// benchStop is how long it may take to stop.
	benchStop = serveStopWithin + 5*time.Second
)

// benchProcesses are the processes that a measurement starts: this program, with
// other arguments. Not safe for concurrent use.
type benchProcesses struct {
	environ []string
	config  string
	all     []*benchProcess
	killed  *benchProcess // not started again yet
}

type benchProcess struct {
	*bench.Process
	args      []string
	dir       string
	endpoints node.Endpoints
}

// start starts `up` or `serve` on free ports and waits until it is ready.
func (s *benchProcesses) start(ctx context.Context, args []string) error {
	args = append(args, "--http", "127.0.0.1:0", "--connect", "127.0.0.1:0", "--log-level", "warn")
	if s.config != "" {
		args = append(args, "--config", s.config)
	}
	return s.launch(ctx, args)
}

func (s *benchProcesses) launch(ctx context.Context, args []string) error {
	p := &benchProcess{args: args}
	for i, a := range args {
		if a == "--data-dir" {
			p.dir = args[i+1]
		}
	}
	if err := p.run(ctx, s.environ); err != nil {
		return err
	}
	s.all = append(s.all, p)
	return nil
}

// run starts the process and waits until it has written its addresses. After an
// error it does not run.
func (p *benchProcess) run(ctx context.Context, environ []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	// Those of one that was killed.
	if err := os.Remove(filepath.Join(p.dir, node.EndpointsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.Process, err = bench.StartProcess(program, p.args, environ); err != nil {
		return fmt.Errorf("start %s: %w", p.args[0], err)
	}
	ctx, cancel := context.WithTimeout(ctx, benchReady)
	defer cancel()
	tick := time.NewTicker(benchPoll)
	defer tick.Stop()
	for {
		if p.endpoints, err = node.ReadEndpoints(p.dir); err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			p.Kill()
			return err
		}
		if err := p.Ended(); err != nil {
			return fmt.Errorf("start %s: %w", p.args[0], err)
		}
		select {
		case <-ctx.Done():
			p.Kill()
			return fmt.Errorf("start %s: %w", p.args[0], ctx.Err())
		case <-tick.C:
		}
	}
}

// target is what was started, beside a cluster or, without brokers, with its own.
func (s *benchProcesses) target(brokers []string) bench.Target {
	first := s.all[0].endpoints
	if len(brokers) == 0 {
		brokers = []string{first.Kafka}
	}
	t := bench.Target{Kafka: kclient.Config{Brokers: brokers, ClientID: "comptoir-bench"}, API: first.HTTP, PIDs: s.pids, Kill: s.kill, Heal: s.heal}
	for _, p := range s.all {
		t.Metrics = append(t.Metrics, p.endpoints.HTTP)
	}
	return t
}

func (s *benchProcesses) pids() (ids []int) {
	for _, p := range s.all {
		ids = append(ids, p.PID())
	}
	return ids
}

// kill kills the process started last, so that the API which takes the orders
// stays if there are several. The only one is started again at once.
func (s *benchProcesses) kill(ctx context.Context) error {
	p := s.all[len(s.all)-1]
	p.Kill()
	s.killed = p
	if len(s.all) > 1 {
		return nil
	}
	return s.heal(ctx)
}

// heal starts again what was killed, under the addresses that it had.
func (s *benchProcesses) heal(ctx context.Context) error {
	p := s.killed
	if p == nil {
		return nil
	}
	s.killed = nil
	addresses := map[string]string{"--http": p.endpoints.HTTP, "--connect": p.endpoints.Connect, "--kafka": p.endpoints.Kafka}
	for i, a := range p.args[:len(p.args)-1] {
		if v := addresses[a]; v != "" {
			p.args[i+1] = strings.TrimPrefix(v, "http://")
		}
	}
	return p.run(ctx, s.environ)
}

// stop stops all, those first that were started last.
func (s *benchProcesses) stop() error {
	var errs []error
	for i := len(s.all) - 1; i >= 0; i-- {
		if p := s.all[i]; p != s.killed && p.Ended() == nil {
			errs = append(errs, p.Stop(benchStop))
		}
	}
	return errors.Join(errs...)
}
