package streams

import (
	"fmt"
	"slices"
	"strings"
)

// Describe returns the topology as text: an entry for each operator, in the
// order of definition, with what it reads, uses and writes.
func (t *Topology) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", t.app)
	for _, n := range t.nodes {
		fmt.Fprintf(&b, "  %d %s", n.id, n.kind)
		if n.name != "" {
			fmt.Fprintf(&b, " %s", n.name)
		}
		if n.internal {
			b.WriteString(" (internal)")
		}
		if len(n.parents) > 0 {
			var ids []string
			for _, p := range n.parents {
				ids = append(ids, fmt.Sprint(p.id))
			}
			fmt.Fprintf(&b, " <- %s", strings.Join(ids, ", "))
		}
		b.WriteByte('\n')
		for _, u := range n.uses {
			if _, ok := u.(interface{ target() *output }); ok {
				continue
			}
			kind, name := u.describe()
			fmt.Fprintf(&b, "      %s %s\n", kind, name)
		}
		for _, o := range n.outputs {
			fmt.Fprintf(&b, "      -> %s\n", o.topic)
		}
	}
	if t.stateful() {
		fmt.Fprintf(&b, "  changelog %s\n", t.changelog())
	}
	return b.String()
}

// Mermaid returns the topology as a Mermaid flowchart: topics, operators that do
// more than pass on, and stores.
func (t *Topology) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	topics := map[string]string{}
	topic := func(name string) string {
		if id, ok := topics[name]; ok {
			return id
		}
		id := fmt.Sprintf("t%d", len(topics))
		topics[name] = id
		fmt.Fprintf(&b, "  %s([%q])\n", id, name)
		return id
	}
	stores := map[string]string{}
	store := func(kind, name string) string {
		if id, ok := stores[kind+name]; ok {
			return id
		}
		id := fmt.Sprintf("s%d", len(stores))
		stores[kind+name] = id
		fmt.Fprintf(&b, "  %s[(%q)]\n", id, name)
		return id
	}
	id := func(n *node) string {
		if n.kind == "source" {
			return topic(n.name)
		}
		return fmt.Sprintf("n%d", n.id)
	}
	for _, n := range t.nodes {
		if n.kind != "source" {
			fmt.Fprintf(&b, "  n%d[%q]\n", n.id, strings.TrimSpace(n.kind+" "+n.name))
		}
		for _, p := range n.parents {
			fmt.Fprintf(&b, "  %s --> %s\n", id(p), id(n))
		}
		for _, u := range n.uses {
			if _, ok := u.(interface{ target() *output }); ok {
				continue
			}
			kind, name := u.describe()
			fmt.Fprintf(&b, "  %s --- %s\n", id(n), store(kind, name))
		}
		for _, o := range n.outputs {
			fmt.Fprintf(&b, "  %s --> %s\n", id(n), topic(o.topic))
		}
	}
	return b.String()
}

// Stores returns the names of the state stores, sorted.
func (t *Topology) Stores() []string {
	var names []string
	for _, s := range t.stores {
		_, name := s.describe()
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
