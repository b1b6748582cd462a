package track

import (
	"bytes"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// batch is what some fetches gave, indexed. It keeps nothing of the fetches
// themselves, so that it can grow while tracking is behind.
type batch struct {
	chunks  []chunk
	said    orderdb.Batch // its positions are set when it is applied
	records int
	size    int // in bytes, about
	// joined is where in said.Orders the changes of an order are that others may
	// join; texts are short ones that come again and again.
	joined map[event.ID]int
	texts  map[string]string
}

// What a batch keeps of a change, beside its texts, of another record that joins
// it, and of a level.
const (
	changeBytes = 450
	entryBytes  = 60
	levelBytes  = 50
)

// add indexes a record, and reports what Index does.
func (b *batch) add(r *kgo.Record) (ok bool) {
	b.records++
	orders, levels, products := len(b.said.Orders), len(b.said.Levels), len(b.said.Products)
	ok = Index(&b.said, r)
	for i := range b.said.Levels[levels:] {
		l := &b.said.Levels[levels+i]
		l.Product, l.Name = event.ID(b.text(string(l.Product))), b.text(l.Name)
		b.size += levelBytes
	}
	for i := range b.said.Products[products:] {
		p := &b.said.Products[products+i]
		p.ID, p.Name = event.ID(strings.Clone(string(p.ID))), strings.Clone(p.Name)
	}
	for i := orders; i < len(b.said.Orders); i++ {
		b.join(i)
	}
	return ok
}

// join has the last change of said.Orders, which is i, join one of the same
// order, if both say only what does not depend on the record that says it.
func (b *batch) join(i int) {
	c := &b.said.Orders[i]
	joins := c.Content == nil && c.Reason == "" && len(c.Alerts) == 0 && (c.State == orderdb.Unknown || c.State >= orderdb.Reserved)
	if k, known := b.joined[c.ID]; joins && known {
		to := &b.said.Orders[k]
		to.More = append(to.More, c.Entry)
		b.size += entryBytes + len(c.Verdict)
		to.State = max(to.State, c.State)
		if c.Verdict != nil {
			to.Verdict = bytes.Clone(c.Verdict)
		}
		// Of several clients the first by spelling counts, as in the database.
		if c.Client != "" && (to.Client == "" || c.Client < to.Client) {
			to.Client = event.ID(b.text(string(c.Client)))
		}
		if c.Invoice != "" && c.Invoice != to.Invoice {
			to.Invoice = strings.Clone(c.Invoice)
		}
		*c = orderdb.OrderChange{}
		b.said.Orders = b.said.Orders[:i]
		return
	}
	c.ID, c.Client = event.ID(strings.Clone(string(c.ID))), event.ID(b.text(string(c.Client)))
	c.Reason, c.Invoice, c.Verdict = strings.Clone(c.Reason), strings.Clone(c.Invoice), bytes.Clone(c.Verdict)
	b.size += changeBytes + len(c.Verdict)
	if k := c.Content; k != nil {
		b.size += len(k.Value)
		k.Client, k.Value = event.ID(b.text(string(k.Client))), bytes.Clone(k.Value)
	}
	for n := range c.Alerts {
		c.Alerts[n] = b.text(c.Alerts[n])
	}
	c.Origin.Topic = b.text(c.Origin.Topic)
	if joins {
		if b.joined == nil {
			b.joined = make(map[event.ID]int)
		}
		c.More = make([]orderdb.Entry, 0, 8)
		b.joined[c.ID] = i
	}
}

// text is a text that keeps no record in memory.
func (b *batch) text(s string) string {
	if s == "" {
		return ""
	}
	t, known := b.texts[s]
	if !known {
		if b.texts == nil {
			b.texts = make(map[string]string)
		}
		t = strings.Clone(s)
		b.texts[t] = t
	}
	return t
}

// without removes from a change what partitions say that are not kept, and
// reports whether anything is left. What is left may say what one of them said:
// it is true all the same.
func without(c orderdb.OrderChange, kept func(orderdb.Entry) bool) (orderdb.OrderChange, bool) {
	var entries []orderdb.Entry
	for _, e := range append([]orderdb.Entry{c.Entry}, c.More...) {
		if kept(e) {
			entries = append(entries, e)
		}
	}
	if len(entries) == 0 {
		return c, false
	}
	c.Entry, c.More = entries[0], entries[1:]
	return c, true
}
