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
	kept    int // bytes of texts and values
	// joined is where in said.Orders the changes of an order are that others may
	// join; texts are short ones that come again and again.
	joined map[event.ID]int
	texts  map[string]string
}

// What a batch keeps beside texts and values, in bytes, about: of a record that
// is indexed, of a change that others may join, of a level and of a product.
const (
	entryBytes   = 60
	changeBytes  = 390
	levelBytes   = 50
	productBytes = 50
)

// size is how much memory the batch takes, in bytes, about.
func (b *batch) size() int {
	return b.kept + entryBytes*b.records + changeBytes*len(b.said.Orders) +
		levelBytes*len(b.said.Levels) + productBytes*len(b.said.Products)
}

// add indexes a record, and reports what Index does.
func (b *batch) add(r *kgo.Record) (ok bool) {
	b.records++
	orders, levels, products := len(b.said.Orders), len(b.said.Levels), len(b.said.Products)
	ok = Index(&b.said, r)
	for i := range b.said.Levels[levels:] {
		l := &b.said.Levels[levels+i]
		l.Product, l.Name = event.ID(b.text(string(l.Product))), b.text(l.Name)
	}
	for i := range b.said.Products[products:] {
		p := &b.said.Products[products+i]
		p.ID, p.Name = event.ID(b.own(string(p.ID))), b.own(p.Name)
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
		to.State = max(to.State, c.State)
		if c.Verdict != nil {
			to.Verdict = b.value(c.Verdict)
		}
		// Of several clients the first by spelling counts, as in the database.
		if c.Client != "" && (to.Client == "" || c.Client < to.Client) {
			to.Client = event.ID(b.text(string(c.Client)))
		}
		if c.Invoice != "" && c.Invoice != to.Invoice {
			to.Invoice = b.own(c.Invoice)
		}
		*c = orderdb.OrderChange{}
		b.said.Orders = b.said.Orders[:i]
		return
	}
	c.ID, c.Client = event.ID(b.own(string(c.ID))), event.ID(b.text(string(c.Client)))
	c.Reason, c.Invoice, c.Verdict = b.own(c.Reason), b.own(c.Invoice), b.value(c.Verdict)
	if k := c.Content; k != nil {
		k.Client, k.Value = event.ID(b.text(string(k.Client))), b.value(k.Value)
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

// own is a text that keeps no record in memory.
func (b *batch) own(s string) string {
	b.kept += len(s)
	return strings.Clone(s)
}

// value is a value that keeps no record in memory.
func (b *batch) value(v []byte) []byte {
	b.kept += len(v)
	return bytes.Clone(v)
}

// text is like own for a text that comes again and again.
func (b *batch) text(s string) string {
	if s == "" {
		return ""
	}
	t, known := b.texts[s]
	if !known {
		if b.texts == nil {
			b.texts = make(map[string]string)
		}
		t = b.own(s)
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
