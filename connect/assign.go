package connect

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// assigned decides where partitions that came to this task begin. It runs in
// the client's own goroutine while heartbeats go on, so that a database that is
// down keeps neither the group nor the task's other partitions from working;
// ctx ends when the group rebalances.
func (s *session) assigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	err := s.t.retry(ctx, "take partitions over", func() error { return s.assign(ctx, offsets) })
	if err != nil && ctx.Err() == nil {
		s.fail(err)
	}
	return offsets, err
}

func (s *session) assign(ctx context.Context, offsets map[string]map[int32]kgo.Offset) error {
	var topics []string
	for topic := range offsets {
		topics = append(topics, topic)
	}
	adm := kadm.NewClient(s.t.c.w.admin)
	details, err := adm.ListTopics(ctx, topics...)
	if err != nil {
		return Retriable(fmt.Errorf("describe topics: %w", err))
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return Retriable(fmt.Errorf("list first offsets: %w", err))
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return Retriable(fmt.Errorf("list end offsets: %w", err))
	}
	latest := s.t.spec.values.String("consumer.override.auto.offset.reset") == "latest"
	var want []Assignment
	was := make(map[TopicPartition]int64)
	end := make(map[TopicPartition]int64)
	for topic, parts := range offsets {
		for p := range parts {
			tp := TopicPartition{topic, p}
			first, ok1 := starts.Lookup(topic, p)
			last, ok2 := ends.Lookup(topic, p)
			if !ok1 || !ok2 || first.Err != nil || last.Err != nil {
				return Retriable(fmt.Errorf("topic %s partition %d has no leader that answers", topic, p))
			}
			id := details[topic].ID
			a := Assignment{TopicPartition: tp, TopicID: topicID(id), Start: first.Offset, Earliest: first.Offset}
			s.mu.Lock()
			c, known := s.committed[tp]
			s.mu.Unlock()
			was[tp], end[tp] = -1, last.Offset
			if known && c.offset >= 0 {
				was[tp] = c.offset
			}
			ours := strings.HasPrefix(c.metadata, commitMark)
			switch {
			case known && c.offset >= 0 && (s.owner == nil || !ours):
				// A connector that ran in Kafka Connect before goes on from there.
				a.Start = c.offset
			case latest && !ours:
				a.Start = last.Offset
			}
			want = append(want, a)
		}
	}
	next := make(map[TopicPartition]int64, len(want))
	for _, a := range want {
		next[a.TopicPartition] = a.Start
	}
	if s.owner != nil {
		if next, err = s.owner.Assign(ctx, want); err != nil {
			return err
		}
	}
	for _, a := range want {
		tp, at := a.TopicPartition, next[a.TopicPartition]
		switch {
		case at > end[tp]:
			return fmt.Errorf("topic %s partition %d ends at offset %d, but the sink has written up to %d: the topic lost records. "+
				"To go on from its end: PUT /connectors/%s/stop, PATCH /connectors/%s/offsets, PUT /connectors/%s/resume",
				tp.Topic, tp.Partition, end[tp], at, s.t.c.name, s.t.c.name, s.t.c.name)
		case at < a.Earliest:
			s.t.logger.Warn("records were deleted from the topic before they were read", "topic", tp.Topic, "partition", tp.Partition, "from", at, "to", a.Earliest)
			next[tp] = a.Earliest
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range want {
		tp := a.TopicPartition
		offsets[tp.Topic][tp.Partition] = kgo.NewOffset().At(next[tp])
		s.open[tp] = &openPartition{next: next[tp], dirty: next[tp] != was[tp], id: a.TopicID}
		s.t.logger.Info("partition opened", "topic", tp.Topic, "partition", tp.Partition, "offset", next[tp])
	}
	s.t.note("")
	return nil
}

// topicID writes a topic id as Kafka's tools do; empty if there is none.
func topicID(id kadm.TopicID) string {
	if id == (kadm.TopicID{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(id[:])
}
