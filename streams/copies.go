package streams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An instance keeps copies of the state of tasks that others have at work, so that
// taking one over restores only what came since. The group says which (see
// balancer). A copy is local state like any other: what the changelog has of
// committed transactions, and how far that is. Opening the task holds it against
// the changelog as it would its own; nothing is ever answered or written from it.
//
// Copies are made by one goroutine, of the tasks that are not ours alone. It ends
// before any of them is opened.

// copies are those that are being kept.
type copies struct {
	tasks  []int32
	cancel context.CancelFunc
	before <-chan struct{} // closed when those before are at rest
	done   chan struct{}
}

const (
	// copyFetch and copyFetchPartition are the most bytes of one fetch.
	copyFetch, copyFetchPartition = 4 << 20, 1 << 20
	// copyYields is the longest that copies wait for the stages of the process at
	// each step, while those have more to do than they can at once.
	copyYields = 5 * time.Second
	// warmWithin is how many offsets behind a copy is up to date.
	warmWithin = 10_000
)

// copyLook is how often is looked how far behind copies are. A variable for the
// tests.
var copyLook = 5 * time.Second

// keepCopies has copies kept of what the group wants, except of what is ours. No
// opening may be at work. The channel is closed when no copy is being made of
// anything else.
func (w *worker) keepCopies(ctx context.Context) <-chan struct{} {
	var want []int32
	for _, p := range w.standby {
		if p >= 0 && p < w.app.tasks && w.tasks[p] == nil && !w.holds(p) {
			want = append(want, p)
		}
	}
	if slices.Equal(want, w.copies.tasks) {
		return w.copies.before
	}
	before := w.copies
	before.cancel()
	ctx, cancel := context.WithCancel(ctx)
	c := &copies{tasks: want, cancel: cancel, before: before.done, done: make(chan struct{})}
	w.copies = c
	w.share.keepsOf(want)
	w.metrics.copies.WithLabelValues(w.top.app).Set(float64(len(want)))
	w.metrics.copyLag.WithLabelValues(w.top.app).Set(0)
	go func() {
		defer close(c.done)
		defer cancel()
		<-c.before
		for len(want) > 0 && ctx.Err() == nil {
			if err := w.copy(ctx, want); ctx.Err() == nil {
				w.log.Warn("copies of state stand still", "tasks", want, "err", err, "retry_in", copyLook)
			}
			select {
			case <-ctx.Done():
			case <-time.After(copyLook):
			}
		}
	}()
	return c.before
}

// noCopies are those before the first.
func noCopies() *copies {
	none := make(chan struct{})
	close(none)
	return &copies{cancel: func() {}, before: none, done: none}
}

// stop ends the making of copies.
func (c *copies) stop() {
	c.cancel()
	<-c.done
}

// holds tells whether any input partition of a task is assigned to us.
func (w *worker) holds(p int32) bool {
	for _, s := range w.top.sources {
		if w.owned[s.topic][p] {
			return true
		}
	}
	return false
}

// copier follows the changelog of some tasks.
type copier struct {
	w      *worker
	adm    *kadm.Client
	re     *replay
	id     [16]byte // the changelog's
	looked time.Time
	warm   bool
}

// copy makes copies of tasks and keeps them up until ctx ends, or something is
// wrong: it is begun anew then.
func (w *worker) copy(ctx context.Context, tasks []int32) error {
	c := &copier{w: w, adm: kadm.NewClient(w.fetch), re: newReplay(w.cfg.State)}
	topic := w.top.changelog()
	var err error
	if c.id, err = c.changelogID(ctx); err != nil {
		return err
	}
	starts, err := listOffsets(ctx, c.adm.ListStartOffsets, topic)
	if err != nil {
		return err
	}
	ends, err := listOffsets(ctx, c.adm.ListEndOffsets, topic)
	if err != nil {
		return err
	}
	consume := map[int32]kgo.Offset{}
	var left int64
	for _, p := range tasks {
		k := partitionKey{topic, p}
		at, err := w.replayFrom(c.re, p, c.id, starts[k], ends[k])
		if err != nil {
			return err
		}
		consume[p] = kgo.NewOffset().At(at)
		left += ends[k] - at
	}
	w.log.Info("keeping copies of state", "tasks", tasks, "offsets", left)
	cl, err := w.cfg.Kafka.New(append(readerOptions(),
		kgo.FetchMaxBytes(copyFetch),
		kgo.FetchMaxPartitionBytes(copyFetchPartition),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: consume}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	err = w.readFailed(c.re, c.follow(ctx, cl))
	return cmp.Or(err, c.re.flush())
}

// follow reads until ctx ends or something is wrong.
func (c *copier) follow(ctx context.Context, cl *kgo.Client) error {
	for ctx.Err() == nil {
		c.yield(ctx)
		pctx, cancel := context.WithTimeout(ctx, copyLook)
		fetches := cl.PollRecords(pctx, 10000)
		cancel()
		for _, fe := range fetches.Errors() {
			if !interrupted(fe.Err) {
				return &fetchError{partitionKey{fe.Topic, fe.Partition}, fe.Err}
			}
		}
		for _, r := range fetches.Records() {
			if r.Attrs.IsControl() {
				t := c.re.tasks[r.Partition]
				t.at, t.moved = r.Offset+1, true
			} else if err := c.re.put(r); err != nil {
				return err
			}
		}
		c.w.metrics.copied.WithLabelValues(c.w.top.app).Add(float64(fetches.NumRecords()))
		if time.Since(c.looked) >= copyLook {
			if err := c.look(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	return nil
}

// yield leaves the processors to the stages while they have much to do.
func (c *copier) yield(ctx context.Context) {
	for begin := time.Now(); c.w.cfg.Load.High() && time.Since(begin) < copyYields; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// look applies what was read, and finds how far behind that is and whether the
// changelog still is the one that is read.
func (c *copier) look(ctx context.Context) error {
	c.looked = time.Now()
	w, topic := c.w, c.w.top.changelog()
	id, err := c.changelogID(ctx)
	if err != nil {
		return err
	}
	if id != c.id {
		return fmt.Errorf("changelog %s was re-created", topic)
	}
	ends, err := listOffsets(ctx, c.adm.ListCommittedOffsets, topic)
	if err != nil {
		return err
	}
	var left int64
	var warm []int32
	for p, r := range c.re.tasks {
		behind := max(0, ends[partitionKey{topic, p}]-r.at)
		left += behind
		if behind <= warmWithin {
			warm = append(warm, p)
		}
		// One that stands at the end is young, though nothing has come.
		if behind == 0 {
			r.asOf, r.moved = c.looked, true
		}
	}
	if err := c.re.apply(); err != nil {
		return err
	}
	slices.Sort(warm)
	w.share.keeps(warm)
	w.metrics.copyLag.WithLabelValues(w.top.app).Set(float64(left))
	if all := len(warm) == len(c.re.tasks); all != c.warm {
		c.warm = all
		w.log.Info("copies of state", "up_to_date", all, "offsets_behind", left)
	}
	return nil
}

func (c *copier) changelogID(ctx context.Context) ([16]byte, error) {
	topic := c.w.top.changelog()
	details, err := c.adm.ListTopics(ctx, topic)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return [16]byte{}, fmt.Errorf("topic %s: %w", topic, err)
	}
	return [16]byte(details[topic].ID), nil
}
