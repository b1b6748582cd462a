package kclient

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// settlePause is between two looks at what franz-go is about to store.
const settlePause = 100 * time.Microsecond

// EndTransaction ends the transaction that the records were written in, all of
// which Kafka has acknowledged. It stands in for the client's own, which has a
// hole (franz-go 1.22.2): the partitions of a topic that a client writes to for
// the first time are stored after the waiting records were sent. If those are
// acknowledged and the transaction is ended between the two, the client finds no
// partition that was written to; asked to commit it aborts, and says nil. (With
// transaction.version 1 the partition would be missing in the next transaction.)
//
// An error leaves the outcome unknown. One goroutine at a time may call it.
func EndTransaction(ctx context.Context, cl *kgo.Client, end kgo.TransactionEndTry, records iter.Seq[*kgo.Record]) error {
	var known []string
	for r := range records {
		if slices.Contains(known, r.Topic) {
			continue
		}
		if err := settled(ctx, cl, r.Topic, r.Partition); err != nil {
			return err
		}
		known = append(known, r.Topic)
	}
	return cl.EndTransaction(ctx, end)
}

// settled waits until the client has stored a topic's partitions.
func settled(ctx context.Context, cl *kgo.Client, topic string, partition int32) error {
	for {
		// A partition without a leader has an epoch all the same.
		if leader, epoch, _ := cl.PartitionLeader(topic, partition); leader >= 0 || epoch >= 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("partitions of %s: %w", topic, ctx.Err())
		case <-time.After(settlePause):
		}
	}
}
