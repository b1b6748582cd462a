package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/shipping"
)

// createTopics creates the public topics that are missing. One that exists is
// never altered; a retention that loses events is warned of. It returns those
// that it created.
func createTopics(ctx context.Context, adm *kadm.Client, replication int16, extra bool, log *slog.Logger) (created []string, err error) {
	specs := event.Topics
	if extra {
		specs = append(specs[:len(specs):len(specs)], event.Spec{Name: shipping.Prepared.Name})
	}
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	have, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("topics: %w", err)
	}
	var exist []string
	for _, s := range specs {
		if d, ok := have[s.Name]; ok && d.Err == nil {
			exist = append(exist, s.Name)
			continue
		}
		resp, err := adm.CreateTopic(ctx, event.DefaultPartitions, replication, topicConfigs(s), s.Name)
		if err == nil {
			err = resp.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return nil, fmt.Errorf("create topic %s: %w", s.Name, err)
		}
		created = append(created, s.Name)
		log.Debug("topic created", "topic", s.Name)
	}
	if len(exist) == 0 {
		return created, nil
	}
	configs, err := adm.DescribeTopicConfigs(ctx, exist...)
	if err != nil {
		// Not being allowed to look is no reason not to work.
		log.Warn("retention of the topics cannot be checked", "err", err)
		return created, nil
	}
	for _, rc := range configs {
		for _, s := range specs {
			if s.Name == rc.Name {
				warnRetention(s, rc, log)
			}
		}
	}
	return created, nil
}

// goneTopics names the public topics that do not exist, for the reason why a
// stage is not well; none if it is, or if the cluster does not say.
func (n *Node) goneTopics(ctx context.Context, unwell error) (gone []string) {
	if unwell == nil || n.watch == nil || n.watch.check() != nil {
		return nil
	}
	// Not by kadm, which answers from a cache.
	req := kmsg.NewPtrMetadataRequest()
	for _, s := range event.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(s.Name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, n.admin)
	if err != nil {
		return nil
	}
	for _, t := range resp.Topics {
		if t.Topic != nil && t.ErrorCode == kerr.UnknownTopicOrPartition.Code {
			gone = append(gone, *t.Topic)
		}
	}
	return gone
}

func topicConfigs(s event.Spec) map[string]*string {
	retention := "-1"
	if s.Retention > 0 {
		retention = strconv.FormatInt(s.Retention.Milliseconds(), 10)
	}
	policy := "delete"
	if s.Compacted {
		policy = "compact"
	}
	return map[string]*string{"retention.ms": &retention, "cleanup.policy": &policy}
}

func warnRetention(s event.Spec, rc kadm.ResourceConfig, log *slog.Logger) {
	for _, c := range rc.Configs {
		if c.Key != "retention.ms" || c.Value == nil || s.Compacted {
			continue
		}
		ms, err := strconv.ParseInt(*c.Value, 10, 64)
		if err != nil || ms < 0 {
			continue
		}
		if s.Retention == 0 || ms < s.Retention.Milliseconds() {
			log.Warn("topic keeps its events for less time than the product asks for: audits and re-readings will miss some", "topic", s.Name, "retention", (time.Duration(ms) * time.Millisecond).String())
		}
	}
}
