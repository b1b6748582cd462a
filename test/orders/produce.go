package orders

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics that the workload is produced to.
const (
	OrdersTopic   = "commandes.ecommerce"
	SuppliesTopic = "stock.approvisionnements"
)

// NewClient opens a client of the brokers, host:port,…, that produces as any careful producer does: all
// acknowledgements, idempotent, Kafka's murmur2 partitioner, records without
// key spread over the partitions. It reads committed records only.
func NewClient(brokers string, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(brokers, ",")...),
		kgo.ClientID("comptoir-test"),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.UnknownTopicRetries(-1),
	}, opts...)...)
}

// Produce sends the records in their order and returns when all of them are
// acknowledged, or with the errors of those that are not.
func Produce(ctx context.Context, client *kgo.Client, topic string, records []Record) error {
	_, err := ProduceSome(ctx, client, topic, records)
	return err
}

// ProduceSome is Produce, and returns the records that failed, in their order,
// unless ctx ends. Each of them may be in the topic all the same.
func ProduceSome(ctx context.Context, client *kgo.Client, topic string, records []Record) (refused []Record, err error) {
	var (
		mu     sync.Mutex
		failed = make([]error, len(records))
	)
	for i, r := range records {
		record := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[i] = fmt.Errorf("produce %q to %s: %w", r.Kind, topic, err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return nil, fmt.Errorf("flush %s: %w", topic, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, err := range failed {
		if err != nil {
			refused = append(refused, records[i])
		}
	}
	return refused, errors.Join(failed...)
}
