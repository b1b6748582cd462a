package core

import (
	"encoding/binary"
	"fmt"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/wire"
)

// partition is one log, as the machine has decided it: readers may still be
// shown less (see log).
type partition struct {
	id    store.Partition
	topic *topic
	index int32

	start  int64 // the first offset that is kept
	end    int64 // the next offset
	epochs []EpochStart

	// producers are those with a sequence here, by id.
	producers map[int64]*sequences
	// open are those with an open transaction here, the one that began first in
	// front.
	open []*sequences
	// lastAborted is where the marker of the last aborted transaction stands; -1
	// for none.
	lastAborted int64

	log *Log
	// hard is the number of the last turn of which readers must see nothing here
	// before it is on the disk; ended is that of the last one that ended a
	// transaction, of which they may see that there are records, and not that they
	// are committed.
	hard, ended uint64
	// pending says that this turn publishes the partition already.
	pending bool
}

func (m *Machine) loadPartition(s State, p *partition) error {
	key := partitionKey(keyPartition, p.id)
	p.lastAborted = -1
	err := s.Scan(key, func(_, value []byte) error {
		d := wire.Decode("a partition", value).Version(stateVersion)
		p.start = d.Uvarint(1 << 62)
		for range d.Count(1<<20, 2) {
			p.epochs = append(p.epochs, EpochStart{Epoch: int32(d.Uvarint(1<<31 - 1)), Offset: d.Uvarint(1 << 62)})
		}
		p.end = d.Uvarint(1 << 62)
		p.lastAborted = d.Uvarint(1<<62) - 1
		return d.End()
	})
	if err != nil {
		return fmt.Errorf("partition %d of %q: %w", p.index, p.topic.name, err)
	}
	// The entry is written when the start moves or an epoch begins; what was
	// appended since is the store's to say.
	if _, next, ok := s.Bounds(p.id); ok {
		p.end = max(p.end, next)
	}
	return nil
}

// savePartition keeps what the batches do not say: the start, the epochs, and
// the end, which they do not say once all of them are deleted.
func (m *Machine) savePartition(p *partition) {
	b := []byte{stateVersion}
	b = binary.AppendUvarint(b, uint64(p.start))
	b = binary.AppendUvarint(b, uint64(len(p.epochs)))
	for _, e := range p.epochs {
		b = binary.AppendUvarint(b, uint64(e.Epoch))
		b = binary.AppendUvarint(b, uint64(e.Offset))
	}
	b = binary.AppendUvarint(b, uint64(p.end))
	b = binary.AppendUvarint(b, uint64(p.lastAborted+1))
	m.turn.Commit.Set(partitionKey(keyPartition, p.id), b)
}

// append places a batch at the partition's end and returns its base offset. The
// batch is the store's from here on.
func (m *Machine) append(p *partition, b []byte, h batch.Header) (base int64) {
	epoch := m.identity.epoch
	if n := len(p.epochs); n == 0 || p.epochs[n-1].Epoch != epoch {
		p.epochs = append(p.epochs[:n:n], EpochStart{Epoch: epoch, Offset: p.end})
		m.savePartition(p)
	}
	base = p.end
	batch.Place(b, base, epoch)
	p.end += int64(h.LastOffsetDelta) + 1
	m.turn.Commit.Append(p.id, b[:h.Size])
	if h.Control() {
		p.ended = m.number
	} else if !h.Transactional() {
		p.hard = m.number
	}
	m.publish(p)
	return base
}

// changed has the partition published with this turn, as it then stands, once
// the turn is on the disk.
func (m *Machine) changed(p *partition) {
	p.hard = m.number
	m.publish(p)
}

// publish has the partition published with this turn, as it then stands: once
// the turn is on the disk; or once it is written, if all that is new since the
// last sync are records of transactions. A power cut may take those: their
// transaction is aborted then. If some of these have ended, it is the end of the
// log that is shown when the turn is written, and the rest when it is on the disk:
// who reads committed records sees none that a power cut can take.
func (m *Machine) publish(p *partition) {
	if p.pending {
		return
	}
	p.pending = true
	m.turn.settle = append(m.turn.settle, func(t *Turn) {
		p.pending = false
		state := p.state(m.identity.epoch)
		number, fresh := t.number, t.number == m.first
		show := func() { p.log.publish(state, number, fresh) }
		switch {
		case p.hard > t.shown:
			t.Publish = append(t.Publish, show)
		case p.ended > t.shown:
			t.Early = append(t.Early, func() { p.log.extend(state, number) })
			t.Publish = append(t.Publish, show)
		default:
			t.Early = append(t.Early, show)
		}
	})
}

// state is what readers will see.
func (p *partition) state(epoch int32) LogState {
	return LogState{Start: p.start, End: p.end, Stable: p.stable(), Aborted: p.lastAborted >= p.start, Epoch: epoch, Epochs: p.epochs}
}

// stable is the offset below which no transaction is open.
func (p *partition) stable() int64 {
	if len(p.open) > 0 {
		return max(p.open[0].open, p.start)
	}
	return p.end
}

// publishAll shows the readers everything: at the start.
func (m *Machine) publishAll() {
	for _, t := range m.topics.byName {
		m.showTopic(t)
		for _, p := range t.partitions {
			m.changed(p)
		}
	}
}
