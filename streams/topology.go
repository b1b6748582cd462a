package streams

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Builder collects a topology. It is used from one goroutine; mistakes are
// gathered and returned by Build.
type Builder struct {
	app       string
	sources   []*source
	outputs   []*output
	stores    []storeDef
	globals   []globalDef
	nodes     []*node
	puncts    []*punctuation
	clocks    []string
	ordered   bool
	errs      []error
	usedNames map[string]bool
}

// NewBuilder starts the topology of an application. Its name is the consumer
// group and the prefix of every internal topic.
func NewBuilder(app string) *Builder {
	b := &Builder{app: app, usedNames: map[string]bool{}}
	if app == "" {
		b.fail("the application needs a name")
	}
	return b
}

// Ordered makes each task handle its inputs in the order of their times: it
// takes the lowest head timestamp among its partitions, and waits for a
// partition that is empty while its lag is unknown or above 0. Without it
// records are handled as they arrive and no input waits for another, which is
// right for a topology whose result does not depend on the order of its inputs.
func (b *Builder) Ordered() { b.ordered = true }

func (b *Builder) fail(format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf(format, args...))
}

// name reserves a name among one kind of things.
func (b *Builder) name(kind, name string) {
	if name == "" {
		b.fail("a %s needs a name", kind)
	}
	if k := kind + " " + name; b.usedNames[k] {
		b.fail("%s %q is defined twice", kind, name)
	} else {
		b.usedNames[k] = true
	}
}

// node is one operator in the picture that Describe draws.
type node struct {
	id       int
	kind     string // source, filter, map, branch, merge, process, send
	name     string
	parents  []*node
	uses     []Resource
	outputs  []*output
	internal bool
}

func (b *Builder) node(kind, name string, parents ...*node) *node {
	n := &node{id: len(b.nodes), kind: kind, name: name, parents: parents}
	b.nodes = append(b.nodes, n)
	return n
}

// source is an input topic.
type source struct {
	topic    string
	internal *Partitions // non-nil for a repartition topic
	node     *node
	index    int
	// unhurried: see Stream.Unhurried.
	unhurried bool
	// handle decodes a raw record and pushes it into the topology.
	handle func(c *Context, key, value []byte) error
}

// output is a topic written to.
type output struct {
	topic    string
	internal *Partitions
	source   *source // the receiving end of a repartition topic
	index    int
}

// Partitions says how many partitions an internal topic has.
type Partitions struct {
	like string
	n    int32
	far  bool
}

// AfterCommit makes a record arrive only after the transaction that sent it has
// committed: whoever receives it may act on the outside, where nothing is undone.
// Without it a record for a task of the same instance may be handled within the
// transaction that sent it.
func (p Partitions) AfterCommit() Partitions {
	p.far = true
	return p
}

// PartitionsOf gives an internal topic as many partitions as another topic has
// when the application first starts.
func PartitionsOf(topic string) Partitions { return Partitions{like: topic} }

// FixedPartitions gives an internal topic n partitions.
func FixedPartitions(n int32) Partitions { return Partitions{n: n} }

// Resource is what an operator may use besides its input: a store, a table, a
// global table or an output. Declaring it puts it into the picture and lets the
// topology be checked.
type Resource interface {
	describe() (kind, name string)
}

// Topology is a finished, immutable topology. It can be run by any number of
// Apps and drivers at once.
type Topology struct {
	app     string
	sources []*source
	outputs []*output
	stores  []storeDef
	globals []globalDef
	nodes   []*node
	puncts  []*punctuation
	clocks  []string
	ordered bool
}

// Build checks and returns the topology, or every mistake that was made.
func (b *Builder) Build() (*Topology, error) {
	if len(b.sources) == 0 {
		b.fail("the topology reads no topic")
	}
	for _, o := range b.outputs {
		if o.internal != nil && o.internal.like == "" && o.internal.n < 1 {
			b.fail("topic %s needs at least one partition", o.topic)
		}
	}
	if err := errors.Join(b.errs...); err != nil {
		return nil, fmt.Errorf("topology %s: %w", b.app, err)
	}
	return &Topology{
		app: b.app, sources: b.sources, outputs: b.outputs, stores: b.stores, globals: b.globals,
		nodes: b.nodes, puncts: b.puncts, clocks: b.clocks, ordered: b.ordered,
	}, nil
}

// App returns the application's name, which is its consumer group.
func (t *Topology) App() string { return t.app }

// Sources returns the public topics the tasks read, in the order of their
// definition.
func (t *Topology) Sources() []string {
	var names []string
	for _, s := range t.sources {
		if s.internal == nil {
			names = append(names, s.topic)
		}
	}
	return names
}

// GlobalSources returns the topics that feed global tables.
func (t *Topology) GlobalSources() []string {
	var names []string
	for _, g := range t.globals {
		names = append(names, g.topic())
	}
	return names
}

// Outputs returns the public topics the tasks write.
func (t *Topology) Outputs() []string {
	var names []string
	for _, o := range t.outputs {
		if o.internal == nil && !slices.Contains(names, o.topic) {
			names = append(names, o.topic)
		}
	}
	return names
}

// InternalTopics returns the names of the topics that belong to the application
// alone: repartition topics and the changelog.
func (t *Topology) InternalTopics() []string {
	var names []string
	for _, o := range t.outputs {
		if o.internal != nil {
			names = append(names, o.topic)
		}
	}
	if t.stateful() {
		names = append(names, t.changelog())
	}
	return names
}

// unhurried tells whether all public sources are.
func (t *Topology) unhurried() bool {
	for _, s := range t.sources {
		if s.internal == nil && !s.unhurried {
			return false
		}
	}
	return true
}

func (t *Topology) stateful() bool { return len(t.stores) > 0 || len(t.clocks) > 0 }

func (t *Topology) changelog() string { return t.app + "-state" + changelogSuffix }

func (t *Topology) source(topic string) *source {
	for _, s := range t.sources {
		if s.topic == topic {
			return s
		}
	}
	return nil
}

// counts resolves the number of partitions of every source and internal topic
// from those of the public topics, and of the tasks: the largest among the
// sources. It checks co-partitioning: the sources that meet at a store must
// have equally many partitions.
func (t *Topology) counts(public map[string]int32) (counts map[string]int32, tasks int32, err error) {
	counts = map[string]int32{}
	for _, s := range t.sources {
		if s.internal == nil {
			n, ok := public[s.topic]
			if !ok {
				return nil, 0, fmt.Errorf("topic %s %w", s.topic, errMissing)
			}
			counts[s.topic] = n
		}
	}
	for _, o := range t.outputs {
		if o.internal == nil {
			continue
		}
		n := o.internal.n
		if like := o.internal.like; like != "" {
			var ok bool
			if n, ok = counts[like]; !ok {
				if n, ok = public[like]; !ok {
					return nil, 0, fmt.Errorf("topic %s is to have as many partitions as %s, which %w", o.topic, like, errMissing)
				}
			}
		}
		counts[o.topic] = n
	}
	for _, s := range t.sources {
		tasks = max(tasks, counts[s.topic])
	}
	for _, st := range t.stores {
		at := t.sourcesOf(st)
		for _, s := range at[min(1, len(at)):] {
			if counts[s] != counts[at[0]] {
				_, name := st.describe()
				return nil, 0, fmt.Errorf("%s: store %q joins topics that are not co-partitioned: %s has %d partitions, %s has %d; give them equally many, keyed with Kafka's default partitioner",
					t.app, name, at[0], counts[at[0]], s, counts[s])
			}
		}
	}
	return counts, tasks, nil
}

// errMissing is in the error of a topology whose topics are not all there.
var errMissing = errors.New("does not exist")

// sourcesOf returns the topics whose records reach an operator that uses the store.
func (t *Topology) sourcesOf(st Resource) []string {
	var topics []string
	var walk func(n *node)
	walk = func(n *node) {
		if n.kind == "source" && !slices.Contains(topics, n.name) {
			topics = append(topics, n.name)
		}
		for _, p := range n.parents {
			walk(p)
		}
	}
	for _, n := range t.nodes {
		if slices.Contains(n.uses, st) {
			walk(n)
		}
	}
	return topics
}

// punctuation is work done at intervals of time in every task.
type punctuation struct {
	node  *node
	every time.Duration
	clock int // index of the stream clock, or -1 for the wall clock
	run   func(c *Context, now time.Time)
}

// WallClock runs fn in every task each time the interval has passed, in a
// transaction of its own or of whatever else is at hand. The first run is one
// interval after the task's start. uses lists the stores and outputs it touches.
func (b *Builder) WallClock(name string, every time.Duration, fn func(c *Context, now time.Time), uses ...Resource) {
	b.name("punctuation", name)
	if every <= 0 {
		b.fail("punctuation %q: the interval must be positive", name)
	}
	n := b.node("wall clock", fmt.Sprintf("%s every %s", name, every))
	b.use(n, uses)
	b.puncts = append(b.puncts, &punctuation{node: n, every: every, clock: -1, run: fn})
}

func (b *Builder) use(n *node, uses []Resource) {
	for _, u := range uses {
		if r, ok := u.(interface{ resource() Resource }); ok {
			u = r.resource() // the store behind a window store or a table
		}
		n.uses = append(n.uses, u)
		if o, ok := u.(interface{ target() *output }); ok {
			n.outputs = append(n.outputs, o.target())
		}
	}
}
