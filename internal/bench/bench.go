// Package bench measures a pipeline from outside: it sends orders by Kafka or by
// HTTP, notes when their notifications can be read, and reads what that cost from
// the cluster and from /metrics. It also keeps, shows and compares what was
// measured. It must not know how the pipeline works: it starts nothing of it, and
// takes nothing from it but the names of the public contract.
package bench

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/comptoir/comptoir/internal/kclient"
)

// Topics of the contract that a measurement reads or writes.
const (
	topicOrders        = "commandes.ecommerce"
	topicProducts      = "catalogue.produits"
	topicSupplies      = "stock.approvisionnements"
	topicNotifications = "notifications.clients"
)

// hops are the topics on the way of an order that is invoiced.
var hops = []string{topicOrders, "stock.verifie", "paiement-accepte", "factures.ecommerce", topicNotifications}

// Target is what is measured: the whole pipeline, or the floor under it.
type Target struct {
	// Kafka says how to reach its cluster.
	Kafka kclient.Config
	// API is the URL of the order API; needed to send by HTTP.
	API string
	// Metrics are the URLs of the processes whose CPU time counts: each has
	// /metrics. None: CPU time is not measured.
	Metrics []string
	// PIDs gives the processes of this machine, whose memory and whose time in the
	// kernel count; nil: these are not measured.
	PIDs func() []int
	// Kill ends one process as kill -9 does. If it was the only one it is started
	// again. Nil: there is none to kill.
	Kill func(context.Context) error
	// Heal starts again what Kill ended, once all was measured.
	Heal func(context.Context) error
	// Prefix, if not empty, says that this is a floor: orders go to the topic
	// <Prefix>orders and come out at <Prefix>notified, and its consumer groups
	// begin with it.
	Prefix string
}

func (t Target) in() string {
	if t.Prefix != "" {
		return t.Prefix + "orders"
	}
	return topicOrders
}

func (t Target) out() string {
	if t.Prefix != "" {
		return t.Prefix + "notified"
	}
	return topicNotifications
}

// reads tells whether a consumer group is one of the target's.
func (t Target) reads(group string) bool {
	if t.Prefix != "" {
		return strings.HasPrefix(group, t.Prefix)
	}
	for _, p := range []string{"service-", "detection-anomalies", "connect-"} {
		if strings.HasPrefix(group, p) {
			return true
		}
	}
	return false
}

// Config says what to measure.
type Config struct {
	Pipeline Target
	// Floor is measured beside the pipeline, phase for phase; nil: it is not.
	Floor *Target
	// Settings say how much. They stand in the report.
	Settings Settings
	// Patience is how long orders may be without notification while none comes.
	// Defaults to 60 s.
	Patience time.Duration
	// Profile takes the CPU profile of the pipeline's processes while they work off
	// the throughput phases, in the form of pprof; nil: none is taken. They must
	// serve profiles.
	Profile io.Writer
	// Progress is told what is done, one line at a time; nil: nobody is.
	Progress func(format string, args ...any)
}

// Orders sent before anything is measured, so that connections, groups and
// caches are there. Few, so that the first round still begins cold.
const (
	warmOrders = 300
	warmRate   = 300
)

// killRate is the load under which a process is killed: for twice
// Settings.Duration, after a quarter of it.
const killRate = 500

// Run measures, and returns what it found. Ctx ends it early, with an error: half
// a measurement is none.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string, ...any) {}
	}
	r := &Report{Format: format, Begun: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Settings: cfg.Settings}
	run := strconv.FormatInt(r.Begun.Unix(), 36)
	pipeline, err := open(ctx, cfg, cfg.Pipeline, run)
	if err != nil {
		return nil, err
	}
	defer pipeline.close()
	r.Kafka = "embedded"
	if cfg.Settings.Target != r.Kafka {
		r.Kafka = pipeline.version(ctx)
	}
	if cfg.Profile != nil {
		if err := profilable(ctx, pipeline.Metrics); err != nil {
			return nil, err
		}
		pipeline.profiles = &profiles{}
	}
	cfg.Progress("products: writing %d in plenty", products)
	if err := stockUp(ctx, pipeline.cl); err != nil {
		return nil, err
	}
	if err := pipeline.rest(ctx); err != nil {
		return nil, err
	}
	benches := []*bench{pipeline}
	if cfg.Floor != nil {
		floor, err := open(ctx, cfg, *cfg.Floor, run)
		if err != nil {
			return nil, fmt.Errorf("floor: %w", err)
		}
		defer floor.close()
		benches = append(benches, floor)
	}
	for _, b := range benches {
		if _, err := b.latency(ctx, "w", warmRate, warmOrders); err != nil {
			return nil, fmt.Errorf("%swarm-up: %w", b.name, err)
		}
	}
	for n := range cfg.Settings.Rounds {
		var round Round
		for _, b := range benches {
			m, err := b.round(ctx, n+1)
			if err != nil {
				return nil, fmt.Errorf("%sround %d: %w", b.name, n+1, err)
			}
			if b == pipeline {
				round.Measured = *m
			} else {
				round.Floor = m
			}
		}
		if cfg.Settings.Kill {
			if round.Kill, err = pipeline.kill(ctx, fmt.Sprintf("%dk", n+1)); err != nil {
				return nil, fmt.Errorf("round %d: %w", n+1, err)
			}
		}
		r.Rounds = append(r.Rounds, round)
	}
	if cfg.Profile != nil {
		if r.Parts, err = pipeline.profiles.write(cfg.Profile, r.cpuNotified()); err != nil {
			pipeline.note(err.Error())
		}
	}
	for _, b := range benches {
		r.Notes = append(r.Notes, b.notes...)
	}
	return r, nil
}

// round takes every phase once.
func (b *bench) round(ctx context.Context, n int) (*Measured, error) {
	s := b.cfg.Settings
	m := &Measured{}
	b.forgetPeak()
	var err error
	if s.Orders > 0 {
		if m.Saturation, err = b.saturate(ctx, fmt.Sprintf("%ds", n), s.Orders); err != nil {
			return nil, err
		}
		b.progress("%sround %d: %.0f orders/s", b.name, n, m.Saturation.PerSecond)
	}
	for i, rate := range s.Rates {
		l, err := b.latency(ctx, fmt.Sprintf("%dr%d", n, i), rate, max(1, int(rate*time.Duration(s.Duration).Seconds())))
		if err != nil {
			return nil, err
		}
		b.progress("%sround %d: at %v orders/s p50 %.1f ms, p99 %.1f ms", b.name, n, rate, l.Whole.P50, l.Whole.P99)
		m.Rates = append(m.Rates, *l)
	}
	m.PeakRSS = b.peak()
	return m, nil
}
