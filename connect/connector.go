package connect

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
)

// State is what a connector or task is doing, in Kafka Connect's words.
type State string

// The states of connectors and tasks. A task that waits for another system to
// come back is RUNNING with a trace that says what it waits for.
const (
	StateRunning    State = "RUNNING"
	StatePaused     State = "PAUSED"
	StateStopped    State = "STOPPED"
	StateFailed     State = "FAILED"
	StateRestarting State = "RESTARTING"
	StateUnassigned State = "UNASSIGNED"
)

// ConnectorStatus is the state of a connector on one worker.
type ConnectorStatus struct {
	Name      string       `json:"name"`
	Connector StateInfo    `json:"connector"`
	Tasks     []TaskStatus `json:"tasks"`
	Type      string       `json:"type"`
}

// StateInfo is the state of a connector.
type StateInfo struct {
	State    State  `json:"state"`
	WorkerID string `json:"worker_id"`
	Trace    string `json:"trace,omitempty"`
	Version  string `json:"version,omitempty"`
}

// TaskStatus is the state of a task.
type TaskStatus struct {
	ID int `json:"id"`
	StateInfo
}

// connector runs the tasks of one connector. Its goroutine alone starts and
// stops tasks, so a task that takes long to end delays nobody else.
type connector struct {
	w     *Worker
	name  string
	after *connector // must have ended before this one begins

	wake chan struct{}
	quit chan struct{}
	done chan struct{}
	// hard ends what does not stop by itself.
	hard       context.Context
	cancelHard context.CancelFunc
	quitOnce   sync.Once

	mu       sync.Mutex
	wanted   entry
	version  int // counts changes of wanted
	restarts []func(*task) bool
	tasks    []*task
	state    State
	trace    string
	plugin   *Plugin
}

func newConnector(w *Worker, name string) *connector {
	c := &connector{w: w, name: name, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}), state: StateUnassigned}
	c.hard, c.cancelHard = context.WithCancel(context.Background())
	return c
}

// want sets what the connector shall be from now on.
func (c *connector) want(e entry) {
	c.mu.Lock()
	c.wanted = e
	c.version++
	c.mu.Unlock()
	c.poke()
}

// restart asks for a restart of the tasks that match when it is their turn.
func (c *connector) restart(match func(*task) bool) {
	c.mu.Lock()
	for _, t := range c.tasks {
		if match(t) {
			t.show(StateRestarting, "")
		}
	}
	c.restarts = append(c.restarts, func(t *task) bool { return t.state() == StateRestarting || match(t) })
	c.mu.Unlock()
	c.poke()
}

func (c *connector) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stop ends the connector; when ctx ends, without waiting for batches.
func (c *connector) stop(ctx context.Context) {
	c.quitOnce.Do(func() { close(c.quit) })
	select {
	case <-c.done:
	case <-ctx.Done():
		c.cancelHard()
		<-c.done
	}
}

func (c *connector) run() {
	defer close(c.done)
	defer c.cancelHard()
	if c.after != nil {
		<-c.after.done
		c.after = nil
	}
	applied := 0
	for {
		c.mu.Lock()
		e, version := c.wanted, c.version
		restarts := c.restarts
		c.restarts = nil
		c.mu.Unlock()
		if version != applied {
			c.stopTasks(c.tasks)
			c.apply(e)
			applied = version
		} else {
			c.applyRestarts(restarts)
		}
		select {
		case <-c.wake:
		case <-c.quit:
			c.stopTasks(c.tasks)
			return
		}
	}
}

func (c *connector) stopTasks(tasks []*task) {
	for _, t := range tasks {
		t.cancel()
	}
	for _, t := range tasks {
		t.wait()
	}
}

// spec is a configuration made ready for tasks.
type spec struct {
	plugin  *Plugin
	values  Values
	key     converter
	value   converter
	topics  []string
	pattern string
}

func (w *Worker) spec(config map[string]string) (*spec, error) {
	// A configuration can come from another version or from Kafka's own
	// workers, so it is validated here as well.
	p, options, errs, err := w.validate(config)
	if err != nil {
		return nil, err
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("configuration is invalid: %s: %s", errs[0].Name, errs[0].Message)
	}
	s := &spec{plugin: p, values: NewValues(options, config)}
	s.topics, s.pattern = s.values.List("topics"), s.values.String("topics.regex")
	if s.pattern != "" {
		// Java matches the whole name.
		s.pattern = "^(?:" + s.pattern + ")$"
		if _, err := regexp.Compile(s.pattern); err != nil {
			return nil, err
		}
	}
	if s.key, err = newConverter(config, "key.converter", decodeString); err != nil {
		return nil, err
	}
	s.value, err = newConverter(config, "value.converter", decodeJSON)
	return s, err
}

func (c *connector) apply(e entry) {
	s, err := c.w.spec(e.config)
	state, trace := StateRunning, ""
	var tasks []*task
	switch {
	case err != nil:
		state, trace = StateFailed, err.Error()
		c.w.logger.Error("connector cannot run", "connector", c.name, "error", err)
	case e.target == Stopped:
		state = StateStopped
	default:
		if e.target == Paused {
			state = StatePaused
		}
		for i := range s.values.Int("tasks.max") {
			tasks = append(tasks, newTask(c, s, i))
		}
	}
	c.mu.Lock()
	c.tasks, c.state, c.trace = tasks, state, trace
	if s != nil {
		c.plugin = s.plugin
	}
	c.mu.Unlock()
	c.w.logger.Info("connector state", "connector", c.name, "state", string(state), "tasks", len(tasks))
	for _, t := range tasks {
		if state == StateRunning {
			t.start()
		} else {
			t.idle(StatePaused)
		}
	}
}

func (c *connector) applyRestarts(restarts []func(*task) bool) {
	if len(restarts) == 0 {
		return
	}
	c.mu.Lock()
	if c.state == StateFailed {
		// The connector itself could not run: try again with what it has.
		e := c.wanted
		c.mu.Unlock()
		c.apply(e)
		return
	}
	running, tasks := c.state == StateRunning, append([]*task(nil), c.tasks...)
	c.mu.Unlock()
	for i, t := range tasks {
		due := false
		for _, match := range restarts {
			due = due || match(t)
		}
		if !due {
			continue
		}
		c.stopTasks([]*task{t})
		fresh := newTask(c, t.spec, t.id)
		c.mu.Lock()
		c.tasks[i] = fresh
		c.mu.Unlock()
		if running {
			c.w.logger.Info("task restarted", "connector", c.name, "task", t.id)
			fresh.start()
		} else {
			fresh.idle(StatePaused)
		}
	}
}

func (c *connector) status() ConnectorStatus {
	kafka := c.w.kafkaTrouble()
	c.mu.Lock()
	defer c.mu.Unlock()
	st := ConnectorStatus{Name: c.name, Type: "sink", Tasks: []TaskStatus{}}
	st.Connector = StateInfo{State: c.state, WorkerID: c.w.cfg.WorkerID, Trace: c.trace}
	if c.plugin != nil {
		st.Connector.Version = c.plugin.Version
	}
	for _, t := range c.tasks {
		state, trace := t.shown()
		if kafka != nil && state == StateRunning && trace == "" {
			trace = fmt.Sprintf("Kafka cannot be reached; the task goes on by itself when it is back: %v", kafka)
		}
		st.Tasks = append(st.Tasks, TaskStatus{t.id, StateInfo{State: state, WorkerID: c.w.cfg.WorkerID, Trace: trace, Version: t.spec.plugin.Version}})
	}
	return st
}

// taskCount is the number of tasks this worker runs.
func (c *connector) taskCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tasks)
}

// topics lists the topics that tasks read records from, sorted.
func (c *connector) topics() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := make(map[string]bool)
	for _, t := range c.tasks {
		t.mu.Lock()
		maps.Copy(seen, t.topics)
		t.mu.Unlock()
	}
	return slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(seen))))
}

func (c *connector) resetTopics() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tasks {
		t.mu.Lock()
		clear(t.topics)
		t.mu.Unlock()
	}
}
