package kclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Hanging says whose transactions EndHanging ends, and where it looks for them.
type Hanging struct {
	// ID is the transactional id.
	ID string
	// Topics are those that it writes to.
	Topics []string
	// Groups are the consumer groups whose offsets it commits.
	Groups []string
	// CommitUnknown commits what hangs with an outcome that nobody knows: for
	// those whose readers ignore what comes twice. Otherwise it is an error.
	CommitUnknown bool
}

// EndHanging ends what the last transaction of a transactional id left hanging.
// It must be called before the id is used again (before InitProducerID), by the
// one who takes it over, and again after an outage: see Outages.
//
// A transaction hangs in a partition when the coordinator holds it for complete
// and the partition has no marker of it: readers of committed records stand
// before it for ever, and the id's next transaction there would decide it, maybe
// wrongly. Seen on Apache Kafka 4.3.1 when a partition has no leader in the
// moment of the markers, as at stop and start of a cluster without replicas. The
// coordinator still knows how the transaction ended, until the id's next one
// begins, so that its markers can be written after it (KIP-664).
//
// A cluster that does not offer the questions, or does not allow them, is left as
// it is; the latter with a warning. The one case out of reach: the producer id is
// replaced after 32,767 transactions, and one that hangs then is not seen.
func EndHanging(ctx context.Context, cl *kgo.Client, h Hanging, log *slog.Logger) error {
	adm := kadm.NewClient(cl)
	// A new client knows addresses only, of which one may be away, and franz-go
	// looks for a coordinator once. From here on it asks brokers that are there.
	if _, err := adm.BrokerMetadata(ctx); err != nil {
		return fmt.Errorf("brokers: %w", err)
	}
	txn, err := ended(ctx, cl, adm, h.ID)
	if err != nil || txn.ProducerID < 0 {
		return unlessUnable(err, "describe transaction", h.ID, log)
	}
	before, err := open(ctx, adm, txn.ProducerID, h)
	if err != nil || len(before) == 0 {
		return unlessUnable(err, "describe producers", h.ID, log)
	}
	// Whoever had the id may be at work still, with a transaction that is open
	// for good reason. The outcome that was told after we saw it open is that of
	// what is still open after it.
	version, err := TransactionVersion(ctx, cl)
	if err != nil {
		return err
	}
	if txn, err = ended(ctx, cl, adm, h.ID); err != nil {
		return fmt.Errorf("describe transaction %s: %w", h.ID, err)
	}
	now, err := open(ctx, adm, before[0].ProducerID, h)
	if err != nil {
		return fmt.Errorf("describe producers: %w", err)
	}
	for _, p := range now {
		if !slices.ContainsFunc(before, func(b kadm.DescribedProducer) bool {
			return b.Topic == p.Topic && b.Partition == p.Partition && b.CurrentTxnStartOffset == p.CurrentTxnStartOffset
		}) {
			continue
		}
		commit, known := outcomeOf(txn, p, version)
		if !known && !h.CommitUnknown {
			return fmt.Errorf("a transaction of %s hangs in %s/%d at offset %d, and its outcome is not known (%s, epoch %d of %d): readers stand still before it; end it with kafka-transactions abort",
				h.ID, p.Topic, p.Partition, p.CurrentTxnStartOffset, txn.State, p.ProducerEpoch, txn.ProducerEpoch)
		}
		commit = commit || !known
		if err := writeMarker(ctx, adm, p, commit); err != nil {
			return fmt.Errorf("end the hanging transaction of %s in %s/%d at offset %d (this needs the right CLUSTER_ACTION): %w", h.ID, p.Topic, p.Partition, p.CurrentTxnStartOffset, err)
		}
		log.Warn("a transaction that Kafka had left hanging is ended", "transactional_id", h.ID, "commit", commit, "outcome_known", known,
			"topic", p.Topic, "partition", p.Partition, "offset", p.CurrentTxnStartOffset)
	}
	return nil
}

// outcomeOf is how the transaction that hangs has ended, if the last one that the
// coordinator knows is that one. Every end raises the epoch since
// transaction.version 2 (KIP-890), by one; before, none did.
func outcomeOf(txn kadm.DescribedTransaction, hangs kadm.DescribedProducer, version int16) (commit, known bool) {
	known = txn.ProducerID == hangs.ProducerID && (txn.State == "CompleteCommit" || txn.State == "CompleteAbort") &&
		(hangs.ProducerEpoch == txn.ProducerEpoch || version >= 2 && hangs.ProducerEpoch+1 == txn.ProducerEpoch)
	return known && txn.State == "CompleteCommit", known
}

func writeMarker(ctx context.Context, adm *kadm.Client, p kadm.DescribedProducer, commit bool) error {
	m := kadm.TxnMarkers{ProducerID: p.ProducerID, ProducerEpoch: p.ProducerEpoch, CoordinatorEpoch: max(p.CoordinatorEpoch, 0), Commit: commit, Topics: kadm.TopicsSet{}}
	m.Topics.Add(p.Topic, p.Partition)
	written, err := adm.WriteTxnMarkers(ctx, m)
	written.EachPartition(func(p kadm.TxnMarkersPartitionResponse) { err = errors.Join(err, p.Err) })
	return err
}

// open returns where a producer has an open transaction.
func open(ctx context.Context, adm *kadm.Client, producer int64, h Hanging) (open []kadm.DescribedProducer, err error) {
	set := kadm.TopicsSet{}
	for _, t := range h.Topics {
		set.Add(t)
	}
	if len(h.Groups) > 0 {
		// A group's offsets are in a partition of a topic of Kafka's own.
		topics, err := adm.ListTopicsWithInternal(ctx, offsetsTopic)
		if err != nil {
			return nil, err
		}
		if n := len(topics[offsetsTopic].Partitions); n > 0 {
			for _, g := range h.Groups {
				set.Add(offsetsTopic, groupPartition(g, n))
			}
		}
	}
	described, err := adm.DescribeProducers(ctx, set)
	if err != nil {
		return nil, err
	}
	described.EachPartition(func(p kadm.DescribedProducersPartition) {
		switch d, ok := p.ActiveProducers[producer]; {
		case errors.Is(p.Err, kerr.UnknownTopicOrPartition): // not there yet, or no more
		case p.Err != nil:
			err = errors.Join(err, fmt.Errorf("%s/%d: %w", p.Topic, p.Partition, p.Err))
		case ok && d.CurrentTxnStartOffset >= 0:
			open = append(open, d)
		}
	})
	return open, err
}

const offsetsTopic = "__consumer_offsets"

// groupPartition is where Kafka keeps a group's offsets: by Java's hash of its
// name.
func groupPartition(group string, partitions int) int32 {
	var h int32
	for _, c := range utf16.Encode([]rune(group)) {
		h = 31*h + int32(c)
	}
	return h & 0x7fffffff % int32(partitions)
}

// ended returns the id's last transaction once it has ended; a ProducerID below 0
// if there was none. One that is still open is made to end: a request for the id
// fences who has it, and has the transaction aborted.
func ended(ctx context.Context, cl *kgo.Client, adm *kadm.Client, id string) (kadm.DescribedTransaction, error) {
	for {
		txn, err := describe(ctx, cl, adm, id)
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
			req := kmsg.NewPtrInitProducerIDRequest()
			req.TransactionalID, req.TransactionTimeoutMillis = &id, max(txn.TimeoutMillis, 1000)
			req.ProducerID, req.ProducerEpoch = -1, -1
			// Answered with CONCURRENT_TRANSACTIONS: the id itself is taken over
			// by a request after.
			if _, err := req.RequestWith(ctx, cl); err != nil {
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

// describe asks the coordinator that the brokers name now. For this request
// franz-go keeps the one that it was once told for as long as its metadata names
// that broker, even if it cannot be reached.
func describe(ctx context.Context, cl *kgo.Client, adm *kadm.Client, id string) (txn kadm.DescribedTransaction, err error) {
	found := adm.FindTxnCoordinators(ctx, id)[id]
	if found.Err != nil {
		return txn, fmt.Errorf("coordinator: %w", found.Err)
	}
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	resp, err := req.RequestWith(ctx, cl.Broker(int(found.NodeID)))
	if err != nil {
		return txn, err
	}
	if n := len(resp.TransactionStates); n != 1 {
		return txn, fmt.Errorf("%d transactions are described instead of one", n)
	}
	t := resp.TransactionStates[0]
	return kadm.DescribedTransaction{
		TxnID: id, Coordinator: found.NodeID, State: t.State, TimeoutMillis: t.TimeoutMillis,
		ProducerID: t.ProducerID, ProducerEpoch: t.ProducerEpoch, Err: kerr.ErrorForCode(t.ErrorCode),
	}, nil
}

// unlessUnable returns err in words, unless it says that the cluster cannot or
// will not answer such questions at all.
func unlessUnable(err error, what, id string, log *slog.Logger) error {
	switch {
	case err == nil, errors.Is(err, kerr.UnsupportedVersion):
		return nil
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed), errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		log.Warn("not allowed to look for transactions that Kafka may have left hanging; it needs DESCRIBE on the transactional id and READ on the topics",
			"transactional_id", id, "error", err)
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, id, err)
}

// TransactionVersion is the cluster's transaction.version: from 2 on (KIP-890)
// produce and offset requests add themselves to the transaction, and every end
// raises the epoch.
func TransactionVersion(ctx context.Context, cl *kgo.Client) (int16, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "comptoir", "1"
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, fmt.Errorf("api versions: %w", err)
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			return f.MaxVersionLevel, nil
		}
	}
	return 0, nil
}
