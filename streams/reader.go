package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
)

// partitionKey names a partition.
type partitionKey struct {
	topic     string
	partition int32
}

// readTo polls a direct consumer, which must keep control records, until every
// partition's position has reached its end, and calls handle for each data
// record. The position counts, not the records: what stands last may be a
// transaction's marker. positions is advanced in place.
//
// What stands last may also be nothing that a consumer is given: records of an
// aborted transaction whose marker was compacted away, or lost in a crash. When
// nothing comes for a while, stuck (if not nil) is called once for each partition
// that is behind, and may move its end.
func readTo(ctx context.Context, cl *kgo.Client, positions, ends map[partitionKey]int64, handle func(*kgo.Record) error, stuck func(partitionKey) error) error {
	behind := 0
	for k, end := range ends {
		if positions[k] < end {
			behind++
		}
	}
	for behind > 0 {
		pctx, cancel := context.WithTimeout(ctx, stuckAfter)
		fetches := cl.PollRecords(pctx, 10000)
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, fe := range fetches.Errors() {
			if !interrupted(fe.Err) {
				return &fetchError{partitionKey{fe.Topic, fe.Partition}, fe.Err}
			}
		}
		if fetches.NumRecords() == 0 && stuck != nil {
			for k, end := range ends {
				if positions[k] < end {
					if err := stuck(k); err != nil {
						return err
					}
				}
			}
			stuck = nil
		}
		var err error
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			k := partitionKey{p.Topic, p.Partition}
			before := positions[k]
			for _, r := range p.Records {
				if err != nil {
					return
				}
				if !r.Attrs.IsControl() {
					err = handle(r)
				}
				positions[k] = r.Offset + 1
			}
			if end := ends[k]; before < end && positions[k] >= end {
				behind--
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// stuckAfter is how long nothing comes before readTo helps itself.
const stuckAfter = time.Second

// fetchError is a fetch that failed for good in one partition.
type fetchError struct {
	partitionKey
	err error
}

func (e *fetchError) Error() string {
	return fmt.Sprintf("read %s/%d: %v", e.topic, e.partition, e.err)
}

func (e *fetchError) Unwrap() error { return e.err }

// readerOptions are those of every consumer that reads given partitions.
func readerOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
	}
}

// interrupted tells whether a poll ended because it was told to.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// ReadAll calls handle for every committed record that a topic holds now, each
// partition in its order.
func ReadAll(ctx context.Context, k kclient.Config, topic string, handle func(*kgo.Record) error) error {
	cl, err := k.New(append(readerOptions(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	positions, ends, err := bounds(ctx, kadm.NewClient(cl), topic)
	if err != nil {
		return err
	}
	return readTo(ctx, cl, positions, ends, handle, nil)
}

// bounds returns where topics start, and their last stable offsets: an open
// transaction is not there yet.
func bounds(ctx context.Context, adm *kadm.Client, topics ...string) (starts, ends map[partitionKey]int64, err error) {
	if starts, err = listOffsets(ctx, adm.ListStartOffsets, topics...); err != nil {
		return nil, nil, err
	}
	ends, err = listOffsets(ctx, adm.ListCommittedOffsets, topics...)
	return starts, ends, err
}

// listOffsets asks for one kind of offset of every partition of topics.
func listOffsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics ...string) (map[partitionKey]int64, error) {
	l, err := list(ctx, topics...)
	if err == nil {
		err = l.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets of %s: %w", strings.Join(topics, ", "), err)
	}
	m := map[partitionKey]int64{}
	l.Each(func(o kadm.ListedOffset) { m[partitionKey{o.Topic, o.Partition}] = o.Offset })
	return m, nil
}
