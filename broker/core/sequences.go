package core

import (
	lists "container/list"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/wire"
)

// keptBatches is how many of a producer's last batches a partition can tell a
// repetition of: clients have at most as many under way.
const keptBatches = 5

// sequences is what a partition knows of one producer id: the last batches, by
// which it tells a repetition from a gap, and its open transaction.
type sequences struct {
	partition *partition
	producer  int64
	epoch     int16
	count     int // of batches
	batches   [keptBatches]keptBatch
	open      int64 // first offset of its open transaction here; -1 for none
	used      int64 // when it last wrote, milliseconds since 1970 of the broker's clock

	age   *lists.Element // in producers.used
	dirty bool           // it is saved with this turn
	gone  bool           // it has been forgotten
}

// keptBatch is one batch that a producer wrote.
type keptBatch struct {
	first, last int32 // sequence numbers
	base        int64 // offset of the first record
	time        int64 // its largest timestamp, milliseconds since 1970
}

// newest returns the last batch; there is one.
func (s *sequences) newest() keptBatch { return s.batches[s.count-1] }

// repeated finds the batch that h repeats.
func (s *sequences) repeated(h batch.Header) (keptBatch, bool) {
	if s == nil || s.epoch != h.ProducerEpoch {
		return keptBatch{}, false
	}
	last := h.LastSequence()
	for _, k := range s.batches[:s.count] {
		if k.first == h.BaseSequence && k.last == last {
			return k, true
		}
	}
	return keptBatch{}, false
}

// check says why a batch that repeats none is not the producer's next one. A
// producer that is not known (any more) may go on at any number (KIP-360), but
// not in a transaction of protocol version 2, where each begins at 0 (strict).
func (s *sequences) check(h batch.Header, strict bool) *kerr.Error {
	switch {
	case s == nil:
		if strict && h.BaseSequence != 0 {
			return kerr.OutOfOrderSequenceNumber
		}
		return nil
	case h.ProducerEpoch < s.epoch:
		return kerr.InvalidProducerEpoch
	case h.ProducerEpoch > s.epoch, s.count == 0:
		if h.BaseSequence != 0 {
			return kerr.OutOfOrderSequenceNumber
		}
	case h.BaseSequence != batch.NextSequence(s.newest().last):
		return kerr.OutOfOrderSequenceNumber
	}
	return nil
}

// add keeps a batch that was written at base.
func (s *sequences) add(h batch.Header, base int64) {
	s.raise(h.ProducerEpoch)
	if s.count == keptBatches {
		copy(s.batches[:], s.batches[1:])
		s.count--
	}
	s.batches[s.count] = keptBatch{first: h.BaseSequence, last: h.LastSequence(), base: base, time: h.MaxTimestamp}
	s.count++
}

// raise begins a new epoch, in which sequence numbers start at 0 again.
func (s *sequences) raise(epoch int16) {
	if epoch > s.epoch {
		s.epoch, s.count = epoch, 0
	}
}

// sequencesKey is the key of what a partition knows of a producer.
func sequencesKey(b []byte, p store.Partition, producer int64) []byte {
	b = append(b, keyProducer)
	b = binary.BigEndian.AppendUint64(b, uint64(p))
	return binary.BigEndian.AppendUint64(b, uint64(producer))
}

func (s *sequences) append(b []byte) []byte {
	b = append(b, stateVersion)
	b = binary.AppendUvarint(b, uint64(s.epoch))
	b = binary.AppendUvarint(b, uint64(s.open+1))
	b = binary.AppendVarint(b, s.used)
	b = binary.AppendUvarint(b, uint64(s.count))
	for _, k := range s.batches[:s.count] {
		b = binary.AppendUvarint(b, uint64(k.first))
		b = binary.AppendUvarint(b, uint64(k.last))
		b = binary.AppendUvarint(b, uint64(k.base))
		b = binary.AppendVarint(b, k.time)
	}
	return b
}

// parse reads what append wrote.
func (s *sequences) parse(value []byte) error {
	d := wire.Decode("a producer's sequences", value).Version(stateVersion)
	s.epoch = int16(d.Uvarint(math.MaxInt16))
	s.open = d.Uvarint(1<<62) - 1
	s.used = d.Varint()
	s.count = d.Count(keptBatches, 4)
	for i := range s.count {
		s.batches[i] = keptBatch{
			first: int32(d.Uvarint(math.MaxInt32)), last: int32(d.Uvarint(math.MaxInt32)),
			base: d.Uvarint(1 << 62), time: d.Varint(),
		}
	}
	return d.End()
}

// loadSequences reads the sequences of all partitions; byID finds these.
func (m *Machine) loadSequences(s State, byID map[store.Partition]*partition) error {
	return s.Scan([]byte{keyProducer}, func(key, value []byte) error {
		if len(key) != 1+8+8 {
			return fmt.Errorf("a producer's sequences: a key of %d bytes", len(key))
		}
		p := byID[store.Partition(binary.BigEndian.Uint64(key[1:]))]
		if p == nil {
			return nil
		}
		n := &sequences{partition: p, producer: int64(binary.BigEndian.Uint64(key[9:]))}
		if err := n.parse(value); err != nil {
			return known("producer", key[1:], err)
		}
		p.producers[n.producer] = n
		if n.open >= 0 {
			p.open = append(p.open, n)
		}
		return nil
	})
}

// sequencesOf returns what a partition knows of a producer, to be changed: from
// nothing, if need be.
func (m *Machine) sequencesOf(p *partition, producer int64, epoch int16) *sequences {
	s := p.producers[producer]
	if s == nil {
		s = &sequences{partition: p, producer: producer, epoch: epoch, open: -1}
		p.producers[producer] = s
	}
	s.used = m.now.UnixMilli()
	if s.age == nil {
		s.age = m.producers.used.PushBack(s)
		m.boundSequences()
	} else {
		m.producers.used.MoveToBack(s.age)
	}
	m.touchSequences(s)
	return s
}

// touchSequences has s saved with this turn.
func (m *Machine) touchSequences(s *sequences) {
	if s.dirty {
		return
	}
	s.dirty = true
	if len(m.producers.changed) == 0 {
		m.turn.settle = append(m.turn.settle, m.saveSequences)
	}
	m.producers.changed = append(m.producers.changed, s)
}

// saveSequences saves what the turn changed, each once.
func (m *Machine) saveSequences(t *Turn) {
	b := make([]byte, 0, 96*len(m.producers.changed))
	for i, s := range m.producers.changed {
		m.producers.changed[i] = nil
		s.dirty = false
		if s.gone {
			continue
		}
		from := len(b)
		b = sequencesKey(b, s.partition.id, s.producer)
		mid := len(b)
		b = s.append(b)
		t.Commit.Set(b[from:mid:mid], b[mid:len(b):len(b)])
	}
	m.producers.changed = m.producers.changed[:0]
}

// forget takes a producer from its partition's memory. It has no open
// transaction there.
func (m *Machine) forget(s *sequences) {
	m.leave(s)
	m.turn.Commit.Delete(sequencesKey(nil, s.partition.id, s.producer))
}

// leave is forget without the key.
func (m *Machine) leave(s *sequences) {
	s.gone = true
	delete(s.partition.producers, s.producer)
	m.producers.used.Remove(s.age)
}
