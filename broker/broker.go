// Package broker is the embedded single-machine broker: the Kafka protocol on
// one loopback address over one directory. It owns that directory and knows
// nothing of commerce; only package node and test helpers import it.
//
// It stands on franz-go's kfake for now. What kfake does not promise, this
// package does not either: after a crash (kill -9, power cut) a transaction
// may have been applied in part and idempotent producers may duplicate; only a
// clean Close keeps everything. A cluster of Apache Kafka has no such limits.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/internal/lifecycle/dirlock"
)

// Sync says when written records are forced to the disk.
type Sync string

const (
	// SyncInterval leaves it to the operating system, as Apache Kafka does by
	// default: a killed process loses nothing by it, a power cut may.
	SyncInterval Sync = "interval"
	// SyncCommit forces each batch before it is acknowledged.
	SyncCommit Sync = "commit"
)

// DefaultPartitions is the number of partitions of a topic that is created
// without one, automatically or not.
const DefaultPartitions = 3

// Config says where the broker keeps its data and listens.
type Config struct {
	// Dir is the data directory; the broker's files stand in Dir/broker.
	// Required.
	Dir string
	// Addr is the address to listen on, host:port, which must be a loopback
	// one since there is no sign-in. Port 0 takes a free port. Defaults to
	// 127.0.0.1:0.
	Addr string
	// Sync defaults to SyncInterval.
	Sync Sync
	// Logger receives the broker's log; nil discards it.
	Logger *slog.Logger
}

// Broker is a running broker. Its methods are safe for concurrent use.
type Broker struct {
	cluster *kfake.Cluster
	ln      *listener
	dir     *directory
	addr    string
	unclean bool
	settled atomic.Bool

	closeOnce sync.Once
	closeErr  error
}

// Open locks the directory, loads what it holds and listens. It returns when
// clients can connect, and warns in the log if the directory's last broker was
// not closed. Its errors do not say "open broker": the caller does.
func Open(cfg Config) (*Broker, error) {
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
	var sync []kfake.Opt
	switch cfg.Sync {
	case "", SyncInterval:
	case SyncCommit:
		sync = append(sync, kfake.SyncWrites())
	default:
		return nil, fmt.Errorf("sync %q is neither %q nor %q", cfg.Sync, SyncInterval, SyncCommit)
	}

	dir, err := openDirectory(filepath.Join(cfg.Dir, "broker"))
	if err != nil {
		return nil, err
	}
	ln, err := listen(cfg.Addr, log)
	if err != nil {
		return nil, errors.Join(err, dir.release())
	}
	unclean, err := dir.begin()
	if err != nil {
		return nil, errors.Join(err, ln.Close(), dir.release())
	}
	if unclean {
		log.Warn("the last stop was not clean: records and transactions of its last moments may be torn; see README", "dir", dir.path)
	}
	cluster, err := kfake.NewCluster(append(sync,
		kfake.NumBrokers(1),
		kfake.ClusterID(dir.format.ClusterID),
		kfake.DataDir(dir.data()),
		kfake.DefaultNumPartitions(DefaultPartitions),
		kfake.AllowAutoTopicCreation(),
		// Sessions shorter than Kafka's 6 s let a killed member's partitions
		// move on quickly; they cost nothing on one machine.
		kfake.GroupMinSessionTimeout(minSession),
		kfake.BrokerConfigs(brokerConfigs()),
		kfake.MaxVersions(versions()),
		kfake.WithLogger(logger{log}),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return ln, nil }),
	)...)
	if err != nil {
		if !unclean {
			err = errors.Join(err, dir.end())
		}
		return nil, errors.Join(fmt.Errorf("read %s: %w", dir.data(), err), ln.Close(), dir.release())
	}
	b := &Broker{cluster: cluster, ln: ln, dir: dir, addr: ln.Addr().String(), unclean: unclean}
	cluster.ControlKey(int16(kmsg.Metadata), b.createMissing)
	cluster.ControlKey(int16(kmsg.ListGroups), foldGroupTypes)
	log.Info("broker ready", "addr", b.addr, "dir", dir.path)
	return b, nil
}

// createMissing creates the topics that a metadata request would create by
// itself, because only a topic created explicitly is written to the disk at
// once. kfake runs it between two requests.
func (b *Broker) createMissing(req kmsg.Request) (kmsg.Response, error, bool) {
	m := req.(*kmsg.MetadataRequest)
	if !m.AllowAutoTopicCreation {
		return nil, nil, false
	}
	for _, t := range m.Topics {
		if t.Topic != nil && b.cluster.TopicInfo(*t.Topic) == nil {
			// A refused name is refused again by the request itself.
			_ = b.cluster.CreateTopic(*t.Topic, DefaultPartitions, nil)
		}
	}
	return nil, nil, false
}

// Addr returns the address clients connect to, with the port in use.
func (b *Broker) Addr() string { return b.addr }

// Unclean says whether the directory's last broker was not closed: what it had
// acknowledged in its last moments may be gone.
func (b *Broker) Unclean() bool { return b.unclean }

// Settled says that what may be gone has been seen to. Before, a broker that
// found an unclean stop does not hide it from the next one by closing.
func (b *Broker) Settled() { b.settled.Store(true) }

// DialContext connects a client of this process without going through the
// network stack; network and address are not looked at. It fits kgo.Dialer.
func (b *Broker) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return b.ln.dial(ctx)
}

// Close ends every connection, writes what is still in memory and gives the
// directory up: as clean, unless it was Unclean and is not Settled. It may be called twice and then answers the same.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() {
		b.cluster.Close()
		errs := []error{b.ln.closeConns()}
		if !b.unclean || b.settled.Load() {
			errs = append(errs, b.dir.end())
		}
		b.closeErr = errors.Join(append(errs, b.dir.release())...)
	})
	return b.closeErr
}

// HeldError is the error of Open on a directory that another process uses.
type HeldError = dirlock.HeldError
