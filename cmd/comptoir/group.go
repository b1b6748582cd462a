package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func (a *app) groupCommand() *cobra.Command {
	cmd := noun("group", "List, describe, reset and delete consumer groups", "",
		a.groupListCommand(), a.groupDescribeCommand(), a.groupResetCommand(), a.groupDeleteCommand())
	a.brokersFlag(cmd)
	a.dataDirFlag(cmd)
	return cmd
}

type groupRow struct {
	Group   string `json:"group"`
	State   string `json:"state"`
	Members int    `json:"members"`
	Lag     int64  `json:"lag"`
}

func (a *app) groupListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the groups with their state and lag",
		Example: "  comptoir group list",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), func(adm *kadm.Client) error {
				listed, err := adm.ListGroups(cmd.Context())
				if err != nil {
					return fmt.Errorf("list groups: %w", err)
				}
				groups, errs, err := loadGroups(cmd.Context(), adm, listed.Groups())
				if err != nil {
					return err
				}
				rows := []groupRow{}
				for _, g := range groups {
					rows = append(rows, groupRow{g.Group, g.State, g.Members, g.Lag})
				}
				if err := a.print(rows, func(w *tableWriter) {
					w.row("GROUP", "STATE", "MEMBERS", "LAG")
					for _, r := range rows {
						w.row(r.Group, r.State, r.Members, r.Lag)
					}
				}); err != nil {
					return err
				}
				// One that vanished since it was listed is no error.
				errs = slices.DeleteFunc(errs, func(err error) bool { return exitCode(err) == exitNotFound })
				return outcome(len(groups)+len(errs), errs)
			})
		},
	}
}

func (a *app) groupDescribeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe GROUP...",
		Short: "Show each partition's committed offset, end, lag and member",
		Long: `Show for each partition the committed offset, the end of the log and the lag
between them, measured as kafka-consumer-groups does (a partition without
committed offset has none), and the member that reads it.`,
		Example:           "  comptoir group describe service-stock",
		Args:              some("GROUP"),
		ValidArgsFunction: complete(0, a.groupNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.admin(cmd.Context(), func(adm *kadm.Client) error {
				groups, errs, err := loadGroups(cmd.Context(), adm, args)
				if err != nil {
					return err
				}
				if len(groups) > 0 {
					if err := a.print(groups, func(w *tableWriter) { groupTables(w, groups) }); err != nil {
						return err
					}
				}
				return outcome(len(groups)+len(errs), errs)
			})
		},
	}
}

func groupTables(w *tableWriter, groups []groupDetail) {
	for i, g := range groups {
		if i > 0 {
			w.line("")
		}
		w.line("%s: %s, %s, lag %d", g.Group, g.State, plural(g.Members, "member"), g.Lag)
		if len(g.Partitions) == 0 {
			continue
		}
		w.row("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "HOST", "CLIENT")
		for _, p := range g.Partitions {
			w.row(p.Topic, p.Partition, optional(p.Committed), optional(p.End), optional(p.Lag), p.Member, p.Host, p.Client)
		}
	}
}

func (a *app) groupDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete GROUP...",
		Short: "Delete groups with their committed offsets",
		Long: `Delete groups with their committed offsets. A group with members is refused.
Comptoir's own services do not forget their positions by it: they go on from
those in their stores. To make them read again, use group reset.`,
		Example:           "  comptoir group delete essai --yes",
		Args:              some("GROUP"),
		ValidArgsFunction: complete(0, a.groupNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			slices.Sort(args)
			args = slices.Compact(args)
			return a.admin(cmd.Context(), func(adm *kadm.Client) error {
				if err := a.confirm(yes, "Delete %s with all committed offsets?", strings.Join(args, ", ")); err != nil {
					return err
				}
				resp, err := adm.DeleteGroups(cmd.Context(), args...)
				if err != nil {
					return fmt.Errorf("delete groups: %w", err)
				}
				var errs []error
				deleted := []string{}
				for _, g := range resp.Sorted() {
					switch {
					case g.Err == nil:
						deleted = append(deleted, g.Group)
					case errors.Is(g.Err, kerr.GroupIDNotFound):
						errs = append(errs, unknownGroup(g.Group))
					case errors.Is(g.Err, kerr.NonEmptyGroup):
						errs = append(errs, failuref("group %q has members: stop them first (`comptoir group describe %s` names them)", g.Group, g.Group))
					default:
						errs = append(errs, failuref("delete group %q: %w", g.Group, g.Err))
					}
				}
				return errors.Join(a.done("deleted", deleted), outcome(len(args), errs))
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func unknownGroup(name string) error {
	return notFoundf("group %q does not exist: see `comptoir group list`", name)
}
