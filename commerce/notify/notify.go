// Package notify is service-notification: it writes a message for the customer
// when an order is invoiced, refused by stock, or refused by payment, once for
// each. It owns the messages' texts. It must not send anything: delivery reads
// notifications.clients.
package notify

import (
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// App is the consumer group and the prefix of the internal topics.
const App = "service-notification"

// Config sets the stage up.
type Config struct {
	// IdentityTTL is how long an order's notifications are remembered, so that
	// a repeated event is ignored. Defaults to event.IdentityTTL.
	IdentityTTL time.Duration
}

// Build adds the stage to a topology. Its sources need no equal partition
// counts: each remembers in a store of its own.
func Build(b *streams.Builder, cfg Config) {
	if cfg.IdentityTTL == 0 {
		cfg.IdentityTTL = event.IdentityTTL
	}
	out := streams.To(b, event.Notifications)
	notify(b, out, cfg, "confirmations", event.Invoices, confirmation)
	notify(b, out, cfg, "refus-stock", event.RefusedVerdicts, stockRefusal)
	notify(b, out, cfg, "refus-paiement", event.Refused, paymentRefusal)
}

// notify writes what decide says of each event of a topic, once per order.
// decide gives an outcome to count instead, or "" for none, if there is nothing
// to say.
func notify[V any](b *streams.Builder, out *streams.Output[event.ID, event.Notification], cfg Config, name string,
	topic streams.Topic[event.ID, V], decide func(*V) (n event.Notification, ignored string, ok bool)) {
	done := streams.NewKeyValue(b, name, event.Key, timeSerde).
		Expire(cfg.IdentityTTL, func(at time.Time) time.Time { return at }).
		Cold(func(time.Time) bool { return true }).
		Fresh()
	streams.From(b, topic).Process(name, func(c *streams.Context, r streams.Record[event.ID, V]) {
		n, ignored, ok := decide(&r.Value)
		if !ok {
			if ignored != "" {
				c.Count(ignored)
			}
			return
		}
		if _, known := done.Get(c, n.Order); known {
			c.Count("duplicate")
			return
		}
		done.Put(c, n.Order, c.Now())
		n.At = c.Now()
		out.Send(c, streams.Record[event.ID, event.Notification]{Key: n.Customer.ID, Value: n, Headers: event.Headers(n.Order, r.Headers)})
		c.Count("ok")
	}, done, out)
}
