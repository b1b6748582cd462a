package core

import (
	"cmp"
	lists "container/list"
	"math"
	"slices"
	"time"

	"github.com/comptoir/comptoir/broker/store"
)

const (
	// producerExpiry is how long a partition remembers a producer that does not
	// write, transactionExpiry how long a transactional id that is not used lives:
	// Kafka's defaults of producer.id.expiration.ms and
	// transactional.id.expiration.ms.
	producerExpiry    = 24 * time.Hour
	transactionExpiry = 7 * 24 * time.Hour
	// maxSequences and maxTransactions bound the memory that new producers can
	// take within that time: those unused for longest are forgotten earlier.
	maxSequences    = 100_000
	maxTransactions = 50_000
	// unwritable is how long work that is due waits when nothing can be written.
	unwritable = time.Second
)

// producers are the transactional ids, and what the partitions know of producer
// ids.
type producers struct {
	transactions map[string]*transaction
	// used has the *sequences of all partitions, idle the *transaction, both with
	// those unused for longest first.
	used, idle lists.List
	// expiry runs when the first of them expires, or earlier.
	expiry *timer
	// changed and touched are to be saved with this turn.
	changed []*sequences
	touched []*transaction
	// offsets has the open transactions that hold offsets of a group.
	offsets map[string]map[*transaction]struct{}
}

func (m *Machine) loadProducers(s State) error {
	m.producers = producers{transactions: map[string]*transaction{}, offsets: map[string]map[*transaction]struct{}{}}
	byID := map[store.Partition]*partition{}
	for _, t := range m.topics.byName {
		for _, p := range t.partitions {
			byID[p.id] = p
		}
	}
	if err := m.loadSequences(s, byID); err != nil {
		return err
	}
	var all []*sequences
	for _, p := range byID {
		for _, q := range p.producers {
			all = append(all, q)
		}
		slices.SortFunc(p.open, func(a, b *sequences) int { return cmp.Compare(a.open, b.open) })
	}
	slices.SortFunc(all, func(a, b *sequences) int {
		return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(a.partition.id, b.partition.id), cmp.Compare(a.producer, b.producer))
	})
	for _, q := range all {
		q.age = m.producers.used.PushBack(q)
	}
	if err := m.loadTransactions(s, byID); err != nil {
		return err
	}
	m.watchExpiry()
	return nil
}

// watchExpiry sets the timer for what expires first.
func (m *Machine) watchExpiry() {
	if m.producers.expiry != nil {
		return
	}
	first := int64(math.MaxInt64)
	if e := m.producers.used.Front(); e != nil {
		first = e.Value.(*sequences).used + producerExpiry.Milliseconds()
	}
	if e := m.producers.idle.Front(); e != nil {
		first = min(first, e.Value.(*transaction).used+transactionExpiry.Milliseconds())
	}
	if first != math.MaxInt64 {
		m.producers.expiry = m.timers.set(time.UnixMilli(first), m.expire)
	}
}

// expire forgets who has not been heard of for long.
func (m *Machine) expire() {
	m.producers.expiry = nil
	if m.readOnly != nil {
		m.producers.expiry = m.timers.set(m.now.Add(unwritable), m.expire)
		return
	}
	before := m.now.Add(-producerExpiry).UnixMilli()
	for e := m.producers.used.Front(); e != nil; {
		s := e.Value.(*sequences)
		if s.used > before {
			break
		}
		e = e.Next()
		if s.open >= 0 {
			// The clock has jumped: its transaction's own time comes first.
			s.used = m.now.UnixMilli()
			m.producers.used.MoveToBack(s.age)
			continue
		}
		m.forget(s)
	}
	before = m.now.Add(-transactionExpiry).UnixMilli()
	for e := m.producers.idle.Front(); e != nil; {
		t := e.Value.(*transaction)
		if t.used > before {
			break
		}
		e = e.Next()
		if t.state == ongoing {
			t.used = m.now.UnixMilli()
			m.producers.idle.MoveToBack(t.age)
			continue
		}
		m.forgetTransaction(t)
	}
	m.watchExpiry()
}

// boundSequences forgets those unused for longest when there are too many.
func (m *Machine) boundSequences() {
	m.watchExpiry()
	for e := m.producers.used.Front(); e != nil && m.producers.used.Len() > maxSequences; {
		s := e.Value.(*sequences)
		e = e.Next()
		// The last one is who asks for room.
		if s.open < 0 && e != nil {
			m.forget(s)
		}
	}
}

// boundTransactions does the same for transactional ids.
func (m *Machine) boundTransactions() {
	m.watchExpiry()
	for e := m.producers.idle.Front(); e != nil && m.producers.idle.Len() > maxTransactions; {
		t := e.Value.(*transaction)
		e = e.Next()
		if t.state != ongoing && e != nil {
			m.forgetTransaction(t)
		}
	}
}

// forgetProducers takes a partition that is deleted out of transactions and
// sequences, with all that is kept of them.
func (m *Machine) forgetProducers(p *partition) {
	for _, s := range p.producers {
		m.leave(s)
	}
	p.open = nil
	for _, t := range m.producers.transactions {
		if t.state == ongoing && t.drop(p) {
			m.touchTransaction(t)
		}
	}
	for _, kind := range []byte{keyProducer, keyAborted} {
		m.turn.Commit.DeleteRange(partitionKey(kind, p.id), partitionKey(kind, p.id+1))
	}
}
