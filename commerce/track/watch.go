package track

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

// watch looks at the topics from time to time: whether Kafka answers, how far
// behind we are, and whether the partitions are still those that were opened.
func (s *session) watch() {
	tick := time.NewTicker(s.t.cfg.checkInterval)
	defer tick.Stop()
	for {
		if err := s.check(); err != nil {
			s.fail(err)
			return
		}
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		case <-s.poke:
			// A client in trouble complains every moment.
			if !lifecycle.Sleep(s.ctx, s.t.cfg.checkInterval/10) {
				return
			}
		}
	}
}

// check compares the open partitions with the log. It fails if they are to be
// opened anew; that Kafka does not answer is for the Tracker's health.
func (s *session) check() error {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	adm := kadm.NewClient(s.t.admin)
	// Where we are is noted before the ends are asked for: an end before it is
	// one that went back.
	read := make(map[orderdb.Partition]int64)
	id := make(map[string][16]byte)
	s.mu.Lock()
	for tp, p := range s.open {
		read[tp] = p.read.Load()
		id[tp.Topic] = p.topic
	}
	s.mu.Unlock()
	details, err := adm.ListTopics(ctx, topics...)
	if s.t.kafka(ctx, "describe topics", err) != nil {
		return nil
	}
	var there []string
	for topic, was := range id {
		now := [16]byte(details[topic].ID)
		switch {
		case !details.Has(topic):
		case now != was && now != [16]byte{}:
			return fmt.Errorf("topic %s was created anew: %w", topic, errReopen)
		default:
			there = append(there, topic)
		}
	}
	if len(there) == 0 {
		return nil
	}
	ends, err := adm.ListEndOffsets(ctx, there...)
	if s.t.kafka(ctx, "list end offsets", err) != nil {
		return nil
	}
	lag := make(map[string]int64, len(topics))
	for tp, at := range read {
		end, ok := ends.Lookup(tp.Topic, tp.Partition)
		if !ok || end.Err != nil {
			continue
		}
		if end.Offset < at {
			return fmt.Errorf("topic %s partition %d has lost its end: %w", tp.Topic, tp.Partition, errReopen)
		}
		lag[tp.Topic] += end.Offset - at
	}
	for _, topic := range topics {
		s.t.metrics.lag.WithLabelValues(topic).Set(float64(lag[topic]))
	}
	return nil
}
