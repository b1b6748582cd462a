package streams

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Stream is a sequence of records within a topology. It is a handle: records
// flow through it when the topology runs. Type-preserving operators are its
// methods, type-changing ones are functions.
type Stream[K, V any] struct {
	b    *Builder
	n    *node
	pipe *pipe[K, V]
}

// pipe pushes a record to whoever reads the stream.
type pipe[K, V any] struct {
	readers []func(*Context, Record[K, V])
}

func (p *pipe[K, V]) push(c *Context, r Record[K, V]) {
	for _, f := range p.readers {
		f(c, r)
	}
}

func (s Stream[K, V]) read(f func(*Context, Record[K, V])) {
	s.pipe.readers = append(s.pipe.readers, f)
}

func derive[K, V any](b *Builder, n *node) Stream[K, V] {
	return Stream[K, V]{b: b, n: n, pipe: &pipe[K, V]{}}
}

// From reads a topic. A record whose key or value does not decode is logged with
// its place, counted, and left in its topic. A topology reads a topic once.
func From[K, V any](b *Builder, t Topic[K, V]) Stream[K, V] {
	return from(b, t, nil)
}

func from[K, V any](b *Builder, t Topic[K, V], internal *Partitions) Stream[K, V] {
	b.name("source", t.Name)
	n := b.node("source", t.Name)
	n.internal = internal != nil
	s := derive[K, V](b, n)
	handle := func(c *Context, key, value []byte) error {
		k, err := t.Key.Parse(key)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		v, err := t.Value.Parse(value)
		if err != nil {
			return fmt.Errorf("value: %w", err)
		}
		s.pipe.push(c, Record[K, V]{Key: k, Value: v, Time: c.time, Headers: c.headers})
		return nil
	}
	b.sources = append(b.sources, &source{topic: t.Name, internal: internal, node: n, index: len(b.sources), handle: handle})
	return s
}

// Unhurried says, of a stream that reads a topic, that nobody waits for what comes
// of its records: a transaction with nothing else in it waits for company, up to
// the commit interval. An application of which all public topics are unhurried
// asks for records at that pace too, and while others that share its Config.Load
// have more to do than they can do it rests: for up to ten seconds at a time at
// first, less and less when that lasts, a minute in all.
func (s Stream[K, V]) Unhurried() Stream[K, V] {
	i := slices.IndexFunc(s.b.sources, func(src *source) bool { return src.node == s.n })
	if i < 0 {
		s.b.fail("%s %q: only a stream that reads a topic can be unhurried", s.n.kind, s.n.name)
		return s
	}
	s.b.sources[i].unhurried = true
	return s
}

// Filter passes on the records for which keep returns true.
func (s Stream[K, V]) Filter(name string, keep func(Record[K, V]) bool) Stream[K, V] {
	out := derive[K, V](s.b, s.b.node("filter", name, s.n))
	s.read(func(c *Context, r Record[K, V]) {
		if keep(r) {
			out.pipe.push(c, r)
		}
	})
	return out
}

// Branch splits a stream: a record goes to the first branch whose predicate
// holds, or is dropped.
func (s Stream[K, V]) Branch(name string, predicates ...func(Record[K, V]) bool) []Stream[K, V] {
	outs := make([]Stream[K, V], len(predicates))
	for i := range predicates {
		outs[i] = derive[K, V](s.b, s.b.node("branch", fmt.Sprintf("%s %d", name, i+1), s.n))
	}
	s.read(func(c *Context, r Record[K, V]) {
		for i, p := range predicates {
			if p(r) {
				outs[i].pipe.push(c, r)
				return
			}
		}
	})
	return outs
}

// Merge joins streams of one type into one. Records keep the order in which
// their task handles them.
func (s Stream[K, V]) Merge(name string, others ...Stream[K, V]) Stream[K, V] {
	n := s.b.node("merge", name, s.n)
	out := derive[K, V](s.b, n)
	s.read(out.pipe.push)
	for _, o := range others {
		n.parents = append(n.parents, o.n)
		o.read(out.pipe.push)
	}
	return out
}

// To sends every record of the stream to an output.
func (s Stream[K, V]) To(out *Output[K, V]) {
	n := s.b.node("send", "", s.n)
	s.b.use(n, []Resource{out})
	s.read(func(c *Context, r Record[K, V]) {
		c.node = n
		out.Send(c, r)
	})
}

// Process hands every record to fn, which may read and write the stores and
// outputs that uses lists, and no others.
func (s Stream[K, V]) Process(name string, fn func(*Context, Record[K, V]), uses ...Resource) {
	n := s.b.node("process", name, s.n)
	s.b.use(n, uses)
	s.read(func(c *Context, r Record[K, V]) {
		c.node = n
		fn(c, r)
	})
}

// OnStreamTime runs fn in every task each time the stream's time has advanced by
// the interval. Stream time is the highest record time that has passed through
// this stream in the task; it is kept across restarts.
func (s Stream[K, V]) OnStreamTime(name string, every time.Duration, fn func(c *Context, now time.Time), uses ...Resource) {
	s.b.name("punctuation", name)
	if every <= 0 {
		s.b.fail("punctuation %q: the interval must be positive", name)
	}
	n := s.b.node("stream time", fmt.Sprintf("%s every %s", name, every), s.n)
	s.b.use(n, uses)
	clock := s.b.clock(name)
	s.read(func(c *Context, r Record[K, V]) { c.t.advance(clock, r.Time) })
	s.b.puncts = append(s.b.puncts, &punctuation{node: n, every: every, clock: clock, run: fn})
}

func (b *Builder) clock(name string) int {
	b.clocks = append(b.clocks, name)
	return len(b.clocks) - 1
}

// Map turns each record into one of other types. Changing the key does not move
// the record to another task: send it through a Repartition for that.
func Map[K, V, K2, V2 any](s Stream[K, V], name string, fn func(Record[K, V]) Record[K2, V2]) Stream[K2, V2] {
	out := derive[K2, V2](s.b, s.b.node("map", name, s.n))
	s.read(func(c *Context, r Record[K, V]) { out.pipe.push(c, fn(r)) })
	return out
}

// Output is a topic that operators write to.
type Output[K, V any] struct {
	topic Topic[K, V]
	out   *output
}

func (o *Output[K, V]) describe() (string, string) { return "output", o.out.topic }
func (o *Output[K, V]) target() *output            { return o.out }

// To declares an output topic.
func To[K, V any](b *Builder, t Topic[K, V]) *Output[K, V] {
	return to(b, t, nil)
}

func to[K, V any](b *Builder, t Topic[K, V], internal *Partitions) *Output[K, V] {
	b.name("output", t.Name)
	o := &output{topic: t.Name, internal: internal, index: len(b.outputs)}
	b.outputs = append(b.outputs, o)
	return &Output[K, V]{topic: t, out: o}
}

// Send writes a record to the partition of its key (Kafka's murmur2), as part of
// the task's transaction.
func (o *Output[K, V]) Send(c *Context, r Record[K, V]) { o.send(c, -1, r) }

// SendTo writes a record to a given partition: an answer to the task that asked.
func (o *Output[K, V]) SendTo(c *Context, partition int32, r Record[K, V]) { o.send(c, partition, r) }

func (o *Output[K, V]) send(c *Context, partition int32, r Record[K, V]) {
	c.check(o)
	t := c.t
	at := r.Time
	if at.IsZero() {
		at = t.now
	}
	t.emit(o.out, partition, encode(t, o.topic.Key, r.Key), encode(t, o.topic.Value, r.Value), r.Headers, at)
}

// encode writes v into the transaction's memory, which lives until its end.
func encode[T any](t *task, s Serde[T], v T) []byte {
	start := len(t.arena)
	b := s.Append(t.arena, v)
	if b == nil {
		return nil
	}
	t.arena = b
	return b[start:len(b):len(b)]
}

// Repartition defines an internal topic <app>-<name>-repartition with both its
// ends: what is sent to the Output arrives in the Stream, in the task that owns
// the key's partition (or the partition given to SendTo). Records are deleted
// once they are handled. What stays within the instance may not even be written
// to the topic, but be handled in the same transaction. The partition count is fixed when the application first
// starts.
func Repartition[K, V any](b *Builder, name string, key Serde[K], value Serde[V], n Partitions) (*Output[K, V], Stream[K, V]) {
	t := Topic[K, V]{Name: b.app + "-" + name + repartitionSuffix, Key: key, Value: value}
	out, in := to(b, t, &n), from(b, t, &n)
	out.out.source = b.sources[len(b.sources)-1]
	return out, in
}

// skipped tells whether a decoding error means to drop the record silently.
func skipped(err error) bool { return errors.Is(err, ErrSkip) }
