package streams

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/comptoir/comptoir/internal/kclient"
)

// Two producers, each with a transactional id of its own, take turns: after the
// end of a transaction is answered the broker still writes its markers, and a
// next transaction of the same id would have to wait for them (measured on
// Apache Kafka 4.3: 22 ms with one id, 0.7 ms with two).
//
// Turns do not overlap. A transaction begins after the outcome of the one before
// is known, since its work builds on that. When an outcome is not known, both
// producers are made anew, which settles whatever was open, and the tasks start
// again from what the group and the changelog then say.

// producers are the two and whose turn it is.
type producers struct {
	cl    [2]*kgo.Client
	turn  int
	addTo bool // offsets must be added to the transaction by a request of their own
}

func (p *producers) current() *kgo.Client { return p.cl[p.turn] }
func (p *producers) open() bool           { return p.cl[0] != nil }

func (p *producers) close() {
	for i, cl := range p.cl {
		if cl != nil {
			cl.UnsafeAbortBufferedRecords()
			cl.Close()
		}
		p.cl[i] = nil
	}
	p.turn = 0
}

// transactionTimeout is how long Kafka keeps a transaction open that nobody ends. A
// variable for the tests.
var transactionTimeout = func(cfg Config) time.Duration { return cfg.SessionTimeout }

// openProducers makes both, taking over their ids: whatever a predecessor left
// open is aborted, or was committed, when it returns, in the topics too. probe
// asks the questions: a client that has been at work for a while knows which
// brokers are there.
func openProducers(ctx context.Context, cfg Config, name string, probe *kgo.Client) (p producers, err error) {
	version, err := kclient.TransactionVersion(ctx, probe)
	if err != nil {
		return p, err
	}
	p.addTo = version < 2
	opts := []kgo.Opt{
		kgo.TransactionTimeout(transactionTimeout(cfg)),
		kgo.ConcurrentTransactionsBackoff(2 * time.Millisecond),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitioner)),
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(1 << 22),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(1 << 20),
		kgo.DefaultProduceTopic("none"),
	}
	if p.addTo {
		v := kversion.Stable()
		v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
		v.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
		v.SetMaxKeyVersion(kmsg.Produce.Int16(), 11)
		opts = append(opts, kgo.MaxVersions(v))
	}
	var wg sync.WaitGroup
	var errs [2]error
	for i := range p.cl {
		id := fmt.Sprintf("%s-%d", name, i)
		p.cl[i], err = cfg.Kafka.New(append(opts[:len(opts):len(opts)], kgo.TransactionalID(id))...)
		if err != nil {
			p.close()
			return p, err
		}
		wg.Go(func() {
			if errs[i] = kclient.EndHanging(ctx, probe, cfg.hanging(id), cfg.Logger); errs[i] == nil {
				_, _, errs[i] = p.cl[i].ProducerID(ctx)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		p.close()
		return p, fmt.Errorf("init producer: %w", err)
	}
	return p, nil
}

// partitioner keeps the partition that a record names, and gives others that of
// their key.
func partitioner(string) func(*kgo.Record, int) int {
	next := 0
	return func(r *kgo.Record, n int) int {
		switch {
		case r.Partition >= 0:
			return int(r.Partition)
		case r.Key == nil:
			next++
			return next % n
		default:
			return int(Partition(r.Key, int32(n)))
		}
	}
}

// txn is the transaction in hand.
type txn struct {
	since   time.Time // when its first record came; zero if there is none
	now     time.Time // the time that its tasks see
	moved   bool      // a position has advanced, or a record was handed over
	begun   bool      // in Kafka
	hurried bool      // somebody waits for it
	records int
	bytes   int
	pool    [][]kgo.Record // memory for records; see record
	lent    int            // of its records
	traced  []Processed    // see trace.go

	handed []handed // see handover.go
	taken  int
	chunk  []byte

	mu     sync.Mutex
	err    error // the first produce that failed
	ended  map[int32]int64
	inside map[partitionKey]int64
}

func (x *txn) open() bool    { return x.records > 0 }
func (x *txn) pending() bool { return x.records > 0 || x.moved || !x.since.IsZero() }

func (x *txn) reset() {
	x.since, x.now = time.Time{}, time.Time{}
	x.moved, x.begun, x.hurried, x.records, x.bytes = false, false, false, 0, 0
	x.untrace()
	clear(x.handed)
	x.handed, x.taken = x.handed[:0], 0
	x.pool, x.lent = nil, 0
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err, x.ended = nil, map[int32]int64{}
	clear(x.inside)
}

const (
	// recordChunk is how many records are allocated at once.
	recordChunk = 256
	// recordChunks is how much of that memory a worker keeps for its next
	// transaction: about 1.5 MiB, enough for what a busy one produces.
	recordChunks = 32
)

// record returns a record to fill, which lives until the transaction is settled.
func (x *txn) record() *kgo.Record {
	i := x.lent / recordChunk
	if i == len(x.pool) {
		x.pool = append(x.pool, make([]kgo.Record, recordChunk))
	}
	r := &x.pool[i][x.lent%recordChunk]
	x.lent++
	return r
}

// reuse begins anew after a commit. All promises of its records are kept then, so
// that the producer is done with them and their memory can be used again. (After
// anything else it may not be.)
func (x *txn) reuse() {
	for i, chunk := range x.pool {
		clear(chunk[:max(0, min(recordChunk, x.lent-i*recordChunk))])
	}
	pool := x.pool[:min(len(x.pool), recordChunks):min(len(x.pool), recordChunks)]
	x.reset()
	x.pool = pool
}

func (x *txn) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil {
		x.err = err
	}
}

func (x *txn) failed() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// produce adds a record to the transaction, which it begins if need be.
func (w *worker) produce(topic string, partition int32, key, value []byte, headers []Header, at time.Time, done func(*kgo.Record, error)) {
	cl := w.prod.current()
	if cl == nil {
		panic(errors.New("no producer"))
	}
	if !w.txn.begun {
		if err := cl.BeginTransaction(); err != nil {
			panic(fmt.Errorf("begin transaction: %w", err))
		}
		w.txn.begun = true
	}
	r := w.txn.record()
	r.Topic, r.Partition, r.Key, r.Value, r.Headers, r.Timestamp = topic, partition, key, value, headers, at
	w.txn.records++
	w.txn.bytes += len(key) + len(value) + 64
	cl.Produce(context.Background(), r, done)
}

// produced is the promise of ordinary records. A failed one does not stop the
// commit by itself in franz-go: it is remembered, and the commit aborts.
func (w *worker) produced(_ *kgo.Record, err error) {
	if err != nil {
		w.txn.fail(err)
	}
}

// commit ends the transaction in hand: changelog and outputs, the group's
// offsets, the end, and then the local state. After an error the outcome may be
// unknown: the caller must reset the worker before anything else.
func (w *worker) commit(ctx context.Context) (err error) {
	if !w.txn.pending() {
		return nil
	}
	defer func() {
		// A value that does not encode, for one: whoever waits for the end of
		// the commit must hear of it.
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	started := time.Now()
	touched := w.txn.open()
	for _, t := range w.tasks {
		touched = touched || t.touched
	}
	offsets := w.advanced()
	if !touched {
		err := w.commitOffsets(ctx, offsets)
		if err == nil {
			w.settle(nil, offsets)
		}
		return err
	}
	if len(offsets) == 0 {
		// A punctuation alone moves no position. Offsets are sent all the same:
		// with them the group tells whether the tasks still are ours.
		offsets = w.positions()
	}
	batch := w.cfg.State.NewBatch()
	changed := map[int32]*task{}
	for p, t := range w.tasks {
		if !t.touched && !w.movedIn(offsets, p) {
			continue
		}
		if !w.top.stateful() {
			continue
		}
		changed[p] = t
		done, changelog := w.changeLogged(p), w.top.changelog()
		t.flush(batch, func(key, value []byte) {
			w.produce(changelog, p, key, value, nil, t.now, done)
		})
	}
	if err := w.end(ctx, offsets); err != nil {
		batch.Drop()
		return err
	}
	for p, t := range changed {
		w.txn.mu.Lock()
		end, ok := w.txn.ended[p]
		w.txn.mu.Unlock()
		if ok {
			t.changelog = end
			t.setChangelog(batch, end, t.changeID, started)
		}
	}
	// Only now, with the outcome known, does the local state follow.
	if err := batch.Apply(); err != nil {
		return err
	}
	w.settle(changed, offsets)
	w.pace.spent(started, time.Now())
	w.metrics.commitTime.WithLabelValues(w.top.app).Observe(time.Since(started).Seconds())
	return nil
}

// end brings a transaction that has records to its end in Kafka.
func (w *worker) end(ctx context.Context, offsets map[partitionKey]int64) error {
	cl := w.prod.current()
	abort := func(err error) error {
		w.metrics.commits.WithLabelValues(w.top.app, "aborted").Inc()
		if n := w.outages.Count(); n != w.outage {
			w.outage = n
			return errOutage // without an abort, which would not do: see kclient.Outages
		}
		actx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		// If the abort fails too, the next InitProducerID does it.
		if aerr := cl.AbortBufferedRecords(actx); aerr == nil {
			_ = cl.EndTransaction(actx, kgo.TryAbort)
		}
		return err
	}
	// No longer than the broker keeps the transaction open. (franz-go's own
	// RecordDeliveryTimeout counts from the time that a record carries, which
	// may be any.)
	fctx, stop := context.WithTimeout(ctx, w.cfg.SessionTimeout)
	defer stop()
	// What has not reached Kafka when an outage begins must not reach it after.
	fctx, done := w.outages.Until(fctx, w.outage)
	defer done()
	if err := cl.Flush(fctx); err != nil {
		return abort(fmt.Errorf("produce: %w", err))
	}
	if err := w.txn.failed(); err != nil {
		return abort(fmt.Errorf("produce: %w", err))
	}
	if err := w.addOffsets(fctx, cl, offsets); err != nil {
		return abort(fmt.Errorf("offsets: %w", err))
	}
	// Not ctx: once asked for, the end is waited for, or its outcome is unknown.
	ectx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.SessionTimeout)
	defer cancel()
	asked := time.Now()
	if err := cl.EndTransaction(ectx, kgo.TryCommit); err != nil {
		w.metrics.commits.WithLabelValues(w.top.app, "unknown").Inc()
		return fmt.Errorf("end of the transaction, outcome unknown: %w", err)
	}
	w.pace.waited = time.Since(asked)
	w.metrics.commits.WithLabelValues(w.top.app, "committed").Inc()
	w.prod.turn ^= 1
	return nil
}

// positions returns where every task goes on.
func (w *worker) positions() map[partitionKey]int64 {
	offsets := map[partitionKey]int64{}
	for p, t := range w.tasks {
		for i, s := range w.top.sources {
			if off := t.positions[i]; off >= 0 && p < w.app.counts[s.topic] {
				offsets[partitionKey{s.topic, p}] = off
			}
		}
	}
	return offsets
}

// advanced returns the positions that the group does not hold yet.
func (w *worker) advanced() map[partitionKey]int64 {
	offsets := w.positions()
	maps.DeleteFunc(offsets, func(k partitionKey, off int64) bool { return off == w.committed[k] })
	return offsets
}

func (w *worker) movedIn(offsets map[partitionKey]int64, p int32) bool {
	for k := range offsets {
		if k.partition == p {
			return true
		}
	}
	return false
}

// settle makes what was committed the ground for the next transaction.
func (w *worker) settle(changed map[int32]*task, offsets map[partitionKey]int64) {
	for k, off := range offsets {
		w.committed[k] = off
	}
	for k, end := range w.txn.inside {
		w.behind[k] = max(w.behind[k], end)
	}
	for _, t := range w.tasks {
		for outcome, n := range t.tally {
			w.metrics.records.WithLabelValues(w.top.app, outcome).Add(float64(n))
		}
		t.settle()
	}
	w.tellTraced()
	w.txn.reuse()
	if w.failures > 0 && time.Since(w.failedAt) > time.Second {
		w.failures = 0
	}
	w.app.setHealth(w.obstacle)
}

// changeLogged is the promise of changelog records of a partition: the last
// offset is what the local state will be up to.
func (w *worker) changeLogged(p int32) func(*kgo.Record, error) {
	return func(r *kgo.Record, err error) {
		if err != nil {
			w.txn.fail(err)
			return
		}
		w.txn.mu.Lock()
		defer w.txn.mu.Unlock()
		if w.txn.ended == nil {
			w.txn.ended = map[int32]int64{}
		}
		if end := r.Offset + 1; end > w.txn.ended[p] {
			w.txn.ended[p] = end
		}
	}
}

// mark is the metadata of our commits: it tells them from foreign ones, and says
// which topic, should one be re-created under the same name.
func mark(id [16]byte) string { return "comptoir:" + hex.EncodeToString(id[:]) }

// addOffsets adds the group's offsets to the transaction, as the member and
// generation that we are: if the group has gone on without us we are refused,
// and nothing of the transaction is seen.
func (w *worker) addOffsets(ctx context.Context, cl *kgo.Client, offsets map[partitionKey]int64) error {
	id, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	txnID := w.transactionalID(w.prod.turn)
	if w.prod.addTo {
		err := w.again(ctx, func() error {
			req := kmsg.NewPtrAddOffsetsToTxnRequest()
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = txnID, id, epoch, w.top.app
			resp, err := req.RequestWith(ctx, cl)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(resp.ErrorCode)
		})
		if err != nil {
			return err
		}
	}
	instance := w.instance()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = txnID, id, epoch
	req.Group, req.InstanceID = w.top.app, &instance
	w.eachTopic(offsets, func(topic string, id [16]byte, ps []partitionKey) {
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, id
		for _, k := range ps {
			rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			m := mark(id)
			rp.Partition, rp.Offset, rp.Metadata = k.partition, offsets[k], &m
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	})
	return w.again(ctx, func() error {
		var err error
		if req.MemberID, req.Generation, err = w.membership(); err != nil {
			return err
		}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("partition %d: %w", p.Partition, err)
				}
			}
		}
		return nil
	})
}

// membership is who we are to the group now. It is an error when that is not who
// the tasks were given to: the group has forgotten us meanwhile.
func (w *worker) membership() (member string, generation int32, err error) {
	member, generation = w.group.GroupMetadata()
	if member != w.memberID {
		return "", -1, kerr.UnknownMemberID
	}
	return member, generation, nil
}

// commitOffsets commits offsets by themselves: for records that changed nothing
// and for the markers behind the last of them.
func (w *worker) commitOffsets(ctx context.Context, offsets map[partitionKey]int64) error {
	if len(offsets) == 0 {
		return nil
	}
	instance := w.instance()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.InstanceID = w.top.app, &instance
	w.eachTopic(offsets, func(topic string, id [16]byte, ps []partitionKey) {
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, id
		for _, k := range ps {
			rp := kmsg.NewOffsetCommitRequestTopicPartition()
			m := mark(id)
			rp.Partition, rp.Offset, rp.Metadata = k.partition, offsets[k], &m
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	})
	return w.again(ctx, func() error {
		var err error
		if req.MemberID, req.Generation, err = w.membership(); err != nil {
			return err
		}
		resp, err := req.RequestWith(ctx, w.group)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("commit offsets: partition %d: %w", p.Partition, err)
				}
			}
		}
		return nil
	})
}

func (w *worker) eachTopic(offsets map[partitionKey]int64, fn func(topic string, id [16]byte, ps []partitionKey)) {
	for i, s := range w.top.sources {
		var ps []partitionKey
		var id [16]byte
		for k := range offsets {
			if k.topic == s.topic {
				ps = append(ps, k)
				id = w.tasks[k.partition].topicIDs[i]
			}
		}
		if len(ps) > 0 {
			fn(s.topic, id, ps)
		}
	}
}

// again repeats a request that the coordinator could not answer yet.
func (w *worker) again(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(w.cfg.SessionTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		switch {
		case errors.Is(err, kerr.ConcurrentTransactions),
			errors.Is(err, kerr.CoordinatorLoadInProgress),
			errors.Is(err, kerr.CoordinatorNotAvailable),
			errors.Is(err, kerr.NotCoordinator),
			errors.Is(err, kerr.UnknownTopicOrPartition):
		case errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.IllegalGeneration):
			// A cooperative rebalance that leaves our tasks alone: the next
			// generation is ours as well. One that takes them waits for us
			// before the next generation begins, so a new generation can not
			// make an old claim good.
			if w.leaving() {
				return err
			}
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// transactionalID names one of the two producers: unique to this instance, since
// two that shared one would fence each other.
func (w *worker) transactionalID(turn int) string { return fmt.Sprintf("%s-%d", w.instance(), turn) }
