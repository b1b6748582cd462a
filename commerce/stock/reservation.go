// This file is about orders that an older version has met: their identities know
// the products alone, and what each has reserved stands with the product.

package stock

import (
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// held names what an order has of a product.
type held struct{ Product, Order event.ID }

// reservation is what such an order has of a product.
type reservation struct {
	State    reservationState
	Quantity int64
	Born     int64 // ms; when identity met the order
}

type reservationState byte

const (
	none reservationState = iota
	reserved
	released
	exited
)

func (r reservation) since() time.Time { return time.UnixMilli(r.Born) }

// keptReserve reserves, and keeps what the order has.
func (s *stage) keptReserve(c *streams.Context, r streams.Record[event.ID, command]) {
	if s.reserve(c, r) == answerReserved {
		s.reservations.Put(c, held{r.Key, r.Value.Order}, reservation{State: reserved, Quantity: r.Value.Quantity, Born: r.Value.Born})
	}
}

// keptFinish ends a reservation that is kept.
func (s *stage) keptFinish(c *streams.Context, r streams.Record[event.ID, command]) {
	key := held{r.Key, r.Value.Order}
	had, _ := s.reservations.Get(c, key)
	if had.State != reserved {
		c.Count("unfit")
		return
	}
	r.Value.Quantity = had.Quantity
	if r.Value.Kind == commandKeptExit {
		r.Value.Kind = commandExit
	} else {
		r.Value.Kind = commandRelease
	}
	s.finish(c, r)
	s.reservations.Delete(c, key)
}
