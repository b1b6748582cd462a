// Package commerce is the way of an order as one table: Flow. It joins the
// stages and knows nothing of how they are run.
package commerce

import (
	"fmt"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/anomaly"
	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/invoice"
	"github.com/comptoir/comptoir/commerce/notify"
	"github.com/comptoir/comptoir/commerce/payment"
	"github.com/comptoir/comptoir/commerce/shipping"
	"github.com/comptoir/comptoir/commerce/stock"
	"github.com/comptoir/comptoir/streams"
)

// Flow is the pipeline in business order. A stage reads and writes topics and
// never calls another: they meet at the topics.
//
//	role             group                   reads → writes
var Flow = []Stage{
	{"anomalies", "detection-anomalies",
		topics(event.TopicOrders, event.TopicProducts),
		topics(event.TopicErrors),
		func(b *streams.Builder, c Config) { anomaly.Build(b, c.Anomaly) }},

	{"stock", "service-stock",
		topics(event.TopicOrders, event.TopicProducts, event.TopicSupplies, event.TopicRefused, event.TopicConfirmations),
		topics(event.TopicVerdicts, event.TopicMovements, event.TopicErrors),
		func(b *streams.Builder, c Config) { stock.Build(b, c.Stock) }},

	{"paiement", "service-paiement",
		topics(event.TopicVerdicts),
		topics(event.TopicAccepted, event.TopicRefused),
		func(b *streams.Builder, c Config) { payment.Build(b, c.Payment) }},

	{"facturation", "service-facturation",
		topics(event.TopicVerdicts, event.TopicAccepted),
		topics(event.TopicInvoices, event.TopicConfirmations),
		func(b *streams.Builder, c Config) { invoice.Build(b, c.Invoice) }},

	{"notification", "service-notification",
		topics(event.TopicInvoices, event.TopicVerdicts, event.TopicRefused),
		topics(event.TopicNotifications),
		func(b *streams.Builder, c Config) { notify.Build(b, c.Notify) }},
}

// Extra are stages that run only when their role is asked for: examples of what
// can be added.
var Extra = []Stage{
	{"expedition", "service-expedition",
		topics(event.TopicConfirmations),
		topics(shipping.Prepared.Name),
		func(b *streams.Builder, c Config) { shipping.Build(b, c.ShippingTTL) }},
}

// Stage is a row of Flow.
type Stage struct {
	// Role is the word of --roles, Group the consumer group and the prefix of
	// the stage's internal topics.
	Role, Group string
	// In and Out are the public topics it reads and writes.
	In, Out []string
	// Build describes the stage's topology.
	Build func(*streams.Builder, Config)
}

// Config is the configuration of all stages; zero values are their defaults.
type Config struct {
	Anomaly anomaly.Config
	Stock   stock.Config
	Payment payment.Config
	Invoice invoice.Config
	Notify  notify.Config
	// ShippingTTL is how long a shipped order is remembered; 0 is for ever.
	ShippingTTL time.Duration
}

// Topology builds a stage.
func (s Stage) Topology(cfg Config) (*streams.Topology, error) {
	b := streams.NewBuilder(s.Group)
	s.Build(b, cfg)
	return b.Build()
}

func topics(names ...string) []string { return names }

// Text is the pipeline as text: a stage a line.
func Text() string {
	var b strings.Builder
	for _, s := range Flow {
		fmt.Fprintf(&b, "%-21s %s\n%21s └─► %s\n", s.Group, strings.Join(s.In, ", "), "", strings.Join(s.Out, ", "))
	}
	return b.String()
}

// Mermaid is the pipeline as a Mermaid flowchart: stages are boxes, topics are
// rounded.
func Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[string]string{}
	topic := func(name string) string {
		id, ok := ids[name]
		if !ok {
			id = fmt.Sprintf("t%d", len(ids))
			ids[name] = id
			fmt.Fprintf(&b, "  %s([%q])\n", id, name)
		}
		return id
	}
	for _, s := range Flow {
		for _, t := range append(append([]string{}, s.In...), s.Out...) {
			topic(t)
		}
	}
	for i, s := range Flow {
		fmt.Fprintf(&b, "  s%d[%q]\n", i, s.Group)
		for _, t := range s.In {
			fmt.Fprintf(&b, "  %s --> s%d\n", topic(t), i)
		}
		for _, t := range s.Out {
			fmt.Fprintf(&b, "  s%d --> %s\n", i, topic(t))
		}
	}
	fmt.Fprintf(&b, "  archive[\"connect: archive\"]\n  %s --> archive\n  archive --> db[(\"database\")]\n", topic(event.TopicInvoices))
	return b.String()
}
