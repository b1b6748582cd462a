package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// plain is idempotent producers: each acknowledged record stands at its offset,
// each record once.
type plain struct {
	run       *run
	log       *topicLog
	producers []*rand.Rand
}

const plainPartitions = 4

func newPlain(r *run, seed uint64) *plain {
	a := &plain{run: r, log: newTopicLog(r, "plain", plainPartitions, duplicate)}
	for n := range 3 {
		a.producers = append(a.producers, source(seed, fmt.Sprint("plain", n)))
	}
	return a
}

func (a *plain) prepare(ctx context.Context) error {
	return a.run.create(ctx, a.log.name, plainPartitions)
}

func (a *plain) work(ctx context.Context) {
	var wait sync.WaitGroup
	for n, rng := range a.producers {
		wait.Go(func() { produce(ctx, a.run, a.log, n+1, rng, 300) })
	}
	wait.Wait()
}

func (a *plain) check(ctx context.Context, last bool) error { return a.log.check(ctx, last) }

// produce writes records of one idempotent producer until the context ends, then
// waits for what is under way. The producer's number is part of each identity.
func produce(ctx context.Context, r *run, l *topicLog, number int, rng *rand.Rand, perSecond int) {
	cl, err := r.client(kgo.ProducerBatchCompression(codec(number)))
	if err != nil {
		r.t.Error(err)
		return
	}
	defer cl.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	partitions := len(l.next)
	for seq := uint64(0); ctx.Err() == nil; {
		for range 1 + rng.IntN(2*perSecond/50) {
			seq++
			id := uint64(number)<<40 | seq
			rec := &kgo.Record{Topic: l.name, Partition: int32(rng.IntN(partitions)), Value: value(id, rng.IntN(400))}
			cl.Produce(context.Background(), rec, func(rec *kgo.Record, err error) {
				if err != nil {
					r.tally.fault(fenced, "%s: producer %d: record %x: %v", l.name, number, id, err)
					return
				}
				l.ack(rec.Partition, rec.Offset, id)
				r.tally.did("records acknowledged", 1)
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
		r.tally.fault(fenced, "%s: producer %d cannot end its work: %v", l.name, number, err)
	}
}
