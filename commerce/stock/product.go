package stock

import (
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// held names what an order has of a product.
type held struct{ Product, Order event.ID }

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
		case commandSupply:
			s.supply(c, r)
		case commandList, commandUnlist:
			s.list(c, r)
		}
	}, s.levels, s.reservations, s.supplies, s.movements, s.answers)
}

func (s *stage) reserve(c *streams.Context, r streams.Record[event.ID, command]) {
	cmd := &r.Value
	key := held{r.Key, cmd.Order}
	was, _ := s.levels.Get(c, r.Key)
	var had reservation
	if !c.HandedOver() {
		// Else identity has just met the order: what an earlier one of its id may
		// have had, long ago, makes no difference.
		had, _ = s.reservations.Get(c, key)
	}
	is, has, kind := reserve(was, had, cmd.Quantity, cmd.Born)
	if has != had {
		s.levels.Put(c, r.Key, is)
		s.reservations.Put(c, key, has)
		s.move(c, r, is, event.Movement{Kind: event.MovementReserve, Quantity: -cmd.Quantity, Order: cmd.Order})
	}
	s.answer(c, cmd.Client, cmd.Partition, answer{Kind: kind, Seq: cmd.Seq, Part: cmd.Part, Name: is.Name})
}

// finish releases a reservation or takes it out of the stock.
func (s *stage) finish(c *streams.Context, r streams.Record[event.ID, command]) {
	key := held{r.Key, r.Value.Order}
	was, _ := s.levels.Get(c, r.Key)
	had, _ := s.reservations.Get(c, key)
	decide, kind, quantity := release, event.MovementRelease, had.Quantity
	if r.Value.Kind == commandExit {
		decide, kind, quantity = exit, event.MovementExit, -had.Quantity
	}
	is, has, ok := decide(was, had)
	if !ok {
		c.Count("unfit")
		return
	}
	s.levels.Put(c, r.Key, is)
	s.reservations.Put(c, key, has)
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

func (r reservation) since() time.Time { return time.UnixMilli(r.Born) }

// ended tells whether nothing is expected to happen to it any more.
func (r reservation) ended() bool { return r.State == released || r.State == exited }
