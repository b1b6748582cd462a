package track

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// Index appends to b what one record says, and reports whether its value could
// be read as what its topic holds; one that could not may still be in the
// timeline of the order that its header names. It is pure; b keeps parts of the
// record.
//
// A record belongs to the order that its value names, else to the one in its
// header comptoir-order. They differ only in records that were not written by
// our stages, and these go by the value too.
func Index(b *orderdb.Batch, r *kgo.Record) (ok bool) {
	c := orderdb.OrderChange{
		Entry: orderdb.Entry{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: sane(r.Timestamp)},
	}
	ok = read(b, &c, r)
	if c.ID == "" {
		c.ID = headerID(r)
	}
	if c.ID != "" {
		b.Orders = append(b.Orders, c)
	}
	return ok
}

// read sets what the record's value says of an order, and appends to b what it
// says of products.
func read(b *orderdb.Batch, c *orderdb.OrderChange, r *kgo.Record) bool {
	switch r.Topic {
	case event.TopicOrders:
		return readOrder(c, r)
	case event.TopicErrors:
		return readError(c, r)
	case event.TopicVerdicts:
		v, err := event.ParseVerdict(r.Value)
		if err != nil {
			return false
		}
		c.ID, c.Client = v.Order, v.Customer.ID
		switch v.Status {
		case event.StatusValid:
			c.State, c.Verdict = orderdb.Reserved, r.Value
		case event.StatusRefused:
			c.State, c.Verdict, c.Reason = orderdb.StockRefused, r.Value, word(v.Reason)
		}
	case event.TopicMovements:
		m, err := event.ParseMovement(r.Value)
		if err != nil {
			return false
		}
		c.ID = m.Order
		l := orderdb.Level{Product: m.Product, Available: m.Available, Reserved: m.Reserved}
		if event.ValidName(m.Name) {
			l.Name = m.Name
		}
		b.Levels = append(b.Levels, l)
	case event.TopicAccepted:
		p, err := event.ParsePaymentAccepted(r.Value)
		if err != nil {
			return false
		}
		c.ID, c.Client, c.State = p.Order, p.Customer.ID, orderdb.Paid
	case event.TopicRefused:
		p, err := event.ParsePaymentRefused(r.Value)
		if err != nil {
			return false
		}
		c.ID, c.Client, c.State, c.Reason = p.Order, p.Customer.ID, orderdb.PaymentRefused, word(p.Reason)
	case event.TopicConfirmations:
		v, err := event.ParseConfirmed(r.Value)
		if err != nil {
			return false
		}
		c.ID, c.Client, c.State, c.Invoice = v.Order, v.Customer.ID, orderdb.Invoiced, word(v.Invoice)
	case event.TopicInvoices:
		f, err := event.ParseInvoice(r.Value)
		if err != nil {
			return false
		}
		c.ID, c.Client = f.Order, f.Customer.ID
		if f.Type == event.InvoiceTypeInvoice {
			c.State, c.Invoice = orderdb.Invoiced, word(f.Number)
		}
	case event.TopicNotifications:
		n, err := event.ParseNotification(r.Value)
		if err != nil {
			return false
		}
		c.ID, c.Client = n.Order, n.Customer.ID
		if n.Type == event.NotifyConfirmation {
			c.State = orderdb.Notified
		}
	case event.TopicProducts:
		p, err := event.ParseProduct(r.Value)
		if err != nil {
			return false
		}
		b.Products = append(b.Products, p)
	case event.TopicJournal:
		return readJournal(c, r.Value)
	}
	return true
}

// readOrder reads a record of commandes.ecommerce. That an order is rejected is
// for commandes.erreurs to say, and an incoherent one is no malformed record: it
// is only unreadable if it names no order.
func readOrder(c *orderdb.OrderChange, r *kgo.Record) bool {
	o, problems, _ := event.ParseOrder(r.Key, r.Value, c.Entry.Time)
	c.ID = o.ID
	if len(problems) == 0 {
		c.State, c.Content, c.Client = orderdb.Received, content(&o, r.Value, c.Entry.Time), o.Customer.ID
	}
	return c.ID != ""
}

func content(o *event.Order, value []byte, at time.Time) *orderdb.Content {
	return &orderdb.Content{Digest: o.Digest, Client: o.Customer.ID, Value: value, At: at}
}

// readError reads a record of commandes.erreurs, whose key is the accused
// record's. One that accuses something without an id belongs to no order.
func readError(c *orderdb.OrderChange, r *kgo.Record) bool {
	e, err := event.ParseErrorRecord(r.Value)
	if err != nil || len(e.Problems) == 0 {
		return false
	}
	c.ID = e.Order
	first := word(e.Problems[0].Code)
	switch {
	case e.Order == "":
	case e.Severity == event.SeverityAlert:
		// Several orders may want the id: the alerts are of the accused one.
		if e.Size > 0 {
			c.Origin = orderdb.Entry{Topic: e.Origin.Topic, Partition: e.Origin.Partition, Offset: e.Origin.Offset}
		} else if o, problems, _ := event.ParseOrder(r.Key, e.Value, c.Entry.Time); len(problems) == 0 && o.ID == e.Order {
			c.Accused = o.Digest
		} else {
			break
		}
		for _, p := range e.Problems {
			if code := word(p.Code); code != "" {
				c.Alerts = append(c.Alerts, code)
			}
		}
	case e.Severity != event.SeverityReject:
	case first == event.CodeOrderConflict:
		if o, problems, _ := event.ParseOrder(r.Key, e.Value, c.Entry.Time); len(problems) == 0 && o.ID == e.Order {
			c.State, c.Content, c.Reason = orderdb.InConflict, content(&o, e.Value, c.Entry.Time), first
		}
	default:
		c.State, c.Reason = orderdb.Rejected, first
	}
	return true
}

// readJournal reads a record of journal.actions, which names an order if an
// action on orders was taken.
func readJournal(c *orderdb.OrderChange, value []byte) bool {
	var fields map[string]json.RawMessage
	if len(value) > event.MaxEventBytes || json.Unmarshal(value, &fields) != nil {
		return false
	}
	var action string
	if json.Unmarshal(fields["action"], &action) != nil {
		return false
	}
	if !strings.HasPrefix(action, "commande.") {
		return true
	}
	object := string(fields["objet"])
	if strings.HasPrefix(object, `"`) && json.Unmarshal(fields["objet"], &object) != nil || !event.ID(object).Valid() {
		return false
	}
	c.ID = event.ID(object)
	return true
}

func headerID(r *kgo.Record) event.ID {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == event.HeaderOrder && len(h.Value) <= event.MaxIDBytes {
			if id := event.ID(h.Value); id.Valid() {
				return id
			}
		}
	}
	return ""
}

// word passes on a code, motif or number as far as it can be one: what anyone
// may write must not be refused by a database for a NUL or its length.
func word(s string) string {
	if event.ID(s).Valid() {
		return s
	}
	return ""
}

var latest = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// sane bounds a record's time, which may be any 64-bit number, to what
// databases can hold.
func sane(t time.Time) time.Time {
	switch {
	case t.Before(time.Unix(0, 0)):
		return time.Unix(0, 0).UTC()
	case t.After(latest):
		return latest
	}
	return t.UTC()
}
