package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
)

const (
	// transactionTimeout is how long Kafka keeps a transaction open that nobody
	// ends, and how long we try to end one.
	transactionTimeout = 10 * time.Second
	// abortTimeout bounds the courtesy of ending a failed transaction at once, so
	// that nobody's reading waits for its timeout.
	abortTimeout = time.Second
)

// refusedError says that Kafka will never take one of the messages, however
// often it is sent. Which one is known if there is one only.
type refusedError struct {
	messages []orderdb.Message
	alone    bool // nothing else was written with them
	err      error
}

func (e *refusedError) Error() string { return fmt.Sprintf("refused for good: %v", e.err) }
func (e *refusedError) Unwrap() error { return e.err }

// forGood are the errors that speak of the message and not of the cluster's
// state. A missing topic is none: it may be made again, and orders must wait for
// it in their order. Nor is a refused timestamp: a clock is set right.
var forGood = []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTopicException}

func isRefused(err error) bool {
	var refused *refusedError
	return errors.As(err, &refused)
}

func isForGood(err error) bool {
	for _, e := range forGood {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isFenced says that somebody else has taken the transactional id over, or that
// Kafka has ended our transaction for its age.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
}

// transactionalID is one per shard: who takes the shard over takes it over too.
func (r *Relay) transactionalID(shard int) string { return r.prefix + strconv.Itoa(shard) }

// producer writes the transactions of a shard. After an error it is of no use,
// and after an outage neither: what the last transaction left there is looked at
// first, by the next one's openProducer.
type producer struct {
	cl      *kgo.Client
	timeout time.Duration // of a transaction, and of trying to end one
	outages *kclient.Outages
	seen    int // outages before it was opened
}

// openProducer takes a transactional id over: when it returns, no other producer
// that has it can write, and what the last one left open is aborted or committed,
// in the topics too.
func openProducer(ctx context.Context, kafka kclient.Config, id string, timeout time.Duration, log *slog.Logger, outages *kclient.Outages) (*producer, error) {
	seen := outages.Count()
	cl, err := kafka.New(append(producerOptions(outages),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(timeout),
		// Kafka's markers of the last transaction may still be on their way.
		kgo.ConcurrentTransactionsBackoff(2*time.Millisecond),
	)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = kclient.EndHanging(ctx, cl, kclient.Hanging{ID: id, Topics: outboxTopics, CommitUnknown: true}, log)
	if err == nil {
		_, _, err = cl.ProducerID(ctx)
	}
	if err != nil {
		cl.Close()
		return nil, fmt.Errorf("open producer %s: %w", id, err)
	}
	return &producer{cl, timeout, outages, seen}, nil
}

// producerOptions are those of every client that writes messages.
func producerOptions(outages *kclient.Outages) []kgo.Opt {
	return []kgo.Opt{
		kgo.WithHooks(outages),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // Kafka's: murmur2 of the key
		kgo.ManualFlushing(),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
}

// outboxTopics are those that messages are for.
var outboxTopics = []string{event.TopicOrders, event.TopicProducts, event.TopicSupplies, event.TopicJournal}

// spent says that there was an outage.
func (p *producer) spent() bool { return p.outages.Count() != p.seen }

func (p *producer) close() { closeClient(p.cl) }

// closeClient closes a client and forgets what it has not sent.
func closeClient(cl *kgo.Client) {
	cl.UnsafeAbortBufferedRecords()
	cl.Close()
}

// send writes the messages in one transaction, in their order. If it fails, step
// says where; the transaction is aborted or, after a failed commit, its outcome
// unknown. If it fails by an outage it is open, and closing the producer keeps
// the rest of it from Kafka.
func (p *producer) send(ctx context.Context, msgs []orderdb.Message) (records []*kgo.Record, step string, err error) {
	if p.spent() {
		return nil, stepProduce, kclient.ErrOutage
	}
	if err := p.cl.BeginTransaction(); err != nil {
		return nil, stepProduce, fmt.Errorf("begin transaction: %w", err)
	}
	records = make([]*kgo.Record, len(msgs))
	var out outcome
	for i, m := range msgs {
		records[i] = record(m)
		// Not ctx: a flush that is given up ends with the client.
		p.cl.Produce(context.Background(), records[i], out.note)
	}
	// franz-go's RecordDeliveryTimeout would count from the record's own time,
	// which may be long ago.
	fctx, stop := p.outages.Until(ctx, p.seen)
	defer stop()
	fctx, stop = context.WithTimeout(fctx, p.timeout)
	defer stop()
	flushed := p.cl.Flush(fctx)
	if p.spent() {
		return nil, stepProduce, fmt.Errorf("produce: %w", kclient.ErrOutage)
	}
	// Even a nil at the end says nothing of records that failed.
	refused, failed := out.errors()
	switch {
	case refused != nil:
		p.abort()
		return nil, stepProduce, &refusedError{messages: msgs, alone: true, err: refused}
	case failed != nil || flushed != nil:
		p.abort()
		return nil, stepProduce, fmt.Errorf("produce: %w", errors.Join(failed, flushed))
	}
	ectx, stop := context.WithTimeout(ctx, p.timeout)
	defer stop()
	if err := kclient.EndTransaction(ectx, p.cl, kgo.TryCommit, slices.Values(records)); err != nil {
		return nil, stepCommit, fmt.Errorf("commit, outcome unknown: %w", err)
	}
	return records, "", nil
}

// abort ends the transaction if that is quickly done. If not, the next producer
// of the id does it, or the transaction's timeout.
func (p *producer) abort() {
	ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	if err := p.cl.AbortBufferedRecords(ctx); err == nil {
		_ = p.cl.EndTransaction(ctx, kgo.TryAbort)
	}
}

// record is a message as it goes to Kafka.
func record(m orderdb.Message) *kgo.Record {
	r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Timestamp: m.At}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

// outcome collects what became of records; note is called by the client.
type outcome struct {
	mu              sync.Mutex
	refused, failed error
}

func (o *outcome) note(r *kgo.Record, err error) {
	if err == nil {
		return
	}
	err = fmt.Errorf("topic %s: %w", r.Topic, err)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case isForGood(err):
		o.refused = err
	case o.failed == nil:
		o.failed = err
	}
}

func (o *outcome) errors() (refused, failed error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refused, o.failed
}
