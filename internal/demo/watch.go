package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
)

// batch is what one poll brought.
type batch struct {
	records []*kgo.Record
	at      time.Time
	err     error
}

// watcher reads the committed records of the watched topics from where their
// ends were when it was opened. Its positions are exact offsets, so that no
// record written after opening is missed, however late the first fetch is. It
// keeps the transaction markers: with them its positions can be held against
// the ends of the partitions.
type watcher struct {
	cl        *kgo.Client
	adm       *kadm.Client
	batches   chan batch
	positions map[string]map[int32]int64 // next offset; owned by who receives batches
	stop      context.CancelFunc
	done      chan struct{}
}

// watch opens a watcher. Its goroutine ends with close.
func watch(ctx context.Context, kafka kclient.Config, now func() time.Time) (*watcher, error) {
	admin, err := kafka.New()
	if err != nil {
		return nil, err
	}
	w := &watcher{adm: kadm.NewClient(admin), batches: make(chan batch), done: make(chan struct{})}
	w.positions, err = w.ends(ctx)
	if err != nil {
		admin.Close()
		return nil, err
	}
	from := make(map[string]map[int32]kgo.Offset, len(w.positions))
	for topic, partitions := range w.positions {
		from[topic] = make(map[int32]kgo.Offset, len(partitions))
		for p, offset := range partitions {
			from[topic][p] = kgo.NewOffset().At(offset)
		}
	}
	w.cl, err = kafka.New(
		kgo.ConsumePartitions(from),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
	)
	if err != nil {
		admin.Close()
		return nil, err
	}
	ctx, w.stop = context.WithCancel(ctx)
	go w.poll(ctx, now)
	return w, nil
}

// ends returns up to where committed records of the watched topics can be read.
func (w *watcher) ends(ctx context.Context) (map[string]map[int32]int64, error) {
	listed, err := w.adm.ListCommittedOffsets(ctx, watched...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of the demo's topics (do they exist?): %w", err)
	}
	ends := map[string]map[int32]int64{}
	listed.Each(func(l kadm.ListedOffset) {
		if ends[l.Topic] == nil {
			ends[l.Topic] = map[int32]int64{}
		}
		ends[l.Topic][l.Partition] = l.Offset
	})
	return ends, nil
}

func (w *watcher) poll(ctx context.Context, now func() time.Time) {
	defer close(w.done)
	for {
		fetches := w.cl.PollFetches(ctx)
		b := batch{records: fetches.Records(), at: now()}
		if ctx.Err() != nil {
			return
		}
		// What heals by itself is retried by the client and not reported.
		if err := fetches.Err(); err != nil {
			b.err = fmt.Errorf("watch the demo's topics: %w", err)
		}
		select {
		case w.batches <- b:
		case <-ctx.Done():
			return
		}
	}
}

// passed notes that a record of a batch has been dealt with.
func (w *watcher) passed(r *kgo.Record) {
	p := w.positions[r.Topic]
	p[r.Partition] = max(p[r.Partition], r.Offset+1)
}

// reached says that everything before the given ends has been dealt with.
func (w *watcher) reached(ends map[string]map[int32]int64) bool {
	for topic, partitions := range ends {
		for p, end := range partitions {
			if w.positions[topic][p] < end {
				return false
			}
		}
	}
	return true
}

func (w *watcher) close() {
	w.stop()
	<-w.done
	w.cl.Close()
	w.adm.Close()
}
