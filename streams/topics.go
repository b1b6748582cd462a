package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Internal tells whether a topic has the name of one that the application app
// makes for itself: a repartition topic or its changelog. Nobody else may write to
// it, or move the offsets that the application's group has of it.
func Internal(app, topic string) bool {
	name, own := strings.CutPrefix(topic, app+"-")
	return own && (strings.HasSuffix(name, repartitionSuffix) || strings.HasSuffix(name, changelogSuffix))
}

// What the names of internal topics end in, behind <app>-<name>.
const (
	repartitionSuffix = "-repartition"
	changelogSuffix   = "-changelog"
)

// prepareTopics checks that the public topics exist, creates the internal ones,
// and checks that those that exist have the partition counts that the topology
// asks for now. It returns the partition count of each source and internal
// topic, the number of tasks, and how long the changelog keeps tombstones.
func prepareTopics(ctx context.Context, cfg Config) (map[string]int32, int32, time.Duration, error) {
	cl, err := cfg.Kafka.New()
	if err != nil {
		return nil, 0, 0, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var counts map[string]int32
	var tasks int32
	begin := time.Now()
	err = retry(ctx, cfg.Logger.Warn, "the topics cannot be read yet", func() error {
		public, err := publicCounts(ctx, adm, cfg.Topology)
		if err != nil {
			return err
		}
		counts, tasks, err = cfg.Topology.counts(public)
		if errors.Is(err, errMissing) && time.Since(begin) < topicGrace {
			return errAgain
		}
		return permanent(err)
	})
	if err == nil {
		err = createInternal(ctx, cfg, adm, counts, tasks)
	}
	if err != nil {
		return nil, 0, 0, err
	}
	return counts, tasks, deletions(ctx, cfg, adm), nil
}

// changelogDeletions is how long a changelog keeps tombstones. It bounds how long
// an instance may be away and still catch up its local state: the broker's
// default of a day would make a weekend too long.
const changelogDeletions = 7 * 24 * time.Hour

// deletions reads how long the changelog keeps tombstones, which an operator may
// have changed. Kafka's default stands in for an answer that does not come.
func deletions(ctx context.Context, cfg Config, adm *kadm.Client) time.Duration {
	keep := 24 * time.Hour
	if !cfg.Topology.stateful() {
		return keep
	}
	configs, err := adm.DescribeTopicConfigs(ctx, cfg.Topology.changelog())
	if err != nil {
		return keep
	}
	for _, rc := range configs {
		for _, c := range rc.Configs {
			if c.Key == "delete.retention.ms" && c.Value != nil {
				if ms, err := strconv.ParseInt(*c.Value, 10, 64); err == nil {
					keep = time.Duration(ms) * time.Millisecond
				}
			}
		}
	}
	return keep
}

// topicGrace is how long a topic may be missing: one that was created a moment
// ago is not in every broker's metadata yet.
const topicGrace = 3 * time.Second

func publicCounts(ctx context.Context, adm *kadm.Client, top *Topology) (map[string]int32, error) {
	topics := append(append(top.Sources(), top.Outputs()...), top.GlobalSources()...)
	for _, o := range top.outputs {
		if o.internal != nil && o.internal.like != "" && top.source(o.internal.like) == nil {
			topics = append(topics, o.internal.like)
		}
	}
	details, err := adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, err
	}
	public := map[string]int32{}
	for _, d := range details {
		if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if d.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", d.Topic, d.Err)
		}
		public[d.Topic] = int32(len(d.Partitions))
	}
	return public, nil
}

func createInternal(ctx context.Context, cfg Config, adm *kadm.Client, counts map[string]int32, tasks int32) error {
	top := cfg.Topology
	keep := "-1"
	repartition := map[string]*string{"retention.ms": &keep, "cleanup.policy": kadm.StringPtr("delete")}
	deletions := strconv.FormatInt(changelogDeletions.Milliseconds(), 10)
	compact := map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "delete.retention.ms": &deletions}
	type want struct {
		partitions int32
		configs    map[string]*string
		like       string
	}
	wants := map[string]want{}
	for _, o := range top.outputs {
		if o.internal != nil {
			wants[o.topic] = want{counts[o.topic], repartition, o.internal.like}
		}
	}
	if top.stateful() {
		wants[top.changelog()] = want{tasks, compact, ""}
	}
	if len(wants) == 0 {
		return nil
	}
	names := top.InternalTopics() // in this order, so that an error is the same each time
	return retry(ctx, cfg.Logger.Warn, "the internal topics cannot be created yet", func() error {
		have, err := adm.ListTopics(ctx, names...)
		if err != nil {
			return err
		}
		for _, name := range names {
			w := wants[name]
			d, ok := have[name]
			if ok && d.Err == nil {
				if n := int32(len(d.Partitions)); n != w.partitions {
					why := fmt.Sprintf("the topology now asks for %d", w.partitions)
					if w.like != "" {
						why = fmt.Sprintf("%s now has %d", w.like, w.partitions)
					}
					return permanent(fmt.Errorf("internal topic %s was created with %d partitions, and %s: the number is fixed at the first start, since state and records are spread by it; go back to the old number, or start the application under another name", name, n, why))
				}
				continue
			}
			resp, err := adm.CreateTopic(ctx, w.partitions, cfg.ReplicationFactor, w.configs, name)
			if err == nil {
				err = resp.Err
			}
			if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				return fmt.Errorf("create topic %s: %w", name, err)
			}
			if err == nil {
				cfg.Logger.Info("internal topic created", "topic", name, "partitions", w.partitions)
			} else {
				// Another instance was faster: its count is checked next time round.
				return errAgain
			}
		}
		return nil
	})
}

// errAgain makes retry go round once more without a warning.
var errAgain = errors.New("again")

// permanentError ends a retry.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// retry calls f until it succeeds, fails for good, or ctx is done. It warns of
// the first failure and then every ten seconds.
func retry(ctx context.Context, warn func(msg string, args ...any), msg string, f func() error) error {
	var warned time.Time
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := f()
		if err == nil {
			return nil
		}
		var p permanentError
		if errors.As(err, &p) {
			return p.error
		}
		if errors.Is(err, kgo.ErrClientClosed) {
			return err
		}
		if !errors.Is(err, errAgain) && wait > 100*time.Millisecond && time.Since(warned) > 10*time.Second {
			warned = time.Now()
			warn(msg, "err", err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(wait):
		}
	}
}
