package core

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/broker/store/storetest"
)

var (
	powerLives = flag.Int("powerlives", 1000, "random lives of TestPowerCuts, each of some starts")
	powerSeed  = flag.Uint64("powerseed", 1, "seed of the first of them")
)

// powerRig is a machine over a disk that forgets what was not synced. Turns are
// written and synced apart, as the Runner does: relaxed answers go out with the
// write, the others with the sync.
type powerRig struct {
	*txnRig
	rng   *rand.Rand
	mem   *storetest.Disk
	boot  int
	turns []powerTurn // written, not synced
	plain []*powerRecord
	ids   []*powerID
	moves int64 // group offsets that were given out
}

type powerTurn struct {
	turn Turn
	mark store.Mark
}

// powerRecord is a record that was sent outside of a transaction.
type powerRecord struct {
	partition int32
	value     string
	acked     bool
}

// powerID is a transactional id, with a partition of the group of its own.
type powerID struct {
	name      string
	partition int32
	by        incarnation // nobody while it has to ask
	busy      bool        // it waits for an answer
	open      *powerTxn
	ending    *powerTxn // its commit was asked for
	seq       map[int32]int32
	all       []*powerTxn
}

type powerTxn struct {
	records []powerRecord
	offset  int64
	outcome powerOutcome
}

type powerOutcome int

const (
	powerOpen powerOutcome = iota
	powerCommitAsked
	powerCommitted
	powerAborted
)

const powerPartitions = 2

// powerEnd is how a process ends.
type powerEnd int

const (
	powerCut powerEnd = iota
	powerKilled
	powerSyncFailed
	powerEnds
)

func (e powerEnd) String() string { return [...]string{"power cut", "killed", "sync failed"}[e] }

// TestPowerCuts lets producers, transactions and group offsets work on a machine
// whose power is cut, whose process is killed, or ends because a sync has failed,
// at random moments between what is written and what is synced. What was answered must stand: plain records,
// transactions whole with their offsets or not at all.
func TestPowerCuts(t *testing.T) {
	n := *powerLives
	if testing.Short() {
		n = min(n, 40)
	}
	for i := range n {
		seed := *powerSeed + uint64(i)
		p := newPowerRig(t, seed)
		for life := range 4 {
			p.live(20 + p.rng.IntN(150))
			p.crash(powerEnd(p.rng.IntN(int(powerEnds))))
			if t.Failed() {
				t.Fatalf("seed %d, life %d", seed, life)
			}
		}
		_ = p.disk.Close()
	}
}

func newPowerRig(t *testing.T, seed uint64) *powerRig {
	p := &powerRig{
		txnRig: &txnRig{t: t, view: NewView(), now: time.UnixMilli(1_800_000_000_000)},
		rng:    rand.New(rand.NewPCG(seed, 7)), mem: storetest.NewDisk(seed),
	}
	for i := range int32(3) {
		p.ids = append(p.ids, &powerID{name: fmt.Sprint("x", i), partition: i, by: nobody})
	}
	p.open()
	p.m.create("t", powerPartitions, map[string]string{})
	p.m.create("in", int32(len(p.ids)), map[string]string{})
	p.write()
	p.sync(len(p.turns))
	return p
}

func (p *powerRig) open() {
	p.t.Helper()
	disk, err := store.Open(store.Options{FS: p.mem, Dir: "broker", FileSize: 20_000, BootID: fmt.Sprint(p.boot), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(err)
	}
	p.disk, p.view = disk, NewView()
	cfg := Config{ClusterID: "c", Host: "localhost", Port: 9092, DefaultPartitions: 1, MinSession: time.Second, FutureLimit: time.Hour, Logger: slog.New(slog.DiscardHandler)}
	if p.m, err = Load(cfg, p.view, disk, p.now, disk.Unclean(), disk.PowerLost()); err != nil {
		p.t.Fatal(err)
	}
	p.turns = nil
	p.write()
	p.sync(len(p.turns))
}

// write ends a turn.
func (p *powerRig) write() {
	turn := p.m.Take()
	mark := p.disk.Written()
	if !turn.Commit.Empty() {
		var err error
		if mark, err = p.disk.Write(&turn.Commit); err != nil {
			p.t.Fatal(err)
		}
	}
	release(turn.Relaxed)
	p.turns = append(p.turns, powerTurn{turn, mark})
}

// sync makes the first n turns safe.
func (p *powerRig) sync(n int) {
	if n == 0 {
		return
	}
	if err := p.disk.Sync(p.turns[n-1].mark); err != nil {
		p.t.Fatal(err)
	}
	for _, t := range p.turns[:n] {
		release(t.turn.Publish)
		p.m.shown.Store(t.turn.number)
		release(t.turn.Durable)
	}
	p.turns = p.turns[n:]
}

// ask hands a request over; see looks at its answer, if one comes.
func (p *powerRig) ask(req kmsg.Request, see func(kmsg.Response)) {
	p.now = p.now.Add(time.Millisecond)
	p.m.Handle(p.now, &Request{Body: req, Answer: see, Dropped: func() { p.t.Errorf("%T is dropped", req) }})
}

func (p *powerRig) live(steps int) {
	for range steps {
		switch n := p.rng.IntN(10); {
		case n < 1:
			p.sendPlain()
		case n < 6:
			p.work(p.ids[p.rng.IntN(len(p.ids))])
		case n < 9:
			p.write()
		default:
			p.sync(p.rng.IntN(len(p.turns) + 1))
		}
	}
	// What is not written is not told of by anything.
	p.write()
}

func (p *powerRig) sendPlain() {
	r := &powerRecord{partition: p.rng.Int32N(powerPartitions), value: fmt.Sprint("plain ", len(p.plain))}
	p.plain = append(p.plain, r)
	b := sent{by: nobody, seq: -1, n: 1, time: p.now.UnixMilli(), value: []byte(r.value)}
	p.ask(produceRequest(9, "", "t", r.partition, b.encode()), func(resp kmsg.Response) {
		p.good("produce", resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
		r.acked = true
	})
}

func (p *powerRig) good(what string, got int16) {
	if got != 0 {
		p.t.Errorf("%s: %v", what, kerr.ErrorForCode(got))
	}
}

// work does the next step of a transactional id.
func (p *powerRig) work(x *powerID) {
	switch {
	case x.busy:
		return
	case x.by == nobody:
		p.ask(initRequest(x.name, time.Minute, nobody), func(resp kmsg.Response) {
			got := resp.(*kmsg.InitProducerIDResponse)
			p.good("init", got.ErrorCode)
			x.by, x.seq, x.busy = incarnation{got.ProducerID, got.ProducerEpoch}, map[int32]int32{}, false
		})
	case x.open == nil:
		p.moves++
		x.open = &powerTxn{offset: p.moves}
		x.all = append(x.all, x.open)
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = 5, x.name, "g", x.by.producer, x.by.epoch, -1
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic = "in"
		rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = x.partition, x.open.offset
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		p.ask(req, func(resp kmsg.Response) {
			p.good("offsets", resp.(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
			x.busy = false
		})
	case len(x.open.records) == 0 || p.rng.IntN(3) > 0:
		r := powerRecord{partition: p.rng.Int32N(powerPartitions), value: fmt.Sprint(x.name, " ", x.open.offset, " ", len(x.open.records))}
		x.open.records = append(x.open.records, r)
		b := sent{by: x.by, seq: x.seq[r.partition], n: 1, transactional: true, time: p.now.UnixMilli(), value: []byte(r.value)}
		x.seq[r.partition]++
		p.ask(produceRequest(12, x.name, "t", r.partition, b.encode()), func(resp kmsg.Response) {
			p.good("produce", resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
			x.busy = false
		})
	default:
		txn, commit := x.open, p.rng.IntN(4) > 0
		x.open, txn.outcome = nil, powerAborted
		if commit {
			txn.outcome, x.ending = powerCommitAsked, txn
		}
		p.ask(endRequest(5, x.name, x.by, commit), func(resp kmsg.Response) {
			got := resp.(*kmsg.EndTxnResponse)
			p.good("end", got.ErrorCode)
			if commit {
				txn.outcome, x.ending = powerCommitted, nil
			}
			x.by, x.seq, x.busy = incarnation{got.ProducerID, got.ProducerEpoch}, map[int32]int32{}, false
		})
	}
	x.busy = true
}

// crash ends the process, starts again, and looks.
func (p *powerRig) crash(how powerEnd) {
	p.t.Helper()
	kept := 100
	switch how {
	case powerCut:
		kept = []int{0, 10, 50, 90, 100}[p.rng.IntN(5)]
		p.boot++
		fallthrough
	case powerKilled:
		after := p.mem.PowerCut(kept)
		_ = p.disk.Close()
		p.mem = after
	case powerSyncFailed:
		// The next process reads what the disk has not got.
		p.mem.FailSync(1, "journal")
		if err := p.disk.Sync(p.disk.Written()); err == nil && p.mem.Failed() {
			p.t.Error("a sync that fails says nothing")
		}
		p.mem.FailSync(0, "")
		_ = p.disk.Close()
	}
	p.open()
	// Each id is taken over, which ends what it has open. Some producers ask again
	// before, or go on to commit what they were told is there.
	for _, x := range p.ids {
		if p.rng.IntN(2) == 0 {
			p.again(x)
		}
		x.by, x.open, x.ending, x.busy = nobody, nil, nil, false
		p.work(x)
	}
	p.write()
	p.sync(len(p.turns))
	if err := p.look(); err != nil {
		p.t.Errorf("%v, %d %% of what was not synced kept: %v", how, kept, err)
	}
}

// again commits the transaction that was under way at the crash. That may be
// refused.
func (p *powerRig) again(x *powerID) {
	txn := x.ending
	if x.open != nil && len(x.open.records) > 0 && !x.busy {
		txn = x.open
	}
	if txn == nil {
		return
	}
	txn.outcome = powerCommitAsked
	p.ask(endRequest(5, x.name, x.by, true), func(resp kmsg.Response) {
		if resp.(*kmsg.EndTxnResponse).ErrorCode == 0 {
			txn.outcome = powerCommitted
		}
	})
}

// look holds what stands against what was answered.
func (p *powerRig) look() error {
	var stands [powerPartitions]map[string]bool
	for i := range stands {
		stands[i] = map[string]bool{}
		for _, v := range p.committed("t", int32(i)) {
			if stands[i][v] {
				return fmt.Errorf("%q stands twice", v)
			}
			stands[i][v] = true
		}
	}
	for _, r := range p.plain {
		if r.acked && !stands[r.partition][r.value] {
			return fmt.Errorf("%q was acknowledged and is gone", r.value)
		}
		r.acked = r.acked || stands[r.partition][r.value]
	}
	for _, x := range p.ids {
		moved := int64(-1)
		for _, txn := range x.all {
			seen := 0
			for _, r := range txn.records {
				if stands[r.partition][r.value] {
					seen++
				}
			}
			whole := seen == len(txn.records) && seen > 0
			switch {
			case seen > 0 && !whole:
				return fmt.Errorf("transaction %d of %s is seen in part: %d of %d", txn.offset, x.name, seen, len(txn.records))
			case txn.outcome == powerCommitted && !whole:
				return fmt.Errorf("transaction %d of %s was committed and is gone", txn.offset, x.name)
			case txn.outcome != powerCommitted && txn.outcome != powerCommitAsked && whole:
				return fmt.Errorf("transaction %d of %s was not committed and is seen", txn.offset, x.name)
			}
			// What is seen once stays.
			txn.outcome = powerAborted
			if whole {
				txn.outcome, moved = powerCommitted, txn.offset
			}
		}
		req := kmsg.OffsetFetchRequestGroup{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "in", Partitions: []int32{x.partition}}}}
		if got := p.m.fetchOffsets(req, false, true).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.Offset != moved {
			return fmt.Errorf("the offset of %s is %d (%v), its last transaction that is seen is %d", x.name, got.Offset, kerr.ErrorForCode(got.ErrorCode), moved)
		}
	}
	if slices.ContainsFunc(p.ids, func(x *powerID) bool { return x.by == nobody }) {
		return errors.New("an id was not taken over")
	}
	return nil
}
