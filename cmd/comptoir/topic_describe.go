package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type topicDetail struct {
	Topic       string            `json:"topic"`
	ID          string            `json:"id"`
	Replication int               `json:"replication"`
	Config      map[string]string `json:"config"` // only what was set for this topic
	Partitions  []partitionDetail `json:"partitions"`
}

type partitionDetail struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Start     *int64  `json:"start"`
	Stable    *int64  `json:"stable"` // last stable offset: what read_committed sees
	End       *int64  `json:"end"`
	Error     string  `json:"error,omitempty"`
}

func (a *app) topicDescribeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe TOPIC...",
		Short: "Show partitions, offsets and settings of topics",
		Long: `Show each partition's leader, replicas and offsets. START is the first record
kept, STABLE the end for readers of committed records, END the end of the log.
Offsets count transaction markers too. Only settings that differ are shown.`,
		Example:           "  comptoir topic describe commandes.ecommerce",
		Args:              some("TOPIC"),
		ValidArgsFunction: complete(0, a.topicNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.admin(cmd.Context(), func(adm *kadm.Client) error {
				found, errs, err := describeTopics(cmd.Context(), adm, args)
				if err != nil {
					return err
				}
				if len(found) > 0 {
					if err := a.print(found, func(w *tableWriter) { topicTables(w, found) }); err != nil {
						return err
					}
				}
				return outcome(len(found)+len(errs), errs)
			})
		},
	}
}

func describeTopics(ctx context.Context, adm *kadm.Client, names []string) (found []topicDetail, errs []error, err error) {
	topics, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, nil, fmt.Errorf("describe topics: %w", err)
	}
	var exist []string
	for _, t := range topics.Sorted() {
		if t.Err != nil {
			errs = append(errs, unknownTopic(t.Topic))
			continue
		}
		exist = append(exist, t.Topic)
	}
	if len(exist) == 0 {
		return nil, errs, nil
	}
	starts, err1 := adm.ListStartOffsets(ctx, exist...)
	stables, err2 := adm.ListCommittedOffsets(ctx, exist...)
	ends, err3 := adm.ListEndOffsets(ctx, exist...)
	configs, err4 := adm.DescribeTopicConfigs(ctx, exist...)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, nil, fmt.Errorf("describe topics: %w", err)
	}
	for _, name := range exist {
		t := topics[name]
		d := topicDetail{Topic: name, ID: t.ID.String(), Replication: t.Partitions.NumReplicas(), Config: map[string]string{}}
		if rc, err := configs.On(name, nil); err == nil && rc.Err == nil {
			for _, c := range rc.Configs {
				if c.Source == kmsg.ConfigSourceDynamicTopicConfig && c.Value != nil {
					d.Config[c.Key] = *c.Value
				}
			}
		}
		for _, p := range t.Partitions.Sorted() {
			pd := partitionDetail{
				Partition: p.Partition, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR,
				Start:  offsetOf(starts, name, p.Partition),
				Stable: offsetOf(stables, name, p.Partition),
				End:    offsetOf(ends, name, p.Partition),
			}
			if p.Err != nil {
				pd.Error = p.Err.Error()
			}
			d.Partitions = append(d.Partitions, pd)
		}
		found = append(found, d)
	}
	return found, errs, nil
}

// offsetOf returns nil where the cluster gave no answer.
func offsetOf(l kadm.ListedOffsets, topic string, partition int32) *int64 {
	o, ok := l.Lookup(topic, partition)
	if !ok || o.Err != nil || o.Offset < 0 {
		return nil
	}
	return &o.Offset
}

func topicTables(w *tableWriter, topics []topicDetail) {
	for i, t := range topics {
		if i > 0 {
			w.line("")
		}
		w.line("%s: %s, replication %d", t.Topic, plural(len(t.Partitions), "partition"), t.Replication)
		for _, k := range slices.Sorted(maps.Keys(t.Config)) {
			w.line("  %s=%s", k, t.Config[k])
		}
		w.row("PARTITION", "LEADER", "REPLICAS", "ISR", "START", "STABLE", "END", "ERROR")
		for _, p := range t.Partitions {
			w.row(p.Partition, p.Leader, ids(p.Replicas), ids(p.ISR), optional(p.Start), optional(p.Stable), optional(p.End), p.Error)
		}
	}
}

func ids(list []int32) string {
	s := make([]string, len(list))
	for i, n := range list {
		s[i] = fmt.Sprint(n)
	}
	return strings.Join(s, ",")
}
