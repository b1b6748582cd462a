package streams

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
)

// What an App writes to a public topic and another App of the process reads need
// not wait there for the transaction's end, a fetch and a transaction of the
// reader's: latency on a cluster is the number of transactions in a row. When
// a worker is about to commit because its input has run dry, it borrows the
// workers that read what it wrote and that are at rest, gives them the records in
// memory, and commits the work of all in its own transaction: their records, their
// changelogs, and their groups' offsets, each as its own member and generation. The
// records stand in the topics all the same.
//
// The reader will meet them there, and must know them. Its position stays where it
// is; beside it is noted, in the group's offset and in the store, which producer id
// has handed over all that it wrote to the partition from there on, up to which
// epoch: since transaction.version 2 (KIP-890) each transaction has an epoch of its
// own, known before it begins. So nothing depends on where in the log the records
// come to stand, nor on what others write between them. A transaction hands over
// all that it writes to a partition for a reader, or nothing.
//
// A record must not overtake what was written to its partition before and still
// waits there. So it is handed over only if the reader's position has passed what
// our workers wrote there without handing it over (worker.inTopics), and what the
// topic held when a task of the writer's or the reader's was last opened.
//
// A worker that has much to do is not borrowed, nor does it borrow: then every
// worker has a processor of its own, and large transactions.

// Chain joins Apps of one process. Each may hand over what it writes to those that
// were made after it, so they are made in the order of the way. They must share
// Config.State. An App that acts on the outside when it reads a public topic must
// not be in a Chain, since it may be given records before their transaction has
// committed. The zero value is ready; it is safe for concurrent use.
type Chain struct {
	outages kclient.Outages // that any of them has met

	mu         sync.Mutex
	topologies []*Topology
	workers    []*worker // in the same order, nil until they start
	version    atomic.Int64
	pausedTill time.Time
}

// chainPause is how long nothing is handed over after a transaction of several
// workers has failed. If a record of one was the reason, it meets that one alone
// then. A variable for the tests.
var chainPause = 5 * time.Second

const (
	// chainPatience is how long a worker that is at work is waited for.
	chainPatience = 20 * time.Millisecond
	// chainShare is the part of the buffer up to which a transaction's records
	// are handed over: larger ones gain nothing by it.
	chainShare = 8
	// maxAhead bounds the producers that are noted beside a position.
	maxAhead = 16
)

func (ch *Chain) add(top *Topology) (place int) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.topologies, ch.workers = append(ch.topologies, top), append(ch.workers, nil)
	return len(ch.topologies) - 1
}

func (ch *Chain) started(w *worker) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.workers[w.app.place] = w
	ch.version.Add(1)
}

// pause keeps transactions apart for a while.
func (ch *Chain) pause() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if till := time.Now().Add(chainPause); till.After(ch.pausedTill) {
		ch.pausedTill = till
	}
}

func (ch *Chain) paused() bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return time.Now().Before(ch.pausedTill)
}

// disable keeps transactions apart for good.
func (ch *Chain) disable() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.pausedTill = time.Now().Add(100 * 365 * 24 * time.Hour)
}

// hands tells whether what an App writes to a topic may be handed over to another.
// All who write there must come before the reader: what a transaction holds of
// others it could not be given, and would take for handled.
func (ch *Chain) hands(from int, topic string, to int) bool {
	if from >= to || ch.topologies[to].source(topic) == nil {
		return false
	}
	for _, top := range ch.topologies[to:] {
		if slices.Contains(top.Outputs(), topic) {
			return false
		}
	}
	return slices.Contains(ch.topologies[from].Outputs(), topic)
}

// from returns the topologies that a transaction of an App may hold the work of.
func (ch *Chain) from(place int) []*Topology {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	in := map[int]bool{place: true}
	tops := []*Topology{ch.topologies[place]}
	for to := place + 1; to < len(ch.topologies); to++ {
		for _, topic := range ch.topologies[to].Sources() {
			for from := range to {
				if in[from] && !in[to] && ch.hands(from, topic, to) {
					in[to] = true
					tops = append(tops, ch.topologies[to])
				}
			}
		}
	}
	return tops
}

// reader is a worker that reads a topic.
type reader struct {
	*worker
	source *source
}

// readers returns to whom a worker may hand over what it writes, by topic, and the
// version of the chain that this is of.
func (ch *Chain) readers(of *worker) (readers map[string][]reader, version int64) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	readers = map[string][]reader{}
	for _, topic := range of.top.Outputs() {
		for to, b := range ch.workers {
			if b != nil && b.cfg.State == of.cfg.State && ch.hands(of.app.place, topic, to) {
				readers[topic] = append(readers[topic], reader{b, b.top.source(topic)})
			}
		}
	}
	return readers, ch.version.Load()
}

// lookAround finds to whom we may hand over, when a transaction begins: within one
// that must not change.
func (w *worker) lookAround() {
	if ch := w.cfg.Chain; ch != nil && w.by == nil && ch.version.Load() != w.readersAt {
		w.readers, w.readersAt = ch.readers(w)
	}
}

// readersNow is readers with those that have started since the transaction began.
func (w *worker) readersNow() map[string][]reader {
	ch := w.cfg.Chain
	if ch == nil || ch.version.Load() == w.readersAt {
		return w.readers
	}
	readers, _ := ch.readers(w)
	return readers
}

// relayed is a record to a public topic: others of the chain may read it.
type relayed struct {
	writer    *worker
	topic     string
	partition int32
	key       []byte
	value     []byte
	headers   []Header
	at        time.Time
	rec       *kgo.Record // has its offset once it is produced
}

// way is how records come from a transaction to a reader.
type way struct {
	to *worker
	partitionKey
}

// carrier is the worker whose transaction our output joins.
func (w *worker) carrier() *worker {
	if w.by != nil {
		return w.by
	}
	return w
}

// carry hands over what the transaction at hand has for others. Those that took
// something are in w.lent, and part of the transaction, until giveBack.
func (w *worker) carry(ctx context.Context) error {
	if len(w.txn.relayed) == 0 || w.prod.addTo || w.txn.bytes > w.cfg.BufferBytes/chainShare || w.cfg.Chain.paused() {
		return nil
	}
	id, epoch, err := w.prod.current().ProducerID(ctx)
	if err != nil {
		return err
	}
	w.wroteAs.producer, w.wroteAs.epoch = id, epoch
	w.ways = map[way]bool{}
	asked := map[*worker]bool{}
	for i := 0; i < len(w.txn.relayed); i++ {
		p := w.txn.relayed[i]
		for _, r := range p.writer.readers[p.topic] {
			k := way{r.worker, partitionKey{p.topic, p.partition}}
			near, known := w.ways[k]
			if !known {
				taken, was := asked[r.worker]
				if !was && !r.source.unhurried {
					taken = r.borrow(w)
					asked[r.worker] = taken
				}
				near = taken && r.takes(r.source, k.partitionKey)
				w.ways[k] = near
			}
			if near {
				r.receive(r.source, &p, id, epoch)
			}
		}
	}
	return nil
}

// borrow makes a worker part of another's transaction, if it is at rest.
func (w *worker) borrow(by *worker) bool {
	if !w.calm.Load() {
		return false
	}
	select {
	case <-w.turn:
	default:
		patience := time.NewTimer(chainPatience)
		defer patience.Stop()
		select {
		case <-w.turn:
		case <-patience.C:
			w.calm.Store(false) // until it rests
			return false
		}
	}
	w.lookAround()
	// Both must know the same readers: who has started in between could be handed
	// what one of them writes to a partition, and not what the other does.
	if !w.lendable() || w.readersAt != by.readersAt {
		w.turn <- struct{}{}
		return false
	}
	w.by = by
	by.lent = append(by.lent, w)
	w.freshen()
	return true
}

// lendable tells whether the worker could be part of another's transaction.
func (w *worker) lendable() bool {
	return len(w.tasks) > 0 && w.opening == nil && w.spoilt == nil && w.member && w.obstacle == nil &&
		!w.txn.begun && !w.full && !w.holding && !w.top.ordered && w.outages.Count() == w.outage && !w.interrupted()
}

// giveBack lets the borrowed workers go on. If the transaction has failed they
// throw their part of it away and open their tasks anew. That waits for its outcome
// (see open.go): if its end was asked for, their offsets are pending until then, and
// if not, it never commits.
func (w *worker) giveBack(err error) {
	if err != nil && len(w.lent) > 0 {
		w.prod.abandon() // before anything else: its records' promises are theirs, too
		w.owes = true
		w.cfg.Chain.pause()
	}
	for _, b := range w.lent {
		b.by = nil
		if err != nil {
			b.spoilt = err
			b.nudge()
		}
		b.turn <- struct{}{}
	}
	w.lent, w.ways = nil, nil
}

// pick chooses the partition of a record that others of the chain read.
func (w *worker) pick(key []byte, n int32) int32 {
	if key != nil {
		return Partition(key, n)
	}
	w.spread = (w.spread + 1) % int(n)
	return int32(w.spread)
}

// takes tells whether a record of a partition may be handed over to us.
func (w *worker) takes(src *source, k partitionKey) bool {
	t := w.tasks[k.partition]
	return t != nil && t.positions[src.index] >= w.liesTo(k) && len(t.ahead[src.index].epochs) < maxAhead
}

// receive handles a record that is handed over.
func (w *worker) receive(src *source, p *relayed, producer int64, epoch int16) {
	t := w.tasks[p.partition]
	w.begin(t)
	w.txn.moved = true
	t.ahead[src.index].add(producer, epoch)
	// What is decoded may live on, and the writer's memory does not.
	w.give(t, src, -1, p.at, w.txn.keep(p.key), w.txn.keep(p.value), p.headers, p.rec)
	w.metrics.handedOver.WithLabelValues(w.top.app).Inc()
	w.handOver()
}

// lies notes, once its records have offsets, what the transaction leaves in the
// topics for others to fetch, and until where those have what was handed over.
func (w *worker) lies() {
	var of *worker
	var readers map[string][]reader
	for i := range w.txn.relayed {
		p := &w.txn.relayed[i]
		if p.writer != of {
			of, readers = p.writer, p.writer.readersNow()
		}
		for _, r := range readers[p.topic] {
			k := partitionKey{p.topic, p.rec.Partition}
			if w.ways[way{r.worker, k}] {
				a := &r.tasks[k.partition].ahead[r.source.index]
				a.until = max(a.until, p.rec.Offset+1)
			} else {
				r.lieTo(k, p.rec.Offset+1)
			}
		}
	}
}

// passBeyondFor bounds passBeyond: a transaction of others may lie in between.
const passBeyondFor = time.Second

// passBeyond reads what we were handed over, before a clean stop, so that the
// group's offsets are behind it.
func (w *worker) passBeyond(ctx context.Context) {
	if w.top.ordered || w.holding {
		return // what was polled waits in queues, or what we look for is not polled
	}
	w.calm.Store(false)
	ctx, cancel := context.WithTimeout(ctx, passBeyondFor)
	defer cancel()
	met := map[partitionKey]bool{} // what has not been handled
	for w.beyond(met) && ctx.Err() == nil {
		w.fetch.PollRecords(ctx, maxPoll).EachPartition(func(p kgo.FetchTopicPartition) {
			k := partitionKey{p.Topic, p.Partition}
			t, src := w.tasks[p.Partition], w.top.source(p.Topic)
			for _, r := range p.Records {
				if t == nil || met[k] || !t.passes(src, r) {
					met[k] = true
					return
				}
				w.begin(t)
				w.txn.moved = true
			}
		})
	}
}

// beyond tells whether a task has handled what its position is not behind yet, in
// partitions other than those.
func (w *worker) beyond(but map[partitionKey]bool) bool {
	for p, t := range w.tasks {
		for i := range t.ahead {
			if len(t.ahead[i].epochs) > 0 && !but[partitionKey{w.top.sources[i].topic, p}] {
				return true
			}
		}
	}
	return false
}

// lieTo notes that what lies in a partition up to an end must not be overtaken.
func (w *worker) lieTo(k partitionKey, end int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inTopics[k] = max(w.inTopics[k], end)
}

func (w *worker) liesTo(k partitionKey) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inTopics[k]
}

// chainEnds returns the ends of the topics that we write for others of the chain:
// what our tasks wrote there before they were ours comes first.
func (w *worker) chainEnds(ctx context.Context, adm *kadm.Client) (map[partitionKey]int64, error) {
	if w.cfg.Chain == nil {
		return nil, nil
	}
	readers, _ := w.cfg.Chain.readers(w)
	if len(readers) == 0 {
		return nil, nil
	}
	return listOffsets(ctx, adm.ListEndOffsets, slices.Collect(maps.Keys(readers))...)
}

// ahead is what a task has handled of a source's partition beyond its position.
// The zero value is nothing.
type ahead struct {
	// epochs are by producer id: the task has handled all that it wrote there,
	// from the position on, with an epoch up to this one.
	epochs map[int64]int16
	until  int64 // where the last of it ends
	fresh  bool  // it has grown in the open transaction
}

func (a *ahead) add(producer int64, epoch int16) {
	if old, ok := a.epochs[producer]; ok && old >= epoch {
		return
	}
	if a.epochs == nil {
		a.epochs = map[int64]int16{}
	}
	a.epochs[producer], a.fresh = epoch, true
}

// covers tells whether a record that was fetched has been handled.
func (a *ahead) covers(r *kgo.Record) bool {
	if len(a.epochs) == 0 || r.Offset >= a.until {
		return false
	}
	epoch, ok := a.epochs[r.ProducerID]
	return ok && r.ProducerEpoch <= epoch
}

// passes tells whether there is nothing to do for a fetched record, which the
// position is behind then: a marker, or what the task was handed before.
func (t *task) passes(s *source, r *kgo.Record) bool {
	if !r.Attrs.IsControl() && !t.ahead[s.index].covers(r) {
		return false
	}
	t.advancedTo(s.index, r.Offset+1)
	return true
}

// join adds what another source of truth knows.
func (a *ahead) join(epochs map[int64]int16) {
	for producer, epoch := range epochs {
		a.add(producer, epoch)
	}
}

// pass forgets what a position is beyond.
func (a *ahead) pass(position int64) {
	if len(a.epochs) > 0 && position >= a.until {
		clear(a.epochs)
	}
}

// mark is the metadata of our commits: it tells them from foreign ones, says which
// topic, should one be re-created under the same name, and what has been handled
// beyond the offset: "comptoir:<topic id>[:<producer id>.<epoch>,…]".
func mark(id [16]byte, beyond map[int64]int16) string {
	m := append([]byte("comptoir:"), hex.EncodeToString(id[:])...)
	for i, producer := range slices.Sorted(maps.Keys(beyond)) {
		sep := byte(',')
		if i == 0 {
			sep = ':'
		}
		m = strconv.AppendInt(append(m, sep), producer, 10)
		m = strconv.AppendInt(append(m, '.'), int64(beyond[producer]), 10)
	}
	return string(m)
}

// maxMark is the longest metadata that is looked at, Kafka's default for the
// longest there is.
const maxMark = 4096

// parseMark reads what mark wrote for a topic; ours is false if it did not.
func parseMark(metadata string, id [16]byte) (beyond map[int64]int16, ours bool) {
	rest, ok := strings.CutPrefix(metadata, mark(id, nil))
	if !ok || len(metadata) > maxMark {
		return nil, false
	}
	if rest == "" {
		return nil, true
	}
	if rest, ok = strings.CutPrefix(rest, ":"); !ok {
		return nil, false
	}
	beyond = map[int64]int16{}
	for pair := range strings.SplitSeq(rest, ",") {
		p, e, _ := strings.Cut(pair, ".")
		producer, err := strconv.ParseInt(p, 10, 64)
		epoch, err2 := strconv.ParseInt(e, 10, 16)
		if err != nil || err2 != nil || producer < 0 || epoch < 0 {
			return nil, false
		}
		beyond[producer] = int16(epoch)
	}
	return beyond, true
}

// mark is the metadata of a commit of ours for a partition.
func (w *worker) mark(k partitionKey, id [16]byte) string {
	return mark(id, w.tasks[k.partition].ahead[w.top.source(k.topic).index].epochs)
}
