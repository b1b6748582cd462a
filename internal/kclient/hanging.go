package kclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// EndHanging ends what the last transaction of a transactional id left hanging
// in the partitions of the topics named. It must be called before the id is used
// again (before InitProducerID), by the one who takes it over.
//
// A transaction hangs in a partition when the coordinator holds it for complete
// and the partition has no marker of it: readers of committed records stand
// before it for ever, and the id's next transaction there would decide it, maybe
// wrongly. Seen on Apache Kafka 4.3.1 when a partition has no leader in the
// moment of the markers, as at stop and start of a cluster without replicas. The
// coordinator still knows how the transaction ended, until the id's next one
// begins, so that its markers can be written after it (KIP-664).
//
// A cluster that does not offer what is needed, or does not allow it, is left as
// it is.
func EndHanging(ctx context.Context, cl *kgo.Client, id string, topics []string, log *slog.Logger) error {
	adm := kadm.NewClient(cl)
	txn, err := completed(ctx, cl, adm, id)
	if err != nil || txn.ProducerID < 0 {
		return ignoreUnable(fmt.Errorf("describe transaction %s: %w", id, err), err)
	}
	hanging, err := openIn(ctx, adm, txn.ProducerID, topics)
	if err != nil || len(hanging) == 0 {
		return err
	}
	known := txn.State == "CompleteCommit" || txn.State == "CompleteAbort"
	if known && slices.ContainsFunc(hanging, func(h kadm.DescribedProducer) bool { return h.ProducerEpoch >= txn.ProducerEpoch }) {
		// From transaction.version 2 on every end raises the epoch, so what has
		// a lower one is over. This may also be the work of somebody who has the
		// id still and began anew after we had asked: the fence tells.
		var code int16
		if code, err = initProducerID(ctx, cl, id, txn.TimeoutMillis); err != nil {
			return err
		}
		known = code == 0
		if hanging, err = stillOpen(ctx, adm, txn.ProducerID, topics, hanging); err != nil || len(hanging) == 0 {
			return err
		}
	}
	if !known {
		log.Error("a transaction of ours hangs and its outcome is not known: readers stand still before it; end it with kafka-transactions abort",
			"transactional_id", id, "state", txn.State, "topic", hanging[0].Topic, "partition", hanging[0].Partition, "offset", hanging[0].CurrentTxnStartOffset)
		return nil
	}
	for _, h := range hanging {
		markers := kadm.TxnMarkers{
			ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, CoordinatorEpoch: max(h.CoordinatorEpoch, 0),
			Commit: txn.State == "CompleteCommit", Topics: kadm.TopicsSet{},
		}
		markers.Topics.Add(h.Topic, h.Partition)
		written, err := adm.WriteTxnMarkers(ctx, markers)
		written.EachPartition(func(p kadm.TxnMarkersPartitionResponse) { err = errors.Join(err, p.Err) })
		if err != nil {
			return fmt.Errorf("end the hanging transaction of %s in %s/%d at %d: %w", id, h.Topic, h.Partition, h.CurrentTxnStartOffset, err)
		}
		log.Warn("a transaction that Kafka had left hanging is ended", "transactional_id", id, "outcome", txn.State,
			"topic", h.Topic, "partition", h.Partition, "offset", h.CurrentTxnStartOffset)
	}
	return nil
}

// openIn returns where a producer has an open transaction.
func openIn(ctx context.Context, adm *kadm.Client, producer int64, topics []string) (open []kadm.DescribedProducer, err error) {
	set := kadm.TopicsSet{}
	for _, t := range topics {
		set.Add(t)
	}
	described, err := adm.DescribeProducers(ctx, set)
	if err != nil {
		return nil, ignoreUnable(fmt.Errorf("describe producers: %w", err), err)
	}
	described.EachPartition(func(p kadm.DescribedProducersPartition) {
		if p.Err != nil && ignoreUnable(p.Err, p.Err) != nil {
			err = errors.Join(err, fmt.Errorf("describe producers of %s/%d: %w", p.Topic, p.Partition, p.Err))
		}
		if d, ok := p.ActiveProducers[producer]; ok && d.CurrentTxnStartOffset >= 0 {
			open = append(open, d)
		}
	})
	return open, err
}

// stillOpen returns those of before that have not ended since.
func stillOpen(ctx context.Context, adm *kadm.Client, producer int64, topics []string, before []kadm.DescribedProducer) ([]kadm.DescribedProducer, error) {
	now, err := openIn(ctx, adm, producer, topics)
	return slices.DeleteFunc(now, func(n kadm.DescribedProducer) bool {
		return !slices.ContainsFunc(before, func(b kadm.DescribedProducer) bool {
			return b.Topic == n.Topic && b.Partition == n.Partition && b.CurrentTxnStartOffset == n.CurrentTxnStartOffset
		})
	}), err
}

// initProducerID takes the id over once, by a request of its own. If a
// transaction is open it is fenced and its abort begun, which the code says
// (CONCURRENT_TRANSACTIONS).
func initProducerID(ctx context.Context, cl *kgo.Client, id string, timeoutMillis int32) (code int16, err error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &id, max(timeoutMillis, 1000)
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, fmt.Errorf("take over transactional id %s: %w", id, err)
	}
	return resp.ErrorCode, nil
}

// completed returns the id's last transaction once it has ended; a ProducerID
// below 0 if there was none. One that is still open is made to end.
func completed(ctx context.Context, cl *kgo.Client, adm *kadm.Client, id string) (kadm.DescribedTransaction, error) {
	for {
		described, err := adm.DescribeTransactions(ctx, id)
		txn := described[id]
		switch {
		case err != nil && kerr.IsRetriable(err) && ctx.Err() == nil:
			// A new cluster, or one that starts: no coordinator yet.
		case err != nil:
			return txn, err
		case errors.Is(txn.Err, kerr.TransactionalIDNotFound):
			return kadm.DescribedTransaction{ProducerID: -1}, nil
		case txn.Err != nil && !kerr.IsRetriable(txn.Err):
			return txn, txn.Err
		case txn.Err != nil:
		case txn.State == "Ongoing":
			// The id itself is taken over by a request after.
			if _, err := initProducerID(ctx, cl, id, txn.TimeoutMillis); err != nil {
				return txn, err
			}
		case txn.State == "PrepareCommit", txn.State == "PrepareAbort", txn.State == "PrepareEpochFence":
		default:
			return txn, nil
		}
		select {
		case <-ctx.Done():
			return txn, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ignoreUnable returns err unless cause says that the cluster cannot or will not
// answer such requests at all.
func ignoreUnable(err, cause error) error {
	if cause == nil || errors.Is(cause, kerr.UnsupportedVersion) || errors.Is(cause, kerr.TopicAuthorizationFailed) ||
		errors.Is(cause, kerr.ClusterAuthorizationFailed) || errors.Is(cause, kerr.TransactionalIDAuthorizationFailed) {
		return nil
	}
	return err
}

// Outages counts how often a broker has become unreachable, once per outage: see
// EndHanging for why that matters. It is a hook for kgo.WithHooks and may be
// shared by several clients. The zero value is ready.
type Outages struct {
	mu   sync.Mutex
	down map[int32]bool
	n    int
}

var _ kgo.HookBrokerConnect = (*Outages)(nil)

// OnBrokerConnect notes the attempt's outcome.
func (o *Outages) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down == nil {
		o.down = map[int32]bool{}
	}
	if err != nil && !o.down[meta.NodeID] {
		o.n++
	}
	o.down[meta.NodeID] = err != nil
}

// Count returns the number of outages so far.
func (o *Outages) Count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}
