package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/streams/state"
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
	p.abandon()
	for i, cl := range p.cl {
		if cl != nil {
			cl.Close()
		}
		p.cl[i] = nil
	}
	p.turn = 0
}

// abandon gives up the records that have not reached Kafka, and waits for their
// promises, a second at most: one that comes later fails the next transaction.
func (p *producers) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, cl := range p.cl {
		if cl != nil {
			cl.UnsafeAbortBufferedRecords()
			_ = cl.Flush(ctx)
		}
	}
}

// transactionTimeout is how long Kafka keeps a transaction open that nobody ends. A
// variable for the tests.
var transactionTimeout = func(cfg Config) time.Duration { return cfg.SessionTimeout }

// A batch of one partition has smallBatch bytes at most, until a record of the worker
// does not fit into one, and largeBatch from then on, which is what Kafka takes by
// default. A request has two such batches: the memory of requests stands in a pool
// that every second collection empties, and grows from a kilobyte on by a quarter
// at a time, so that one of 2 MiB asks for five times as much. (A request must hold
// a batch as franz-go counts it before it knows the broker's version, with 27 bytes
// more for each record; else that batch could never be sent.)
const (
	smallBatch = 256 << 10
	largeBatch = 1 << 20
)

// openProducers makes both, taking over their ids: whatever a predecessor left
// open is aborted, or was committed, when it returns, in the topics too. probe
// asks the questions: a client that has been at work for a while knows which
// brokers are there. hanging says what an id writes to, named what the ids are.
func openProducers(ctx context.Context, cfg Config, batch int32, hanging func(id string) kclient.Hanging, named func(turn int) string, probe *kgo.Client) (p producers, err error) {
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
		kgo.ProducerBatchMaxBytes(batch),
		kgo.BrokerMaxWriteBytes(2 * batch),
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
		id := named(i)
		p.cl[i], err = cfg.Kafka.New(append(opts[:len(opts):len(opts)], kgo.TransactionalID(id))...)
		if err != nil {
			p.close()
			return p, err
		}
		wg.Go(func() {
			if errs[i] = kclient.EndHanging(ctx, probe, hanging(id), cfg.Logger); errs[i] == nil {
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
	traced  []traced       // see trace.go
	relayed []relayed      // see chain.go

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
	clear(x.relayed)
	x.relayed = x.relayed[:0]
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

// written goes through the transaction's records.
func (x *txn) written() iter.Seq[*kgo.Record] {
	return func(yield func(*kgo.Record) bool) {
		for i := range x.lent {
			if !yield(&x.pool[i/recordChunk][i%recordChunk]) {
				return
			}
		}
	}
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

// produce adds a record to the transaction, ours or that of whom we are lent to,
// which it begins if need be.
func (w *worker) produce(topic string, partition int32, key, value []byte, headers []Header, at time.Time, done func(*kgo.Record, error)) *kgo.Record {
	c := w.carrier()
	cl := c.prod.current()
	if cl == nil {
		panic(errors.New("no producer"))
	}
	if !c.txn.begun {
		if err := cl.BeginTransaction(); err != nil {
			panic(fmt.Errorf("begin transaction: %w", err))
		}
		c.txn.begun = true
	}
	r := c.txn.record()
	r.Topic, r.Partition, r.Key, r.Value, r.Headers, r.Timestamp = topic, partition, key, value, headers, at
	c.txn.records++
	w.txn.bytes += len(key) + len(value) + 64
	cl.Produce(context.Background(), r, done)
	return r
}

// produced is the promise of ordinary records. A failed one does not stop the
// commit by itself in franz-go: it is remembered, and the commit aborts.
func (w *worker) produced(_ *kgo.Record, err error) {
	if err != nil {
		w.txn.fail(err)
	}
}

// commit ends the transaction in hand: changelog and outputs, the group's
// offsets, the end, and then the local state. With carry, others of the chain may
// become part of it. After an error the outcome may be unknown: the caller must
// reset the worker before anything else.
func (w *worker) commit(ctx context.Context, carry bool) (err error) {
	if !w.txn.pending() {
		return nil
	}
	defer func() { w.giveBack(err) }()
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
	if !touched {
		offsets := w.advanced()
		err := w.commitOffsets(ctx, offsets)
		if err == nil {
			w.settle(offsets)
		}
		return err
	}
	if carry {
		if err := w.carry(ctx); err != nil {
			return err
		}
	}
	parts := make([]part, 1+len(w.lent))
	batch := w.cfg.State.NewBatch()
	for i, m := range append([]*worker{w}, w.lent...) {
		parts[i] = m.part(batch)
	}
	if err := w.end(ctx, parts); err != nil {
		batch.Drop()
		return err
	}
	for _, p := range parts {
		p.followed(batch, started)
	}
	// Only now, with the outcome known, does the local state follow.
	if err := batch.Apply(); err != nil {
		return err
	}
	for _, p := range slices.Backward(parts) { // our own records last, which are of all
		p.settle(p.offsets)
	}
	w.ended = true
	now := time.Now()
	for _, p := range parts {
		p.pace.waited = w.pace.waited
		p.pace.spent(started, now, len(parts))
	}
	w.metrics.commitTime.WithLabelValues(w.top.app).Observe(time.Since(started).Seconds())
	return nil
}

// part is what a worker has in a transaction that comes to its end: its own, or
// that of whom it is lent to.
type part struct {
	*worker
	offsets map[partitionKey]int64
	changed map[int32]*task
}

// part adds the changes of our state to the transaction and to the batch.
func (w *worker) part(batch *state.Batch) part {
	p := part{w, w.advanced(), map[int32]*task{}}
	if len(p.offsets) == 0 {
		// A punctuation alone moves no position. Offsets are sent all the same:
		// with them the group tells whether the tasks still are ours.
		p.offsets = w.positions()
	}
	if !w.top.stateful() {
		return p
	}
	for n, t := range w.tasks {
		if !t.touched && !w.movedIn(p.offsets, n) {
			continue
		}
		p.changed[n] = t
		done, changelog := w.changeLogged(n), w.top.changelog()
		t.flush(batch, func(key, value []byte) {
			w.produce(changelog, n, key, value, nil, t.now, done)
		})
	}
	return p
}

// followed adds to the batch how far it brings the local state.
func (p part) followed(batch *state.Batch, asOf time.Time) {
	for n, t := range p.changed {
		p.txn.mu.Lock()
		end, ok := p.txn.ended[n]
		p.txn.mu.Unlock()
		if ok {
			t.changelog = end
			t.setChangelog(batch, end, t.changeID, asOf)
		}
	}
}

// end brings a transaction that has records to its end in Kafka.
func (w *worker) end(ctx context.Context, parts []part) error {
	cl := w.prod.current()
	abort := func(err error) error {
		w.metrics.commits.WithLabelValues(w.top.app, "aborted").Inc()
		if w.outages.Count() != w.outage {
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
	for _, p := range parts {
		if err := p.txn.failed(); err != nil {
			if errors.Is(err, kerr.MessageTooLarge) && w.batch < largeBatch {
				w.log.Info("a record had no room in a batch: batches are larger from now on", "bytes", largeBatch)
				for _, p := range parts { // all of them begin anew now, and would meet it alone next
					p.batch = largeBatch
				}
			}
			return abort(fmt.Errorf("produce: %w", err))
		}
	}
	w.lies()
	id, epoch, err := cl.ProducerID(fctx)
	if err == nil && len(w.lent) > 0 && (id != w.wroteAs.producer || epoch != w.wroteAs.epoch) {
		err = kerr.InvalidProducerEpoch // and what we have noted for the readers is not what they will meet
	}
	if err != nil {
		return abort(fmt.Errorf("producer id: %w", err))
	}
	txn := offsetsOf{cl: cl, id: w.app.transactionalID(w.prod.turn), producer: id, epoch: epoch, addTo: w.prod.addTo}
	for _, p := range parts {
		if err := p.addOffsets(fctx, txn, p.offsets); err != nil {
			return abort(fmt.Errorf("offsets of %s: %w", p.top.app, err))
		}
	}
	// Not ctx: once asked for, the end is waited for, or its outcome is unknown.
	ectx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.SessionTimeout)
	defer cancel()
	asked := time.Now()
	if err := kclient.EndTransaction(ectx, cl, kgo.TryCommit, w.txn.written()); err != nil {
		w.metrics.commits.WithLabelValues(w.top.app, "unknown").Inc()
		return fmt.Errorf("end of the transaction, outcome unknown: %w", err)
	}
	w.pace.waited = time.Since(asked)
	if len(w.lent) > 0 {
		if id, epoch, err := cl.ProducerID(ectx); err == nil && id == w.wroteAs.producer && epoch == w.wroteAs.epoch {
			// Our next one would have it too, and be taken for handed over. Once
			// our producers are made anew they have another.
			w.cfg.Chain.disable()
			return errSameEpoch
		}
	}
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
	maps.DeleteFunc(offsets, func(k partitionKey, off int64) bool {
		return off == w.committed[k] && !w.tasks[k.partition].ahead[w.top.source(k.topic).index].fresh
	})
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
func (w *worker) settle(offsets map[partitionKey]int64) {
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

// offsetsOf is the transaction that a group's offsets become part of.
type offsetsOf struct {
	cl       *kgo.Client
	id       string // the transactional id
	producer int64
	epoch    int16
	addTo    bool
}

// addOffsets adds the group's offsets to a transaction, as the member and
// generation that we are: if the group has gone on without us we are refused,
// and nothing of the transaction is seen.
func (w *worker) addOffsets(ctx context.Context, txn offsetsOf, offsets map[partitionKey]int64) error {
	if txn.addTo {
		err := w.again(ctx, func() error {
			req := kmsg.NewPtrAddOffsetsToTxnRequest()
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = txn.id, txn.producer, txn.epoch, w.top.app
			resp, err := req.RequestWith(ctx, txn.cl)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(resp.ErrorCode)
		})
		if err != nil {
			return err
		}
	}
	instance := w.app.instance()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = txn.id, txn.producer, txn.epoch
	req.Group, req.InstanceID = w.top.app, &instance
	w.eachTopic(offsets, func(topic string, id [16]byte, ps []partitionKey) {
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, id
		for _, k := range ps {
			rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			m := w.mark(k, id)
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
		resp, err := req.RequestWith(ctx, txn.cl)
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

// errSameEpoch is what would undo what chain.go counts on.
var errSameEpoch = errors.New("the end of a transaction has not raised its epoch, as transaction.version 2 says: until the next start stages do not share transactions")

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
	instance := w.app.instance()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.InstanceID = w.top.app, &instance
	w.eachTopic(offsets, func(topic string, id [16]byte, ps []partitionKey) {
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, id
		for _, k := range ps {
			rp := kmsg.NewOffsetCommitRequestTopicPartition()
			m := w.mark(k, id)
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
