package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func (a *app) topicCommand() *cobra.Command {
	cmd := noun("topic", "List, create, describe and delete topics", "",
		a.topicListCommand(), a.topicCreateCommand(), a.topicDescribeCommand(), a.topicDeleteCommand())
	a.brokersFlag(cmd)
	a.dataDirFlag(cmd)
	return cmd
}

// admin runs f with a client for the cluster.
func (a *app) admin(ctx context.Context, f func(*kadm.Client) error) error {
	cl, err := a.kafka(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	return f(kadm.NewClient(cl))
}

type topicRow struct {
	Topic       string `json:"topic"`
	Partitions  int    `json:"partitions"`
	Replication int    `json:"replication"`
	Internal    bool   `json:"internal"`
}

func (a *app) topicListCommand() *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the topics",
		Example: "  comptoir topic list\n  comptoir topic list -o json | jq -r '.[].topic'",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), func(adm *kadm.Client) error {
				list := adm.ListTopics
				if internal {
					list = adm.ListTopicsWithInternal
				}
				topics, err := list(cmd.Context())
				if err != nil {
					return fmt.Errorf("list topics: %w", err)
				}
				rows := []topicRow{}
				for _, t := range topics.Sorted() {
					rows = append(rows, topicRow{t.Topic, len(t.Partitions), t.Partitions.NumReplicas(), t.IsInternal})
				}
				return a.print(rows, func(w *tableWriter) {
					w.row("TOPIC", "PARTITIONS", "REPLICATION")
					for _, r := range rows {
						w.row(r.Topic, r.Partitions, r.Replication)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "also Kafka's own topics, such as __consumer_offsets")
	return cmd
}

func (a *app) topicCreateCommand() *cobra.Command {
	var (
		partitions  int32
		replication int16
		configs     []string
		ifNotExists bool
	)
	cmd := &cobra.Command{
		Use:   "create TOPIC...",
		Short: "Create topics",
		Example: `  comptoir topic create commandes.test
  comptoir topic create etat --partitions 6 --config cleanup.policy=compact`,
		Args: some("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, err := parseConfigs(configs)
			if err != nil {
				return err
			}
			if partitions == 0 || partitions < -1 || replication == 0 || replication < -1 {
				return usagef("--partitions and --replication-factor are 1 or more, or -1 for the cluster's default")
			}
			return a.admin(cmd.Context(), func(adm *kadm.Client) error {
				resp, err := adm.CreateTopics(cmd.Context(), partitions, replication, conf, args...)
				if err != nil {
					return fmt.Errorf("create topics: %w", err)
				}
				var errs []error
				created := []string{}
				for _, t := range resp.Sorted() {
					switch {
					case t.Err == nil:
						created = append(created, t.Topic)
					case errors.Is(t.Err, kerr.TopicAlreadyExists):
						if !ifNotExists {
							errs = append(errs, failuref("topic %q exists already: --if-not-exists accepts that", t.Topic))
						}
					default:
						errs = append(errs, failuref("create topic %q: %w%s", t.Topic, t.Err, detail(t.ErrMessage)))
					}
				}
				return errors.Join(a.done("created", created), outcome(len(args), errs))
			})
		},
	}
	f := cmd.Flags()
	f.Int32Var(&partitions, "partitions", -1, "number of partitions; -1 is the cluster's default")
	f.Int16Var(&replication, "replication-factor", -1, "number of replicas; -1 is the cluster's default")
	f.StringArrayVar(&configs, "config", nil, "a topic setting, name=value; may be repeated")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "a topic that exists already is no error; it is not changed")
	return cmd
}

func parseConfigs(list []string) (map[string]*string, error) {
	out := make(map[string]*string, len(list))
	for _, c := range list {
		k, v, ok := strings.Cut(c, "=")
		if !ok || k == "" {
			return nil, usagef("--config %q is not name=value", c)
		}
		if _, twice := out[k]; twice {
			return nil, usagef("--config %s is given twice", k)
		}
		out[k] = &v
	}
	return out, nil
}

func detail(msg string) string {
	if msg == "" {
		return ""
	}
	return " (" + msg + ")"
}

// done tells which things a command changed: data with -o json or yaml, a line
// on standard error otherwise.
func (a *app) done(verb string, names []string) error {
	if a.output != "table" {
		return a.print(map[string][]string{verb: names}, nil)
	}
	for _, n := range names {
		fmt.Fprintf(a.err, "%s: %s\n", n, verb)
	}
	return nil
}

func (a *app) topicDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "delete TOPIC...",
		Short:             "Delete topics with all their records",
		Example:           "  comptoir topic delete commandes.test --yes",
		Args:              some("TOPIC"),
		ValidArgsFunction: complete(0, a.topicNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			slices.Sort(args)
			args = slices.Compact(args)
			return a.admin(cmd.Context(), func(adm *kadm.Client) error {
				if err := a.confirm(yes, "Delete %s with all records?", strings.Join(args, ", ")); err != nil {
					return err
				}
				resp, err := adm.DeleteTopics(cmd.Context(), args...)
				if err != nil {
					return fmt.Errorf("delete topics: %w", err)
				}
				var errs []error
				deleted := []string{}
				for _, t := range resp.Sorted() {
					switch {
					case t.Err == nil:
						deleted = append(deleted, t.Topic)
					case errors.Is(t.Err, kerr.UnknownTopicOrPartition):
						errs = append(errs, unknownTopic(t.Topic))
					default:
						errs = append(errs, failuref("delete topic %q: %w%s", t.Topic, t.Err, detail(t.ErrMessage)))
					}
				}
				return errors.Join(a.done("deleted", deleted), outcome(len(args), errs))
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func unknownTopic(name string) error {
	return notFoundf("topic %q does not exist: see `comptoir topic list`, or create it with `comptoir topic create %s`", name, name)
}
