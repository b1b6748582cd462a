package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// resetMark in a commit's metadata tells the stream library that the position
// was set on purpose; it takes no other foreign commit.
const resetMark = "comptoir:reset"

type resetRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    *int64 `json:"before"`
	After     int64  `json:"after"`
}

type resetPlan struct {
	Group    string     `json:"group"`
	Executed bool       `json:"executed"`
	Offsets  []resetRow `json:"offsets"`
}

// resetFlags says where to; exactly one is given.
type resetFlags struct {
	topics             []string
	earliest, latest   bool
	offset, shift      int64
	datetime           string
	execute            bool
	hasOffset, hasBack bool
}

func (a *app) groupResetCommand() *cobra.Command {
	var f resetFlags
	cmd := &cobra.Command{
		Use:   "reset GROUP",
		Short: "Move a group's committed offsets",
		Long: `Move a group's committed offsets: all its topics, or those of --topic. Without
--execute it only shows what it would do. The group must have no members. The
commit is marked, so that Comptoir's services know it is deliberate; what they
read again they recognise by order id and ignore. That does not hold for records
that a service sends to itself: its internal topics are refused, so name the
others with --topic. The change is noted in journal.actions if that topic exists.`,
		Example: `  comptoir group reset connect-archive --to-earliest
  comptoir group reset essai --topic commandes.ecommerce:0,2 --shift-by -10 --execute
  comptoir group reset essai --to-datetime 2026-11-20T08:00:00Z --execute`,
		Args:              exactly("GROUP"),
		ValidArgsFunction: complete(1, a.groupNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.hasOffset, f.hasBack = cmd.Flags().Changed("to-offset"), cmd.Flags().Changed("shift-by")
			move, err := f.mover()
			if err != nil {
				return err
			}
			return a.reset(cmd.Context(), args[0], f, move)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.topics, "topic", nil, "only this topic, or these partitions of it: TOPIC[:0,2]; may be repeated")
	fl.BoolVar(&f.earliest, "to-earliest", false, "to the first record kept")
	fl.BoolVar(&f.latest, "to-latest", false, "to the end")
	fl.Int64Var(&f.offset, "to-offset", 0, "to this offset")
	fl.StringVar(&f.datetime, "to-datetime", "", "to the first record at or after this time, RFC 3339")
	fl.Int64Var(&f.shift, "shift-by", 0, "by this many records, back if negative")
	fl.BoolVar(&f.execute, "execute", false, "do it")
	must(cmd.RegisterFlagCompletionFunc("topic", complete(0, a.topicNames)))
	return cmd
}

// mover computes a partition's new offset from its current one (nil if none)
// and its bounds; the caller keeps the result within them.
type mover struct {
	at   func(current *int64, start, end, byTime int64) (int64, error)
	time time.Time // not zero: byTime is wanted
}

func (f resetFlags) mover() (mover, error) {
	var list []mover
	if f.earliest {
		list = append(list, mover{at: func(_ *int64, start, _, _ int64) (int64, error) { return start, nil }})
	}
	if f.latest {
		list = append(list, mover{at: func(_ *int64, _, end, _ int64) (int64, error) { return end, nil }})
	}
	if f.hasOffset {
		list = append(list, mover{at: func(*int64, int64, int64, int64) (int64, error) { return f.offset, nil }})
	}
	if f.hasBack {
		list = append(list, mover{at: func(current *int64, _, _, _ int64) (int64, error) {
			if current == nil {
				return 0, errors.New("has no committed offset to shift")
			}
			return *current + f.shift, nil
		}})
	}
	if f.datetime != "" {
		t, err := time.Parse(time.RFC3339, f.datetime)
		if err != nil {
			return mover{}, usagef("--to-datetime %q is no RFC 3339 time such as 2026-11-20T08:00:00Z", f.datetime)
		}
		list = append(list, mover{time: t, at: func(_ *int64, _, _, byTime int64) (int64, error) { return byTime, nil }})
	}
	if len(list) != 1 {
		return mover{}, usagef("give exactly one of --to-earliest, --to-latest, --to-offset, --to-datetime, --shift-by")
	}
	return list[0], nil
}

func (a *app) reset(ctx context.Context, group string, f resetFlags, move mover) error {
	cl, err := a.kafka(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	current, err := resettable(ctx, adm, group)
	if err != nil && (exitCode(err) != exitNotFound || len(f.topics) == 0) {
		return err
	}
	parts, err := resetPartitions(ctx, adm, current, f.topics)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return notFoundf("group %q has no committed offset: name the topics with --topic", group)
	}
	if err := refuseInternal(group, current, parts); err != nil {
		return err
	}
	plan := resetPlan{Group: group, Executed: f.execute}
	if plan.Offsets, err = planReset(ctx, adm, current, parts, move); err != nil {
		return err
	}
	if f.execute {
		if err := commitReset(ctx, adm, plan); err != nil {
			return err
		}
		if err := journalReset(ctx, cl, adm, plan); err != nil {
			fmt.Fprintf(a.err, "warning: the reset is done, but not noted in %s: %v\n", event.TopicJournal, err)
		}
	}
	if err := a.print(plan, func(w *tableWriter) {
		w.row("TOPIC", "PARTITION", "BEFORE", "AFTER")
		for _, r := range plan.Offsets {
			w.row(r.Topic, r.Partition, optional(r.Before), r.After)
		}
	}); err != nil {
		return err
	}
	if !f.execute {
		fmt.Fprintln(a.err, "Nothing was changed: add --execute to do it.")
	}
	return nil
}

// resettable returns the group's committed offsets, or why they must not be
// moved.
func resettable(ctx context.Context, adm *kadm.Client, group string) (map[topicPartition]int64, error) {
	groups, errs, err := loadGroups(ctx, adm, []string{group})
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	g := groups[0]
	if g.Members > 0 {
		var who []string
		for _, p := range g.Partitions {
			if s := p.Client + "@" + p.Host; p.Member != "" && !slices.Contains(who, s) {
				who = append(who, s)
			}
		}
		names := ""
		if len(who) > 0 {
			names = " (" + strings.Join(who, ", ") + ")"
		}
		return nil, failuref("group %q has %s%s: stop them first", group, plural(g.Members, "member"), names)
	}
	current := make(map[topicPartition]int64)
	for _, p := range g.Partitions {
		if p.Committed != nil {
			current[topicPartition{p.Topic, p.Partition}] = *p.Committed
		}
	}
	return current, nil
}

// resetPartitions are those that --topic names, else those with a commit.
func resetPartitions(ctx context.Context, adm *kadm.Client, current map[topicPartition]int64, specs []string) ([]topicPartition, error) {
	if len(specs) == 0 {
		return sortPartitions(slices.Collect(maps.Keys(current))), nil
	}
	var out []topicPartition
	for _, spec := range specs {
		topic, list, some := strings.Cut(spec, ":")
		topics, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return nil, fmt.Errorf("topic %q: %w", topic, err)
		}
		if topics[topic].Err != nil {
			return nil, unknownTopic(topic)
		}
		exist := topics[topic].Partitions.Numbers()
		if !some {
			for _, p := range exist {
				out = append(out, topicPartition{topic, p})
			}
			continue
		}
		for s := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
			if err != nil {
				return nil, usagef("--topic %q is not TOPIC or TOPIC:0,2", spec)
			}
			if !slices.Contains(exist, int32(n)) {
				return nil, notFoundf("topic %q has no partition %d", topic, n)
			}
			out = append(out, topicPartition{topic, int32(n)})
		}
	}
	return sortPartitions(out), nil
}

// refuseInternal refuses topics in which a group's application sends records to
// itself: that they are handled once depends on these offsets alone.
func refuseInternal(group string, current map[topicPartition]int64, parts []topicPartition) error {
	for _, p := range parts {
		if !streams.Internal(group, p.topic) {
			continue
		}
		hint := ""
		for _, other := range sortPartitions(slices.Collect(maps.Keys(current))) {
			if word := " --topic " + other.topic; !streams.Internal(group, other.topic) && !strings.HasSuffix(hint, word) {
				hint += word
			}
		}
		if hint != "" {
			hint = ": move what it reads from others, with" + hint
		}
		return failuref("topic %q is internal to %q, which does not recognise its records when it reads them again, but acts on them twice, or never if they are passed over%s", p.topic, group, hint)
	}
	return nil
}

func sortPartitions(list []topicPartition) []topicPartition {
	slices.SortFunc(list, func(x, y topicPartition) int {
		return cmp.Or(cmp.Compare(x.topic, y.topic), cmp.Compare(x.partition, y.partition))
	})
	return slices.Compact(list)
}

func planReset(ctx context.Context, adm *kadm.Client, current map[topicPartition]int64, parts []topicPartition, move mover) ([]resetRow, error) {
	var topics []string
	for _, p := range parts {
		topics = append(topics, p.topic)
	}
	topics = slices.Compact(topics)
	starts, err1 := adm.ListStartOffsets(ctx, topics...)
	ends, err2 := adm.ListEndOffsets(ctx, topics...)
	byTime, err3 := ends, error(nil)
	if !move.time.IsZero() {
		byTime, err3 = adm.ListOffsetsAfterMilli(ctx, move.time.UnixMilli(), topics...)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	var rows []resetRow
	for _, p := range parts {
		start, end, at := offsetOf(starts, p.topic, p.partition), offsetOf(ends, p.topic, p.partition), offsetOf(byTime, p.topic, p.partition)
		if start == nil || end == nil {
			return nil, failuref("%s-%d: the cluster does not tell its offsets: it may have no leader, or the topic is gone", p.topic, p.partition)
		}
		if at == nil { // nothing at or after that time
			at = end
		}
		row := resetRow{Topic: p.topic, Partition: p.partition}
		if c, ok := current[p]; ok {
			row.Before = &c
		}
		to, err := move.at(row.Before, *start, *end, *at)
		if err != nil {
			return nil, failuref("%s-%d %w", p.topic, p.partition, err)
		}
		row.After = min(max(to, *start), *end)
		rows = append(rows, row)
	}
	return rows, nil
}

func commitReset(ctx context.Context, adm *kadm.Client, plan resetPlan) error {
	offsets := make(kadm.Offsets)
	for _, r := range plan.Offsets {
		offsets.Add(kadm.Offset{Topic: r.Topic, Partition: r.Partition, At: r.After, LeaderEpoch: -1, Metadata: resetMark})
	}
	err := adm.CommitAllOffsets(ctx, plan.Group, offsets)
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration) {
		return failuref("group %q got a member meanwhile: stop it first (%w)", plan.Group, err)
	}
	if err != nil {
		return fmt.Errorf("commit offsets of group %q: %w", plan.Group, err)
	}
	return nil
}

// journalReset writes down who moved what. A cluster without the topic belongs
// to somebody else.
func journalReset(ctx context.Context, cl *kgo.Client, adm *kadm.Client, plan resetPlan) error {
	topics, err := adm.ListTopics(ctx, event.TopicJournal)
	if err != nil {
		return err
	}
	if topics[event.TopicJournal].Err != nil {
		return nil
	}
	now := time.Now()
	before, after := map[string]*int64{}, map[string]int64{}
	for _, r := range plan.Offsets {
		tp := fmt.Sprintf("%s-%d", r.Topic, r.Partition)
		before[tp], after[tp] = r.Before, r.After
	}
	who := "cli"
	if u, err := user.Current(); err == nil {
		who = "cli:" + u.Username
	}
	value, err := json.Marshal(struct {
		Action    string            `json:"action"`
		Object    string            `json:"objet"`
		By        string            `json:"par"`
		Before    map[string]*int64 `json:"avant"`
		After     map[string]int64  `json:"apres"`
		Result    string            `json:"resultat"`
		Timestamp string            `json:"timestamp"`
	}{"groupe.reset", plan.Group, who, before, after, "OK", now.UTC().Format(timeLayout)})
	if err != nil {
		return err
	}
	return cl.ProduceSync(ctx, &kgo.Record{Topic: event.TopicJournal, Key: []byte(plan.Group), Value: value, Timestamp: now}).FirstErr()
}
