package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/kclient"
)

// kafka reads the topics of a cluster.
type kafka struct {
	cfg kclient.Config
	cl  *kgo.Client
	adm *kadm.Client
	// fetch is how many bytes a fetch may bring.
	fetch int32
}

// newKafka takes an eighth of the memory for fetches.
func newKafka(cfg kclient.Config, memory int64) (*kafka, error) {
	if memory == 0 {
		memory = DefaultMemory
	}
	cl, err := cfg.New()
	if err != nil {
		return nil, err
	}
	return &kafka{cfg, cl, kadm.NewClient(cl), int32(min(memory/8/fetchConcurrent, 1<<30))}, nil
}

func (k *kafka) close() { k.cl.Close() }

// waves are the topics in the order in which their ends are taken: what follows
// before what it follows from.
var waves = [][]string{
	{event.TopicNotifications, event.TopicErrors, event.TopicJournal},
	{event.TopicMovements},
	{event.TopicInvoices, event.TopicConfirmations},
	{event.TopicAccepted, event.TopicRefused},
	{event.TopicVerdicts},
	{event.TopicOrders, event.TopicSupplies, event.TopicProducts},
}

// bounds implements source. The end of a partition is that of what is committed.
func (k *kafka) bounds(ctx context.Context) (map[part]bound, error) {
	bounds := map[part]bound{}
	for _, names := range waves {
		ends, err := k.adm.ListCommittedOffsets(ctx, names...)
		if err != nil {
			return nil, fmt.Errorf("end offsets: %w", err)
		}
		ends.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				bounds[part{topicIndex(o.Topic), o.Partition}] = bound{end: o.Offset}
			}
		})
	}
	starts, err := k.adm.ListStartOffsets(ctx, topicNames[1:]...)
	if err != nil {
		return nil, fmt.Errorf("start offsets: %w", err)
	}
	topics, err := k.adm.ListTopics(ctx, topicNames[1:]...)
	if err != nil {
		return nil, fmt.Errorf("topics: %w", err)
	}
	for p, b := range bounds {
		if o, ok := starts.Lookup(topicNames[p.topic], p.partition); ok && o.Err == nil {
			b.start = o.Offset
		}
		b.id = topics[topicNames[p.topic]].ID
		bounds[p] = b
	}
	return bounds, nil
}

// fetchConcurrent is how many fetches are under way or wait to be read.
const fetchConcurrent = 2

// read implements source.
func (k *kafka) read(ctx context.Context, from map[part]int64, to map[part]bound, f func(*Record) error, work func()) error {
	if len(from) == 0 {
		return nil
	}
	start := map[string]map[int32]kgo.Offset{}
	for p, offset := range from {
		name := topicNames[p.topic]
		if start[name] == nil {
			start[name] = map[int32]kgo.Offset{}
		}
		start[name][p.partition] = kgo.NewOffset().At(offset)
	}
	cl, err := k.cfg.New(kgo.ConsumePartitions(start), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(k.fetch), kgo.FetchMaxPartitionBytes(k.fetch/8), kgo.MaxConcurrentFetches(fetchConcurrent))
	if err != nil {
		return err
	}
	defer cl.Close()
	left := len(from)
	at := make(map[part]int64, left)
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		work()
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read topics: %w", err)
		}
		for _, err := range fetches.Errors() {
			return fmt.Errorf("read %s[%d]: %w", err.Topic, err.Partition, err.Err)
		}
		var failed error
		fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
			p := part{topicIndex(ftp.Topic), ftp.Partition}
			end := to[p].end
			for _, r := range ftp.Records {
				if at[p] >= end || failed != nil {
					return
				}
				if at[p] = r.Offset + 1; at[p] >= end {
					left--
				}
				if r.Offset < end {
					failed = f(fromKafka(r))
				}
			}
			if at[p] >= end {
				cl.PauseFetchPartitions(map[string][]int32{ftp.Topic: {ftp.Partition}})
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

func fromKafka(r *kgo.Record) *Record {
	out := &Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Time: r.Timestamp, Control: r.Attrs.IsControl()}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, Header{h.Key, h.Value})
	}
	return out
}

// lags implements source.
func (k *kafka) lags(ctx context.Context) (lags []lag, err error) {
	listed, err := k.adm.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	names := slices.DeleteFunc(listed.Groups(), func(g string) bool {
		// What a connector that was deleted has left behind waits for nobody.
		gone := strings.HasPrefix(g, "connect-") && listed[g].State == "Empty"
		return !ours(g) || gone
	})
	for g := range must {
		if !slices.Contains(names, g) {
			names = append(names, g)
		}
	}
	slices.Sort(names)
	committed := map[string]kadm.OffsetResponses{}
	all := slices.Clone(topicNames[1:])
	for _, g := range names {
		// A group that does not exist has read nothing.
		if committed[g], err = k.adm.FetchOffsets(ctx, g); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return nil, fmt.Errorf("offsets of group %s: %w", g, err)
		}
		for t := range committed[g] {
			all = append(all, t)
		}
	}
	slices.Sort(all)
	ends, err := k.adm.ListEndOffsets(ctx, slices.Compact(all)...)
	if err != nil {
		return nil, fmt.Errorf("end offsets: %w", err)
	}
	for _, g := range names {
		read := slices.Clone(must[g])
		for t := range committed[g] {
			read = append(read, t)
		}
		slices.Sort(read)
		for _, t := range slices.Compact(read) {
			for _, end := range ends[t] {
				if end.Err != nil {
					continue // deleted, or not there yet
				}
				l := lag{g, t, end.Partition, 0, end.Offset}
				if c, ok := committed[g].Lookup(t, end.Partition); ok && c.Err == nil {
					l.committed = max(c.At, 0)
				}
				lags = append(lags, l)
			}
		}
	}
	slices.SortFunc(lags, func(a, b lag) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	return lags, nil
}
