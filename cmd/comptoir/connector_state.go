package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) connectorStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status NAME...",
		Short: "Show the state of connectors and their tasks",
		Long: `Show the state of connectors and their tasks, with the reason where one failed.
The exit code is 1 if something failed.`,
		Example:           "  comptoir connector status archive",
		Args:              some("NAME"),
		ValidArgsFunction: complete(0, a.connectorNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			var found []connectorStatus
			var errs []error
			for _, name := range args {
				var s connectorStatus
				if err := a.rest(cmd.Context(), http.MethodGet, connectorPath(name, "status"), nil, &s); err != nil {
					errs = append(errs, err)
					continue
				}
				found = append(found, s)
			}
			if len(found) > 0 {
				if err := a.print(found, func(w *tableWriter) { statusTables(w, found) }); err != nil {
					return err
				}
			}
			for _, s := range found {
				if failed(s) {
					errs = append(errs, failuref("connector %q has failed: mend the cause, then `comptoir connector restart %s`", s.Name, s.Name))
				}
			}
			if len(errs) == 0 {
				return nil
			}
			return outcome(len(errs), errs)
		},
	}
}

func failed(s connectorStatus) bool {
	return s.Connector.State == "FAILED" || slices.ContainsFunc(s.Tasks, func(t connectorTask) bool { return t.State == "FAILED" })
}

func statusTables(w *tableWriter, list []connectorStatus) {
	for i, s := range list {
		if i > 0 {
			w.line("")
		}
		w.line("%s: %s, %s on %s", s.Name, s.Type, s.Connector.State, s.Connector.WorkerID)
		trace(w, s.Connector.Trace)
		if len(s.Tasks) > 0 {
			w.row("TASK", "STATE", "WORKER")
			for _, t := range s.Tasks {
				w.row(t.ID, t.State, t.WorkerID)
			}
		}
		for _, t := range s.Tasks {
			trace(w, t.Trace)
		}
	}
}

func trace(w *tableWriter, text string) {
	for line := range strings.Lines(text) {
		w.line("  %s", cleanCell(strings.TrimRight(line, "\r\n")))
	}
}

func (a *app) connectorDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete connectors; what they wrote stays",
		Long: `Delete connectors, and then their consumer groups connect-NAME, whose lag would
grow for ever. What they wrote stays. A sink's own positions stay in its
database, so that one created again with that name and database goes on there.

With --connect alone the cluster behind it is not known: --brokers names it, or
the group stays and the command that deletes it is told.`,
		Example:           "  comptoir connector delete factures-sink --yes",
		Args:              some("NAME"),
		ValidArgsFunction: complete(0, a.connectorNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm(yes, "Delete connector %s?", strings.Join(args, ", ")); err != nil {
				return err
			}
			deleted, err := a.each(cmd.Context(), args, "deleted", http.MethodDelete, "")
			a.deleteConnectorGroups(cmd.Context(), deleted)
			return err
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	a.brokersFlag(cmd)
	return cmd
}

func (a *app) connectorStateCommand(verb, short, done string) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " NAME...",
		Short:             short,
		Example:           "  comptoir connector " + verb + " archive",
		Args:              some("NAME"),
		ValidArgsFunction: complete(0, a.connectorNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := a.each(cmd.Context(), args, done, http.MethodPut, verb)
			return err
		},
	}
}

func (a *app) connectorRestartCommand() *cobra.Command {
	var onlyFailed bool
	cmd := &cobra.Command{
		Use:               "restart NAME...",
		Short:             "Restart connectors and their tasks",
		Example:           "  comptoir connector restart archive --only-failed",
		Args:              some("NAME"),
		ValidArgsFunction: complete(0, a.connectorNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := a.each(cmd.Context(), args, "restarted", http.MethodPost, fmt.Sprintf("restart?includeTasks=true&onlyFailed=%v", onlyFailed))
			return err
		},
	}
	cmd.Flags().BoolVar(&onlyFailed, "only-failed", false, "only what has failed")
	return cmd
}

// each does the same to several connectors, and returns those it was done to.
func (a *app) each(ctx context.Context, names []string, done, method, rest string) (ok []string, err error) {
	var errs []error
	for _, name := range names {
		path := connectorPath(name)
		if rest != "" {
			path += "/" + rest
		}
		if err := a.rest(ctx, method, path, nil, nil); err != nil {
			errs = append(errs, err)
			continue
		}
		ok = append(ok, name)
	}
	return ok, errors.Join(a.done(done, ok), outcome(len(names), errs))
}
