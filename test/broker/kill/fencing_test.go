package kill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// fencing is producers that speak the protocol by hand: a sequence that was
// written is known again, one out of order is refused, and who was fenced stays
// fenced.
type fencing struct {
	run *run
	rng *rand.Rand
	log *topicLog

	mu        sync.Mutex
	records   uint64
	plain     sequenced
	txnal     []*txnal
	outsiders []identityOfProducer // fenced for ever
}

type identityOfProducer struct {
	txnalID string
	id      int64
	epoch   int16
}

// sequenced is an idempotent producer.
type sequenced struct {
	id    int64 // -1: none yet
	epoch int16
	next  int32
	// The last batch: its outcome is unknown until it was acknowledged.
	batch   []byte
	record  uint64
	pending bool
	offset  int64
}

// txnal is a transactional id whose producers fence each other.
type txnal struct {
	name string
	id   int64
	// epoch is the last one that was given out; -1 when that is not known.
	epoch int16
	next  int32
}

const fencingTopic = "fencing"

func newFencing(r *run, seed uint64) *fencing {
	a := &fencing{run: r, rng: source(seed, "fencing"), log: newTopicLog(r, fencingTopic, 1, duplicate), plain: sequenced{id: -1}}
	a.log.transactional = true
	for n := range 3 {
		a.txnal = append(a.txnal, &txnal{name: fmt.Sprint("fenced-", n), id: -1, epoch: -1})
	}
	return a
}

func (a *fencing) prepare(ctx context.Context) error {
	if err := a.run.coordinated(ctx, 1); err != nil {
		return err
	}
	return a.run.create(ctx, fencingTopic, 1)
}

func (a *fencing) work(ctx context.Context) { a.run.steps(ctx, 5*time.Millisecond, a.step) }

func (a *fencing) step(ctx context.Context, conn *wire.Conn) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch choice := a.rng.IntN(10); {
	case choice < 6:
		return a.sequence(ctx, conn)
	case choice < 9:
		return a.transact(ctx, conn, a.txnal[a.rng.IntN(len(a.txnal))])
	case len(a.outsiders) > 0:
		return a.intrude(ctx, conn, a.outsiders[a.rng.IntN(len(a.outsiders))])
	}
	return nil
}

// initProducer asks for a producer id, of a transactional id if one is named.
func initProducer(ctx context.Context, conn *wire.Conn, txnalID string) (id int64, epoch int16, err error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 4, 20_000, -1, -1
	if txnalID != "" {
		req.TransactionalID = &txnalID
	}
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return -1, -1, err
	}
	resp := answer.(*kmsg.InitProducerIDResponse)
	return resp.ProducerID, resp.ProducerEpoch, refusal("init producer "+txnalID, resp.ErrorCode)
}

// sequence writes, writes again, or leaves out a number.
func (a *fencing) sequence(ctx context.Context, conn *wire.Conn) error {
	p := &a.plain
	if p.id < 0 {
		id, epoch, err := initProducer(ctx, conn, "")
		if err != nil {
			return err
		}
		*p = sequenced{id: id, epoch: epoch}
	}
	send := func(batch []byte) (int64, error) {
		answer, err := conn.Do(ctx, wire.Produce(7, fencingTopic, 0, batch))
		if err != nil {
			return -1, err
		}
		got := answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		return got.BaseOffset, refusal("produce", got.ErrorCode)
	}
	choice := a.rng.IntN(4)
	switch {
	case p.pending: // asked for again until its outcome is known
	case choice == 0 && p.batch != nil:
		offset, err := send(p.batch)
		if err != nil && !refused(err) {
			return err
		}
		if err == nil && offset != p.offset || err != nil && !errors.Is(err, kerr.DuplicateSequenceNumber) {
			a.run.tally.fault(fenced, "sequence %d of producer %d, acknowledged at %d, was sent again: offset %d, %v", p.next-1, p.id, p.offset, offset, err)
		}
		a.run.tally.did("sequences sent again", 1)
		return nil
	case choice == 1 && p.next > 0:
		a.records++
		offset, err := send(wire.New(value(a.records, 0)).By(p.id, p.epoch, p.next+3).Encode())
		if err != nil && !refused(err) {
			return err
		}
		if err == nil {
			a.run.tally.fault(fenced, "sequence %d of producer %d was written at %d, though %d is next", p.next+3, p.id, offset, p.next)
		}
		return nil
	default:
		a.records++
		p.batch, p.record, p.pending = wire.New(value(a.records, a.rng.IntN(100))).By(p.id, p.epoch, p.next).Encode(), a.records, true
	}
	offset, err := send(p.batch)
	switch {
	case refused(err):
		a.run.tally.fault(fenced, "sequence %d of producer %d: %v", p.next, p.id, err)
		p.id = -1
	case err == nil:
		p.pending, p.offset = false, offset
		p.next++
		a.log.ack(0, offset, p.record)
		a.run.tally.did("sequences", 1)
	}
	return err
}

// transact is a transaction of one record, or the next producer of the same id.
func (a *fencing) transact(ctx context.Context, conn *wire.Conn, x *txnal) error {
	if x.epoch < 0 || a.rng.IntN(4) == 0 {
		former, known := identityOfProducer{x.name, x.id, x.epoch}, x.epoch >= 0
		x.epoch = -1
		id, epoch, err := initProducer(ctx, conn, x.name)
		if err != nil {
			return err
		}
		if id == x.id && known && epoch <= former.epoch {
			a.run.tally.fault(fenced, "%s: epoch %d of producer %d was given out after epoch %d", x.name, epoch, id, former.epoch)
		}
		x.id, x.epoch, x.next = id, epoch, 0
		if known {
			a.outsiders = append(a.outsiders, former)
			if len(a.outsiders) > 50 {
				a.outsiders = a.outsiders[1:]
			}
		}
		return nil
	}
	me := identityOfProducer{x.name, x.id, x.epoch}
	a.records++
	id := a.records
	err := addPartition(ctx, conn, me)
	var offset int64
	if err == nil {
		offset, err = produceIn(ctx, conn, me, x.next, id)
	}
	if err == nil {
		a.log.ack(0, offset, id)
		x.next++
		err = endTxn(ctx, conn, me, a.rng.IntN(3) > 0)
	}
	if refused(err) {
		a.run.tally.fault(fenced, "%s, producer %d, epoch %d: %v", x.name, me.id, me.epoch, err)
	}
	if err != nil {
		x.epoch = -1 // the next producer settles it
		return err
	}
	a.run.tally.did("transactions by hand", 1)
	return nil
}

// intrude tries what a fenced producer must not be allowed.
func (a *fencing) intrude(ctx context.Context, conn *wire.Conn, who identityOfProducer) error {
	var err error
	var what string
	switch a.rng.IntN(3) {
	case 0:
		what, err = "add a partition", addPartition(ctx, conn, who)
	case 1:
		a.records++
		what = "produce"
		_, err = produceIn(ctx, conn, who, 0, a.records)
	default:
		what, err = "commit", endTxn(ctx, conn, who, true)
	}
	if err == nil {
		a.run.tally.fault(fenced, "%s: the fenced producer %d, epoch %d, may %s", who.txnalID, who.id, who.epoch, what)
	}
	a.run.tally.did("attempts of fenced producers", 1)
	if refused(err) {
		return nil
	}
	return err
}

func addPartition(ctx context.Context, conn *wire.Conn, who identityOfProducer) error {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, who.txnalID, who.id, who.epoch
	t := kmsg.NewAddPartitionsToTxnRequestTopic()
	t.Topic, t.Partitions = fencingTopic, []int32{0}
	req.Topics = append(req.Topics, t)
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	return refusal("add partition", answer.(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode)
}

func produceIn(ctx context.Context, conn *wire.Conn, who identityOfProducer, sequence int32, id uint64) (int64, error) {
	req := wire.Produce(7, fencingTopic, 0, wire.New(value(id, 20)).By(who.id, who.epoch, sequence).InTransaction().Encode())
	req.TransactionID = &who.txnalID
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return -1, err
	}
	got := answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return got.BaseOffset, refusal("produce", got.ErrorCode)
}

func endTxn(ctx context.Context, conn *wire.Conn, who identityOfProducer, commit bool) error {
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = 3, who.txnalID, who.id, who.epoch, commit
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	return refusal("end transaction", answer.(*kmsg.EndTxnResponse).ErrorCode)
}

func (a *fencing) check(ctx context.Context, last bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.check(ctx, last)
}
