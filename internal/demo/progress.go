package demo

import (
	"fmt"
	"slices"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// kind is what a record means to its order.
type kind int

const (
	ordered kind = iota
	rejected
	reserved
	stockRefused
	paid
	paymentRefused
	invoiced
	validated
	toldConfirmed
	toldStockRefused
	toldPaymentRefused
	counted // the kinds before are promised by number, those after are not

	flagged = counted
	moved   = counted + 1
)

// column is one of the steps that the table shows.
type column int

const (
	columnOrder column = iota
	columnStock
	columnPayment
	columnInvoice
	columnNotification
	columns
	noColumn = columns
)

// kinds says of each kind where it is written, how people call it, and its
// place and mark in the table.
var kinds = [...]struct {
	topic, name string
	column      column
	refusal     bool
}{
	ordered:            {event.TopicOrders, "order", columnOrder, false},
	rejected:           {event.TopicErrors, "rejection", columnOrder, true},
	reserved:           {event.TopicVerdicts, "verdict VALIDE", columnStock, false},
	stockRefused:       {event.TopicVerdicts, "verdict REFUSE", columnStock, true},
	paid:               {event.TopicAccepted, "payment", columnPayment, false},
	paymentRefused:     {event.TopicRefused, "payment refusal", columnPayment, true},
	invoiced:           {event.TopicInvoices, "invoice", columnInvoice, false},
	validated:          {event.TopicConfirmations, "confirmation of the order", noColumn, false},
	toldConfirmed:      {event.TopicNotifications, "notification CONFIRMATION", columnNotification, false},
	toldStockRefused:   {event.TopicNotifications, "notification REFUS_STOCK", columnNotification, false},
	toldPaymentRefused: {event.TopicNotifications, "notification REFUS_PAIEMENT", columnNotification, false},
	flagged:            {event.TopicErrors, "alert", noColumn, false},
	moved:              {event.TopicMovements, "stock movement", noColumn, false},
}

// counts are the records that lead to each ending, beside the order itself.
var counts = map[State][]kind{
	Confirmed:      {reserved, paid, invoiced, validated, toldConfirmed},
	StockRefused:   {stockRefused, toldStockRefused},
	PaymentRefused: {reserved, paymentRefused, toldPaymentRefused},
	Rejected:       {rejected},
}

// hop is one record of an order.
type hop struct {
	kind      kind
	topic     string
	partition int32
	offset    int64
	written   time.Time // the record's timestamp: when its writer decided
	read      time.Time // when we, a consumer of committed records, had it
	says      string
}

// progress is what has been seen of one order.
type progress struct {
	order
	sentAt  time.Time // zero before
	hops    []hop     // as they were read
	got     [counted]int
	invoice string
	reason  string
	alerts  []string
	broken  []string // what contradicts the contract
}

// add notes a record of the order.
func (p *progress) add(h hop) {
	p.hops = append(p.hops, h)
	if h.kind < counted {
		p.got[h.kind]++
	}
}

// refused notes why the order goes no further.
func (p *progress) refused(reason string) {
	p.reason = reason
	if p.want.reason != reason {
		p.broken = append(p.broken, fmt.Sprintf("refused as %s", reason))
	}
}

// state is how far the order has come: a refusal outranks all, else the
// highest rank among its records counts.
func (p *progress) state() State {
	switch {
	case p.got[rejected] > 0:
		return Rejected
	case p.got[stockRefused] > 0:
		return StockRefused
	case p.got[paymentRefused] > 0:
		return PaymentRefused
	case p.got[toldConfirmed] > 0:
		return Confirmed
	case p.got[invoiced] > 0:
		return "invoiced"
	case p.got[paid] > 0:
		return "paid"
	case p.got[reserved] > 0:
		return "reserved"
	case p.got[ordered] > 0:
		return "received"
	case !p.sentAt.IsZero():
		return "sent"
	}
	return ""
}

// compare holds what was seen against what is promised: what is missing may
// still come, what is wrong stays wrong.
func (p *progress) compare() (missing, wrong []string) {
	var want [counted]int
	want[ordered] = 1
	if p.twice {
		want[ordered] = 2
	}
	for _, k := range counts[p.want.state] {
		want[k] = 1
	}
	for k, n := range want {
		about := fmt.Sprintf("%s in %s", kinds[k].name, kinds[k].topic)
		switch got := p.got[k]; {
		case got < n:
			missing = append(missing, "no "+about)
		case got > n && n == 0:
			wrong = append(wrong, about)
		case got > n:
			wrong = append(wrong, fmt.Sprintf("%d times %s", got, about))
		}
	}
	for _, code := range p.want.alerts {
		if !slices.Contains(p.alerts, code) {
			missing = append(missing, fmt.Sprintf("no alert %s in %s", code, event.TopicErrors))
		}
	}
	return missing, append(wrong, p.broken...)
}

// over says that nothing more need be waited for.
func (p *progress) over() bool {
	missing, wrong := p.compare()
	return len(missing) == 0 || len(wrong) > 0
}

// kept says that the order ended as promised.
func (p *progress) kept() bool {
	missing, wrong := p.compare()
	return len(missing) == 0 && len(wrong) == 0
}

// step returns the record that fills a column of the table: a refusal if there
// is one, else the first.
func (p *progress) step(c column) (found hop, ok bool) {
	for _, h := range p.hops {
		if kinds[h.kind].column == c && (!ok || kinds[h.kind].refusal && !kinds[found.kind].refusal) {
			found, ok = h, true
		}
	}
	return found, ok
}

// latency is the time from sending to the notification, if there is one.
func (p *progress) latency() (time.Duration, bool) {
	h, ok := p.step(columnNotification)
	return h.read.Sub(p.sentAt), ok
}
