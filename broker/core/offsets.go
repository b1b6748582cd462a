package core

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/comptoir/comptoir/internal/wire"
)

// groupOffset is how far a group has come in a partition.
type groupOffset struct {
	offset      int64 // the next to read
	leaderEpoch int32 // of the last record read, -1 if not known
	metadata    string
}

func (o groupOffset) size() int { return groupOverhead + len(o.metadata) }

func appendOffset(b []byte, o groupOffset) []byte {
	b = append(b, stateVersion)
	b = binary.AppendVarint(b, o.offset)
	b = binary.AppendUvarint(b, uint64(int64(o.leaderEpoch)+1))
	return wire.AppendText(b, o.metadata)
}

func decodeOffset(value []byte) (groupOffset, error) {
	d := wire.Decode("a group's offset", value).Version(stateVersion)
	o := groupOffset{
		offset:      d.Varint(),
		leaderEpoch: int32(d.Uvarint(1<<31) - 1),
		metadata:    d.Text(maxOffsetMetadata),
	}
	return o, d.End()
}

// requested is an offset as a client commits it.
func requested(offset int64, leaderEpoch int32, metadata *string) groupOffset {
	o := groupOffset{offset: offset, leaderEpoch: max(leaderEpoch, -1)}
	if metadata != nil {
		o.metadata = *metadata
	}
	return o
}

// checkOffset says whether the text of a committed offset is accepted.
func checkOffset(metadata *string) *kerr.Error {
	if metadata != nil && len(*metadata) > maxOffsetMetadata {
		return kerr.OffsetMetadataTooLarge
	}
	return nil
}

// commitOffset keeps how far a group has come.
func (m *Machine) commitOffset(g *group, p *partition, o groupOffset) {
	m.turn.Commit.Set(offsetKey(g.name, p.id), appendOffset(nil, o))
	m.putOffset(g, p, o)
}

func (m *Machine) putOffset(g *group, p *partition, o groupOffset) {
	if old, ok := g.offsets[p]; ok {
		m.groups.bytes -= old.size()
	}
	g.offsets[p] = o
	m.groups.bytes += o.size()
}

// dropOffset forgets how far a group has come.
func (m *Machine) dropOffset(g *group, p *partition) {
	o, ok := g.offsets[p]
	if !ok {
		return
	}
	m.turn.Commit.Delete(offsetKey(g.name, p.id))
	m.groups.bytes -= o.size()
	delete(g.offsets, p)
	if len(g.offsets) == 0 {
		m.lingerGroup(g)
	}
}

// forgetTopic forgets every group's offsets of a topic that is deleted.
func (m *Machine) forgetTopic(t *topic) {
	for _, g := range m.groups.byName {
		for _, p := range t.partitions {
			m.dropOffset(g, p)
		}
	}
}

// applyOffsets commits the offsets of a transaction, with it.
func (m *Machine) applyOffsets(group string, offsets []txnOffset) {
	for _, o := range offsets {
		// A topic may have been deleted since.
		if m.topics.byID[o.partition.topic.id] == o.partition.topic {
			m.commitOffset(m.group(group), o.partition, groupOffset{o.offset, o.leaderEpoch, o.metadata})
		}
	}
}

// checkTxnOffsets says whether a member may commit offsets in a transaction.
// Who names no generation is believed: producers of old cannot name one.
func (m *Machine) checkTxnOffsets(group string, generation int32, member string, instance *string) *kerr.Error {
	if group == "" {
		return kerr.InvalidGroupID
	}
	if err := checkGroupName(group); err != nil {
		return err
	}
	g := m.groups.byName[group]
	if g == nil {
		if generation >= 0 {
			return kerr.IllegalGeneration
		}
		if !m.roomForGroups(groupOverhead + len(group)) {
			return kerr.PolicyViolation
		}
		return nil
	}
	if generation < 0 && g.state == groupEmpty || generation < 0 && member == "" && instance == nil {
		return nil
	}
	return g.check(member, instance, generation)
}
