package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
)

// Version is the Kafka Connect version whose behaviour the REST API shows.
const Version = "4.3.1"

// Config configures a Worker.
type Config struct {
	// Kafka says which cluster to use. Required.
	Kafka kclient.Config
	// Plugins are the connectors that can be run.
	Plugins []Plugin
	// Logger defaults to discarding everything.
	Logger *slog.Logger
	// Registerer receives the metrics; nil means none are exported.
	Registerer prometheus.Registerer
	// WorkerID is shown as worker_id, usually the address of the REST API.
	// Defaults to "comptoir".
	WorkerID string
	// AllowedHosts are names that the Host header of a request may carry, beside
	// localhost and loopback addresses. "*" allows any.
	AllowedHosts []string
	// ConfigTopic holds the configurations. Defaults to "connect-configs".
	ConfigTopic string
	// ReplicationFactor is that of topics the worker creates. Defaults to -1,
	// the cluster's default.
	ReplicationFactor int16
	// Yield, if set, tells whether others in the process have more to do than they
	// can do at once. Tasks then rest, for ten seconds at most before they work for
	// one. It is called often, from several goroutines.
	Yield func() bool
	// Adapt, if set, is given each configuration that the topic has, before it is
	// used or shown, and returns what to use in its place. It must be quick.
	Adapt func(name string, config map[string]string) map[string]string
}

// Worker runs connectors and answers the REST API. Create it with New; it is
// safe for concurrent use.
type Worker struct {
	cfg     Config
	logger  *slog.Logger
	metrics *metrics

	start, stop sync.Once
	startErr    error
	log         *configLog
	admin       *kgo.Client
	clusterID   string
	ctx         context.Context // ends when the worker stops
	cancel      context.CancelFunc
	goroutines  sync.WaitGroup

	mu         sync.Mutex
	connectors map[string]*connector
	leaving    map[string]*connector // deleted ones that still end
	kafkaErr   error
	started    bool
	stopping   bool
}

// New makes a worker. It does not contact the cluster.
func New(cfg Config) (*Worker, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.WorkerID == "" {
		cfg.WorkerID = "comptoir"
	}
	if cfg.ConfigTopic == "" {
		cfg.ConfigTopic = "connect-configs"
	}
	if cfg.ReplicationFactor == 0 {
		cfg.ReplicationFactor = -1
	}
	if len(cfg.Kafka.Brokers) == 0 {
		return nil, errors.New("connect worker: no Kafka brokers given")
	}
	for i := range cfg.Plugins {
		if p := &cfg.Plugins[i]; p.Class == "" || p.NewSink == nil {
			return nil, fmt.Errorf("connect worker: plugin %d has no Class or no NewSink", i)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Worker{
		cfg: cfg, logger: cfg.Logger, metrics: newMetrics(cfg.Registerer), ctx: ctx, cancel: cancel,
		connectors: make(map[string]*connector), leaving: make(map[string]*connector),
	}, nil
}

// Start reads all configurations and starts the connectors. It returns when
// the REST API can answer; tasks may still be joining their groups.
func (w *Worker) Start(ctx context.Context) error {
	w.start.Do(func() { w.startErr = w.open(ctx) })
	return w.startErr
}

func (w *Worker) open(ctx context.Context) (err error) {
	if w.admin, err = w.cfg.Kafka.New(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.admin.Close()
		}
	}()
	meta, err := kadm.NewClient(w.admin).BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("reach Kafka at %v: %w", w.cfg.Kafka.Brokers, err)
	}
	w.clusterID = meta.Cluster
	if w.log, err = openConfigLog(ctx, w.cfg, w.logger); err != nil {
		return err
	}
	w.mu.Lock()
	w.started = true
	w.mu.Unlock()
	w.log.follow(w.changed, w.restarted)
	w.goroutines.Add(1)
	go w.watchKafka()
	return nil
}

// Stop ends all tasks after their current batch, at the latest when ctx ends,
// and leaves the consumer groups. It may be called more than once.
func (w *Worker) Stop(ctx context.Context) error {
	w.stop.Do(func() {
		// A Stop without Start is valid and makes a later Start fail.
		w.start.Do(func() { w.startErr = errors.New("connect worker: stopped before it was started") })
		w.mu.Lock()
		w.stopping = true
		started := w.started
		all := append(slices.Collect(maps.Values(w.connectors)), slices.Collect(maps.Values(w.leaving))...)
		w.mu.Unlock()
		w.cancel()
		if !started {
			return
		}
		w.log.close()
		var ended sync.WaitGroup
		for _, c := range all {
			ended.Go(func() { c.stop(ctx) })
		}
		ended.Wait()
		w.goroutines.Wait()
		w.admin.Close()
	})
	return nil
}

// changed takes over what the configuration topic says of a connector.
func (w *Worker) changed(name string, e entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping {
		return
	}
	c := w.connectors[name]
	if e.config == nil {
		if c == nil {
			return
		}
		delete(w.connectors, name)
		w.leaving[name] = c
		w.goroutines.Add(1)
		go func() {
			defer w.goroutines.Done()
			c.stop(w.ctx)
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.leaving[name] == c {
				delete(w.leaving, name)
			}
			if w.connectors[name] == nil {
				w.metrics.remove(name)
			}
		}()
		return
	}
	if c == nil {
		c = newConnector(w, name)
		w.connectors[name] = c
		w.metrics.add(name)
		// One of the same name that still ends must have left first.
		c.after = w.leaving[name]
		c.want(e)
		go c.run()
		return
	}
	c.want(e)
}

func (w *Worker) restarted(name string, r restartRequest) {
	if c := w.connector(name); c != nil {
		c.restart(func(t *task) bool { return r.IncludeTasks && (!r.OnlyFailed || t.state() == StateFailed) })
	}
}

func (w *Worker) connector(name string) *connector {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.connectors[name]
}

// watchKafka keeps the answer to "is Kafka there" fresh, for the status and
// the log: clients themselves only retry.
func (w *Worker) watchKafka() {
	defer w.goroutines.Done()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
		err := w.admin.Ping(ctx)
		cancel()
		if w.ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		before := w.kafkaErr
		w.kafkaErr = err
		w.mu.Unlock()
		switch {
		case err != nil && before == nil:
			w.logger.Error("kafka cannot be reached, connectors wait", "error", err)
		case err == nil && before != nil:
			w.logger.Info("kafka is back")
		}
	}
}

func (w *Worker) kafkaTrouble() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kafkaErr
}

// Status returns the state of every connector on this worker, by name.
func (w *Worker) Status() []ConnectorStatus {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.connectors))
	w.mu.Unlock()
	out := make([]ConnectorStatus, 0, len(all))
	for _, c := range all {
		out = append(out, c.status())
	}
	slices.SortFunc(out, func(a, b ConnectorStatus) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// Ready reports why the worker cannot serve; nil means it can. A connector
// that failed is not a reason.
func (w *Worker) Ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.started:
		return errors.New("connect worker is not started")
	case w.stopping:
		return errors.New("connect worker is stopping")
	}
	return w.kafkaErr
}

// ErrExists says that a connector of that name exists.
var ErrExists = errors.New("already exists")

// Put creates or reconfigures a connector, as PUT /connectors/{name}/config
// does. It lets the program that embeds the worker bring connectors of its own.
func (w *Worker) Put(ctx context.Context, name string, config map[string]string) (created bool, err error) {
	return w.put(ctx, name, config, "", false)
}

// put validates and stores a configuration. With create, an existing connector
// is ErrExists.
func (w *Worker) put(ctx context.Context, name string, config map[string]string, target TargetState, create bool) (bool, error) {
	config = maps.Clone(config)
	if config == nil {
		config = make(map[string]string)
	}
	config["name"] = name
	p, options, errs, err := w.validate(config)
	if err != nil {
		return false, &invalidError{err.Error()}
	}
	if len(errs) > 0 {
		msg := fmt.Sprintf("Connector configuration is invalid and contains the following %d error(s):", len(errs))
		for _, e := range errs {
			msg += "\n" + e.Message
		}
		return false, &invalidError{msg + "\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`"}
	}
	known := make(map[string]bool)
	for i := range options {
		known[options[i].Name] = true
	}
	for k := range config {
		if !known[k] {
			w.logger.Warn("unknown connector option has no effect", "connector", name, "option", k)
		}
	}
	old, exists := w.log.get(name)
	if exists && create {
		return false, fmt.Errorf("Connector %s %w", name, ErrExists) //nolint:staticcheck // Kafka Connect's words, shown to users
	}
	var records []*kgo.Record
	switch {
	case target != "":
		records = append(records, targetRecord(name, target))
	case exists:
		target = old.target
	case old.target != "" && old.target != Started:
		// Left over from a connector whose removal was cut short.
		records = append(records, targetRecord(name, Started))
	}
	records = append(records, connectorRecord(name, config))
	tasks := 0
	if target != Stopped {
		tasks = NewValues(options, config).Int("tasks.max")
	}
	records = append(records, taskRecords(name, p.TaskClass, config, tasks)...)
	return !exists, w.log.write(ctx, records...)
}

func (w *Worker) setTarget(ctx context.Context, name string, target TargetState) error {
	e, ok := w.log.get(name)
	if !ok {
		return notFound("Unknown connector " + name)
	}
	if e.target == target {
		return nil
	}
	records := []*kgo.Record{targetRecord(name, target)}
	if p, err := w.plugin(e.config["connector.class"]); err == nil && (target == Stopped || e.target == Stopped) {
		tasks := 0
		if target != Stopped {
			tasks, _ = strconv.Atoi(NewValues(commonOptions(), e.config).String("tasks.max"))
		}
		records = append(taskRecords(name, p.TaskClass, e.config, tasks), records...)
	}
	return w.log.write(ctx, records...)
}

func (w *Worker) remove(ctx context.Context, name string) error {
	if _, ok := w.log.get(name); !ok {
		return notFound("Connector " + name + " not found")
	}
	return w.log.write(ctx, &kgo.Record{Key: []byte(connectorPrefix + name)}, &kgo.Record{Key: []byte(targetPrefix + name)})
}

type invalidError struct{ msg string }

func (e *invalidError) Error() string { return e.msg }

type notFoundError struct{ msg string }

func (e *notFoundError) Error() string { return e.msg }

func notFound(msg string) error { return &notFoundError{msg} }
