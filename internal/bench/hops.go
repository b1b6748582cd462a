package bench

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// hopPatience is how long the hops' topics may give nothing, while something is
// missing, before the hops are left out.
const hopPatience = 10 * time.Second

// hops reads when each stage decided on each order: the times of the records on
// the topics of its way, from the offsets given. It is nil if some cannot be
// read.
func (b *bench) hops(ctx context.Context, f *flight, from map[string]map[int32]kgo.Offset) ([]Hop, error) {
	cl, err := b.Kafka.New(kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	n := len(f.planned)
	at := make(map[string][]time.Duration, len(hops)) // since f.begin
	for _, topic := range hops {
		at[topic] = make([]time.Duration, n)
	}
	seen := make(map[string][]bool, len(hops))
	for _, topic := range hops {
		seen[topic] = make([]bool, n)
	}
	for missing := n * len(hops); missing > 0; {
		poll, cancel := context.WithTimeout(ctx, hopPatience)
		fetched := cl.PollFetches(poll)
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if fetched.NumRecords() == 0 {
			b.notes = append(b.notes, "some records of the hops could not be read; the hops at one rate are left out")
			return nil, nil
		}
		fetched.EachRecord(func(r *kgo.Record) {
			if i, ok := f.number(r.Value); ok && i < n && !seen[r.Topic][i] {
				seen[r.Topic][i] = true
				at[r.Topic][i] = r.Timestamp.Sub(f.begin)
				missing--
			}
		})
	}
	out := make([]Hop, 0, len(hops)+1)
	before := f.planned
	for _, topic := range hops {
		out = append(out, Hop{To: topic, Took: quantiles(differences(at[topic], before))})
		before = at[topic]
	}
	return append(out, Hop{To: HopRead, Took: quantiles(differences(f.arrived, before))}), nil
}

// differences are the waits between two moments of each order. Record times are
// whole milliseconds, cut off: what seems to be before its cause is at it.
func differences(to, from []time.Duration) []time.Duration {
	out := make([]time.Duration, len(to))
	for i := range to {
		out[i] = max(0, to[i]-from[i])
	}
	return out
}
