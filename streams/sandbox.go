package streams

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/comptoir/comptoir/streams/state"
)

// Sandbox runs a topology in memory, without a broker, on a clock that stands
// still until it is turned. It is the engine of streamstest.Driver, which tests
// use instead. It is not safe for concurrent use.
type Sandbox struct {
	top     *Topology
	db      *state.DB
	globals []*globalState
	counts  map[string]int32
	public  map[string]int32
	tasks   []*task
	now     time.Time
	ends    map[string][]int64
	queue   []RawRecord
	written []RawRecord
	tallies map[string]int
	dropped []error
}

// RawRecord is an encoded record with its place.
type RawRecord struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte
	Value     []byte
	Headers   []Header
	Time      time.Time
}

// NewSandbox opens a topology with empty state. partitions gives the partition
// counts of public topics; those not named have def.
func NewSandbox(top *Topology, now time.Time, def int32, partitions map[string]int32) (*Sandbox, error) {
	public := map[string]int32{}
	for _, t := range append(append(top.Sources(), top.Outputs()...), top.GlobalSources()...) {
		public[t] = def
	}
	maps.Copy(public, partitions)
	counts, tasks, err := top.counts(public)
	if err != nil {
		return nil, err
	}
	db, err := state.OpenMemory()
	if err != nil {
		return nil, err
	}
	s := &Sandbox{top: top, db: db, counts: counts, public: public, now: now, ends: map[string][]int64{}, tallies: map[string]int{}}
	for _, g := range top.globals {
		s.globals = append(s.globals, g.open())
	}
	s.tasks = make([]*task, tasks)
	return s, s.Restart()
}

// Restart throws the tasks away and opens them from the committed state.
func (s *Sandbox) Restart() error {
	for p, before := range s.tasks {
		if before != nil {
			before.close()
		}
		t, err := newTask(s.top, int32(p), s.db, s.globals, s.counts, slog.New(slog.DiscardHandler), s.now)
		if err != nil {
			return err
		}
		t.strict = true
		t.emit = func(out *output, partition int32, key, value []byte, headers []Header, at time.Time) {
			s.enqueue(RawRecord{Topic: out.topic, Partition: partition, Key: bytes.Clone(key), Value: bytes.Clone(value), Headers: headers, Time: at})
		}
		s.tasks[p] = t
	}
	return nil
}

// Close frees the state.
func (s *Sandbox) Close() error {
	for _, t := range s.tasks {
		t.close()
	}
	return s.db.Close()
}

// Pipe writes a record to a topic, handles it and all that follows from it, and
// returns where it was written. Partition -1 means that of the key; a zero Time
// means now.
func (s *Sandbox) Pipe(r RawRecord) RawRecord {
	if r.Time.IsZero() {
		r.Time = s.now
	}
	r = s.append(r)
	s.queue = append(s.queue, r)
	s.drain()
	return r
}

// Advance turns the clock and runs the punctuations that are due.
func (s *Sandbox) Advance(d time.Duration) {
	s.now = s.now.Add(d)
	for _, t := range s.tasks {
		s.run(t, func() {})
	}
	s.drain()
}

// Now returns the clock's time.
func (s *Sandbox) Now() time.Time { return s.now }

// Written returns every record that the tasks have written, internal topics
// included, in order, and forgets them.
func (s *Sandbox) Written() []RawRecord {
	w := s.written
	s.written = nil
	return w
}

// Counted returns how often an outcome was counted so far.
func (s *Sandbox) Counted(outcome string) int { return s.tallies[outcome] }

// Dropped returns the errors of records that did not decode, and forgets them.
func (s *Sandbox) Dropped() []error {
	d := s.dropped
	s.dropped = nil
	return d
}

func (s *Sandbox) append(r RawRecord) RawRecord {
	n, ok := s.counts[r.Topic]
	if !ok {
		if n, ok = s.public[r.Topic]; !ok {
			panic(fmt.Sprintf("topic %s is not part of the topology", r.Topic))
		}
	}
	if r.Partition < 0 {
		r.Partition = 0
		if r.Key != nil {
			r.Partition = Partition(r.Key, n)
		}
	}
	if s.ends[r.Topic] == nil {
		s.ends[r.Topic] = make([]int64, n)
	}
	r.Offset = s.ends[r.Topic][r.Partition]
	s.ends[r.Topic][r.Partition]++
	return r
}

func (s *Sandbox) enqueue(r RawRecord) {
	r = s.append(r)
	s.written = append(s.written, r)
	if s.top.source(r.Topic) != nil {
		s.queue = append(s.queue, r)
	}
}

func (s *Sandbox) drain() {
	for len(s.queue) > 0 {
		r := s.queue[0]
		s.queue = s.queue[1:]
		for i, g := range s.top.globals {
			if g.topic() == r.Topic {
				if err := s.globals[i].put(r.Key, r.Value); err != nil {
					s.dropped = append(s.dropped, err)
				}
			}
		}
		src := s.top.source(r.Topic)
		if src == nil {
			continue
		}
		t := s.tasks[r.Partition]
		s.run(t, func() {
			if err := t.process(src, r.Offset, r.Time, r.Key, r.Value, r.Headers); err != nil && !skipped(err) {
				s.dropped = append(s.dropped, fmt.Errorf("%s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err))
			}
		})
	}
}

// run does one transaction of a task.
func (s *Sandbox) run(t *task, work func()) {
	t.begin(s.now)
	work()
	t.punctuate()
	batch := s.db.NewBatch()
	t.flush(batch, func([]byte, []byte) {})
	if err := batch.Apply(); err != nil {
		panic(err)
	}
	for o, n := range t.tally {
		s.tallies[o] += n
	}
	t.settle()
}
