package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/commerce/audit"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/node"
)

var (
	databaseTarget = target{"--database", "COMPTOIR_DATABASE", func(e node.Endpoints) string { return e.Database }, ""}
	archiveTarget  = target{"--archive", "COMPTOIR_ARCHIVE", func(e node.Endpoints) string { return e.Archive }, ""}
)

type auditFlags struct {
	follow                       bool
	wait, limit, every           time.Duration
	database, archive, table, at string
	zone                         string
	only                         []string
}

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	ids := make([]string, len(audit.Invariants))
	for i := range ids {
		ids[i] = audit.Invariants[i].ID
	}
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check every invariant over all topics, the order database and the archive",
		Long: `Reads every topic, the order database and the archive, and checks that every
promise holds: each order has exactly one outcome with exactly its records, stock
adds up, invoice numbers have no gap, and so on. Nothing is changed. It may run
while orders come: what is missing but younger than --limit is in flight.

Exit code 0: nothing is wrong. 1: something is. 4: nothing is wrong, but something
is in flight (--wait waits for it), or the audit was interrupted.

With --follow it runs for ever, from where it stood when it last ran on --dir; each
new violation is a line on standard error. A running ` + "`comptoir up` or `serve`" + ` does so
by itself (role audit).`,
		Example: `  comptoir audit
  comptoir audit --wait 1m -o json
  comptoir audit --brokers kafka-1:9092 --database postgres://comptoir:secret@db/commandes --archive postgres://comptoir:secret@db/archive
  comptoir audit --follow --dir /var/lib/comptoir-audit --limit 5m`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.audit(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.follow, "follow", false, "go on for ever with what is new")
	fl.DurationVar(&f.wait, "wait", 0, "wait so long, at most, until all is at rest")
	fl.DurationVar(&f.limit, "limit", audit.DefaultLimit, "how long something may be in flight")
	fl.DurationVar(&f.every, "every", audit.DefaultEvery, "with --follow: the time between two rounds")
	fl.StringVar(&f.database, "database", "", "order database, a file or postgres://… (default: that of --data-dir)")
	fl.StringVar(&f.archive, "archive", "", "invoice archive, a file or postgres://… (default: that of --data-dir)")
	fl.StringVar(&f.table, "archive-table", "", "table of the archive (default factures_ecommerce; in PostgreSQL factures.ecommerce)")
	fl.StringVar(&f.zone, "zone", "Europe/Paris", "time zone of invoice dates, as facturation.fuseau")
	fl.StringVar(&f.at, "dir", "", "`DIR` for what was read, some hundred bytes a record (default: a temporary one, removed at the end; with --follow audit in --data-dir)")
	fl.StringSliceVar(&f.only, "invariant", nil, "report only these invariants, `ID`,…")
	a.brokersFlag(cmd)
	a.dataDirFlag(cmd)
	must(cmd.RegisterFlagCompletionFunc("invariant", completeList(ids)))
	return cmd
}

func (a *app) audit(ctx context.Context, f auditFlags) error {
	for _, id := range f.only {
		if !audit.Known(id) {
			return usagef("--invariant %q is none; `comptoir audit -o json` lists them", id)
		}
	}
	switch {
	case f.limit <= 0 || f.wait < 0 || f.every <= 0:
		return usagef("--limit and --every are above 0, --wait is not below")
	case f.follow && f.wait > 0:
		return usagef("--wait is not for --follow, which waits for ever")
	case f.follow && len(f.only) > 0:
		return usagef("--invariant is not for --follow, which tells of all")
	}
	zone, err := time.LoadLocation(f.zone)
	if err != nil {
		return usagef("--zone %q is no time zone, such as Europe/Paris", f.zone)
	}
	list, err := a.resolve(kafkaTarget, strings.Join(a.brokers, ","))
	if err != nil {
		return err
	}
	cl, err := a.kafka(ctx) // so that a cluster that does not answer is told at once
	if err != nil {
		return err
	}
	cl.Close()
	cfg := audit.Config{
		Kafka: kclient.Config{Brokers: node.SplitList(list), ClientID: "comptoir-audit"},
		Dir:   f.at, Limit: f.limit, Wait: f.wait, Every: f.every, Zone: zone,
	}
	database, err := openAudited(ctx, a, databaseTarget, f.database, audit.OpenDatabase)
	if err != nil {
		return err
	}
	if database != nil {
		defer database.Close()
		cfg.Database = database
	}
	archive, err := openAudited(ctx, a, archiveTarget, f.archive, func(ctx context.Context, where string) (*audit.SQLArchive, error) {
		return audit.OpenArchive(ctx, where, f.table)
	})
	if err != nil {
		return err
	}
	if archive != nil {
		defer archive.Close()
		cfg.Archive = archive
	}
	smallMemory()
	if f.follow {
		return a.auditFollow(ctx, cfg)
	}
	cfg.Progress = a.auditProgress()
	report, err := audit.Run(ctx, cfg)
	switch {
	case ctx.Err() != nil:
		return partialf("interrupted before anything was judged")
	case err != nil:
		return err
	}
	report = report.Only(f.only)
	if err := a.print(report, func(w *tableWriter) { auditTable(w, &report) }); err != nil {
		return err
	}
	switch {
	case report.Violations > 0:
		return failuref("%s", plural(int(report.Violations), "violation"))
	case report.InFlight > 0:
		return partialf("nothing is violated, %d in flight: --wait waits for it", report.InFlight)
	}
	return nil
}

// openAudited opens what an address leads to, nil if there is none.
func openAudited[T any](ctx context.Context, a *app, t target, flag string, open func(context.Context, string) (*T, error)) (*T, error) {
	where := flag
	var err error
	// With brokers alone the endpoints in the usual folder are another's.
	ours := len(a.brokers) == 0 && a.getenv(kafkaTarget.env) == ""
	if where == "" && (ours || a.dataDir != "" || a.getenv(t.env) != "") {
		if where, err = a.resolve(t, ""); err != nil {
			return nil, err
		}
	}
	if where == "" {
		return nil, nil
	}
	opened, err := open(ctx, where)
	if errors.Is(err, fs.ErrNotExist) && flag == "" {
		return nil, nil // not made yet
	}
	if err != nil {
		return nil, fmt.Errorf("%w: give it with %s", err, t.flag)
	}
	return opened, nil
}

func (a *app) auditFollow(ctx context.Context, cfg audit.Config) error {
	if cfg.Dir == "" {
		dir := a.dataDir
		if dir == "" {
			dir = defaultDataDir
		}
		cfg.Dir = filepath.Join(dir, "audit")
	}
	cfg.Logger = slog.New(slog.NewTextHandler(a.err, nil))
	return audit.Follow(ctx, cfg, func(r audit.Report) {
		cfg.Logger.Info("audit round", "records", r.Records, "violations", r.Violations, "in_flight", r.InFlight, "took_ms", r.Took.Milliseconds())
	})
}

// auditProgress tells on standard error how far the audit is, about once a
// second.
func (a *app) auditProgress() func(audit.Progress) {
	var (
		step  string
		begin time.Time
		from  int64
	)
	return func(p audit.Progress) {
		if p.Step != step {
			step, begin, from = p.Step, time.Now(), p.Done
		}
		rate := ""
		if s := time.Since(begin).Seconds(); s > 0.5 {
			rate = fmt.Sprintf(", %.0f/s", float64(p.Done-from)/s)
		}
		switch {
		case p.Step == "wait" && p.Total == 0:
			// All is handled: it is only watched whether it stays so.
		case p.Step == "wait":
			fmt.Fprintf(a.err, "waiting for rest: %d records to be handled\n", p.Total)
		case p.Total > 0:
			fmt.Fprintf(a.err, "%s: %d of %d%s\n", p.Step, p.Done, p.Total, rate)
		case p.Done > 0:
			fmt.Fprintf(a.err, "%s: %d%s\n", p.Step, p.Done, rate)
		}
	}
}

// auditShown is how many violations of an invariant the table shows.
const auditShown = 10

func auditTable(w *tableWriter, r *audit.Report) {
	w.row("INVARIANT", "CHECKED", "VIOLATIONS", "WHAT HOLDS")
	for _, i := range r.Invariants {
		if i.NotChecked != "" {
			w.row(i.ID, "-", "-", "not checked: "+i.NotChecked)
			continue
		}
		w.row(i.ID, i.Checked, i.Violations, i.Description)
	}
	w.line("")
	w.line("%d records, %s, %d in flight", r.Records, plural(int(r.Violations), "violation"), r.InFlight)
	for _, note := range r.Notes {
		w.line("note: %s", cleanCell(note))
	}
	for _, i := range r.Invariants {
		for n, v := range i.First {
			if n == 0 {
				w.line("\n%s", i.ID)
			}
			if n == auditShown {
				w.line("  and %d more; -o json shows the first %d", i.Violations-auditShown, audit.MaxKept)
				break
			}
			w.line("  %s", cleanCell(v.String()))
		}
	}
}
