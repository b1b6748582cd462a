// Package node makes one process of Comptoir: it wires broker, stages,
// connectors and HTTP from a Config, starts them in order and stops them in the
// order of the data. It is the only package that knows all others, and holds no
// logic of theirs.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/broker"
	"github.com/comptoir/comptoir/commerce"
	"github.com/comptoir/comptoir/commerce/api"
	"github.com/comptoir/comptoir/commerce/audit"
	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/commerce/relay"
	"github.com/comptoir/comptoir/commerce/track"
	"github.com/comptoir/comptoir/connect"
	"github.com/comptoir/comptoir/connect/jdbc"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/internal/lifecycle"
	"github.com/comptoir/comptoir/internal/trace"
	"github.com/comptoir/comptoir/internal/web"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/state"
)

// Node is one process: the embedded shop (broker included) or an instance beside
// a Kafka cluster. Start it once; Stop may be called more than once.
type Node struct {
	cfg      Config
	embedded bool
	log      *slog.Logger
	registry *prometheus.Registry
	group    *lifecycle.Group
	health   *web.Health

	tracer      *trace.Tracer
	database    orderdb.DB
	stopPruning func()
	api         *api.API
	payloads    *track.Fetcher
	tracker     *track.Tracker
	relay       *relay.Relay
	audit       *audit.Follower

	broker    *broker.Broker
	kafka     kclient.Config
	admin     *kgo.Client
	watch     *watch
	state     *state.DB
	apps      []*streams.App
	load      streams.Load // of the apps
	stages    []commerce.Stage
	payments  *payments
	connect   *connect.Worker
	items     []item // of the catalogue file
	sample    item   // of the embedded shop
	listeners struct{ http, connect net.Listener }
	http      *web.Server
	connectHT *web.Server
	control   *web.Server
	endpoints Endpoints
}

// NewEmbedded prepares a node with its own broker (`comptoir up`).
func NewEmbedded(cfg Config, log *slog.Logger) (*Node, error) { return build(cfg, true, log) }

// NewInstance prepares a node beside a Kafka cluster (`comptoir serve`).
func NewInstance(cfg Config, log *slog.Logger) (*Node, error) { return build(cfg, false, log) }

func build(cfg Config, embedded bool, log *slog.Logger) (*Node, error) {
	n := &Node{cfg: cfg, embedded: embedded, log: log, registry: prometheus.NewRegistry(), group: lifecycle.NewGroup(log)}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.kafka = kclient.Config{Brokers: cfg.Brokers, Silent: &kclient.Silent{}, Logger: kclient.Quiet(log), Metrics: kclient.NewMetrics(n.registry)}
	for _, s := range slices.Concat(commerce.Flow, commerce.Extra) {
		if cfg.HasRole(s.Role) {
			n.stages = append(n.stages, s)
		}
	}
	n.health = web.NewHealth(n.checks()...)
	// What can be wrong outside is found before anything is written.
	n.group.Add("catalogue", lifecycle.Func(n.openCatalogue, nil))
	n.group.Add("listeners", lifecycle.Func(n.listen, n.closeListeners))
	n.group.Add("data directory", lifecycle.Func(n.openDir, n.closeDir))
	n.group.Add("traces", lifecycle.Func(n.openTraces, func(ctx context.Context) error { return n.tracer.Stop(ctx) }))
	if embedded {
		n.group.Add("broker", lifecycle.Func(n.openBroker, n.closeBroker))
	}
	if cfg.needsDatabase() {
		n.group.Add("database", lifecycle.Func(n.openDatabase, n.closeDatabase))
		n.group.Add("prune", lifecycle.Func(n.startPrune, n.stopPrune))
	}
	n.group.Add("kafka", lifecycle.Func(n.openKafka, n.closeKafka))
	if cfg.needsDatabase() && !embedded {
		n.group.Add("cluster", lifecycle.Func(n.checkCluster, nil))
	}
	n.group.Add("topics", lifecycle.Func(n.openTopics, nil))
	if cfg.HasRole("api") {
		n.group.Add("api", lifecycle.Func(n.openAPI, n.closeAPI))
	}
	if cfg.HasRole("suivi") {
		// Before anything writes to a topic: what an embedded broker has lost is
		// then seen.
		n.group.Add("track", lifecycle.Func(n.startTrack, n.stopTrack))
	}
	n.group.Add("stages", lifecycle.Func(n.startStages, n.stopStages))
	if cfg.HasRole("relais") {
		n.group.Add("relay", lifecycle.Func(n.startRelay, n.stopRelay))
	}
	if cfg.HasRole("connect") {
		n.group.Add("connect", lifecycle.Func(n.startConnect, n.stopConnect))
	}
	if cfg.HasRole("audit") {
		n.group.Add("audit", lifecycle.Func(n.startAudit, n.stopAudit))
	}
	n.group.Add("http", lifecycle.Func(n.startHTTP, n.stopHTTP))
	if embedded {
		n.group.Add("control", lifecycle.Func(n.startControl, n.stopControl))
	}
	n.group.Add("endpoints", lifecycle.Func(
		func(context.Context) error { return WriteEndpoints(n.cfg.DataDir, n.endpoints) },
		func(context.Context) error { return os.Remove(filepath.Join(n.cfg.DataDir, EndpointsFile)) }))
	// Along the data: no new work, then the outbox and the stages commit, then
	// those take what was committed that only read, then the broker.
	n.group.StopOrder("endpoints", "control", "http", "audit", "relay", "stages", "track", "connect", "api", "kafka", "broker", "prune", "database", "data directory", "traces")
	return n, nil
}

// Start brings everything up and returns when the node is ready. After an error
// nothing is left running. The addresses of HTTP are taken first, and requests
// that come early wait for the end of Start.
//
// From here on the process outlives the reader of its output: `comptoir up |
// head` must not kill the broker in the middle of a write.
func (n *Node) Start(ctx context.Context) error {
	signal.Ignore(syscall.SIGPIPE)
	return n.group.Start(ctx)
}

// Stop takes the node down: it commits what is open and closes all, gracefully
// for three quarters of ctx's time.
func (n *Node) Stop(ctx context.Context) error {
	n.health.Drain()
	return n.group.Stop(ctx)
}

// Drain makes /readyz fail from now on, while everything goes on working.
func (n *Node) Drain() { n.health.Drain() }

// Endpoints returns the addresses in use, once started.
func (n *Node) Endpoints() Endpoints { return n.endpoints }

// Kafka returns how to reach the node's cluster, once started.
func (n *Node) Kafka() kclient.Config { return n.kafka }

// Groups returns the consumer groups of the stages and the archive's.
func (n *Node) Groups() []string {
	var groups []string
	for _, s := range n.stages {
		groups = append(groups, s.Group)
	}
	if n.cfg.HasRole("suivi") {
		groups = append(groups, track.Group)
	}
	if n.embedded && n.cfg.HasRole("connect") {
		groups = append(groups, "connect-"+archiveConnector)
	}
	return groups
}

// openCatalogue reads the catalogue's file, if there is one to load.
func (n *Node) openCatalogue(context.Context) (err error) {
	if n.cfg.Catalogue != "" {
		n.items, err = readCatalogue(n.cfg.Catalogue)
	}
	return err
}

// listen takes the addresses of HTTP.
func (n *Node) listen(ctx context.Context) (err error) {
	if n.listeners.http, err = web.Listen(ctx, n.cfg.HTTP, "--http"); err != nil {
		return err
	}
	if !n.cfg.HasRole("connect") {
		return nil
	}
	if n.listeners.connect, err = web.Listen(ctx, n.cfg.Connect, "--connect"); err != nil {
		return errors.Join(err, n.closeListeners(ctx))
	}
	return nil
}

// closeListeners gives back those that no server has closed.
func (n *Node) closeListeners(context.Context) error {
	var errs []error
	for _, ln := range []net.Listener{n.listeners.http, n.listeners.connect} {
		if ln != nil {
			if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (n *Node) openDir(context.Context) error {
	dir, err := filepath.Abs(n.cfg.DataDir)
	if err != nil {
		return err
	}
	n.cfg.DataDir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	n.endpoints.PID = os.Getpid()
	return nil
}

func (n *Node) closeDir(context.Context) error {
	if n.state == nil {
		return nil
	}
	defer func() { n.state = nil }()
	return n.state.Close()
}

func (n *Node) openBroker(context.Context) (err error) {
	n.broker, err = broker.Open(broker.Config{Dir: n.cfg.DataDir, Addr: n.cfg.Kafka, Sync: broker.Sync(n.cfg.Sync), Yield: n.load.High, Registerer: n.registry, Logger: n.log})
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES) {
		return web.ListenError(err, n.cfg.Kafka, "--kafka")
	}
	if err != nil {
		return err
	}
	n.kafka.Brokers, n.kafka.Dial = []string{n.broker.Addr()}, n.broker.DialContext
	if !n.cfg.needsDatabase() {
		return n.broker.Settled() // there is nothing to send again
	}
	return nil
}

func (n *Node) closeBroker(context.Context) error {
	if n.broker == nil {
		return nil
	}
	return n.broker.Close()
}

// openKafka opens the local state and a client, and waits for the cluster.
func (n *Node) openKafka(ctx context.Context) (err error) {
	if n.state, err = state.OpenCached(filepath.Join(n.cfg.DataDir, "state"), int64(n.cfg.Stream.CacheBytes)); err != nil {
		return err
	}
	if n.admin, err = n.kafka.New(); err != nil {
		return err
	}
	n.endpoints.Kafka = n.kafka.Brokers[0]
	if err := n.admin.Ping(ctx); err != nil {
		return fmt.Errorf("no Kafka at %v: start it, or correct --brokers: %w", n.kafka.Brokers, err)
	}
	n.watch = newWatch(n.admin, n.kafka.Brokers, n.log, n.registry)
	return nil
}

func (n *Node) closeKafka(context.Context) error {
	if n.watch != nil {
		n.watch.stop()
	}
	if n.admin != nil {
		n.admin.Close()
	}
	return nil
}

func (n *Node) replication() int16 {
	if n.embedded {
		return 1
	}
	return -1
}

// openTopics creates the public topics and loads the catalogue.
func (n *Node) openTopics(ctx context.Context) error {
	adm := kadm.NewClient(n.admin)
	created, err := createTopics(ctx, adm, n.replication(), n.cfg.HasRole("expedition"), n.log)
	if err != nil {
		return err
	}
	if n.cfg.Catalogue != "" {
		if err := loadCatalogue(ctx, n.kafka, n.items); err != nil {
			return err
		}
		n.log.Info("catalogue loaded", "file", n.cfg.Catalogue, "products", len(n.items))
		n.sample, n.items = sampleOf(n.items), nil
		return nil
	}
	if !n.embedded {
		return nil
	}
	if !slices.Contains(created, event.TopicProducts) {
		// A first start may have ended between the topics and the catalogue.
		fresh, err := empty(ctx, adm, event.TopicProducts)
		if err != nil {
			return err
		}
		if !fresh {
			known, err := n.knownItems(ctx)
			n.sample = sampleOf(known)
			return err
		}
	}
	items := demoCatalogue()
	n.sample = sampleOf(items)
	return loadCatalogue(ctx, n.kafka, items)
}

// startStages starts the Apps of the node's roles, all at once.
func (n *Node) startStages(ctx context.Context) error {
	if err := n.openPayments(); err != nil {
		return err
	}
	cfg, err := n.stageConfig()
	if err != nil {
		return err
	}
	metrics := streams.NewMetrics(n.registry)
	chain := &streams.Chain{}
	for _, s := range n.stages {
		top, err := s.Topology(cfg)
		if err != nil {
			return err
		}
		app, err := streams.NewApp(streams.Config{
			Topology: top, Kafka: n.kafka, State: n.state,
			CommitInterval: time.Duration(n.cfg.Stream.CommitInterval), MinCommitInterval: time.Duration(n.cfg.Stream.MinCommitInterval),
			BufferBytes:       n.cfg.Stream.BufferBytes,
			StandbyCopies:     n.cfg.Stream.StandbyCopies,
			ReplicationFactor: n.replication(),
			Chain:             chain,
			Trace:             n.processed(),
			Load:              &n.load,
			Metrics:           metrics, Logger: n.log,
		})
		if err != nil {
			return err
		}
		n.apps = append(n.apps, app)
	}
	if n.payments != nil {
		if err := n.payments.workers.Start(ctx); err != nil {
			return err
		}
	}
	errs := make([]error, len(n.apps))
	var wg sync.WaitGroup
	for i, app := range n.apps {
		wg.Go(func() { errs[i] = app.Start(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, n.stopStages(context.WithoutCancel(ctx)))
	}
	return nil
}

// processed is what the stages tell of traced records, nil without tracing.
func (n *Node) processed() func(streams.Processed) {
	if n.tracer == nil {
		return nil
	}
	return func(p streams.Processed) { n.tracer.Processed(trace.Hop(p)) }
}

func (n *Node) stopStages(ctx context.Context) error {
	errs := make([]error, len(n.apps)+1)
	var wg sync.WaitGroup
	for i, app := range n.apps {
		wg.Go(func() { errs[i] = app.Stop(ctx) })
	}
	wg.Wait()
	if n.payments != nil {
		errs[len(n.apps)] = n.payments.stop(ctx)
	}
	return errors.Join(errs...)
}

func (n *Node) startConnect(ctx context.Context) (err error) {
	archive := &moving{}
	if n.embedded {
		if archive, err = n.moved(); err != nil {
			return err
		}
	}
	n.connect, err = connect.New(connect.Config{
		Adapt: archive.adapt,
		Kafka: n.kafka, Plugins: []connect.Plugin{jdbc.Plugin()}, Logger: n.log, Registerer: n.registry,
		Yield:    n.load.High,
		WorkerID: n.listeners.connect.Addr().String(), AllowedHosts: n.cfg.AllowedHosts, ReplicationFactor: n.replication(),
	})
	if err != nil {
		return err
	}
	if err := n.connect.Start(ctx); err != nil {
		return err
	}
	if !n.embedded {
		return nil
	}
	if err := archive.settle(ctx, n); err != nil {
		return err
	}
	return n.startArchive(ctx)
}

func (n *Node) stopConnect(ctx context.Context) error {
	if n.connect == nil {
		return nil
	}
	return n.connect.Stop(ctx)
}

func (n *Node) startHTTP(ctx context.Context) error {
	mux := http.NewServeMux()
	n.health.Register(mux)
	mux.Handle("GET /metrics", web.MetricsHandler(n.registry, n.log))
	chain := web.ChainConfig{Logger: n.log, Metrics: web.NewMetrics(n.registry), AllowedHosts: n.cfg.AllowedHosts}
	paths := []string{"/livez", "/readyz", "/health", "/metrics"}
	if n.cfg.Pprof {
		paths = append(paths, "/debug/pprof/")
		registerProfiles(mux)
	}
	if n.api != nil {
		paths = append(paths, "/commandes", "/produits", "/stock", "/openapi.yaml")
		n.api.Register(mux)
	}
	if n.connect != nil {
		paths = append(paths, "/connectors", "/connector-plugins")
		h := n.connect.Handler()
		mux.Handle("/connectors", h)
		mux.Handle("/connectors/", h)
		mux.Handle("/connector-plugins", h)
		mux.Handle("/connector-plugins/", h)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		web.WriteJSON(w, http.StatusOK, map[string]any{"name": "comptoir", "paths": paths})
	})
	n.http = web.NewServer(web.ServerConfig{Listener: n.listeners.http, Logger: n.log,
		Handler: n.tracer.HTTP(web.Chain(chain, web.Routes(mux)))})
	if err := n.http.Start(ctx); err != nil {
		return err
	}
	n.endpoints.HTTP = "http://" + n.http.Addr()
	if n.connect != nil {
		n.connectHT = web.NewServer(web.ServerConfig{Listener: n.listeners.connect, Logger: n.log, Handler: n.connect.Handler()})
		if err := n.connectHT.Start(ctx); err != nil {
			return errors.Join(err, n.stopHTTP(ctx))
		}
		n.endpoints.Connect = "http://" + n.connectHT.Addr()
	}
	return nil
}

func (n *Node) stopHTTP(ctx context.Context) error {
	var errs [3]error
	if n.api != nil {
		errs[0] = n.api.Stop(ctx)
	}
	var wg sync.WaitGroup
	for i, s := range []*web.Server{n.http, n.connectHT} {
		if s != nil {
			wg.Go(func() { errs[i+1] = s.Stop(ctx) })
		}
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// checks are the conditions of readiness. A process that takes orders does so
// with the order database alone: what else stands still makes it degraded, but a
// gateway must not take it away, for it would find no better one. Without that
// role a process that cannot work has nothing to offer.
func (n *Node) checks() []web.Check {
	checks := []web.Check{started("kafka", func() bool { return n.watch != nil }, func(context.Context) error { return n.watch.check() })}
	for i, s := range n.stages {
		checks = append(checks, web.Check{Name: s.Group, Run: func(ctx context.Context) error {
			if i >= len(n.apps) {
				return streams.ErrNotRunning
			}
			err := n.apps[i].Health()
			if gone := n.goneTopics(ctx, err); len(gone) > 0 {
				return fmt.Errorf("topic %s was deleted: a restart of comptoir creates it again, empty: %w", strings.Join(gone, ", "), err)
			}
			return err
		}})
	}
	if len(n.stages) > 0 {
		checks = append(checks, started("state", func() bool { return n.state != nil }, func(context.Context) error { return n.state.Health() }))
	}
	if n.cfg.HasRole("relais") {
		checks = append(checks, started("relais", func() bool { return n.relay != nil }, func(context.Context) error { return n.relay.Health() }))
	}
	if n.cfg.HasRole("suivi") {
		checks = append(checks, started(track.Group, func() bool { return n.tracker != nil }, func(context.Context) error { return n.tracker.Health() }))
	}
	if n.cfg.HasRole("connect") {
		checks = append(checks, started("connect", func() bool { return n.connect != nil }, func(context.Context) error { return n.connect.Ready() }))
	}
	for i := range checks {
		checks[i].Dispensable = n.cfg.HasRole("api")
	}
	if n.embedded {
		// It refuses writes and goes on serving reads.
		check := started("broker", func() bool { return n.broker != nil }, func(context.Context) error { return n.broker.Health() })
		check.Dispensable = n.cfg.HasRole("api")
		checks = append(checks, check)
	}
	if n.cfg.HasRole("audit") {
		// The work goes on without it.
		check := started("audit", func() bool { return n.audit != nil }, func(context.Context) error { return n.auditHealth() })
		check.Dispensable = true
		checks = append(checks, check)
	}
	if n.cfg.needsDatabase() {
		checks = append(checks, started("database", func() bool { return n.database != nil }, func(ctx context.Context) error { return n.database.Ping(ctx) }))
	}
	return checks
}

// started is a check of a part that may not be there yet.
func started(name string, is func() bool, check func(context.Context) error) web.Check {
	return web.Check{Name: name, Run: func(ctx context.Context) error {
		if !is() {
			return errors.New("not started yet")
		}
		return check(ctx)
	}}
}
