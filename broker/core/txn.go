package core

import (
	"cmp"
	lists "container/list"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/wire"
)

const (
	// maxTransactionTimeout is the longest time a producer may ask for, Kafka's
	// default of transaction.max.timeout.ms.
	maxTransactionTimeout = 15 * time.Minute
	// lastEpoch is the last epoch that a client gets: one more is left, with
	// which it can be fenced.
	lastEpoch = math.MaxInt16 - 1
	// maxTransactionGroups bounds the groups of one transaction.
	maxTransactionGroups = 1000
)

// txnState is where a transactional id stands. Nothing lies between an open
// transaction and its end: that is one commit.
type txnState byte

const (
	empty txnState = iota
	ongoing
	committed
	aborted
)

// name is Kafka's name of the state.
func (s txnState) name() string {
	return [...]string{empty: "Empty", ongoing: "Ongoing", committed: "CompleteCommit", aborted: "CompleteAbort"}[s]
}

// incarnation is a producer id with an epoch.
type incarnation struct {
	producer int64
	epoch    int16
}

// nobody is no incarnation.
var nobody = incarnation{producer: -1, epoch: -1}

// transaction is a transactional id and its current transaction, or its last.
type transaction struct {
	id string
	// now is who may write; last is who it was before it asked for a new epoch
	// itself, by which a repeated request is known.
	now, last incarnation
	timeout   time.Duration
	state     txnState
	// bumped says that the end that state tells of has raised the epoch
	// (transactions of protocol version 2, KIP-890).
	bumped  bool
	started int64 // milliseconds since 1970; -1 for never
	used    int64 // when it was last heard of, milliseconds since 1970

	// partitions and groups are in the transaction, in the order they came.
	partitions []*partition
	groups     []*txnGroup
	member     map[*partition]struct{}

	timer *timer
	age   *lists.Element // in producers.idle
	dirty bool           // it is saved with this turn
	gone  bool           // it has been forgotten
}

// txnGroup is a group whose offsets the transaction commits.
type txnGroup struct {
	name    string
	offsets map[*partition]txnOffset
}

// txnOffset is an offset that a transaction's end commits.
type txnOffset struct {
	partition   *partition
	offset      int64
	leaderEpoch int32 // -1 for none
	metadata    string
}

// has says whether p is in the open transaction.
func (t *transaction) has(p *partition) bool {
	_, ok := t.member[p]
	return ok && t.state == ongoing
}

// group finds a group of the transaction.
func (t *transaction) group(name string) *txnGroup {
	for _, g := range t.groups {
		if g.name == name {
			return g
		}
	}
	return nil
}

// add takes p into the transaction.
func (t *transaction) add(p *partition) {
	if t.member == nil {
		t.member = map[*partition]struct{}{}
	}
	if _, ok := t.member[p]; !ok {
		t.member[p] = struct{}{}
		t.partitions = append(t.partitions, p)
	}
}

// drop takes a deleted partition out. It reports whether it was in.
func (t *transaction) drop(p *partition) (was bool) {
	if _, was = t.member[p]; was {
		delete(t.member, p)
		t.partitions = slices.DeleteFunc(t.partitions, func(q *partition) bool { return q == p })
	}
	for _, g := range t.groups {
		if _, ok := g.offsets[p]; ok {
			delete(g.offsets, p)
			was = true
		}
	}
	return was
}

// sorted returns the offsets in the order of partitions.
func (g *txnGroup) sorted() []txnOffset {
	return slices.SortedFunc(maps.Values(g.offsets), func(a, b txnOffset) int {
		return cmp.Compare(a.partition.id, b.partition.id)
	})
}

// transaction finds the transactional id of a request, if the request comes from
// who may use it.
func (m *Machine) transaction(id string, producer int64, epoch int16) (*transaction, *kerr.Error) {
	switch t := m.producers.transactions[id]; {
	case id == "":
		return nil, kerr.InvalidRequest
	case t == nil || t.now.producer != producer:
		return nil, kerr.InvalidProducerIDMapping
	case t.now.epoch != epoch:
		return nil, kerr.ProducerFenced
	default:
		return t, nil
	}
}

// begin opens a transaction if none is open.
func (m *Machine) begin(t *transaction) {
	m.touchTransaction(t)
	if t.state == ongoing {
		return
	}
	t.state, t.started = ongoing, t.used
	m.limit(t)
}

// limit sets the timer by which an open transaction is to be ended.
func (m *Machine) limit(t *transaction) {
	t.timer = m.timers.set(time.UnixMilli(t.started).Add(t.timeout), func() { m.timeOut(t) })
}

// timeOut aborts a transaction that was open for too long.
func (m *Machine) timeOut(t *transaction) {
	if m.readOnly != nil {
		t.timer = m.timers.set(m.now.Add(unwritable), func() { m.timeOut(t) })
		return
	}
	m.log.Warn("transaction aborted: it was open for longer than its producer had asked for",
		"transactional_id", t.id, "timeout", t.timeout, "producer", t.now.producer)
	m.fence(t)
}

// touchTransaction has t saved with this turn, as used now.
func (m *Machine) touchTransaction(t *transaction) {
	t.used = m.now.UnixMilli()
	if t.age == nil {
		t.age = m.producers.idle.PushBack(t)
		m.boundTransactions()
	} else {
		m.producers.idle.MoveToBack(t.age)
	}
	if t.dirty {
		return
	}
	t.dirty = true
	if len(m.producers.touched) == 0 {
		m.turn.settle = append(m.turn.settle, m.saveTransactions)
	}
	m.producers.touched = append(m.producers.touched, t)
}

// saveTransactions saves those that the turn changed, each once.
func (m *Machine) saveTransactions(t *Turn) {
	for i, x := range m.producers.touched {
		m.producers.touched[i] = nil
		x.dirty = false
		if !x.gone {
			t.Commit.Set(transactionKey(x.id), x.append(nil))
		}
	}
	m.producers.touched = m.producers.touched[:0]
}

// forgetTransaction ends the life of a transactional id that has no open
// transaction.
func (m *Machine) forgetTransaction(t *transaction) {
	t.gone = true
	delete(m.producers.transactions, t.id)
	m.producers.idle.Remove(t.age)
	m.turn.Commit.Delete(transactionKey(t.id))
}

func transactionKey(id string) []byte { return append([]byte{keyTransaction}, id...) }

func (t *transaction) append(b []byte) []byte {
	b = append(b, stateVersion)
	for _, i := range []incarnation{t.now, t.last} {
		b = binary.AppendUvarint(b, uint64(i.producer+1))
		b = binary.AppendUvarint(b, uint64(int(i.epoch)+1))
	}
	b = binary.AppendUvarint(b, uint64(t.timeout.Milliseconds()))
	b = wire.AppendFlag(append(b, byte(t.state)), t.bumped)
	b = binary.AppendVarint(b, t.started)
	b = binary.AppendVarint(b, t.used)
	b = binary.AppendUvarint(b, uint64(len(t.partitions)))
	for _, p := range t.partitions {
		b = binary.AppendUvarint(b, uint64(p.id))
	}
	b = binary.AppendUvarint(b, uint64(len(t.groups)))
	for _, g := range t.groups {
		b = wire.AppendText(b, g.name)
		b = binary.AppendUvarint(b, uint64(len(g.offsets)))
		for _, o := range g.sorted() {
			b = binary.AppendUvarint(b, uint64(o.partition.id))
			b = binary.AppendVarint(b, o.offset)
			b = binary.AppendVarint(b, int64(o.leaderEpoch))
			b = wire.AppendText(b, o.metadata)
		}
	}
	return b
}

// parse reads what append wrote. Partitions that byID does not find are gone.
func (t *transaction) parse(value []byte, byID map[store.Partition]*partition) error {
	const most = 1 << 24
	d := wire.Decode("a transaction", value).Version(stateVersion)
	for _, i := range []*incarnation{&t.now, &t.last} {
		i.producer = d.Uvarint(1<<62) - 1
		i.epoch = int16(d.Uvarint(math.MaxInt16+1) - 1)
	}
	t.timeout = time.Duration(d.Uvarint(maxTransactionTimeout.Milliseconds())) * time.Millisecond
	if t.state = txnState(d.Byte()); t.state > aborted {
		d.Fail()
	}
	t.bumped = d.Flag()
	t.started, t.used = d.Varint(), d.Varint()
	for range d.Count(most, 1) {
		if p := byID[store.Partition(d.Uvarint(1<<62))]; p != nil {
			t.add(p)
		}
	}
	for range d.Count(maxTransactionGroups, 2) {
		g := &txnGroup{name: d.Text(1 << 16), offsets: map[*partition]txnOffset{}}
		for range d.Count(most, 4) {
			o := txnOffset{partition: byID[store.Partition(d.Uvarint(1<<62))], offset: d.Varint()}
			o.leaderEpoch, o.metadata = int32(d.Varint()), d.Text(1<<16)
			if o.partition != nil {
				g.offsets[o.partition] = o
			}
		}
		t.groups = append(t.groups, g)
	}
	return d.End()
}

// loadTransactions reads the transactional ids; byID finds partitions.
func (m *Machine) loadTransactions(s State, byID map[store.Partition]*partition) error {
	var all []*transaction
	err := s.Scan([]byte{keyTransaction}, func(key, value []byte) error {
		t := &transaction{id: string(key[1:])}
		if err := t.parse(value, byID); err != nil {
			return known("transaction", key[1:], err)
		}
		m.producers.transactions[t.id] = t
		for _, g := range t.groups {
			if len(g.offsets) > 0 {
				m.holdOffsets(t, g.name)
			}
		}
		all = append(all, t)
		return nil
	})
	slices.SortStableFunc(all, func(a, b *transaction) int { return cmp.Compare(a.used, b.used) })
	for _, t := range all {
		t.age = m.producers.idle.PushBack(t)
		if t.state == ongoing {
			m.limit(t)
		}
	}
	return err
}
