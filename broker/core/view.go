package core

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/comptoir/comptoir/broker/store"
)

// View is what readers may see of the broker: what is durable. It is safe for
// concurrent use.
type View struct {
	mu     sync.Mutex // held by who changes topics
	topics atomic.Pointer[viewTopics]
}

// viewTopics is never changed: a new one takes its place.
type viewTopics struct {
	byName map[string]*ViewTopic
	byID   map[[16]byte]*ViewTopic
}

// ViewTopic is a topic as readers see it. It is never changed.
type ViewTopic struct {
	Name       string
	ID         [16]byte
	Compact    bool // only the last record of each key stays: records need keys
	Partitions []*Log
	// Before and After are how far behind and ahead of the clock records may be
	// dated, in milliseconds; AppendTime says that their dates do not matter.
	Before, After int64
	AppendTime    bool
}

// NewView returns a view of nothing.
func NewView() *View {
	v := &View{}
	v.topics.Store(&viewTopics{byName: map[string]*ViewTopic{}, byID: map[[16]byte]*ViewTopic{}})
	return v
}

// Topic finds a topic by name.
func (v *View) Topic(name string) (*ViewTopic, bool) {
	t, ok := v.topics.Load().byName[name]
	return t, ok
}

// TopicByID finds a topic by its id.
func (v *View) TopicByID(id [16]byte) (*ViewTopic, bool) {
	t, ok := v.topics.Load().byID[id]
	return t, ok
}

// log returns what readers have of a partition already, or a new one: a machine
// that is loaded anew goes on with the readers it has.
func (v *View) log(topic string, p *partition) *Log {
	if t, ok := v.Topic(topic); ok && int(p.index) < len(t.Partitions) && t.Partitions[p.index].ID == p.id {
		return t.Partitions[p.index]
	}
	return &Log{ID: p.id}
}

// put adds a topic, or replaces the one of its name.
func (v *View) put(t *ViewTopic) {
	v.change(func(n *viewTopics) {
		if old, ok := n.byName[t.Name]; ok {
			delete(n.byID, old.ID)
		}
		n.byName[t.Name], n.byID[t.ID] = t, t
	})
}

// remove takes a topic away and wakes whoever waits for its records.
func (v *View) remove(name string) {
	var gone *ViewTopic
	v.change(func(n *viewTopics) {
		if gone = n.byName[name]; gone != nil {
			delete(n.byID, gone.ID)
			delete(n.byName, name)
		}
	})
	if gone != nil {
		for _, l := range gone.Partitions {
			l.wake()
		}
	}
}

func (v *View) change(do func(*viewTopics)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.topics.Load()
	n := &viewTopics{byName: maps.Clone(old.byName), byID: maps.Clone(old.byID)}
	do(n)
	v.topics.Store(n)
}

// Log is a partition as readers see it. It is safe for concurrent use.
type Log struct {
	ID store.Partition

	mu      sync.Mutex
	state   LogState
	number  uint64 // of the turn that decided state
	ended   uint64 // of the one that decided its end, which may be later
	waiters map[*Waiter]struct{}
}

// LogState is how far a partition may be read.
type LogState struct {
	Start  int64 // the first offset that is kept
	End    int64 // the one after the last record (high watermark)
	Stable int64 // below it no transaction is open (last stable offset)
	// Aborted says that aborted transactions are kept: readers of committed
	// records must look for them.
	Aborted bool
	// Epoch is the leader epoch; Epochs says where each that has records began,
	// oldest first. It is never changed in place.
	Epoch  int32
	Epochs []EpochStart
}

// EpochStart is the first offset of a leader epoch.
type EpochStart struct {
	Epoch  int32
	Offset int64
}

// State returns how far the partition may be read now.
func (l *Log) State() LogState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// raise moves the start before the store takes the records below it away: who
// looks at the start after a read knows whether some were missing.
func (l *Log) raise(start int64) {
	l.mu.Lock()
	l.state.Start = max(l.state.Start, min(start, l.state.End))
	l.mu.Unlock()
}

// publish shows the state that a turn decided and wakes who waits. If a later
// turn's is shown already it does nothing, unless the machine is a fresh one.
func (l *Log) publish(s LogState, turn uint64, fresh bool) {
	l.mu.Lock()
	if turn < l.number && !fresh {
		l.mu.Unlock()
		return
	}
	if !fresh {
		s.Start = max(s.Start, l.state.Start) // which may have been raised since
	}
	if turn < l.ended && !fresh {
		s.End, s.Epochs = l.state.End, l.state.Epochs
	} else {
		l.ended = turn
	}
	l.state, l.number = s, turn
	l.signal()
	l.mu.Unlock()
}

// extend shows how far the log goes by the state that a turn decided, and nothing
// else of it.
func (l *Log) extend(s LogState, turn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if turn < l.ended {
		return
	}
	l.state.End, l.state.Epochs, l.ended = s.End, s.Epochs, turn
	l.signal()
}

func (l *Log) wake() {
	l.mu.Lock()
	l.signal()
	l.mu.Unlock()
}

// signal is called with the lock.
func (l *Log) signal() {
	for w := range l.waiters {
		w.signal()
	}
}

// Waiter waits for news of partitions. Wait on C, look, and wait again; Stop it
// at the end.
type Waiter struct {
	C    chan struct{}
	logs []*Log
}

// Watch returns a waiter for news of logs. It misses none from here on.
func Watch(logs []*Log) *Waiter {
	w := &Waiter{C: make(chan struct{}, 1), logs: logs}
	for _, l := range logs {
		l.mu.Lock()
		if l.waiters == nil {
			l.waiters = map[*Waiter]struct{}{}
		}
		l.waiters[w] = struct{}{}
		l.mu.Unlock()
	}
	return w
}

// Stop ends the wait.
func (w *Waiter) Stop() {
	for _, l := range w.logs {
		l.mu.Lock()
		delete(l.waiters, w)
		l.mu.Unlock()
	}
}

func (w *Waiter) signal() {
	select {
	case w.C <- struct{}{}:
	default:
	}
}
