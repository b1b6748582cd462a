package audit

import (
	"encoding/binary"
	"fmt"

	"github.com/comptoir/comptoir/internal/wire"
)

// meta is what goes with every batch, so that facts, positions and tally never
// differ.
type meta struct {
	positions map[part]position
	tally     tally
	// judged says that a first round was finished: from then on only groups with
	// news are judged.
	judged bool
	// gaps says that records of the catalogue are missing.
	gaps bool
	// rows is the last number of the order database that was listed.
	rows int64
}

// part is a partition of a topic.
type part struct {
	topic     byte
	partition int32
}

// position is how far a partition is read.
type position struct {
	id   [16]byte // of the topic
	next int64
}

func (m *meta) append(b []byte) []byte {
	b = append(b, storeVersion)
	b = binary.AppendUvarint(b, uint64(len(m.positions)))
	for p, at := range m.positions {
		b = append(b, p.topic)
		b = binary.AppendUvarint(b, uint64(p.partition))
		b = append(b, at.id[:]...)
		b = binary.AppendUvarint(b, uint64(at.next))
	}
	b = binary.AppendUvarint(b, uint64(m.tally.records))
	b = binary.AppendVarint(b, m.tally.inFlight)
	b = binary.AppendUvarint(b, uint64(invariants))
	for i := range Invariants {
		b = wire.AppendText(b, Invariants[i].ID)
		b = binary.AppendVarint(b, m.tally.checked[i])
		b = binary.AppendVarint(b, m.tally.violations[i])
	}
	b = wire.AppendFlag(wire.AppendFlag(b, m.judged), m.gaps)
	return binary.AppendUvarint(b, uint64(m.rows))
}

// storeVersion is of all that is kept. It rises with every change of a fact.
const storeVersion = 1

func readMeta(data []byte) (m meta, err error) {
	d := wire.Decode("state of the audit", data).Version(storeVersion)
	m.positions = map[part]position{}
	for range d.Count(1<<20, 19) {
		p := part{topic: d.Byte()}
		p.partition = int32(d.Uvarint(1<<31 - 1))
		var at position
		d.Fixed(at.id[:])
		at.next = d.Uvarint(1<<63 - 1)
		m.positions[p] = at
	}
	m.tally.records, m.tally.inFlight = d.Uvarint(1<<63-1), d.Varint()
	for range d.Count(1000, 3) {
		i, known := invOf(d.Text(100))
		checked, violations := d.Varint(), d.Varint()
		if known {
			m.tally.checked[i], m.tally.violations[i] = checked, violations
		}
	}
	m.judged, m.gaps = d.Flag(), d.Flag()
	m.rows = d.Uvarint(1<<63 - 1)
	if err := d.End(); err != nil {
		return meta{}, fmt.Errorf("%w: %w: remove the folder to begin anew", errStore, err)
	}
	return m, nil
}

func (st *status) append(b []byte) []byte {
	b = binary.AppendVarint(b, st.inFlight)
	b = binary.AppendVarint(b, st.until.UnixMilli())
	b = binary.AppendUvarint(b, uint64(len(st.found)))
	for _, f := range st.found {
		b = wire.AppendText(b, Invariants[f.inv].ID)
		b = binary.AppendUvarint(b, uint64(f.count))
		b = binary.AppendUvarint(b, uint64(len(f.first)))
		for _, v := range f.first {
			b = append(b, topicIndex(v.Topic))
			b = binary.AppendVarint(b, int64(v.Partition))
			b = binary.AppendVarint(b, v.Offset)
			b = wire.AppendText(b, v.Detail)
		}
	}
	return b
}

func readStatus(data []byte) (st status, err error) {
	d := wire.Decode("judgement of the audit", data)
	st.inFlight, st.until = d.Varint(), d.Millis()
	for range d.Count(int(invariants), 3) {
		i, known := invOf(d.Text(100))
		f := finding{inv: i, count: d.Uvarint(1<<63 - 1)}
		for range d.Count(MaxKept, 4) {
			topic := d.Byte()
			if topic >= topics {
				d.Fail()
				break
			}
			f.first = append(f.first, Violation{Topic: topicNames[topic], Partition: int32(d.Varint()), Offset: d.Varint(), Detail: d.Text(2 * maxDetail)})
		}
		if known {
			st.found = append(st.found, f)
		}
	}
	if err := d.End(); err != nil {
		return status{}, fmt.Errorf("%w: %w", errStore, err)
	}
	return st, nil
}
