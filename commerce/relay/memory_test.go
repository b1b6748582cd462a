package relay

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

// memory is an outbox in memory, shared by the instances of a test.
type memory struct {
	shards int

	mu        sync.Mutex
	rows      []*row
	holders   map[int]*lock
	instances map[*instance]bool // those that count as relays
	wake      chan struct{}      // closed with the next message
}

type row struct {
	orderdb.Message
	shard int
	sent  bool
}

func newMemory(shards int) *memory {
	return &memory{shards: shards, holders: map[int]*lock{}, instances: map[*instance]bool{}, wake: make(chan struct{})}
}

// submit adds a message; its value tells key and number.
func (m *memory) submit(topic, key string) {
	m.add(orderdb.Message{Topic: topic, Key: []byte(key)})
}

func shardOf(key []byte, shards int) int {
	h := fnv.New32a()
	_, _ = h.Write(key)
	return int(h.Sum32() % uint32(shards))
}

func (m *memory) add(msg orderdb.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(msg)
}

// put is add while m.mu is held.
func (m *memory) put(msg orderdb.Message) {
	msg.Number = int64(len(m.rows) + 1)
	if msg.Value == nil {
		msg.Value = fmt.Appendf(nil, "%s/%d", msg.Key, msg.Number)
	}
	if msg.At.IsZero() {
		msg.At = time.Now() // an old one falls under Kafka's retention
	}
	m.rows = append(m.rows, &row{Message: msg, shard: shardOf(msg.Key, m.shards)})
	close(m.wake)
	m.wake = make(chan struct{})
}

// unsent counts what is not marked.
func (m *memory) unsent() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, r := range m.rows {
		if !r.sent {
			n++
		}
	}
	return n
}

// instance is the outbox as one instance sees it.
type instance struct {
	*memory
	reads atomic.Int64 // of Unsent
	// onSent, if not nil, is asked before rows are marked: an error is returned
	// instead.
	onSent func(ctx context.Context) error
	// greedy takes shards that others hold.
	greedy bool
	gone   bool // it takes no shard again
}

func (m *memory) instance() *instance { return &instance{memory: m} }

// die makes the database forget the instance: its locks are lost.
func (i *instance) die() {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.instances, i)
	for n, l := range i.holders {
		if l.of == i {
			delete(i.holders, n)
			close(l.lost)
		}
	}
}

// crash is a die from which it does not come back.
func (i *instance) crash() {
	i.mu.Lock()
	i.gone = true
	i.mu.Unlock()
	i.die()
}

// Leave is an orderly die.
func (i *instance) Leave(context.Context) error { i.die(); return nil }

func (i *instance) holds() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for _, l := range i.holders {
		if l.of == i {
			n++
		}
	}
	return n
}

type lock struct {
	of    *instance
	shard int
	lost  chan struct{}
}

func (l *lock) Lost() <-chan struct{} { return l.lost }

func (l *lock) Release() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.of.holders[l.shard] == l {
		delete(l.of.holders, l.shard)
	}
}

func (i *instance) Shards() int { return i.shards }

func (i *instance) Wake() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.wake
}

func (i *instance) Hold(_ context.Context, shard int) (orderdb.Lock, bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.gone {
		return nil, false, errDown
	}
	i.instances[i] = true
	if i.holders[shard] != nil && !i.greedy {
		return nil, false, nil
	}
	l := &lock{of: i, shard: shard, lost: make(chan struct{})}
	i.holders[shard] = l
	return l, true, nil
}

func (i *instance) Relays(context.Context) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := len(i.instances)
	if !i.instances[i] {
		n++
	}
	return n, nil
}

func (i *instance) Unsent(_ context.Context, limits map[int]int) (map[int][]orderdb.Message, error) {
	i.reads.Add(1)
	i.mu.Lock()
	defer i.mu.Unlock()
	out := map[int][]orderdb.Message{}
	for _, r := range i.rows {
		if !r.sent && len(out[r.shard]) < limits[r.shard] {
			out[r.shard] = append(out[r.shard], r.Message)
		}
	}
	return out, nil
}

func (i *instance) Sent(ctx context.Context, numbers []int64) error {
	if i.onSent != nil {
		if err := i.onSent(ctx); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, n := range numbers {
		i.rows[n-1].sent = true
	}
	return nil
}

var errDown = errors.New("down by the test")

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("not reached: %s", what)
		case <-tick.C:
		}
	}
}
