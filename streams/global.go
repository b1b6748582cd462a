package streams

import "sync"

// GlobalTable is a whole topic in the memory of every instance, for look-ups by
// keys other than the task's. It is read to its end before any task starts and
// follows the topic after. It is not part of the transactions: a look-up sees
// what has been read so far.
type GlobalTable[T any] struct {
	name  string
	index int
	src   string
	make  func() T
	apply func(into T, key, value []byte) error
}

// globalDef is a global table as the topology knows it.
type globalDef interface {
	Resource
	topic() string
	open() *globalState
}

// globalState is the table of one App or driver.
type globalState struct {
	mu    sync.RWMutex
	table any
	apply func(key, value []byte) error
}

// NewGlobalTable defines a global table. make returns an empty one, apply
// changes it by a record (a nil value is a tombstone) and is called by one
// goroutine, never together with a View. A record that does not decode is
// logged, counted and passed over.
func NewGlobalTable[T, K, V any](b *Builder, name string, t Topic[K, V], make func() T, apply func(into T, key K, value *V)) *GlobalTable[T] {
	b.name("global table", name)
	null := nullable(t)
	g := &GlobalTable[T]{name: name, index: len(b.globals), src: t.Name, make: make,
		apply: func(into T, key, value []byte) error {
			k, err := t.Key.Parse(key)
			if err != nil {
				return err
			}
			v, err := null.Value.Parse(value)
			if err != nil {
				return err
			}
			apply(into, k, v)
			return nil
		}}
	b.globals = append(b.globals, g)
	return g
}

// View calls fn with the table, which must be neither changed nor kept.
func (g *GlobalTable[T]) View(c *Context, fn func(T)) {
	c.check(g)
	st := c.t.globals[g.index]
	st.mu.RLock()
	defer st.mu.RUnlock()
	fn(st.table.(T))
}

func (g *GlobalTable[T]) describe() (string, string) { return "global table", g.name }
func (g *GlobalTable[T]) topic() string              { return g.src }

func (g *GlobalTable[T]) open() *globalState {
	table := g.make()
	return &globalState{table: table, apply: func(k, v []byte) error { return g.apply(table, k, v) }}
}

// put applies a record from the topic.
func (s *globalState) put(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apply(key, value)
}
