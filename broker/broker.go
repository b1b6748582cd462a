// Package broker is the embedded single-machine broker: the Kafka protocol on
// one loopback address over one directory. It owns that directory and knows
// nothing of commerce; only package node and test helpers import it.
//
// A crash at any instant, of the process or with SyncCommit of the machine,
// loses nothing that was acknowledged and shows nothing that was not committed.
// It has no replicas: who outgrows one machine uses Apache Kafka.
//
// What stands where: server speaks with clients, core decides, store keeps,
// batch knows the records' format. See docs/decisions/0009.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/broker/clean"
	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/server"
	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/lifecycle/dirlock"
)

// Sync says when written records are forced to the disk.
type Sync string

const (
	// SyncCommit forces them before they are acknowledged, many at a time: a
	// power cut loses nothing. A transaction's records are forced with its end.
	SyncCommit Sync = "commit"
	// SyncInterval forces them every second: a killed process loses nothing, a
	// power cut at most the last second, and nothing in the middle.
	SyncInterval Sync = "interval"
)

// DefaultPartitions is the number of partitions of a topic that is created
// without one, automatically or not.
const DefaultPartitions = 3

const (
	// minSession is the shortest session time-out of a group's member. Shorter
	// ones than Kafka's 6 s let a killed member's partitions move on quickly;
	// they cost nothing on one machine.
	minSession = 100 * time.Millisecond
	// futureLimit is how far ahead of the clock a record may be dated.
	futureLimit = time.Hour
)

// Config says where the broker keeps its data and listens.
type Config struct {
	// Dir is the data directory; the broker's files stand in Dir/broker.
	// Required.
	Dir string
	// Addr is the address to listen on, host:port, which must be a loopback
	// one since there is no sign-in. Port 0 takes a free port. Defaults to
	// 127.0.0.1:0.
	Addr string
	// Sync defaults to SyncCommit.
	Sync Sync
	// CleanEvery is how often logs are compacted and cut to their retention.
	// Defaults to 15 seconds.
	CleanEvery time.Duration
	// Yield, if there is one, tells whether others in the process need the
	// processors, so that compaction can wait. It is called concurrently.
	Yield func() bool
	// Registerer receives the broker's metrics; nil registers none.
	Registerer prometheus.Registerer
	// Logger receives the broker's log; nil discards it.
	Logger *slog.Logger
}

// Broker is a running broker. Its methods are safe for concurrent use.
type Broker struct {
	dir    *directory
	store  *store.Store
	runner *core.Runner
	clean  *clean.Cleaner
	server *server.Server
	tcp    net.Listener
	served chan struct{} // closed when tcp is not accepted from any more
	lost   bool

	using     sync.RWMutex       // held by backups, and by who reads the metrics
	closing   context.Context    // ends when Close begins
	giveUp    context.CancelFunc // of closing
	closeOnce sync.Once
	closeErr  error
}

// Open locks the directory, loads what it holds and listens. It returns when
// clients can connect. Its errors do not say "open broker": the caller does.
func Open(cfg Config) (_ *Broker, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("no directory given")
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	mode := store.SyncCommit
	switch cfg.Sync {
	case "", SyncCommit:
	case SyncInterval:
		mode = store.SyncInterval
	default:
		return nil, fmt.Errorf("sync %q is neither %q nor %q", cfg.Sync, SyncCommit, SyncInterval)
	}

	b, observed := &Broker{served: make(chan struct{})}, newObserved()
	b.closing, b.giveUp = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, b.release())
		}
	}()
	if b.dir, err = openDirectory(filepath.Join(cfg.Dir, "broker")); err != nil {
		return nil, err
	}
	if b.tcp, err = listen(cfg.Addr); err != nil {
		return nil, err
	}
	began, low := time.Now(), lowSpace(b.dir.data())
	b.store, err = store.Open(store.Options{FS: vfs.Default, Dir: b.dir.data(), Sync: mode, Interval: time.Second, LowSpace: low, Reserve: low / 4, BootID: bootID(), Logger: log, OnSync: observed.synced})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", b.dir.data(), err)
	}
	if b.lost, err = b.dir.lost(mode == store.SyncInterval && b.store.PowerLost()); err != nil {
		return nil, err
	}
	if b.lost {
		log.Warn("the machine went down: records acknowledged in its last second may be gone", "dir", b.dir.path)
	}
	host, port, err := hostPort(b.tcp.Addr())
	if err != nil {
		return nil, err
	}
	view, metrics := core.NewView(), server.NewMetrics(cfg.Registerer)
	// The server is there before the runner, which may have connections closed.
	srv := server.New(server.Config{
		Submit: func(ctx context.Context, r *core.Request) error { return b.runner.Submit(ctx, r) },
		View:   view, Reader: b.store,
		Metrics: metrics, Logger: log,
	})
	b.runner, err = core.Start(core.Config{
		ClusterID: b.dir.format.ClusterID, Host: host, Port: port,
		DefaultPartitions: DefaultPartitions, MinSession: minSession, FutureLimit: futureLimit,
		Dir: b.dir.path, Size: b.store.Size, Space: b.space,
		Settled: observed.answered, Panicked: metrics.Panicked, Logger: log,
	}, b.store, view, clock{}, srv.DropAll)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", b.dir.data(), err)
	}
	b.clean = clean.New(clean.Config{Machine: b.runner, Store: b.store, Every: cfg.CleanEvery, Yield: cfg.Yield, Clock: clock{}, Logger: log, Registerer: cfg.Registerer})
	b.clean.Start()
	b.server = srv
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(observed.syncSeconds, observed.group, observed.syncFailed, collector{b})
	}
	go func() {
		defer close(b.served)
		b.server.Serve(b.tcp)
	}()
	log.Info("broker ready", "addr", b.Addr(), "dir", b.dir.path, "took", time.Since(began).Round(time.Millisecond).String())
	return b, nil
}

// Addr returns the address clients connect to, with the port in use.
func (b *Broker) Addr() string { return b.tcp.Addr().String() }

// Unclean says whether records that were acknowledged may be gone: with
// SyncInterval, after the whole machine went down. It stays so until Settled.
func (b *Broker) Unclean() bool { return b.lost }

// Settled says that what may be gone has been seen to.
func (b *Broker) Settled() error { return b.dir.settled() }

// Health says why the broker refuses writes now, or nil. It goes on serving
// reads.
func (b *Broker) Health() error { return b.store.Health() }

// DialContext connects a client of this process without going through the
// network stack; network and address are not looked at. It fits kgo.Dialer.
func (b *Broker) DialContext(context.Context, string, string) (net.Conn, error) {
	client, end := server.Pipe(b.tcp.Addr())
	if err := b.server.ServeConn(end); err != nil {
		return nil, fmt.Errorf("connect to the embedded broker: %w", err)
	}
	return client, nil
}

// Close ends every connection, lets what is decided reach the disk and gives
// the directory up. It may be called twice and then answers the same.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() { b.closeErr = b.release() })
	return b.closeErr
}

// release gives up what there is of a broker.
func (b *Broker) release() error {
	var errs []error
	b.giveUp()
	b.using.Lock()
	defer b.using.Unlock()
	if b.tcp != nil {
		errs = append(errs, b.tcp.Close())
	}
	if b.server != nil {
		<-b.served
		b.server.Close()
	}
	if b.clean != nil {
		b.clean.Close()
	}
	if b.runner != nil {
		b.runner.Close()
	}
	if b.store != nil {
		errs = append(errs, b.store.Close())
	}
	if b.dir != nil {
		errs = append(errs, b.dir.release())
	}
	return errors.Join(errs...)
}

// HeldError is the error of Open on a directory that another process uses.
type HeldError = dirlock.HeldError

func listen(addr string) (net.Listener, error) {
	tcpAddr, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	if !tcpAddr.IP.IsLoopback() {
		return nil, fmt.Errorf("listen on %q: the embedded broker has no sign-in and listens on loopback addresses only, such as 127.0.0.1:9092", addr)
	}
	tcp, err := net.ListenTCP("tcp", tcpAddr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return tcp, nil
}

func hostPort(addr net.Addr) (string, int32, error) {
	host, text, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return host, int32(port), err
}

// lowSpace is how much of a disk is left free: enough to clean up with.
func lowSpace(dir string) uint64 {
	const most = 64 << 20
	usage, err := vfs.Default.GetDiskUsage(filepath.Dir(dir))
	if err != nil {
		return 0 // unknown: a full disk is noticed when a write fails
	}
	return min(most, usage.TotalBytes/20)
}

// space is the disk's size, and what of it is free for us, in bytes; -1 for unknown.
func (b *Broker) space() (total, free int64) {
	usage, err := vfs.Default.GetDiskUsage(b.dir.data())
	if err != nil {
		return -1, -1
	}
	return int64(usage.TotalBytes), int64(usage.AvailBytes)
}

// clock is the time of day.
type clock struct{}

func (clock) Now() time.Time                         { return time.Now() }
func (clock) After(d time.Duration) <-chan time.Time { return time.After(d) }
