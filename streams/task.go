package streams

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/comptoir/comptoir/streams/state"
)

// task runs a topology for one partition number. It knows nothing of Kafka
// clients: it is given records, and emits records to whoever runs it. It is
// single-threaded.
type task struct {
	top       *Topology
	partition int32
	db        *state.DB
	reads     *state.Reader // for the open transaction
	space     state.Space
	stores    []storeState
	globals   []*globalState
	counts    map[string]int32 // partitions of sources and internal topics
	logger    *slog.Logger

	// emit hands over an output record. The slices live until the transaction
	// is settled.
	emit func(out *output, partition int32, key, value []byte, headers []Header, at time.Time)

	now     time.Time
	arena   []byte
	touched bool // state changed in the open transaction
	taken   int  // bytes of the records that it was given
	clocks  []time.Time
	due     []time.Time // next run of each punctuation
	sweepAt time.Time
	tally   map[string]int // outcomes counted in the open transaction

	// positions is where each source goes on: the offset after the last record
	// handled, -1 where nothing is known. Indexed like top.sources.
	positions []int64
	ahead     []ahead    // of the positions; see chain.go
	topicIDs  [][16]byte // of the sources, zero if unknown
	changelog int64      // the changelog's offset that the local state is up to
	changeAt  time.Time  // what its age counts from; see age.go
	changeID  [16]byte   // the changelog's topic id
	ctx       Context
	// strict makes operators panic that use what they did not declare.
	strict bool
}

const sweepEvery = 5 * time.Second

func newTask(top *Topology, partition int32, db *state.DB, globals []*globalState, counts map[string]int32, logger *slog.Logger, now time.Time) (*task, error) {
	t := &task{
		top: top, partition: partition, db: db, reads: db.NewReader(), globals: globals, counts: counts, logger: logger,
		arena: make([]byte, 0, 4096), tally: map[string]int{}, now: now,
		clocks: make([]time.Time, len(top.clocks)),
		due:    make([]time.Time, len(top.puncts)), sweepAt: now.Add(sweepEvery),
		positions: make([]int64, len(top.sources)), ahead: make([]ahead, len(top.sources)), topicIDs: make([][16]byte, len(top.sources)),
	}
	t.ctx.t = t
	var err error
	if t.space, err = db.Space(top.app, "state", partition); err != nil {
		return nil, err
	}
	for _, def := range top.stores {
		s, err := def.open(t)
		if err != nil {
			return nil, err
		}
		t.stores = append(t.stores, s)
	}
	for i := range t.positions {
		t.positions[i] = -1
	}
	if err := t.load(); err != nil {
		return nil, err
	}
	for i, p := range top.puncts {
		if p.clock < 0 {
			t.due[i] = now.Add(p.every)
		} else if at := t.clocks[p.clock]; !at.IsZero() {
			t.due[i] = at.Add(p.every)
		}
	}
	return t, nil
}

// close lets go of the local state.
func (t *task) close() {
	t.reads.Close()
	for _, s := range t.stores {
		s.close()
	}
}

// begin opens a transaction at a time.
func (t *task) begin(now time.Time) { t.now = now }

// process handles a record of a source; offset is -1 for one that was handed over
// without lying in the topic. A record that does not decode is
// reported in err and has no effect; anything else that goes wrong panics.
func (t *task) process(s *source, offset int64, at time.Time, key, value []byte, headers []Header) error {
	c := &t.ctx
	c.topic, c.offset, c.raw, c.time, c.headers, c.rawKey = s.topic, offset, at, at, headers, key
	if at.After(t.now) {
		c.time = t.now
	}
	t.taken += len(key) + len(value)
	err := s.handle(c, key, value)
	c.topic, c.offset, c.raw, c.time, c.headers, c.rawKey = "", -1, time.Time{}, time.Time{}, nil, nil
	if offset >= 0 {
		t.advancedTo(s.index, offset+1)
	}
	return err
}

// advancedTo notes where a source goes on.
func (t *task) advancedTo(source int, position int64) {
	if position > t.positions[source] {
		t.positions[source] = position
		t.ahead[source].pass(position)
	}
}

// punctuate runs what is due and returns when the next wall-clock work is.
func (t *task) punctuate() time.Time {
	c := &t.ctx
	c.offset = -1
	if latest := t.now.Add(sweepEvery); t.sweepAt.After(latest) {
		t.sweepAt = latest
	}
	next := t.sweepAt
	for i, p := range t.top.puncts {
		now := t.now
		if p.clock >= 0 {
			now = t.clocks[p.clock]
			if now.IsZero() {
				continue
			}
			if t.due[i].IsZero() {
				t.due[i] = now.Add(p.every)
			}
		}
		if latest := now.Add(p.every); t.due[i].After(latest) {
			t.due[i] = latest // the clock was set back
		}
		if !now.Before(t.due[i]) {
			// Missed runs are not made up for.
			t.due[i] = now.Add(p.every)
			c.node = p.node
			p.run(c, now)
		}
		if p.clock < 0 && t.due[i].Before(next) {
			next = t.due[i]
		}
	}
	if !t.now.Before(t.sweepAt) {
		t.sweepAt = t.now.Add(sweepEvery)
		c.node = nil
		for _, s := range t.stores {
			s.sweep(c)
		}
	}
	return next
}

func (t *task) advance(clock int, at time.Time) {
	if at.After(t.clocks[clock]) {
		t.clocks[clock] = at
		t.touched = true
	}
}

func (t *task) count(outcome string) { t.tally[outcome]++ }

// size is a rough count of the bytes that the open transaction holds. Its input
// counts, since that may wait in a store.
func (t *task) size() int {
	n := len(t.arena) + t.taken
	for _, s := range t.stores {
		n += s.bytes()
	}
	return n
}

// keyMeta is the changelog key of a task's own record: positions and stream
// times. No store's keys begin with a zero byte, since a name is not empty.
var keyMeta = []byte{0}

// flush emits the changelog records of the open transaction and collects the
// same writes in batch, which is applied when the transaction has committed.
// withPositions adds the task's positions.
func (t *task) flush(batch *state.Batch, emit func(key, value []byte)) {
	var scratch []byte
	both := func(key, value []byte) {
		emit(key, value)
		scratch = append(append(scratch[:0], t.space[:]...), key...)
		if value == nil {
			batch.Delete(scratch)
		} else {
			batch.Set(scratch, value)
		}
	}
	for _, s := range t.stores {
		s.flush(both)
	}
	start := len(t.arena)
	t.arena = t.appendMeta(t.arena)
	both(keyMeta, t.arena[start:len(t.arena):len(t.arena)])
}

// settle ends a transaction that has committed. After one that has not, or may
// not have, the task is thrown away and opened anew from the local state.
func (t *task) settle() {
	for _, s := range t.stores {
		s.settle()
	}
	if cap(t.arena) > 4<<20 {
		t.arena = make([]byte, 0, 4096)
	}
	t.arena = t.arena[:0]
	t.touched, t.taken = false, 0
	for i := range t.ahead {
		t.ahead[i].fresh = false
	}
	clear(t.tally)
	t.reads.Close()
}

// appendMeta encodes positions and stream times: a version byte; the number of
// sources, and for each its topic, topic id and offset; the number of clocks,
// and for each its name and milliseconds. Version 2 has behind each offset what was
// handled beyond it (see chain.go): the number of producers, and for each its id
// and epoch. It is written only where there is such.
func (t *task) appendMeta(b []byte) []byte {
	version := byte(1)
	for i := range t.ahead {
		if len(t.ahead[i].epochs) > 0 {
			version = 2
		}
	}
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(len(t.top.sources)))
	for i, s := range t.top.sources {
		b = binary.AppendUvarint(b, uint64(len(s.topic)))
		b = append(b, s.topic...)
		b = append(b, t.topicIDs[i][:]...)
		b = binary.AppendVarint(b, t.positions[i])
		if version < 2 {
			continue
		}
		epochs := t.ahead[i].epochs
		b = binary.AppendUvarint(b, uint64(len(epochs)))
		for _, producer := range slices.Sorted(maps.Keys(epochs)) {
			b = binary.AppendVarint(b, producer)
			b = binary.AppendVarint(b, int64(epochs[producer]))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(t.clocks)))
	for i, name := range t.top.clocks {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
		ms := int64(-1)
		if !t.clocks[i].IsZero() {
			ms = t.clocks[i].UnixMilli()
		}
		b = binary.AppendVarint(b, ms)
	}
	return b
}

// parseMeta reads what appendMeta wrote, for whatever sources and clocks the
// topology had then.
func parseMeta(data []byte, position func(topic string, id [16]byte, offset int64, beyond map[int64]int16), clock func(name string, at time.Time)) error {
	bad := fmt.Errorf("damaged positions record (%d bytes)", len(data))
	if len(data) == 0 || data[0] != 1 && data[0] != 2 {
		return bad
	}
	version := data[0]
	data = data[1:]
	uvarint := func() (uint64, bool) {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return 0, false
		}
		data = data[n:]
		return v, true
	}
	varint := func() (int64, bool) {
		v, n := binary.Varint(data)
		if n <= 0 {
			return 0, false
		}
		data = data[n:]
		return v, true
	}
	name := func() (string, bool) {
		n, ok := uvarint()
		if !ok || n > uint64(len(data)) {
			return "", false
		}
		s := string(data[:n])
		data = data[n:]
		return s, true
	}
	n, ok := uvarint()
	for ; ok && n > 0; n-- {
		topic, ok1 := name()
		if !ok1 || len(data) < 16 {
			return bad
		}
		var id [16]byte
		copy(id[:], data)
		data = data[16:]
		off, ok2 := varint()
		if !ok2 {
			return bad
		}
		var beyond map[int64]int16
		if version > 1 {
			producers, ok := uvarint()
			for ; ok && producers > 0; producers-- {
				producer, ok1 := varint()
				epoch, ok2 := varint()
				if !ok1 || !ok2 || epoch < 0 || epoch > math.MaxInt16 {
					return bad
				}
				if beyond == nil {
					beyond = map[int64]int16{}
				}
				beyond[producer] = int16(epoch)
			}
			if !ok {
				return bad
			}
		}
		position(topic, id, off, beyond)
	}
	if !ok {
		return bad
	}
	n, ok = uvarint()
	for ; ok && n > 0; n-- {
		s, ok1 := name()
		ms, ok2 := varint()
		if !ok1 || !ok2 {
			return bad
		}
		if ms >= 0 {
			clock(s, time.UnixMilli(ms).UTC())
		}
	}
	if !ok || len(data) > 0 {
		return bad
	}
	return nil
}

// Keys of a task's local records that are not in the changelog begin with 0 too,
// and are longer than keyMeta.
var keyChangelog = []byte{0, 1}

// load reads positions, stream times and the changelog position from the local
// state. Positions of a re-created topic (another id) are dropped by the caller.
func (t *task) load() error {
	local := func(key []byte) []byte { return append(append([]byte{}, t.space[:]...), key...) }
	_, err := t.db.Get(local(keyChangelog), func(v []byte) error {
		if len(v) != 32 {
			return fmt.Errorf("task %s/%d: damaged changelog position", t.top.app, t.partition)
		}
		t.changelog = int64(binary.BigEndian.Uint64(v))
		copy(t.changeID[:], v[8:])
		t.changeAt = time.UnixMilli(int64(binary.BigEndian.Uint64(v[24:])))
		return nil
	})
	if err != nil {
		return err
	}
	_, err = t.db.Get(local(keyMeta), func(v []byte) error {
		return parseMeta(v, func(topic string, id [16]byte, offset int64, beyond map[int64]int16) {
			if s := t.top.source(topic); s != nil {
				t.positions[s.index], t.topicIDs[s.index] = offset, id
				t.ahead[s.index] = ahead{epochs: beyond}
			}
		}, func(name string, at time.Time) {
			for i, c := range t.top.clocks {
				if c == name {
					t.clocks[i] = at
				}
			}
		})
	})
	return err
}

// setChangelog adds to batch that the local state is up to an offset of the
// changelog, and when it was known to be at its end.
func (t *task) setChangelog(batch interface{ Set(key, value []byte) }, offset int64, id [16]byte, asOf time.Time) {
	v := binary.BigEndian.AppendUint64(nil, uint64(offset))
	v = append(v, id[:]...)
	v = binary.BigEndian.AppendUint64(v, uint64(asOf.UnixMilli()))
	batch.Set(append(append([]byte{}, t.space[:]...), keyChangelog...), v)
}
