// Package payment is service-paiement: it answers a valid verdict of
// stock.verifie with paiement-accepte or paiement-refuse, once per order. It
// must not look at stock, and does not speak HTTP itself.
//
// The simulator decides at once, within the task's transaction. A provider
// outside is never called from a transaction, since a call cannot be rolled
// back:
//
//  1. The task stores the payment as pending and sends itself a demand through
//     the internal topic "demandes". Both are one transaction.
//  2. The demand can only arrive once that transaction has committed. The task
//     then hands the payment to the Workers, which call the provider with the
//     order's id as idempotency key, and ask until the outcome is known.
//  3. The Workers write the outcome to the internal topic "resultats", to the
//     partition that asked. The task turns it into its event, and forgets
//     that the payment is pending, in one transaction.
//
// What the Workers know is lost with the process, or left behind when a task
// moves to another instance. So every task looks through its pending payments
// from time to time and hands over those that the Workers do not know. Only a
// demand made in the life of these very Workers is sent at once; any other
// payment may have been sent before and is asked for first, and sent only if
// the provider knows nothing of it. Two instances may thus ask about one
// payment, and both report: the second result is ignored. Should both send it,
// the idempotency key makes it one payment.
//
// No time-out and no failure refuses a payment: until the provider has answered
// it stays pending, and the stock reserved. Pending payments are kept if the
// simulator takes over, and go on when a provider is configured again.
package payment

import (
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// App is the consumer group and the prefix of the internal topics.
const App = "service-paiement"

// ResultsTopic is the internal topic by which the Workers' results come back.
const ResultsTopic = App + "-resultats-repartition"

// recheck is how often a task looks for pending payments that the Workers do
// not know, and how old such a payment must be: the demand of a younger one is
// still on its way.
const recheck = 5 * time.Second

// Config sets the stage up.
type Config struct {
	// Limit is the highest amount that the simulator accepts, whatever the
	// currency. Defaults to 10,000.00.
	Limit event.Amount
	// Workers ask a provider outside; nil means that the simulator decides.
	// They must be started before the topology and stopped after it.
	Workers *Workers
	// IdentityTTL is how long an order's payment is remembered, so that a
	// repeated verdict is ignored. Defaults to event.IdentityTTL.
	IdentityTTL time.Duration
}

// stage is what the operators share.
type stage struct {
	accepted *streams.Output[event.ID, event.PaymentAccepted]
	refused  *streams.Output[event.ID, event.PaymentRefused]
	decided  *streams.KeyValue[event.ID, decision]
}

// remote is what the stage sees of the Workers.
type remote interface {
	life() string
	Offer(partition int32, r Request, fresh bool) bool
	Settled(order event.ID)
}

// Build adds the stage to a topology.
func Build(b *streams.Builder, cfg Config) {
	if cfg.Workers == nil {
		build(b, cfg, nil)
	} else {
		build(b, cfg, cfg.Workers)
	}
}

func build(b *streams.Builder, cfg Config, workers remote) {
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	if cfg.IdentityTTL == 0 {
		cfg.IdentityTTL = event.IdentityTTL
	}
	verdicts := streams.From(b, event.Verdicts).Filter("valides",
		func(r streams.Record[event.ID, event.Verdict]) bool { return r.Value.Status == event.StatusValid })
	s := &stage{
		accepted: streams.To(b, event.Accepted),
		refused:  streams.To(b, event.Refused),
		decided: streams.NewKeyValue(b, "paiements", event.Key, decisionSerde).
			Expire(cfg.IdentityTTL, func(d decision) time.Time { return d.at }).
			Cold(func(decision) bool { return true }).
			Fresh(),
	}
	if workers == nil {
		s.simulate(verdicts, cfg.Limit)
	} else {
		s.ask(b, verdicts, workers)
	}
}

func (s *stage) simulate(verdicts streams.Stream[event.ID, event.Verdict], limit event.Amount) {
	verdicts.Process("simulation", func(c *streams.Context, r streams.Record[event.ID, event.Verdict]) {
		v := &r.Value
		if _, known := s.decided.Get(c, v.Order); known {
			c.Count("duplicate")
			return
		}
		s.settle(c, v.Order, pending{
			customer: v.Customer, amount: v.Amount, currency: v.Currency, headers: event.Headers(v.Order, r.Headers),
		}, Simulate(Request{v.Order, v.Amount, v.Currency}, limit))
	}, s.decided, s.accepted, s.refused)
}

func (s *stage) ask(b *streams.Builder, verdicts streams.Stream[event.ID, event.Verdict], workers remote) {
	waiting := streams.NewKeyValue(b, "en-attente", event.Key, pendingSerde)
	like := streams.PartitionsOf(event.Verdicts.Name)
	demand, demands := streams.Repartition(b, "demandes", event.Key, streams.Text, like.AfterCommit())
	_, results := streams.Repartition(b, "resultats", event.Key, outcomeSerde, like)

	verdicts.Process("mise en attente", func(c *streams.Context, r streams.Record[event.ID, event.Verdict]) {
		v, order := &r.Value, r.Value.Order
		_, known := s.decided.Get(c, order)
		if !known {
			_, known = waiting.Get(c, order)
		}
		if known {
			c.Count("duplicate")
			return
		}
		headers := event.Headers(order, r.Headers)
		waiting.Put(c, order, pending{
			customer: v.Customer, amount: v.Amount, currency: v.Currency, headers: event.OwnHeaders(headers), since: c.Now(),
		})
		demand.SendTo(c, c.Partition(), streams.Record[event.ID, string]{
			Key: order, Value: workers.life(), Headers: headers,
		})
	}, s.decided, waiting, demand)

	demands.Process("demande", func(c *streams.Context, r streams.Record[event.ID, string]) {
		// A demand of other Workers may have been acted on before they ended.
		if p, ok := waiting.Get(c, r.Key); ok {
			workers.Offer(c.Partition(), p.request(r.Key), r.Value == workers.life())
		}
	}, waiting)

	results.Process("résultat", func(c *streams.Context, r streams.Record[event.ID, Outcome]) {
		workers.Settled(r.Key)
		p, ok := waiting.Get(c, r.Key)
		if !ok {
			c.Count("duplicate")
			return
		}
		waiting.Delete(c, r.Key)
		s.settle(c, r.Key, p, r.Value)
	}, waiting, s.decided, s.accepted, s.refused)

	b.WallClock("relance", recheck, func(c *streams.Context, now time.Time) {
		waiting.Scan(c, func(order event.ID, p pending) bool {
			// What the open transaction wrote is younger, and not offered.
			return now.Sub(p.since) < recheck || workers.Offer(c.Partition(), p.request(order), false)
		})
	}, waiting)
}

// settle writes the outcome of an order's payment and remembers it.
func (s *stage) settle(c *streams.Context, order event.ID, p pending, o Outcome) {
	s.decided.Put(c, order, decision{at: c.Now(), accepted: o.Accepted})
	if o.Accepted {
		s.accepted.Send(c, streams.Record[event.ID, event.PaymentAccepted]{Key: order, Headers: p.headers, Value: event.PaymentAccepted{
			Order: order, Customer: p.customer, Amount: p.amount, Currency: p.currency,
			Method: o.Method, Reference: o.Reference, At: c.Now(),
		}})
	} else {
		s.refused.Send(c, streams.Record[event.ID, event.PaymentRefused]{Key: order, Headers: p.headers, Value: event.PaymentRefused{
			Order: order, Customer: p.customer, Amount: p.amount, Currency: p.currency,
			Reason: o.Reason, At: c.Now(),
		}})
	}
	c.Count("ok")
}
