package kill

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// trim is logs that lose their beginning: one by DeleteRecords, one by retention.
// A start never goes back, nothing stands before it, and nothing is gone after it.
type trim struct {
	run  *run
	rng  *rand.Rand
	logs []*trimmed
}

// trimmed is one such log, of one partition.
type trimmed struct {
	name     string
	keep     int // bytes that retention must leave, 0 without retention
	settings []string
	rng      *rand.Rand

	mu    sync.Mutex
	acked []ack // in the order of offsets
	sizes []int
	// least is the start that was acknowledged, most what was asked for.
	least, most int64
}

func newTrim(r *run, seed uint64) *trim {
	return &trim{run: r, rng: source(seed, "trim"), logs: []*trimmed{
		{name: "trim", rng: source(seed, "trim producer")},
		{name: "retain", keep: 2 << 20, rng: source(seed, "retain producer"),
			settings: []string{"retention.bytes", "2097152", "segment.bytes", "1048576", "segment.ms", "500"}},
	}}
}

func (a *trim) prepare(ctx context.Context) error {
	for _, l := range a.logs {
		if err := a.run.create(ctx, l.name, 1, l.settings...); err != nil {
			return err
		}
	}
	return nil
}

func (a *trim) work(ctx context.Context) {
	var wait sync.WaitGroup
	for _, l := range a.logs {
		wait.Go(func() { l.produce(ctx, a.run) })
	}
	wait.Go(func() { a.run.steps(ctx, 150*time.Millisecond, a.deleteRecords) })
	wait.Wait()
}

func (l *trimmed) produce(ctx context.Context, r *run) {
	cl, err := r.client(kgo.ProducerBatchCompression(codec(0)))
	if err != nil {
		r.t.Error(err)
		return
	}
	defer cl.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for seq := uint64(0); ctx.Err() == nil; {
		for range 1 + l.rng.IntN(6) {
			seq++
			id, size := seq, l.rng.IntN(2000)
			cl.Produce(context.Background(), &kgo.Record{Topic: l.name, Value: value(id, size)}, func(rec *kgo.Record, err error) {
				if err != nil {
					r.tally.fault(fenced, "%s: record %x: %v", l.name, id, err)
					return
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				l.acked, l.sizes = append(l.acked, ack{where{0, rec.Offset}, id}), append(l.sizes, size)
				r.tally.did("records of logs that are cut", 1)
			})
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	flush, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cl.Flush(flush); err != nil {
		r.tally.fault(fenced, "%s: %v", l.name, err)
	}
}

// deleteRecords moves the first log's start.
func (a *trim) deleteRecords(ctx context.Context, conn *wire.Conn) error {
	l := a.logs[0]
	l.mu.Lock()
	to := l.most
	if n := len(l.acked); n > 0 && l.acked[n-1].at.offset > to {
		to += a.rng.Int64N(l.acked[n-1].at.offset-to) / 2
	}
	l.most = max(l.most, to)
	l.mu.Unlock()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version, req.TimeoutMillis = 2, 10_000
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = 0, to
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic, t.Partitions = l.name, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	if err := refusal("delete records", answer.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.least = max(l.least, to)
	a.run.tally.did("DeleteRecords", 1)
	return nil
}

func (a *trim) check(ctx context.Context, last bool) error {
	conn, err := wire.Dial(ctx, a.run.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, l := range a.logs {
		if err := l.check(ctx, a.run, conn); err != nil {
			return err
		}
		if last && l.keep > 0 && l.least == 0 {
			a.run.tally.did("runs in which retention did nothing", 1)
		}
	}
	return nil
}

func (l *trimmed) check(ctx context.Context, r *run, conn *wire.Conn) error {
	l.mu.Lock()
	acked, sizes, least := append([]ack(nil), l.acked...), append([]int(nil), l.sizes...), l.least
	l.mu.Unlock()
	var start int64
	stands := map[int64]uint64{}
	// The start may move on while we are reading: then anew.
	if err := until(ctx, func() (err error) {
		if start, _, err = bounds(ctx, conn, l.name, 0, uncommitted); err != nil {
			return err
		}
		_, err = read(ctx, conn, l.name, 0, start, uncommitted, func(rec *kgo.Record) { stands[rec.Offset] = identity(rec.Value) })
		return err
	}); err != nil {
		return err
	}
	if start < least {
		r.tally.fault(position, "%s starts at %d, a start of %d was acknowledged", l.name, start, least)
	}
	l.mu.Lock()
	if l.keep == 0 && start > l.most {
		r.tally.fault(position, "%s starts at %d, nobody has asked for more than %d", l.name, start, l.most)
	}
	l.least = max(l.least, start)
	l.mu.Unlock()
	left := 0
	for n, k := range acked {
		if k.at.offset < start {
			continue
		}
		left += sizes[n]
		if stands[k.at.offset] != k.id {
			r.tally.fault(missing, "%s at %d: record %x was acknowledged there, %x stands there; the start is %d", l.name, k.at.offset, k.id, stands[k.at.offset], start)
		}
	}
	if l.keep > 0 && start > 0 && left < l.keep/2 {
		r.tally.fault(missing, "%s starts at %d: retention left %d bytes of %d", l.name, start, left, l.keep)
	}
	return nil
}
