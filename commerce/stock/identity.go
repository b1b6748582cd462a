package stock

import (
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// identity is the first order that came with an id.
type identity struct {
	At     int64 // ms; when it came
	Digest [16]byte
	// Parts is what it has reserved, or will have if it gets all; none once it has
	// ended. Quantities are 0 if an older version has met the order: see
	// reservation.go.
	Parts []part
}

func (i identity) since() time.Time { return time.UnixMilli(i.At) }

// ended tells whether the order has nothing reserved any more.
func (i identity) ended() bool { return len(i.Parts) == 0 }

// identify tells what an order is, given what is remembered of its id, if
// anything. First to arrive wins: a refused order keeps its id too.
func identify(first identity, found bool, digest [16]byte) requestOutcome {
	switch {
	case !found:
		return orderNew
	case first.Digest == digest:
		return orderAgain
	}
	return orderConflict
}

type requestOutcome byte

const (
	orderNew requestOutcome = iota
	orderAgain
	orderConflict
)

// identityTask owns the ids of orders: it lets the first order with an id
// through to the products, tells the others apart, and passes on to the
// products, once, how the order ended.
func (s *stage) identityTask(in streams.Stream[event.ID, request]) {
	in.Process("identity", func(c *streams.Context, r streams.Record[event.ID, request]) {
		first, found := s.identities.Get(c, r.Key)
		if r.Value.Kind != requestOrder {
			s.orderEnded(c, r, first, found)
			return
		}
		q := &r.Value
		switch identify(first, found, q.Digest) {
		case orderNew:
			s.orderIsNew(c, r.Key, q, r.Headers)
		case orderAgain:
			c.Count("duplicate")
			s.answer(c, q.Client, q.Partition, answer{Kind: answerAgain, Seq: q.Seq})
		case orderConflict:
			c.Count("conflict")
			s.answer(c, q.Client, q.Partition, answer{Kind: answerConflict, Seq: q.Seq})
		}
	}, s.identities, s.commands, s.answers)
}

func (s *stage) orderIsNew(c *streams.Context, order event.ID, q *request, headers []streams.Header) {
	at := c.Now().UnixMilli()
	for i, p := range q.Parts {
		s.commands.Send(c, streams.Record[event.ID, command]{
			Key: p.Product,
			Value: command{
				Kind: commandReserve, Order: order, Quantity: p.Quantity,
				Client: q.Client, Partition: q.Partition, Seq: q.Seq, Part: i,
			},
			Headers: headers,
		})
	}
	s.identities.Put(c, order, identity{At: at, Digest: q.Digest, Parts: q.Parts})
}

// orderEnded sends release or exit to every product that an order has reserved.
func (s *stage) orderEnded(c *streams.Context, r streams.Record[event.ID, request], first identity, found bool) {
	if !found {
		c.Count("unknown_order")
		return
	}
	if first.ended() {
		c.Count("unfit")
		return
	}
	parts := first.Parts
	if r.Value.Kind == requestShort {
		parts = r.Value.Parts
	}
	kind := commandRelease
	if r.Value.Kind == requestConfirmed {
		kind = commandExit
	}
	kept := first.Parts[0].Quantity == 0
	for _, p := range parts {
		if kept {
			p.Quantity = 0
		}
		s.commands.Send(c, streams.Record[event.ID, command]{
			Key: p.Product, Value: command{Kind: kind, Order: r.Key, Quantity: p.Quantity}, Headers: r.Headers,
		})
	}
	first.Parts = nil
	s.identities.Put(c, r.Key, first)
}

func (s *stage) answer(c *streams.Context, client event.ID, partition int32, a answer) {
	s.answers.SendTo(c, partition, streams.Record[event.ID, answer]{Key: client, Value: a})
}
