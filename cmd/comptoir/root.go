package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// app is one run of the program: its streams, its environment and the flags
// that several commands share.
type app struct {
	in          io.Reader
	out, err    io.Writer // data; everything else
	environ     []string  // as os.Environ
	interactive bool      // in is a terminal, so that questions can be asked

	output  string // -o
	brokers []string
	api     string
	connect string
	dataDir string
}

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(a.err, "comptoir: %v\n", err)
	code := exitCode(err)
	if code == exitUsage {
		fmt.Fprintf(a.err, "See `%s --help`.\n", cmd.CommandPath())
	}
	return code
}

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	cmd := noun("comptoir", "An event-driven shop on Kafka: run it, look at it, work on it", `Comptoir carries an order from HTTP or Kafka through stock check, payment,
invoice, archive and notification, each step exactly once.

Data goes to standard output and everything else to standard error. Exit codes:
0 ok, 1 failure, 2 wrong usage, 3 not found, 4 partly done or still in flight.`,
		a.upCommand(),
		a.serveCommand(),
		a.topologyCommand(),
		a.orderCommand(),
		a.productCommand(),
		a.stockCommand(),
		a.topicCommand(),
		a.groupCommand(),
		a.produceCommand(),
		a.consumeCommand(),
		a.connectorCommand(),
		a.auditCommand(),
		a.brokerCommand(),
		a.backupCommand(),
		a.benchCommand(),
		a.configCommand(),
		a.versionCommand(),
	)
	cmd.SilenceErrors = true
	cmd.SilenceUsage = true
	cmd.SetIn(a.in)
	cmd.SetOut(a.out)
	cmd.SetErr(a.err)
	cmd.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "how data is written: table, json or yaml")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch a.output {
		case "table", "json", "yaml":
			return nil
		}
		return usagef("--output %q is none of table, json, yaml", a.output)
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%v", err) })
	completeWords(cmd, "output", "table", "json", "yaml")
	return cmd
}

// noun is a command that only groups others.
func noun(use, short, long string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				hint = fmt.Sprintf(": did you mean %s?", strings.Join(s, " or "))
			}
			return usagef("%s has no command %q%s", cmd.CommandPath(), args[0], hint)
		},
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// exactly accepts as many arguments as names, which are for the error.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return usagef("%s does not know what to do with %q", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}

// some accepts one argument or more.
func some(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s needs at least one %s", cmd.CommandPath(), name)
		}
		return nil
	}
}

// confirm asks before something that cannot be undone. Without a terminal there
// is nobody to ask, and --yes is required.
func (a *app) confirm(yes bool, question string, args ...any) error {
	if yes {
		return nil
	}
	q := fmt.Sprintf(question, args...)
	if !a.interactive {
		return usagef("%s Not asked without a terminal: give --yes", q)
	}
	fmt.Fprintf(a.err, "%s [y/N] ", q)
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && answer == "" {
		return fmt.Errorf("no answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes", "o", "oui":
		return nil
	}
	return failuref("nothing was done")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
