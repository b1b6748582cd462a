// Package invoice is service-facturation: once an order's verdict is valid and
// its payment accepted, it issues the invoice and confirms the order. It owns
// the numbers of invoices: gapless, never twice, in the order of issue. It must
// not decide anything about stock or payment.
//
// Verdict and payment meet in the internal topic "factures", which has one
// partition for each series of numbers (one, unless configured), so that the
// numbering does not depend on the partitions of any public topic. Its task
// joins the two, in whatever order they come, takes the next number, and
// writes; number, invoice and the memory that the order has its invoice are one
// transaction.
//
// A counter that were lost and began again at 1 would issue numbers twice. So a
// task that finds its counter empty asks Config.Issued what factures.ecommerce
// holds of its series, and refuses to number if there is anything, unless
// Config.Recover tells it to go on from there.
package invoice

import (
	"time"
	_ "time/tzdata" // the zone of invoices must be there on any machine

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// App is the consumer group and the prefix of the internal topics.
const App = "service-facturation"

// DefaultRate is the VAT rate unless configured: 20 %.
const DefaultRate event.Percent = 20_00

// DefaultZone is the time zone of invoice dates unless configured.
const DefaultZone = "Europe/Paris"

// Config sets the stage up.
type Config struct {
	// Series is how many series of numbers there are. Orders are spread over
	// them by their id. It is fixed at the first start. Defaults to 1.
	Series int
	// Rate is the VAT rate. nil defaults to DefaultRate.
	Rate *event.Percent
	// Zone decides an invoice's date and year. nil defaults to DefaultZone.
	Zone *time.Location
	// Issued returns the last invoice of each series in factures.ecommerce, as
	// Last folds it. It is called when a task finds its counter empty: at its
	// very first invoice, or when its state is lost. It should answer well
	// within the time of a transaction. nil means that the topic is empty.
	Issued func() (Counters, error)
	// Recover makes a task with an empty counter go on after the last invoice
	// that Issued returns, instead of refusing.
	Recover bool
	// IdentityTTL is how long an order's invoice is remembered, so that a
	// repeated payment is ignored, and how long a verdict waits for its
	// payment. Defaults to event.IdentityTTL.
	IdentityTTL time.Duration
}

// stage is what the operator shares.
type stage struct {
	cfg       Config
	rate      event.Percent
	orders    *streams.KeyValue[event.ID, state]
	counter   *streams.KeyValue[string, Counter]
	invoices  *streams.Output[event.ID, event.Invoice]
	confirmed *streams.Output[event.ID, event.Confirmed]
}

// Build adds the stage to a topology.
func Build(b *streams.Builder, cfg Config) {
	if cfg.Series <= 0 {
		cfg.Series = 1
	}
	if cfg.Zone == nil {
		cfg.Zone = defaultZone
	}
	if cfg.IdentityTTL == 0 {
		cfg.IdentityTTL = event.IdentityTTL
	}
	s := &stage{cfg: cfg, rate: DefaultRate}
	if cfg.Rate != nil {
		s.rate = *cfg.Rate
	}
	verdicts := streams.From(b, event.Verdicts)
	payments := streams.From(b, event.Accepted)
	meet, met := streams.Repartition(b, "factures", event.Key, partSerde, streams.FixedPartitions(int32(cfg.Series)))
	s.orders = streams.NewKeyValue(b, "commandes", event.Key, stateSerde).
		Expire(cfg.IdentityTTL, func(st state) time.Time { return st.at }).
		Cold(func(st state) bool { return st.issued }).
		Fresh()
	s.counter = streams.NewKeyValue(b, "compteur", streams.Text, counterSerde)
	s.invoices = streams.To(b, event.Invoices)
	s.confirmed = streams.To(b, event.Confirmations)

	valid := verdicts.Filter("valides", func(r streams.Record[event.ID, event.Verdict]) bool {
		return r.Value.Status == event.StatusValid
	})
	streams.Map(valid, "commande à facturer", func(r streams.Record[event.ID, event.Verdict]) streams.Record[event.ID, part] {
		return streams.Record[event.ID, part]{Key: r.Value.Order, Value: part{bill: billOf(&r.Value)}, Headers: event.Headers(r.Value.Order, r.Headers)}
	}).To(meet)
	streams.Map(payments, "paiement", func(r streams.Record[event.ID, event.PaymentAccepted]) streams.Record[event.ID, part] {
		return streams.Record[event.ID, part]{Key: r.Value.Order, Headers: event.Headers(r.Value.Order, r.Headers)}
	}).To(meet)
	met.Process("facturation", s.join, s.orders, s.counter, s.invoices, s.confirmed)
}

var defaultZone = func() *time.Location {
	l, err := time.LoadLocation(DefaultZone)
	if err != nil {
		panic(err) // it is embedded
	}
	return l
}()

// join keeps the first part of an order, and issues the invoice at the second.
func (s *stage) join(c *streams.Context, r streams.Record[event.ID, part]) {
	st, known := s.orders.Get(c, r.Key)
	next, bill, ok := st.join(known, r.Value)
	if !ok {
		c.Count("duplicate")
		return
	}
	next.at = c.Now()
	s.orders.Put(c, r.Key, next)
	if bill != nil {
		s.issue(c, r.Key, bill, r.Headers)
	}
	c.Count("ok")
}

// issue writes the invoice of an order and its confirmation.
func (s *stage) issue(c *streams.Context, order event.ID, b *bill, headers []streams.Header) {
	series := int(c.Partition()) + 1
	counter, ok := s.counter.Get(c, "")
	if !ok {
		counter = s.start(series)
	}
	counter = counter.next(c.Now().In(s.cfg.Zone))
	s.counter.Put(c, "", counter)

	inv := b.invoice(order, counter.number(series, s.cfg.Series), counter.Date, s.rate, c.Now())
	s.invoices.Send(c, streams.Record[event.ID, event.Invoice]{Key: b.customer.ID, Value: inv, Headers: headers})
	s.confirmed.Send(c, streams.Record[event.ID, event.Confirmed]{Key: order, Headers: headers, Value: event.Confirmed{
		Order: order, Customer: b.customer, Amount: b.amount, Currency: b.currency, Invoice: inv.Number, At: c.Now(),
	}})
}

// start returns where the numbering of a series begins when the task has no
// counter. What must not be is a panic: the transaction is thrown away, and the
// App's health says why until someone acts.
func (s *stage) start(series int) Counter {
	if s.cfg.Issued == nil {
		return Counter{}
	}
	issued, err := s.cfg.Issued()
	if err != nil {
		panic(errIssued(err))
	}
	last := issued[series]
	if NeedsRecovery(true, last == Counter{}) && !s.cfg.Recover {
		panic(&LostCounterError{Series: series, Last: last.number(series, s.cfg.Series)})
	}
	return last
}
