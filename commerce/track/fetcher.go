package track

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

// Bounds of one Fetch.
const (
	// MaxFetch is the most bytes of keys, values and headers that one Fetch
	// returns: 32 MiB.
	MaxFetch = 32 << 20
	// hint is how many bytes of a partition are asked for, for the sake of one
	// record. A record in a larger batch is asked for again, alone: a broker
	// answers the first partition of a request with a whole batch at least.
	hint = 32 << 10
	// responseBytes bounds an answer, but for its first batch.
	responseBytes = 4 << 20
	// leadersAge is how old the knowledge of leaders may be; an answer that
	// contradicts it renews it at once.
	leadersAge = time.Minute
	// fetchTries is how often in a row nothing may be learned, with waits of 20
	// ms to 1 s between: about 5 s.
	fetchTries = 9
)

// Payload is a record that a timeline names.
type Payload struct {
	Key, Value []byte
	Headers    []orderdb.Header
	Time       time.Time
	// Found is false if retention or compaction has removed the record.
	Found bool
	// Omitted says that the record is there, but would have taken the call's
	// payloads beyond MaxFetch.
	Omitted bool
}

// Fetcher reads single records by topic, partition and offset, from whichever
// broker leads the partition. It needs no group and keeps no position. It is
// safe for concurrent use.
type Fetcher struct {
	cl    *kgo.Client
	codec kgo.Decompressor
}

// NewFetcher makes a Fetcher; it does not contact the cluster.
func NewFetcher(cfg kclient.Config) (*Fetcher, error) {
	cl, err := cfg.New(kgo.MetadataMinAge(10 * time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("fetcher: %w", err)
	}
	return &Fetcher{cl: cl, codec: kgo.DefaultDecompressor()}, nil
}

// Close ends what is under way and releases the connections.
func (f *Fetcher) Close() { f.cl.Close() }

// Fetch returns the payloads of entries, in their order. Entries must be those
// of committed records; the same one may stand twice. An error means that some
// could not be had now: it is about Kafka, and Fetch may be repeated.
func (f *Fetcher) Fetch(ctx context.Context, entries []orderdb.Entry) ([]Payload, error) {
	w := newWanted(entries)
	last := errors.New("brokers say nothing of some records")
	for tries := 0; len(w.left) > 0; {
		before := w.count
		err := f.round(ctx, w, tries > 0)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("fetch payloads: %w", ctx.Err())
		case w.count < before:
			tries = 0
			continue
		case err != nil:
			last = err
		}
		if tries++; tries > fetchTries || errors.Is(err, kgo.ErrClientClosed) {
			return nil, fmt.Errorf("fetch payloads: %w", last)
		}
		if tries > 1 && !lifecycle.Sleep(ctx, min(10*time.Millisecond<<tries, time.Second)) {
			return nil, fmt.Errorf("fetch payloads: %w", ctx.Err())
		}
	}
	return w.payloads, nil
}

// round asks once for the first offset that is left of each partition. It
// returns one of the errors there were.
func (f *Fetcher) round(ctx context.Context, w *wanted, renew bool) error {
	requests, ids, err := f.requests(ctx, w, renew)
	if err != nil {
		return err
	}
	type answer struct {
		resp *kmsg.FetchResponse
		err  error
	}
	answers := make([]answer, len(requests))
	var wg sync.WaitGroup
	for i, r := range requests {
		ask := func() {
			resp, err := f.cl.Broker(int(r.broker)).Request(ctx, r.req)
			if err == nil {
				answers[i].resp = resp.(*kmsg.FetchResponse)
			}
			answers[i].err = err
		}
		if i == len(requests)-1 {
			ask()
		} else {
			wg.Go(ask)
		}
	}
	wg.Wait()
	for i, a := range answers {
		switch {
		case a.err != nil:
			err = a.err
		case kerr.ErrorForCode(a.resp.ErrorCode) != nil:
			err = kerr.ErrorForCode(a.resp.ErrorCode)
		default:
			if e := w.take(a.resp, ids, requests[i].alone, f.codec); e != nil {
				err = e
			}
		}
	}
	return err
}

// request is a Fetch to a broker; alone if it is for one partition.
type request struct {
	broker int32
	req    *kmsg.FetchRequest
	alone  bool
}

// requests makes a request for each broker that leads something that is wanted,
// and one for each partition that is to be asked for alone.
func (f *Fetcher) requests(ctx context.Context, w *wanted, renew bool) (out []request, ids map[[16]byte]string, err error) {
	age := leadersAge
	if renew {
		age = 10 * time.Millisecond
	}
	mreq := kmsg.NewPtrMetadataRequest()
	for _, topic := range w.topics() {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		mreq.Topics = append(mreq.Topics, t)
	}
	meta, err := f.cl.RequestCachedMetadata(ctx, mreq, age)
	if err != nil {
		return nil, nil, fmt.Errorf("find leaders: %w", err)
	}
	ids = make(map[[16]byte]string)
	of := make(map[int32]int) // broker → its request in out
	found := make(map[orderdb.Partition]bool)
	for i := range meta.Topics {
		t := &meta.Topics[i]
		if t.Topic == nil {
			continue
		}
		if e := kerr.ErrorForCode(t.ErrorCode); e != nil {
			err = fmt.Errorf("topic %s: %w", *t.Topic, e)
			if renew && errors.Is(e, kerr.UnknownTopicOrPartition) {
				w.gone(*t.Topic) // deleted, and all its records with it
			}
			continue
		}
		ids[t.TopicID] = *t.Topic
		for _, p := range t.Partitions {
			tp := orderdb.Partition{Topic: *t.Topic, Partition: p.Partition}
			left := w.left[tp]
			if left == nil {
				continue
			}
			found[tp] = true
			if e := kerr.ErrorForCode(p.ErrorCode); e != nil && p.Leader < 0 {
				err = fmt.Errorf("topic %s partition %d: %w", tp.Topic, tp.Partition, e)
				continue
			}
			n, ok := of[p.Leader]
			if !ok || left.alone {
				n = len(out)
				out = append(out, request{broker: p.Leader, req: newRequest(), alone: left.alone})
				if !left.alone {
					of[p.Leader] = n
				}
			}
			addPartition(out[n].req, *t.Topic, t.TopicID, p.Partition, left.offsets[0])
		}
	}
	for tp := range w.left {
		if !found[tp] && err == nil {
			err = fmt.Errorf("topic %s partition %d: %w", tp.Topic, tp.Partition, kerr.UnknownTopicOrPartition)
		}
	}
	if len(out) > 0 || len(w.left) == 0 {
		err = nil
	}
	return out, ids, err
}

func newRequest() *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.ReplicaID, r.MaxWaitMillis, r.MinBytes, r.MaxBytes = -1, 0, 0, responseBytes
	r.SessionID, r.SessionEpoch = 0, -1 // no session
	return r
}

func addPartition(r *kmsg.FetchRequest, topic string, id [16]byte, partition int32, offset int64) {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, hint
	for i := range r.Topics {
		if r.Topics[i].Topic == topic {
			r.Topics[i].Partitions = append(r.Topics[i].Partitions, p)
			return
		}
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
}
