// Package audit is the auditor: it reads what the whole system has left behind,
// every topic, the order database and the archive, and checks that every
// promise holds for each order, product, invoice and record. It owns the
// invariants, the facts it keeps of what it read, and the report.
//
// It must not share decision code with the stages: what is coherent, which
// content is equal, how amounts are rounded, it works out anew. It takes names,
// limits and the list of currencies from commerce/event, and changes nothing of
// what it reads.
//
// A round has three steps (engine.go):
//
//  1. Read: every record becomes a few facts of some dozen bytes in a Pebble
//     store, under keys that group them: by order, accused record, product,
//     supply, invoice series, client. What a record alone can show wrong (form,
//     key, partition, headers) is said here.
//  2. Judge: each group that has new facts, or whose time to wait has passed, is
//     read again from its facts and judged as a whole. A group's judgement takes
//     the place of its last one. Groups are streamed, so memory stays bounded
//     whatever the history.
//  3. Compare: the order database and the archive with the facts, and what is
//     pending.
//
// What is missing and younger than Config.Limit is in flight, not violated.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/internal/kclient"
)

// DefaultLimit is how long something may be in flight unless configured.
const DefaultLimit = time.Minute

// DefaultEvery is the time between two rounds of Follow unless configured.
const DefaultEvery = 10 * time.Second

// DefaultMemory is what facts and fetches may hold in memory unless configured.
const DefaultMemory = 128 << 20

// Config says what to audit.
type Config struct {
	// Kafka is the cluster whose topics are read. Required.
	Kafka kclient.Config
	// Database is the order database; nil: not checked.
	Database Database
	// Archive is the invoice archive; nil: not checked.
	Archive Archive
	// Dir keeps the facts: some hundred bytes for each record read. Empty: a
	// temporary folder for Run, removed at its end; Follow needs one, and goes
	// on from what is in it.
	Dir string
	// Limit is how long something may be in flight: an order without its next
	// event, a message in the outbox, a record a group has not read. Defaults to
	// DefaultLimit.
	Limit time.Duration
	// Wait is how long Run waits for rest before it judges: all groups have
	// read everything, the outbox is empty, nothing new comes. What is not at
	// rest by then is judged as it is.
	Wait time.Duration
	// Zone is that of invoice dates. nil: Europe/Paris.
	Zone *time.Location
	// Every is the time between the rounds of Follow. Defaults to DefaultEvery.
	Every time.Duration
	// Share is how much of one core the work may take, as a share of the time:
	// after some work it rests for as long as that asks. It takes more, up to
	// a tenth of a core, while the rest of the process does nothing. Defaults to 1: no
	// rest.
	Share float64
	// Yield, if there is one, tells whether others in the process need the
	// processors: the work then takes an eighth of its share.
	Yield func() bool
	// Memory is about how many bytes facts and fetches may hold in memory.
	// Defaults to DefaultMemory.
	Memory int64
	// Progress is told every second or so how far a round is; nil: nobody.
	Progress func(Progress)
	// Logger hears of each new violation in Follow, as an error. Defaults to
	// none.
	Logger *slog.Logger
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer

	metrics *metrics                    // registered already
	held    func(context.Context) error // asked before each round of Follow
	moved   func()                      // told that the work goes on
}

// Progress is how far a round is.
type Progress struct {
	// Step is what is done: wait, archive, read, or judge and what.
	Step string
	// Done of Total records, or groups, where known.
	Done, Total int64
}

func (c *Config) defaults() {
	if c.Limit == 0 {
		c.Limit = DefaultLimit
	}
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.Share == 0 {
		c.Share = 1
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if c.Zone == nil {
		c.Zone = paris
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.metrics == nil {
		c.metrics = newMetrics(c.Registerer)
	}
	if c.held == nil {
		c.held = func(context.Context) error { return nil }
	}
	if c.moved == nil {
		c.moved = func() {}
	}
}

// Run audits once what is there now, or, with Config.Wait, once all is at rest.
func Run(ctx context.Context, cfg Config) (Report, error) {
	src, err := newKafka(cfg.Kafka, cfg.Memory)
	if err != nil {
		return Report{}, err
	}
	defer src.close()
	return run(ctx, cfg, src)
}

func run(ctx context.Context, cfg Config, src source) (r Report, err error) {
	cfg.defaults()
	dir := cfg.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "comptoir-audit-"); err != nil {
			return Report{}, fmt.Errorf("folder for the facts: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	s, err := openStore(dir, cfg.Memory, cfg.Dir != "")
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	e := newEngine(cfg, src, s)
	if cfg.Wait > 0 {
		if err := e.rest(ctx); err != nil {
			return Report{}, err
		}
	}
	if err := e.round(ctx); err != nil {
		return Report{}, err
	}
	return e.report()
}
