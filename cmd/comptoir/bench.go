package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/internal/bench"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/node"
)

type benchFlags struct {
	orders, inFlight            int
	rounds, instances           int
	rates                       []float64
	duration, patience          time.Duration
	via, sync, svg, profile     string
	config, database            string
	kill, floor, yes, noLatency bool
}

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure throughput and latency of the whole pipeline",
		Long: `Measures orders/s with all that the system can do, counted at the notification,
what an order costs (CPU time, records, bytes), and the latency of orders sent at
fixed rates, whole and per hop. There sending is planned beforehand and does not
wait for answers; an order's time begins when it was to be sent, so that a
standstill counts for every order behind it. Everything is taken in several rounds;
shown are the median and the range.

The throughput phase has at most --in-flight orders under way at once, and tells how
long they took. With --in-flight 0 they are all sent as fast as Kafka or the API
takes them: a backlog, whose sending takes of the same machine at first, and a time
would say only how long the queue was.

Without --brokers, --api and --data-dir an embedded shop is started as a process of
its own, in a temporary folder that is removed at the end. With --brokers and
--instances N so many instances are started beside that cluster. Otherwise a
running system is measured. There the orders stay (ids BENCH-…, of 1,000 products
BENCH-P…), and so do their invoices and the invoices' numbers: it asks first.

The throughput of the first 20,000 orders is of the first round, when nothing is
warm. Five times a second the load's side does a fixed piece of work: if orders cost
more in one round than in another, and that piece as well, it is the machine. What an
order costs in the kernel is shown apart, of processes of this machine: a virtual
machine that must first be given memory by its host, for its heap or for the files
it keeps in memory, pays for that there. A hop is the time between two records of an
order, as they tell it; by HTTP the first of them bears the time of acceptance. With
--profile a package's time includes what it calls of others. -o json writes
everything, for ` + "`bench compare`" + `.`,
		Example: `  comptoir bench
  comptoir bench --orders 200000 --floor -o json >before.json
  comptoir bench --orders 200000 --rate 0 --rounds 1 --profile cpu.pb.gz
  comptoir bench --orders 200000 --in-flight 0 --rate 0
  comptoir bench --orders 0 --rate 100 --rate 500 --rate 2000 --svg latency.svg
  comptoir bench --brokers 127.0.0.1:19292 --database postgres://postgres@127.0.0.1:19294/bench --instances 3 --kill --yes
  comptoir bench compare before.json after.json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.noLatency = cmd.Flags().Changed("rate") && len(f.rates) == 1 && f.rates[0] == 0; f.noLatency {
				f.rates = nil
			}
			if f.orders == 0 && !cmd.Flags().Changed("in-flight") {
				f.inFlight = 0
			}
			return a.bench(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&f.orders, "orders", 50_000, "orders of the throughput phase; 0 leaves it out")
	fl.IntVar(&f.inFlight, "in-flight", 20_000, "most orders of the throughput phase that are under way, sent and not notified yet; 0: no bound, all are sent as fast as they are taken")
	fl.Float64SliceVar(&f.rates, "rate", []float64{100, 1000}, "orders per second of a latency phase; may be repeated; 0 alone leaves them out")
	fl.DurationVar(&f.duration, "duration", 10*time.Second, "how long orders are sent at each rate; with --kill twice as long")
	fl.IntVar(&f.rounds, "rounds", 3, "how often everything is measured, in turn")
	fl.StringVar(&f.via, "via", bench.ViaKafka, "how orders are sent: kafka or http")
	fl.BoolVar(&f.floor, "floor", false, "measure beside it the floor: the same hops and records, without work")
	fl.BoolVar(&f.kill, "kill", false, "kill -9 a process under 500 orders/s too; needs processes of its own")
	fl.StringVar(&f.sync, "sync", "", "of the embedded broker: commit or interval (default as up has it)")
	fl.StringVar(&f.svg, "svg", "", "also draw latency against rate into this `FILE`")
	fl.StringVar(&f.profile, "profile", "", "also take a CPU profile of the throughput phase into this `FILE`, for go tool pprof, and show where an order's time goes")
	fl.DurationVar(&f.patience, "patience", time.Minute, "how long orders may be missing while none arrives")
	fl.IntVar(&f.instances, "instances", 0, "start so many instances beside the cluster of --brokers")
	fl.StringVar(&f.database, "database", "", "`URL` of the order database of --instances")
	fl.StringVar(&f.config, "config", "", "YAML `FILE` of the configuration of what is started")
	fl.StringSliceVar(&a.brokers, "brokers", nil, "Kafka cluster to use, host:port,…")
	fl.StringVar(&a.api, "api", "", "`URL` of the order API of a running system; its process is the one whose CPU time counts")
	fl.StringVar(&a.dataDir, "data-dir", "", "`DIR` of a running comptoir up to measure")
	fl.BoolVar(&f.yes, "yes", false, "do not ask before orders are written for good")
	completeWords(cmd, "via", bench.ViaKafka, bench.ViaHTTP)
	completeWords(cmd, "sync", "commit", "interval")
	cmd.AddCommand(a.benchCompareCommand(), a.benchFloorCommand())
	return cmd
}

// check refuses what makes no sense.
func (f benchFlags) check(a *app) error {
	external := len(a.brokers) > 0 || a.api != "" || a.dataDir != ""
	switch {
	case f.orders < 0 || f.inFlight < 0 || f.rounds < 1 || f.rounds > 1000 || f.duration <= 0 || f.patience <= 0 || f.instances < 0:
		return usagef("--orders, --in-flight and --instances are 0 or more, --rounds 1 to 1000, --duration and --patience above 0")
	case f.orders == 0 && len(f.rates) == 0 && !f.kill:
		return usagef("nothing to measure: give --orders, --rate or --kill")
	case f.inFlight > 0 && f.orders == 0:
		return usagef("--in-flight is of the throughput phase: give --orders")
	case f.via != bench.ViaKafka && f.via != bench.ViaHTTP:
		return usagef("--via %q is none of kafka, http", f.via)
	case f.sync != "" && external:
		return usagef("--sync is of the embedded broker, and goes with none of --brokers, --api, --data-dir")
	case f.sync != "" && f.sync != "commit" && f.sync != "interval":
		return usagef("--sync %q is none of commit, interval", f.sync)
	case f.instances > 0 && len(a.brokers) == 0:
		return usagef("--instances needs the --brokers to start them beside")
	case f.instances > 0 && (a.api != "" || a.dataDir != ""):
		return usagef("--instances starts its own: not with --api or --data-dir")
	case f.instances == 0 && external && (f.database != "" || f.config != ""):
		return usagef("--database and --config are for what is started here: give --instances, or leave them out")
	case f.database != "" && !external:
		return usagef("--database goes with --brokers and --instances")
	case f.kill && external && f.instances == 0:
		return usagef("--kill kills only what was started here: give --instances, or nothing to measure the embedded shop")
	case f.profile != "" && external && f.instances == 0 && a.api == "" && a.dataDir == "":
		return usagef("--profile needs to know the process: give --api, --data-dir or --instances beside --brokers")
	case f.profile != "" && f.orders == 0:
		return usagef("--profile is of the throughput phase: give --orders")
	case f.svg != "" && len(f.rates) == 0:
		return usagef("--svg draws latency against rate: give --rate")
	}
	for _, r := range f.rates {
		if !(r > 0 && r <= 1e6) {
			return usagef("--rate is above 0 and at most 1000000")
		}
	}
	return nil
}

func (a *app) bench(ctx context.Context, f benchFlags) (err error) {
	if err := f.check(a); err != nil {
		return err
	}
	cfg := bench.Config{
		Patience: f.patience,
		Progress: func(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) },
		Settings: bench.Settings{
			Target: "embedded", Instances: 1, Via: f.via, Orders: f.orders, InFlight: f.inFlight, Rates: f.rates,
			Duration: bench.Duration(f.duration), Rounds: f.rounds, Kill: f.kill, Floor: f.floor,
		},
	}
	dir, err := os.MkdirTemp("", "comptoir-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // best effort: the system empties this folder too
	started := &benchProcesses{environ: a.environ, config: f.config}
	defer func() {
		if serr := started.stop(); serr != nil && err == nil {
			err = serr
		}
	}()
	var profile bytes.Buffer
	if f.profile != "" {
		cfg.Profile = &profile
		started.environ = append(slices.Clone(started.environ), "COMPTOIR_PPROF=true")
	}
	var brokers []string // of the cluster, if it is not the embedded one
	switch s := &cfg.Settings; {
	case f.instances > 0:
		s.Target, s.Instances = "instances", f.instances
		brokers = a.brokers
		if err := a.confirmBench(f, brokers); err != nil {
			return err
		}
		if f.database != "" {
			// Not as an argument, which others can see.
			started.environ = append(slices.Clone(started.environ), "COMPTOIR_DATABASE="+f.database)
		}
		for i := range f.instances {
			args := []string{"serve", "--brokers", strings.Join(brokers, ","), "--data-dir", filepath.Join(dir, fmt.Sprintf("instance-%d", i+1))}
			cfg.Progress("starting instance %d of %d", i+1, f.instances)
			if err := started.start(ctx, args); err != nil {
				return err
			}
		}
		cfg.Pipeline = started.target(brokers)
	case len(a.brokers) > 0 || a.api != "" || a.dataDir != "":
		s.Target, s.Instances = "running", 0
		if cfg.Pipeline, err = a.runningTarget(f); err != nil {
			return err
		}
		brokers = cfg.Pipeline.Kafka.Brokers
		if err := a.confirmBench(f, brokers); err != nil {
			return err
		}
		cl, err := a.kafka(ctx) // so that a cluster that does not answer is told at once
		if err != nil {
			return err
		}
		cl.Close()
	default:
		s.Sync = f.sync
		if s.Sync == "" {
			s.Sync = node.Default().Sync
		}
		cfg.Progress("starting an embedded shop in %s", dir)
		if err := started.start(ctx, []string{"up", "--data-dir", filepath.Join(dir, "shop"), "--kafka", "127.0.0.1:0", "--sync", s.Sync}); err != nil {
			return err
		}
		cfg.Pipeline = started.target(nil)
	}
	if f.floor {
		cfg.Progress("starting the floor")
		floor := &benchProcesses{environ: a.environ}
		defer func() {
			if serr := floor.stop(); serr != nil && err == nil {
				err = serr
			}
		}()
		target, err := floor.startFloor(ctx, filepath.Join(dir, "floor"), brokers, cfg.Settings.Sync)
		if err != nil {
			return err
		}
		cfg.Floor = &target
	}
	report, err := bench.Run(ctx, cfg)
	if err != nil {
		return err
	}
	report.Comptoir, report.Go = readVersion().Version, runtime.Version()
	// A file that cannot be written does not cost the report.
	errs := []error{a.print(report, func(w *tableWriter) { benchTable(w, report) })}
	if f.svg != "" {
		errs = append(errs, os.WriteFile(f.svg, report.SVG(), 0o644))
	}
	if f.profile != "" && profile.Len() == 0 {
		errs = append(errs, failuref("%s is not written: the notes say why", f.profile))
	} else if f.profile != "" {
		errs = append(errs, os.WriteFile(f.profile, profile.Bytes(), 0o644))
	}
	return errors.Join(errs...)
}

// confirmBench asks before orders are written for good.
func (a *app) confirmBench(f benchFlags, brokers []string) error {
	orders := f.orders
	for _, r := range f.rates {
		orders += int(r * f.duration.Seconds())
	}
	return a.confirm(f.yes, "Write about %d orders BENCH-… with their invoices for good, and 1000 products BENCH-P… with stock, to %s?", orders*f.rounds, strings.Join(brokers, ","))
}

// runningTarget finds a system that others have started.
func (a *app) runningTarget(f benchFlags) (t bench.Target, err error) {
	list, err := a.resolve(kafkaTarget, strings.Join(a.brokers, ","))
	if err != nil {
		return t, err
	}
	t.Kafka = kclient.Config{Brokers: node.SplitList(list), ClientID: "comptoir-bench"}
	// With --brokers alone, what stands at the usual address may be another's.
	if a.api != "" || a.dataDir != "" || f.via == bench.ViaHTTP {
		if t.API, err = a.url(apiTarget, a.api); err != nil {
			return t, err
		}
		t.Metrics = []string{t.API}
	}
	if a.dataDir != "" {
		// The environment may name another system than the folder's.
		if e, err := node.ReadEndpoints(a.dataDir); err == nil && e.HTTP == t.API {
			t.PIDs = func() []int { return []int{e.PID} }
		}
	}
	return t, nil
}
