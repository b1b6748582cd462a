package core

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/wire"
)

// What groups may take. Kafka bounds neither; here all of them share one
// machine's memory with everything else.
const (
	maxMembers    = 1000      // of a group, those that were only given an id included
	maxGroupName  = 1 << 10   // bytes of a group's name
	maxGroupBytes = 256 << 20 // of all groups: names, members, offsets
	// groupOverhead is what an entry takes beside its texts, roughly.
	groupOverhead = 200
)

// groupLinger is how long a group that has neither members nor offsets is still
// listed, as Kafka does until its next cleaning.
const groupLinger = 10 * time.Minute

// maxSession bounds the session time-outs that members may ask for, as Kafka
// does by default; newMemberWait is how long a member may wait for its first
// generation: it sends no heartbeats yet, so nothing else tells that it is gone.
const (
	maxSession    = 30 * time.Minute
	newMemberWait = 5 * time.Minute
)

// groups are the consumer groups and their offsets. Members live in memory
// only: a restart ends their sessions, and they join anew. Offsets are kept, and
// never expire. So is the number of the last generation: members say in which
// one they were given what they hold, and the leader of the next believes the
// highest.
type groups struct {
	byName map[string]*group
	bytes  int // what they take, see maxGroupBytes
}

// groupState is where a group stands, in Kafka's words.
type groupState byte

const (
	groupEmpty      groupState = iota // no members, perhaps offsets
	groupPreparing                    // members are awaited
	groupCompleting                   // the leader's assignment is awaited
	groupStable
)

func (s groupState) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[s]
}

type group struct {
	name       string
	state      groupState
	generation int32
	// protocolType is what the members are ("consumer", "connect"); empty as
	// long as none came. protocol is what they agreed on in this generation.
	protocolType string
	protocol     string

	members []*member          // in the order they came
	byID    map[string]*member // the same
	static  map[string]*member // those with an instance id, by that
	leader  *member            // one of the members, nil when there is none
	// named are ids that were given out and not yet used to join (KIP-394).
	named map[string]*timer
	// support counts the members that know a protocol.
	support map[string]int
	// waiting counts the members whose JoinGroup is not answered yet.
	waiting int

	joinTimer *timer // ends the wait for members
	syncTimer *timer // ends the wait for SyncGroups
	linger    *timer // takes the group away if it is of no use then

	offsets map[*partition]groupOffset
}

func (m *Machine) loadGroups(s State) error {
	m.groups = groups{byName: map[string]*group{}}
	byID := map[store.Partition]*partition{}
	for _, t := range m.topics.byName {
		for _, p := range t.partitions {
			byID[p.id] = p
		}
	}
	return s.Scan([]byte{keyGroup}, func(key, value []byte) error {
		name, id, offset, err := parseGroupKey(key)
		if err != nil {
			return err
		}
		if !offset {
			generation, err := decodeGeneration(value)
			if err != nil {
				return fmt.Errorf("group %q: %w", name, err)
			}
			m.group(name).generation = generation
			return nil
		}
		o, err := decodeOffset(value)
		if err != nil {
			return fmt.Errorf("group %q: %w", name, err)
		}
		p := byID[id]
		if p == nil {
			m.log.Warn("offset of a partition that does not exist is forgotten", "group", name, "partition", uint64(id))
			m.turn.Commit.Delete(bytes.Clone(key))
			return nil
		}
		m.putOffset(m.group(name), p, o)
		return nil
	})
}

// group returns a group, made if need be.
func (m *Machine) group(name string) *group {
	g := m.groups.byName[name]
	if g == nil {
		g = &group{
			name: name, byID: map[string]*member{}, static: map[string]*member{}, named: map[string]*timer{},
			support: map[string]int{}, offsets: map[*partition]groupOffset{},
		}
		m.groups.byName[name] = g
		m.groups.bytes += groupOverhead + len(name)
		m.lingerGroup(g)
	}
	return g
}

// checkGroupName says whether a name can be a group's. The empty name is one
// only for those who commit offsets without members, as of old.
func checkGroupName(name string) *kerr.Error {
	if len(name) > maxGroupName {
		return kerr.InvalidGroupID
	}
	return nil
}

// roomForGroups says whether the groups may grow by so many bytes.
func (m *Machine) roomForGroups(bytes int) bool {
	return m.groups.bytes+bytes <= maxGroupBytes
}

// lingerGroup takes the group away in a while, unless it is of use then. It is
// called whenever a group becomes useless, and no harm otherwise.
func (m *Machine) lingerGroup(g *group) {
	if g.linger != nil {
		return
	}
	g.linger = m.timers.set(m.now.Add(groupLinger), func() {
		g.linger = nil
		if m.readOnly != nil {
			m.lingerGroup(g)
			return
		}
		if g.state == groupEmpty && len(g.named) == 0 && len(g.offsets) == 0 && !m.groupPending(g.name) {
			m.forgetGroup(g)
		}
	})
}

// saveGeneration keeps the number of a group's generation, on a disk that is
// nearly full with the room that is left for deletions. While nothing can be
// written groups go on without: see raiseGenerations.
func (m *Machine) saveGeneration(g *group) {
	if m.readOnly == nil || m.makesRoom() {
		m.turn.Commit.Set(groupKey(g.name), appendGeneration(nil, g.generation))
	}
}

// unsaved is more generations than a group begins while nothing can be written.
const unsaved = 1000

// raiseGenerations passes over the numbers that members may have been told and
// that could not be kept. Beginning twice with the same number they would make
// those of the first look like members of the second.
func (m *Machine) raiseGenerations(unclean bool) {
	for _, g := range m.groups.byName {
		if g.generation == 0 {
			continue // it has had no members, and may be forgotten with its offsets
		}
		g.generation += min(unsaved, math.MaxInt32-g.generation)
		if unclean {
			m.saveGeneration(g)
		}
	}
}

func appendGeneration(b []byte, generation int32) []byte {
	return binary.AppendUvarint(append(b, stateVersion), uint64(generation))
}

func decodeGeneration(value []byte) (int32, error) {
	d := wire.Decode("a group's generation", value).Version(stateVersion)
	generation := int32(d.Uvarint(math.MaxInt32))
	return generation, d.End()
}

// forgetGroup ends the life of a group that has neither members nor offsets.
func (m *Machine) forgetGroup(g *group) {
	for _, t := range g.named {
		m.timers.stop(t)
	}
	m.groups.bytes -= len(g.named) * groupOverhead
	for _, t := range []*timer{g.joinTimer, g.syncTimer, g.linger} {
		m.timers.stop(t)
	}
	m.groups.bytes -= groupOverhead + len(g.name)
	delete(m.groups.byName, g.name)
	m.turn.Commit.Delete(groupKey(g.name))
}

// A group's keys are keyGroup, the length of its name in two bytes, the name, and
// for an offset the number of its partition.

func offsetKey(group string, p store.Partition) []byte {
	return binary.BigEndian.AppendUint64(groupKey(group), uint64(p))
}

func groupKey(group string) []byte {
	key := make([]byte, 0, 3+len(group)+8)
	key = append(key, keyGroup)
	key = binary.BigEndian.AppendUint16(key, uint16(len(group)))
	return append(key, group...)
}

// parseGroupKey reads a key of either kind; p is only of use for an offset.
func parseGroupKey(key []byte) (group string, p store.Partition, offset bool, err error) {
	bad := fmt.Errorf("key %q is not a group's", key)
	if len(key) < 3 {
		return "", 0, false, bad
	}
	end := 3 + int(binary.BigEndian.Uint16(key[1:]))
	switch len(key) {
	case end:
		return string(key[3:]), 0, false, nil
	case end + 8:
		return string(key[3:end]), store.Partition(binary.BigEndian.Uint64(key[end:])), true, nil
	}
	return "", 0, false, bad
}
