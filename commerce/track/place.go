package track

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

// placed is where reading a partition goes on.
type placed struct {
	stored orderdb.Position // in the database; zero if it has none
	topic  [16]byte         // the topic's id
	next   int64            // where to read on
	end    int64            // of the log
}

// place reads the positions of the topics' partitions from the database and
// holds them against the log. What the log no longer has, because its topic was
// created anew or a broker lost its end, is forgotten in the database. Topics
// that do not exist, and partitions without a leader, are left out.
func (t *Tracker) place(ctx context.Context, topics []string) (map[orderdb.Partition]placed, error) {
	// The positions come first: a log's end read later is not before them unless
	// it went back.
	positions, err := t.cfg.DB.Positions(ctx)
	if err = t.database(ctx, "read positions", err); err != nil {
		return nil, err
	}
	adm := kadm.NewClient(t.admin)
	details, err := adm.ListTopics(ctx, topics...)
	if err = t.kafka(ctx, "describe topics", err); err != nil {
		return nil, err
	}
	var there []string
	for _, d := range details {
		if d.Err == nil {
			there = append(there, d.Topic)
		}
	}
	if len(there) == 0 {
		return nil, nil
	}
	starts, err := adm.ListStartOffsets(ctx, there...)
	if err = t.kafka(ctx, "list first offsets", err); err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, there...)
	if err = t.kafka(ctx, "list end offsets", err); err != nil {
		return nil, err
	}
	out := make(map[orderdb.Partition]placed)
	for _, topic := range there {
		id := [16]byte(details[topic].ID)
		for n := range details[topic].Partitions {
			first, ok1 := starts.Lookup(topic, n)
			last, ok2 := ends.Lookup(topic, n)
			if !ok1 || !ok2 || first.Err != nil || last.Err != nil {
				continue
			}
			p := orderdb.Partition{Topic: topic, Partition: n}
			stored := positions[p]
			at, err := t.reconcile(ctx, p, stored, id, last.Offset)
			if err != nil {
				return nil, err
			}
			next := at.Next
			if next < first.Offset {
				if next > 0 {
					t.log.Warn("records were deleted before they were tracked", "topic", topic, "partition", n, "from", next, "to", first.Offset)
				}
				next = first.Offset
			}
			out[p] = placed{stored: at, topic: id, next: next, end: last.Offset}
		}
	}
	return out, nil
}

// reconcile makes the database forget what the log no longer has, and returns
// the position that it then has.
func (t *Tracker) reconcile(ctx context.Context, p orderdb.Partition, at orderdb.Position, id [16]byte, end int64) (orderdb.Position, error) {
	to := at
	none := [16]byte{}
	switch {
	case at.Topic != id && at.Topic != none && id != none:
		to = orderdb.Position{Topic: id}
		t.log.Warn("topic was created anew, reading it from its start", "topic", p.Topic, "partition", p.Partition)
	case at.Next > end:
		to = orderdb.Position{Topic: id, Next: end}
		t.log.Warn("partition has lost its end, which is forgotten", "topic", p.Topic, "partition", p.Partition, "from", at.Next, "to", end)
	default:
		return at, nil
	}
	err := t.cfg.DB.Forget(ctx, p, to)
	return to, t.database(ctx, "forget lost records", err)
}

// database and kafka put err, if any, into the Tracker's health and in words.
// That ctx ended says nothing of anybody's health.

func (t *Tracker) database(ctx context.Context, what string, err error) error {
	return t.judge(ctx, causeDatabase, what, err)
}

func (t *Tracker) kafka(ctx context.Context, what string, err error) error {
	var partly *kadm.ShardErrors
	if errors.As(err, &partly) && !partly.AllFailed {
		err = nil // the partitions concerned have errors of their own
	}
	return t.judge(ctx, causeKafka, what, err)
}

func (t *Tracker) judge(ctx context.Context, c cause, what string, err error) error {
	if err == nil {
		t.health.set(c, nil)
		return nil
	}
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.health.set(c, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
	// callTimeout bounds one attempt to place partitions, or to apply a batch.
	callTimeout = 15 * time.Second
)

// retry calls f until it succeeds or ctx ends.
func retry(ctx context.Context, f func(context.Context) error) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		actx, cancel := context.WithTimeout(ctx, callTimeout)
		err := f(actx)
		cancel()
		if err == nil {
			return nil
		}
		if !lifecycle.Sleep(ctx, wait) {
			return err
		}
	}
}
