package orderdb

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/comptoir/comptoir/commerce/event"
)

// pruned is how many rows of a table Prune removes at a time.
const pruned = 2000

// partitions are those that the batch moves, sorted.
func (b *Batch) partitions() []Partition {
	var out []Partition
	for p := range b.To {
		out = append(out, p)
	}
	for p := range b.From {
		if _, twice := b.To[p]; !twice {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// expect compares a stored position with the one a batch starts from. A
// partition that was never tracked is absent, and at 0.
func expect(p Partition, stored Position, present bool, from Position) error {
	if stored == from || !present && from.Next == 0 {
		return nil
	}
	return fmt.Errorf("%w: partition %d of %s is at %d of topic %x, not at %d of %x", ErrMoved, p.Partition, p.Topic,
		stored.Next, stored.Topic, from.Next, from.Topic)
}

// groupByOrder gathers the changes of each order, so that its row is read and
// written once. Orders stand as they first appear.
func groupByOrder(changes []OrderChange) [][]*OrderChange {
	index := make(map[event.ID]int, len(changes)/4)
	var groups [][]*OrderChange
	for i := range changes {
		c := &changes[i]
		g, known := index[c.ID]
		if !known {
			g = len(groups)
			index[c.ID] = g
			groups = append(groups, make([]*OrderChange, 0, 4))
		}
		groups[g] = append(groups[g], c)
	}
	return groups
}

// topics are those of the batch's entries, each once.
func (b *Batch) topics() (names []string) {
	last := ""
	see := func(e *Entry) {
		if e.Topic != last && !slices.Contains(names, e.Topic) {
			names = append(names, e.Topic)
		}
		last = e.Topic
	}
	for i := range b.Orders {
		c := &b.Orders[i]
		see(&c.Entry)
		for n := range c.More {
			see(&c.More[n])
		}
	}
	return names
}

// records counts the batch's entries.
func (b *Batch) records() (n int) {
	for i := range b.Orders {
		n += 1 + len(b.Orders[i].More)
	}
	return n
}

// levels are the last ones of each product, sorted, with the first name that a
// product was given.
func (b *Batch) levels() []Level {
	index := make(map[event.ID]int)
	var out []Level
	for i := range b.Levels {
		l := b.Levels[i]
		n, known := index[l.Product]
		if !known {
			l.Name = clean(l.Name)
			index[l.Product] = len(out)
			out = append(out, l)
			continue
		}
		k := &out[n]
		k.Available, k.Reserved = l.Available, l.Reserved
		if k.Name == "" {
			k.Name = clean(l.Name)
		}
	}
	slices.SortFunc(out, func(a, b Level) int { return cmp.Compare(a.Product, b.Product) })
	return out
}
