// Package stock owns the stage service-stock: it decides, for every coherent
// order, whether all of it can be had, and keeps the stock of every product.
//
// Three kinds of task meet at internal topics. The client task keeps a queue
// per client and gives verdicts in the order of arrival; the identity task lets
// the first order with an id through and tells redeliveries and conflicts
// apart; the product task is the only one that changes a product's stock:
//
//	commandes.ecommerce ─► client ─commandes─► identity ─lignes─► product ─► stock-mis-a-jour
//	                        │  ▲                   │                 │
//	      stock.verifie ◄───┘  └──── reponses ─────┴─────────────────┘
//
// The decisions are pure functions (reserve, release, exit, supply, identify,
// judge); the tasks connect them to topics and stores.
//
// The package must not report incoherent orders, which is detection-anomalies'
// business, and knows nothing of payment or invoices beyond the two events that
// end a reservation.
package stock

import (
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// App is the name of the stage and of its consumer group.
const App = "service-stock"

// Config sets up the stage.
type Config struct {
	// IdentityTTL is how long, by wall clock, the ids of orders and supplies are
	// remembered. Defaults to event.IdentityTTL.
	IdentityTTL time.Duration
}

// stage is the stores and outputs that the tasks share.
type stage struct {
	names *streams.GlobalTable[*names]

	queues   *streams.KeyValue[event.ID, queue]
	waiting  *streams.KeyValue[place, *pending]
	gathered *streams.KeyValue[place, gathered]

	identities *streams.KeyValue[event.ID, identity]

	levels       *streams.KeyValue[event.ID, level]
	reservations *streams.KeyValue[held, reservation]
	supplies     *streams.KeyValue[supplied, time.Time]

	requests *streams.Output[event.ID, request]
	commands *streams.Output[event.ID, command]
	answers  *streams.Output[event.ID, answer]

	verdicts  *streams.Output[event.ID, event.Verdict]
	movements *streams.Output[event.ID, event.Movement]
	errors    *streams.Output[[]byte, []byte]
}

// Build describes the stage.
func Build(b *streams.Builder, cfg Config) {
	s, toIdentity, toProduct, toClient := newStage(b, cfg)
	s.clientTask(streams.From(b, event.Orders), toClient)
	s.identityTask(toIdentity)
	s.productTask(toProduct)
	s.forward(b)
}

// newStage defines stores and outputs, and returns the receiving ends of the
// internal topics.
func newStage(b *streams.Builder, cfg Config) (*stage, streams.Stream[event.ID, request], streams.Stream[event.ID, command], streams.Stream[event.ID, answer]) {
	ttl := cfg.IdentityTTL
	if ttl <= 0 {
		ttl = event.IdentityTTL
	}
	// Partition p of every internal topic belongs to the task of partition p of
	// commandes.ecommerce: its client, identity and product tasks are one task of
	// package streams, with one changelog.
	like := streams.PartitionsOf(event.Orders.Name)
	requests, toIdentity := streams.Repartition(b, "commandes", event.Key, requestSerde, like)
	commands, toProduct := streams.Repartition(b, "lignes", event.Key, commandSerde, like)
	answers, toClient := streams.Repartition(b, "reponses", event.Key, answerSerde, like)
	s := &stage{
		names: streams.NewGlobalTable(b, "product names", event.Products, newNames, (*names).apply),

		queues:   streams.NewKeyValue(b, storeQueues, event.Key, queueSerde).Fresh(),
		waiting:  streams.NewKeyValue(b, storeWaiting, placeSerde, pendingSerde),
		gathered: streams.NewKeyValue(b, storeGathered, placeSerde, gatheredSerde),

		identities: streams.NewKeyValue(b, storeIdentities, event.Key, identitySerde).
			Expire(ttl, identity.since).
			Cold(identity.ended).
			Fresh(),

		levels: streams.NewKeyValue(b, storeLevels, event.Key, levelSerde),
		reservations: streams.NewKeyValue(b, storeReservations, heldSerde, reservationSerde).
			Expire(ttl, reservation.since),
		supplies: streams.NewKeyValue(b, storeSupplies, suppliedSerde, timeSerde).
			Expire(ttl, func(t time.Time) time.Time { return t }).
			Cold(func(time.Time) bool { return true }),

		requests: requests, commands: commands, answers: answers,

		verdicts:  streams.To(b, event.Verdicts),
		movements: streams.To(b, event.Movements),
		errors:    streams.To(b, event.Errors),
	}
	return s, toIdentity, toProduct, toClient
}
