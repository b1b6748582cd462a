package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/api"
	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/commerce/relay"
	"github.com/comptoir/comptoir/commerce/track"
	"github.com/comptoir/comptoir/internal/trace"
)

const (
	// sentKept is how long messages stay in the outbox after they were sent.
	sentKept = 24 * time.Hour
	// pruneEvery is how often what is kept for a while is looked through.
	pruneEvery = time.Minute
	// resent is how much of what was sent last before a power cut is sent again,
	// when the embedded broker syncs in intervals: more than an operating system
	// keeps to itself (35 s on Linux).
	resent = time.Minute
)

// databaseRoles need the order database.
var databaseRoles = []string{"api", "relais", "suivi", "audit"}

func (c Config) needsDatabase() bool {
	for _, r := range databaseRoles {
		if c.HasRole(r) {
			return true
		}
	}
	return false
}

// CheckDatabase says what is missing when roles of an instance need the order
// database and none is named.
func (c Config) CheckDatabase() error {
	if c.Database != "" || !c.needsDatabase() {
		return nil
	}
	return fmt.Errorf("the roles %s need --database postgres://USER:PASSWORD@HOST/NAME: the order database (or name other roles by --roles)", strings.Join(databaseRoles, ", "))
}

// orderDatabase is where the order database is: a file of the data directory, or
// what --database names.
func (n *Node) orderDatabase() string {
	if n.embedded {
		return filepath.Join(n.cfg.DataDir, "commandes.db")
	}
	return n.cfg.Database
}

func (n *Node) openDatabase(ctx context.Context) (err error) {
	url := n.orderDatabase()
	cfg := orderdb.Config{URL: url, Logger: n.log, Registerer: n.registry}
	if n.embedded {
		cfg.Shards = 1 // they are for several relays, and each has transactions of its own
	}
	n.database, err = orderdb.Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("order database: %w", err)
	}
	n.endpoints.Database = RedactURL(url)
	if n.broker == nil || !n.broker.Unclean() {
		return nil
	}
	// What the broker has acknowledged may be gone. What is still there is
	// ignored by service-stock the second time.
	count, err := n.database.Resend(ctx, resent)
	if err != nil {
		return fmt.Errorf("order database: %w", err)
	}
	if err := n.broker.Settled(); err != nil {
		return err
	}
	n.log.Info("the broker may have lost records: the last messages are sent again", "messages", count)
	return nil
}

// checkCluster refuses a cluster to which the order database does not belong.
// Beside the embedded broker it is not asked: both stand in one folder.
func (n *Node) checkCluster(ctx context.Context) error {
	is, err := kadm.NewClient(n.admin).BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("ask Kafka for its cluster id: %w", err)
	}
	was, err := n.database.Cluster(ctx, is.Cluster, false)
	if err != nil {
		return fmt.Errorf("order database: %w", err)
	}
	switch {
	case was == is.Cluster:
		return nil
	case n.cfg.AdoptCluster != is.Cluster:
		return fmt.Errorf("the order database belongs to Kafka cluster %s, but %v is cluster %s, to which orders would go while their timelines are forgotten: correct --brokers or --database; if the cluster is replaced for good, start with COMPTOIR_ADOPT_CLUSTER=%s",
			was, n.kafka.Brokers, is.Cluster, is.Cluster)
	}
	if _, err := n.database.Cluster(ctx, is.Cluster, true); err != nil {
		return fmt.Errorf("order database: %w", err)
	}
	n.log.Warn("the order database belongs to another kafka cluster from now on", "cluster", is.Cluster, "before", was)
	return nil
}

func (n *Node) closeDatabase(context.Context) error {
	if n.database == nil {
		return nil
	}
	return n.database.Close()
}

// startPrune removes by and by what the database keeps for a while only.
func (n *Node) startPrune(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.stopPruning = func() { cancel(); <-done }
	go func() {
		defer close(done)
		tick := time.NewTicker(pruneEvery)
		defer tick.Stop()
		for {
			for {
				now := time.Now()
				finished, err := n.database.Prune(ctx, now, now.Add(-sentKept))
				if err != nil && ctx.Err() == nil && !errors.Is(err, orderdb.ErrUnavailable) {
					n.log.Warn("order database not pruned", "err", err)
				}
				if finished || err != nil {
					break
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return nil
}

func (n *Node) stopPrune(context.Context) error {
	if n.stopPruning != nil {
		n.stopPruning()
	}
	return nil
}

func (n *Node) openTraces(ctx context.Context) (err error) {
	host, _ := os.Hostname()
	n.tracer, err = trace.Open(ctx, trace.Config{
		Endpoint: n.cfg.Traces.OTLP, Instance: fmt.Sprintf("%s-%d", host, os.Getpid()), Sample: n.cfg.Traces.Echantillon,
		Registerer: n.registry, Logger: n.log,
	})
	return err
}

func (n *Node) startRelay(ctx context.Context) (err error) {
	cfg := relay.Config{DB: n.database, Kafka: n.kafka, Logger: n.log, Registerer: n.registry,
		// service-stock knows an order that comes again by its identity.
		Repeatable: func(topic string) bool { return topic == event.TopicOrders }}
	if n.tracer != nil {
		cfg.Sent = func(_ orderdb.Message, r *kgo.Record, began time.Time) {
			n.tracer.Sent(trace.Hop{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Headers: r.Headers, Start: began, End: time.Now()})
		}
	}
	if n.relay, err = relay.New(cfg); err != nil {
		return err
	}
	return n.relay.Start(ctx)
}

func (n *Node) stopRelay(ctx context.Context) error {
	if n.relay == nil {
		return nil
	}
	return n.relay.Stop(ctx)
}

// openAPI prepares the routes. They are served by startHTTP.
func (n *Node) openAPI(context.Context) (err error) {
	if n.payloads, err = track.NewFetcher(n.kafka); err != nil {
		return err
	}
	n.api = api.New(api.Config{DB: n.database, Payloads: payloads{n.payloads}, Logger: n.log, Registerer: n.registry, TraceParent: n.tracer.TraceParent})
	return nil
}

func (n *Node) closeAPI(context.Context) error {
	if n.payloads != nil {
		n.payloads.Close()
	}
	return nil
}

// payloads gives package api what package track fetches.
type payloads struct{ *track.Fetcher }

func (p payloads) Fetch(ctx context.Context, entries []orderdb.Entry) ([]api.Payload, error) {
	found, err := p.Fetcher.Fetch(ctx, entries)
	if err != nil {
		return nil, err
	}
	out := make([]api.Payload, len(found))
	for i, f := range found {
		out[i] = api.Payload{Key: f.Key, Value: f.Value, Found: f.Found, Omitted: f.Omitted}
	}
	return out, nil
}

func (n *Node) startTrack(ctx context.Context) (err error) {
	cfg := track.Config{Kafka: n.kafka, DB: n.database, Instance: n.state.Instance(), Logger: n.log, Registerer: n.registry, Yield: n.load.High}
	if n.api != nil {
		cfg.Applied = n.api.Nudge
	}
	if n.tracker, err = track.New(cfg); err != nil {
		return err
	}
	return n.tracker.Start(ctx)
}

func (n *Node) stopTrack(ctx context.Context) error {
	if n.tracker == nil {
		return nil
	}
	return n.tracker.Stop(ctx)
}
