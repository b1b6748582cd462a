package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
)

// watched are the topics that the orders cross.
var watched = []string{
	event.TopicOrders, event.TopicErrors, event.TopicVerdicts, event.TopicMovements, event.TopicAccepted,
	event.TopicRefused, event.TopicInvoices, event.TopicConfirmations, event.TopicNotifications,
}

// board holds the progress of every order of a run. One goroutine owns it.
type board struct {
	series  string
	orders  []*progress
	byID    map[event.ID]*progress
	byValue map[string]*progress
}

func newBoard(series string, api bool) *board {
	b := &board{series: series, byID: map[event.ID]*progress{}, byValue: map[string]*progress{}}
	for _, o := range script(series, api) {
		p := &progress{order: o}
		b.orders = append(b.orders, p)
		b.byID[o.id], b.byValue[string(o.value)] = p, p
	}
	return b
}

// sends returns the indexes of the orders in the order of sending: the second
// copies come last.
func (b *board) sends() []int {
	var first, again []int
	for i, p := range b.orders {
		first = append(first, i)
		if p.twice {
			again = append(again, i)
		}
	}
	return append(first, again...)
}

// byHTTP counts the orders that go to the order API.
func (b *board) byHTTP() (n int) {
	for _, p := range b.orders {
		if p.http {
			n++
		}
	}
	return n
}

// over says that every order has ended, as promised or otherwise.
func (b *board) over() bool {
	return !slices.ContainsFunc(b.orders, func(p *progress) bool { return !p.over() })
}

// invoices are the numbers of the invoices seen.
func (b *board) invoices() (numbers []string) {
	for _, p := range b.orders {
		if p.invoice != "" {
			numbers = append(numbers, p.invoice)
		}
	}
	return numbers
}

// fold notes a record that was read at a moment. It returns nil for a record
// that belongs to none of the run's orders.
func (b *board) fold(r *kgo.Record, read time.Time) (*progress, hop) {
	h := hop{topic: r.Topic, partition: r.Partition, offset: r.Offset, written: r.Timestamp, read: read}
	p, err := b.judge(r, &h)
	if err != nil {
		// Another's record is no business of ours, one of our orders must be readable.
		if p = b.byHeader(r); p != nil {
			p.broken = append(p.broken, fmt.Sprintf("unreadable record %s %d/%d: %v", r.Topic, r.Partition, r.Offset, err))
		}
		return nil, h
	}
	if p != nil {
		p.add(h)
	}
	return p, h
}

func (b *board) byHeader(r *kgo.Record) *progress {
	for _, h := range r.Headers {
		if h.Key == event.HeaderOrder {
			return b.byID[event.ID(h.Value)]
		}
	}
	return nil
}

// judge finds whose record it is, what it means and what it says.
func (b *board) judge(r *kgo.Record, h *hop) (*progress, error) {
	switch r.Topic {
	case event.TopicOrders:
		p := b.byValue[string(r.Value)]
		if p != nil {
			h.kind, h.says = ordered, p.shows
			if p.http {
				h.says = "by HTTP, " + p.shows
			}
			if p.got[ordered] > 0 {
				h.says = "the same record again"
			}
		}
		return p, nil
	case event.TopicErrors:
		return b.accusation(r, h)
	case event.TopicVerdicts:
		v, err := event.ParseVerdict(r.Value)
		p := b.byID[v.Order]
		if err != nil || p == nil {
			return nil, err
		}
		if v.Status == event.StatusValid {
			h.kind, h.says = reserved, "VALIDE, "+plural(len(v.Lines), "line")+" reserved"
		} else {
			h.kind, h.says = stockRefused, v.Status+", "+v.Reason
			p.refused(v.Reason)
		}
		return p, nil
	case event.TopicMovements:
		m, err := event.ParseMovement(r.Value)
		h.kind = moved
		h.says = fmt.Sprintf("%s %+d %s: %d available, %d reserved", m.Kind, m.Quantity, m.Name, m.Available, m.Reserved)
		return b.byID[m.Order], err
	case event.TopicAccepted:
		a, err := event.ParsePaymentAccepted(r.Value)
		h.kind, h.says = paid, fmt.Sprintf("%s %s captured, %s", a.Amount, a.Currency, a.Reference)
		return b.byID[a.Order], err
	case event.TopicRefused:
		f, err := event.ParsePaymentRefused(r.Value)
		p := b.byID[f.Order]
		if err == nil && p != nil {
			h.kind, h.says = paymentRefused, f.Reason
			p.refused(f.Reason)
		}
		return p, err
	case event.TopicInvoices:
		f, err := event.ParseInvoice(r.Value)
		p := b.byID[f.Order]
		if err == nil && p != nil {
			h.kind, p.invoice = invoiced, f.Number
			h.says = fmt.Sprintf("%s, %s %s of which VAT %s", f.Number, f.Amount, f.Currency, f.VAT)
		}
		return p, err
	case event.TopicConfirmations:
		c, err := event.ParseConfirmed(r.Value)
		h.kind, h.says = validated, "confirmed with invoice "+c.Invoice
		return b.byID[c.Order], err
	case event.TopicNotifications:
		n, err := event.ParseNotification(r.Value)
		if err != nil {
			return nil, err
		}
		h.says = n.Type + ", " + n.Channel + ": " + n.Subject
		switch n.Type {
		case event.NotifyConfirmation:
			h.kind = toldConfirmed
		case event.NotifyStockRefused:
			h.kind = toldStockRefused
		case event.NotifyPaymentRefused:
			h.kind = toldPaymentRefused
		default:
			return nil, fmt.Errorf("type %q is unknown", n.Type)
		}
		return b.byID[n.Order], nil
	}
	return nil, nil
}

// accusation reads a record of commandes.erreurs. It names its order by the
// value that it must repeat byte for byte: the order's id may be unreadable.
func (b *board) accusation(r *kgo.Record, h *hop) (*progress, error) {
	e, err := event.ParseErrorRecord(r.Value)
	p := b.byValue[string(e.Value)]
	if err != nil || p == nil {
		return nil, err
	}
	var says []string
	for _, problem := range e.Problems {
		if text := problem.Code; problem.Field != "" {
			says = append(says, text+" "+problem.Field)
		} else {
			says = append(says, text)
		}
	}
	h.says = e.Severity + ": " + strings.Join(says, ", ")
	if e.Severity == event.SeverityAlert {
		h.kind = flagged
		for _, problem := range e.Problems {
			if slices.Contains(p.alerts, problem.Code) {
				p.broken = append(p.broken, "a second alert "+problem.Code)
			} else {
				p.alerts = append(p.alerts, problem.Code)
			}
		}
		return p, nil
	}
	h.kind = rejected
	reason := "without reason"
	if len(e.Problems) > 0 {
		reason = e.Problems[0].Code
	}
	p.refused(reason)
	return p, nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
