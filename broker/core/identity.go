package core

import (
	"encoding/binary"
	"fmt"

	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/wire"
)

// identity is what the broker counts.
type identity struct {
	epoch         int32 // the leader epoch of every partition, from 0
	nextPartition store.Partition
	nextProducer  int64
}

func (m *Machine) loadIdentity(s State) error {
	m.identity = identity{nextPartition: 1, nextProducer: 1}
	return s.Scan([]byte{keyIdentity}, func(_, value []byte) error {
		d := wire.Decode("the broker's counters", value).Version(stateVersion)
		m.identity.epoch = int32(d.Uvarint(1<<31 - 1))
		m.identity.nextPartition = store.Partition(d.Uvarint(1 << 62))
		m.identity.nextProducer = d.Uvarint(1 << 62)
		return d.End()
	})
}

func (m *Machine) saveIdentity() {
	b := []byte{stateVersion}
	b = binary.AppendUvarint(b, uint64(m.identity.epoch))
	b = binary.AppendUvarint(b, uint64(m.identity.nextPartition))
	b = binary.AppendUvarint(b, uint64(m.identity.nextProducer))
	m.turn.Commit.Set([]byte{keyIdentity}, b)
}

// newPartition returns a number that no partition had before.
func (m *Machine) newPartition() store.Partition {
	p := m.identity.nextPartition
	m.identity.nextPartition++
	m.saveIdentity()
	return p
}

// newProducer returns a producer id that none had before.
func (m *Machine) newProducer() int64 {
	id := m.identity.nextProducer
	m.identity.nextProducer++
	m.saveIdentity()
	return id
}

// raiseEpoch begins a new leader epoch on every partition: clients that have
// read what a crash may have taken back learn where the old epoch ends.
func (m *Machine) raiseEpoch() {
	m.identity.epoch++
	m.saveIdentity()
	m.log.Info("leader epoch raised after an unclean stop", "epoch", m.identity.epoch)
}

// known wraps the error of an entry that cannot be read.
func known(what string, key []byte, err error) error {
	if err != nil {
		return fmt.Errorf("%s %q: %w", what, key, err)
	}
	return nil
}
