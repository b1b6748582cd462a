package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/test/broker/wire"
)

// transactions is transactional producers over two topics: a committed
// transaction is whole for read_committed, of an aborted one nothing is seen,
// and one of unknown outcome is all or nothing.
type transactions struct {
	run       *run
	logs      []*topicLog
	producers []*rand.Rand

	mu   sync.Mutex
	txns map[uint64]*txn
	// next and seen are of read_committed, by topic.
	next []map[int32]int64
	seen []map[uint64]bool
}

// outcome of a transaction, as its producer knows it.
type outcome int

const (
	open outcome = iota
	wasCommitted
	wasAborted
	unknown
)

// txn is one transaction. Its records have the identities id<<8 | n.
type txn struct {
	id      uint64
	outcome outcome
	records []txnRecord
	judged  bool
}

type txnRecord struct {
	topic  int
	id     uint64
	at     where
	placed bool // the broker said where it stands
}

const txnPartitions = 3

func newTransactions(r *run, seed uint64) *transactions {
	a := &transactions{run: r, txns: map[uint64]*txn{}}
	for _, name := range []string{"txn-a", "txn-b"} {
		l := newTopicLog(r, name, txnPartitions, duplicate)
		l.transactional = true
		a.logs = append(a.logs, l)
	}
	for n := range 4 {
		a.producers = append(a.producers, source(seed, fmt.Sprint("transactions", n)))
	}
	a.forget()
	return a
}

func (a *transactions) forget() {
	a.next, a.seen = nil, nil
	for range a.logs {
		next := map[int32]int64{}
		for p := range int32(txnPartitions) {
			next[p] = 0
		}
		a.next, a.seen = append(a.next, next), append(a.seen, map[uint64]bool{})
	}
}

func (a *transactions) prepare(ctx context.Context) error {
	for _, l := range a.logs {
		if err := a.run.create(ctx, l.name, txnPartitions); err != nil {
			return err
		}
	}
	return nil
}

func (a *transactions) work(ctx context.Context) {
	var wait sync.WaitGroup
	for n, rng := range a.producers {
		wait.Go(func() { a.producer(ctx, n+1, rng) })
	}
	wait.Wait()
}

func (a *transactions) producer(ctx context.Context, number int, rng *rand.Rand) {
	var cl *kgo.Client
	defer func() {
		if cl != nil {
			cl.Close()
		}
	}()
	for seq := uint64(1); ctx.Err() == nil; seq++ {
		if cl == nil {
			var err error
			if cl, err = a.run.client(kgo.TransactionalID(fmt.Sprint("txn-", number)), kgo.TransactionTimeout(20*time.Second), kgo.ProducerBatchCompression(codec(number))); err != nil {
				a.run.t.Error(err)
				return
			}
		}
		if err := a.transact(cl, uint64(number)<<32|seq, rng); err != nil {
			// A new client settles what this one left open.
			cl.Close()
			cl = nil
		}
	}
}

// transact is one transaction. Its error says that the producer is of no more use.
func (a *transactions) transact(cl *kgo.Client, id uint64, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	x := &txn{id: id}
	for n := range 1 + rng.IntN(30) {
		x.records = append(x.records, txnRecord{topic: rng.IntN(len(a.logs)), id: id<<8 | uint64(n), at: where{int32(rng.IntN(txnPartitions)), -1}})
	}
	a.mu.Lock()
	a.txns[id] = x
	a.mu.Unlock()
	var failed error
	var acked []*kgo.Record
	var mu sync.Mutex
	for n := range x.records {
		rec := &x.records[n]
		cl.Produce(ctx, &kgo.Record{Topic: a.logs[rec.topic].name, Partition: rec.at.partition, Value: value(rec.id, rng.IntN(200))}, func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			rec.at.offset, rec.placed = r.Offset, true
			acked = append(acked, r)
			a.logs[rec.topic].ack(r.Partition, r.Offset, rec.id)
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err // neither committed nor aborted by us: its end is unknown
	}
	how := kgo.TransactionEndTry(failed == nil && rng.IntN(4) > 0)
	err := kclient.EndTransaction(ctx, cl, how, slices.Values(acked))
	switch {
	case err != nil && how == kgo.TryCommit:
		a.end(x, unknown)
	case how == kgo.TryCommit:
		a.end(x, wasCommitted)
	default:
		// Nobody has asked for it to be committed, whatever became of the abort.
		a.end(x, wasAborted)
	}
	if failed != nil {
		a.run.tally.did("transactions with a failed record", 1)
	}
	return err
}

func (a *transactions) end(x *txn, o outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x.outcome = o
	a.run.tally.did([...]string{"", "transactions committed", "transactions aborted", "transactions of unknown outcome"}[o], 1)
}

func (a *transactions) check(ctx context.Context, last bool) error {
	for _, l := range a.logs {
		if err := l.check(ctx, last); err != nil {
			return err
		}
	}
	// Those that ended before we read.
	a.mu.Lock()
	var ended []*txn
	for _, x := range a.txns {
		if x.outcome != open && (last || !x.judged) {
			ended = append(ended, x)
		}
	}
	a.mu.Unlock()
	if last {
		a.forget()
	}
	if err := a.readCommitted(ctx); err != nil {
		return err
	}
	if last {
		// What a producer left open ends by its timeout at the latest.
		if err := until(ctx, func() error {
			if err := a.readCommitted(ctx); err != nil {
				return err
			}
			return a.stable(ctx)
		}); err != nil {
			a.run.tally.fault(half, "at the end: %v", err)
		}
	}
	for _, x := range ended {
		if last || a.passed(x) {
			x.judged = true
			judgeTxn(a.run.tally, x, a.seen)
		}
	}
	return nil
}

func (a *transactions) readCommitted(ctx context.Context) error {
	conn, err := wire.Dial(ctx, a.run.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for n, l := range a.logs {
		for p, from := range a.next[n] {
			next, err := read(ctx, conn, l.name, p, from, committed, func(r *kgo.Record) {
				if !r.Attrs.IsControl() {
					a.seen[n][identity(r.Value)] = true
				}
			})
			if err != nil {
				return err
			}
			a.next[n][p] = next
		}
	}
	return nil
}

// stable says whether no transaction is open any more.
func (a *transactions) stable(ctx context.Context) error {
	conn, err := wire.Dial(ctx, a.run.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for n, l := range a.logs {
		for p := range int32(txnPartitions) {
			_, end, err := bounds(ctx, conn, l.name, p, uncommitted)
			if err != nil {
				return err
			}
			if a.next[n][p] < end {
				return fmt.Errorf("%s/%d is stable up to %d, and ends at %d", l.name, p, a.next[n][p], end)
			}
		}
	}
	return nil
}

// passed says whether read_committed has read past all records of a transaction.
func (a *transactions) passed(x *txn) bool {
	return !slices.ContainsFunc(x.records, func(r txnRecord) bool {
		return r.placed && a.next[r.topic][r.at.partition] <= r.at.offset
	})
}

// judgeTxn holds what read_committed has seen of a transaction, by topic, against
// its outcome.
func judgeTxn(t *tally, x *txn, seen []map[uint64]bool) {
	n := 0
	for _, r := range x.records {
		if seen[r.topic][r.id] {
			n++
		}
	}
	switch {
	case x.outcome == wasCommitted && n < len(x.records):
		t.fault(half, "transaction %x was committed: %d of %d records are seen", x.id, n, len(x.records))
	case x.outcome == unknown && n > 0 && n < len(x.records):
		t.fault(half, "transaction %x of unknown outcome: %d of %d records are seen", x.id, n, len(x.records))
	case x.outcome == wasAborted && n > 0:
		t.fault(visible, "transaction %x was aborted: %d of %d records are seen", x.id, n, len(x.records))
	}
}
