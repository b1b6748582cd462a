package stock

import (
	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// forward brings the topics that others write to the tasks that own what they
// are about. They may have any number of partitions and any keys, so nothing is
// kept on the way: the id counts that stands in the value.
func (s *stage) forward(b *streams.Builder) {
	toIdentity := func(c *streams.Context, order event.ID, kind requestKind, headers []streams.Header) {
		s.requests.Send(c, streams.Record[event.ID, request]{Key: order, Value: request{Kind: kind}, Headers: event.Headers(order, headers)})
	}
	toProduct := func(c *streams.Context, product event.ID, cmd command, headers []streams.Header) {
		s.commands.Send(c, streams.Record[event.ID, command]{Key: product, Value: cmd, Headers: traceOnly(headers)})
	}

	streams.From(b, event.Refused).Process("payment refused", func(c *streams.Context, r streams.Record[event.ID, event.PaymentRefused]) {
		toIdentity(c, r.Value.Order, requestRefused, r.Headers)
	}, s.requests)
	streams.From(b, event.Confirmations).Unhurried().Process("order confirmed", func(c *streams.Context, r streams.Record[event.ID, event.Confirmed]) {
		toIdentity(c, r.Value.Order, requestConfirmed, r.Headers)
	}, s.requests)
	streams.From(b, event.Supplies).Process("supply", func(c *streams.Context, r streams.Record[event.ID, event.Supply]) {
		v := &r.Value
		toProduct(c, v.Product, command{Kind: commandSupply, Supply: v.ID, Quantity: v.Quantity, Name: v.Name}, r.Headers)
	}, s.commands)
	streams.From(b, products).Process("catalogue", func(c *streams.Context, r streams.Record[event.ID, *event.Product]) {
		switch p := r.Value; {
		case p != nil:
			toProduct(c, p.ID, command{Kind: commandList, Name: p.Name}, r.Headers)
		case r.Key.Valid():
			toProduct(c, r.Key, command{Kind: commandUnlist}, r.Headers)
		}
	}, s.commands)
}

// products is event.Products with its tombstones.
var products = streams.Topic[event.ID, *event.Product]{Name: event.Products.Name, Key: event.Products.Key, Value: streams.Serde[*event.Product]{
	Parse: func(data []byte) (*event.Product, error) {
		if data == nil {
			return nil, nil
		}
		p, err := event.ParseProduct(data)
		return &p, err
	},
}}
