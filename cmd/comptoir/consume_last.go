package main

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxLast bounds --last: so many records of each partition are held.
const maxLast = 100_000

// showLast prints the last f.last committed records of all partitions together.
// How many offsets hold so many records is not known, since markers, aborted and
// compacted records take offsets too: a partition is read from further and
// further back, until it gave enough.
func showLast(ctx context.Context, cl *kgo.Client, adm *kadm.Client, topics []string, f consumeFlags, out recordPrinter) error {
	all, err := spans(ctx, adm, topics, bound{kind: boundStart}, bound{kind: boundEnd})
	if err != nil {
		return err
	}
	found := make(map[topicPartition][]*kgo.Record)
	for back := 2*int64(f.last) + 8; len(all) > 0; back *= 8 {
		parts := make(map[topicPartition]span)
		for tp, s := range all {
			parts[tp] = span{max(s.from, s.to-back), s.to}
			delete(found, tp)
		}
		r := reader{cl: cl, idle: f.timeout, ranged: true, out: recordPrinter{w: bufio.NewWriter(io.Discard), write: func(rec *kgo.Record) error {
			tp := topicPartition{rec.Topic, rec.Partition}
			list := append(found[tp], rec)
			if len(list) > f.last {
				list[0] = nil
				list = list[1:]
			}
			found[tp] = list
			return nil
		}}}
		if r.assign(parts) {
			if err := r.run(ctx); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return nil // interrupted: what was found is not the last
			}
		}
		again := make(map[string][]int32)
		for tp, s := range all {
			again[tp.topic] = append(again[tp.topic], tp.partition)
			if len(found[tp]) >= f.last || parts[tp].from == s.from {
				delete(all, tp)
			}
		}
		cl.RemoveConsumePartitions(again)
		cl.ResumeFetchPartitions(again)
	}
	return out.last(found, f.last)
}

// last prints the youngest n of the records, oldest first.
func (p recordPrinter) last(found map[topicPartition][]*kgo.Record, n int) error {
	type dated struct {
		*kgo.Record
		at time.Time
	}
	var list []dated
	for _, records := range found {
		var at time.Time
		for _, r := range records {
			// A partition's order stays, whatever its producers' clocks said.
			if r.Timestamp.After(at) {
				at = r.Timestamp
			}
			list = append(list, dated{r, at})
		}
	}
	slices.SortFunc(list, func(x, y dated) int {
		return cmp.Or(x.at.Compare(y.at), cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Offset, y.Offset))
	})
	for _, r := range list[max(0, len(list)-n):] {
		if err := p.write(r.Record); err != nil {
			return err
		}
	}
	return p.flush()
}
