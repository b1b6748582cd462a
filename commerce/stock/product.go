package stock

import (
	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// supplied names a supply, whose id is unique per product.
type supplied struct{ Product, Supply event.ID }

// productTask owns the stock of products. It is the only place where a level
// changes, and every change leaves a movement.
func (s *stage) productTask(in streams.Stream[event.ID, command]) {
	in.Process("product", func(c *streams.Context, r streams.Record[event.ID, command]) {
		switch r.Value.Kind {
		case commandReserve:
			s.reserve(c, r)
		case commandRelease, commandExit:
			s.finish(c, r)
		case commandKeptReserve:
			s.keptReserve(c, r)
		case commandSupply:
			s.supply(c, r)
		case commandList, commandUnlist:
			s.list(c, r)
		}
	}, s.levels, s.reservations, s.supplies, s.movements, s.answers)
}

// reserve answers whether an order gets what it wants of a product. It is asked
// once for each order: identity knows which ones it has met, and what they have.
func (s *stage) reserve(c *streams.Context, r streams.Record[event.ID, command]) answerKind {
	cmd := &r.Value
	was, _ := s.levels.Get(c, r.Key)
	is, kind := reserve(was, cmd.Quantity)
	if kind == answerReserved {
		s.levels.Put(c, r.Key, is)
		s.move(c, r, is, event.Movement{Kind: event.MovementReserve, Quantity: -cmd.Quantity, Order: cmd.Order})
	}
	s.answer(c, cmd.Client, cmd.Partition, answer{Kind: kind, Seq: cmd.Seq, Part: cmd.Part, Name: is.Name})
	return kind
}

// finish releases what is reserved for an order or takes it out of the stock.
func (s *stage) finish(c *streams.Context, r streams.Record[event.ID, command]) {
	if r.Value.Quantity == 0 {
		r.Value.Quantity = s.takeKept(c, held{r.Key, r.Value.Order})
	}
	was, _ := s.levels.Get(c, r.Key)
	decide, kind, quantity := release, event.MovementRelease, r.Value.Quantity
	if r.Value.Kind == commandExit {
		decide, kind, quantity = exit, event.MovementExit, -quantity
	}
	is, ok := decide(was, r.Value.Quantity)
	if !ok {
		c.Count("unfit")
		return
	}
	s.levels.Put(c, r.Key, is)
	s.move(c, r, is, event.Movement{Kind: kind, Quantity: quantity, Order: r.Value.Order})
}

func (s *stage) supply(c *streams.Context, r streams.Record[event.ID, command]) {
	cmd := &r.Value
	key := supplied{r.Key, cmd.Supply}
	if _, seen := s.supplies.Get(c, key); seen {
		c.Count("duplicate")
		return
	}
	was, _ := s.levels.Get(c, r.Key)
	is, ok := supply(was, cmd.Quantity, cmd.Name)
	if !ok {
		c.Count("overflow")
		c.Logger().Warn("supply ignored: the level would exceed the largest 64-bit integer",
			"product", string(r.Key), "supply", string(cmd.Supply), "quantity", cmd.Quantity)
		return
	}
	s.supplies.Put(c, key, c.Now())
	s.levels.Put(c, r.Key, is)
	s.move(c, r, is, event.Movement{Kind: event.MovementSupply, Quantity: cmd.Quantity, Reference: cmd.Supply})
}

func (s *stage) list(c *streams.Context, r streams.Record[event.ID, command]) {
	was, _ := s.levels.Get(c, r.Key)
	is := catalogue(was, r.Value.Kind == commandList, r.Value.Name)
	switch {
	case is == was:
	case is.known():
		s.levels.Put(c, r.Key, is)
	default:
		s.levels.Delete(c, r.Key)
	}
}

// move writes a movement and the level after it.
func (s *stage) move(c *streams.Context, r streams.Record[event.ID, command], after level, m event.Movement) {
	m.Product, m.Name = r.Key, displayName(r.Key, after.Name)
	m.Available, m.Reserved = after.Available, after.Reserved
	m.At = c.Now()
	headers := r.Headers
	if m.Order != "" {
		headers = event.Headers(m.Order, headers)
	}
	s.movements.Send(c, streams.Record[event.ID, event.Movement]{Key: r.Key, Value: m, Headers: headers})
}
