package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/node"
)

// serveStopWithin bounds the stop of an instance, after --drain-delay.
const serveStopWithin = 20 * time.Second

func (a *app) serveCommand() *cobra.Command {
	f := &nodeFlags{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run an instance beside a Kafka cluster",
		Long: `Runs the same stages as ` + "`up`" + ` against a Kafka cluster. Any number of
instances share the work through their consumer groups, and survive the loss of
any. Each instance needs a --data-dir of its own, which it keeps between starts:
state is restored from the cluster when it is lost.

SIGTERM stops it: /readyz fails for --drain-delay, then open transactions are
committed and the groups are left, so that others take over at once.`,
		Example: `  comptoir serve --brokers kafka-1:9092,kafka-2:9092 --database postgres://comptoir:secret@db/commandes --data-dir /var/lib/comptoir
  comptoir serve --brokers 127.0.0.1:19092 --roles stock,paiement --http 127.0.0.1:0`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load(a)
			if err != nil {
				return err
			}
			if len(cfg.Brokers) == 0 {
				return usagef("serve needs --brokers HOST:PORT,…: the Kafka cluster to use (`comptoir up` brings its own)")
			}
			if err := cfg.CheckDatabase(); err != nil {
				return usagef("%v", err)
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	f.cmd = cmd
	f.common()
	f.text("brokers", "", "Kafka cluster, host:port,…", func(c *node.Config, v string) { c.Brokers = node.SplitList(v) })
	f.text("database", "", "`URL` of the order database, postgres://…; needed by the roles that use it. Not through PgBouncer in transaction mode: locks belong to a session", func(c *node.Config, v string) { c.Database = v })
	f.text("roles", "", "what this instance runs (default all): "+strings.Join(node.Roles, ", "), func(c *node.Config, v string) { c.Roles = node.SplitList(v) })
	must(cmd.RegisterFlagCompletionFunc("roles", completeList(node.Roles)))
	cmd.Flags().DurationVar(&f.drainDelay, "drain-delay", 0, "how long /readyz fails before a stop begins, so that a gateway notices")
	f.changed = append(f.changed, func(c *node.Config) {
		if cmd.Flags().Changed("drain-delay") {
			c.DrainDelay = node.Duration(f.drainDelay)
		}
	})
	return cmd
}

func (a *app) serve(ctx context.Context, cfg node.Config) error {
	smallMemory()
	log := newLogger(cfg, a.err)
	begin := time.Now()
	n, err := node.NewInstance(cfg, log)
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	err = a.runNode(ctx, n, time.Duration(cfg.DrainDelay), serveStopWithin, func(context.Context) error {
		e := n.Endpoints()
		log.Info("ready", "after_ms", time.Since(begin).Milliseconds(), "kafka", strings.Join(cfg.Brokers, ","), "http", e.HTTP, "connect", e.Connect)
		return nil
	})
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}
