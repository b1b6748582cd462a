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
	Quantity int64 // 0 once it has ended
	Born     int64 // ms; when identity met the order
}

func (r reservation) since() time.Time { return time.UnixMilli(r.Born) }

// keptReserve reserves, and keeps what the order has.
func (s *stage) keptReserve(c *streams.Context, r streams.Record[event.ID, command]) {
	if s.reserve(c, r) == answerReserved {
		s.reservations.Put(c, held{r.Key, r.Value.Order}, reservation{Quantity: r.Value.Quantity, Born: r.Value.Born})
	}
}

// takeKept returns what an order has of a product, and it has it no longer.
func (s *stage) takeKept(c *streams.Context, key held) int64 {
	had, kept := s.reservations.Get(c, key)
	if kept {
		s.reservations.Delete(c, key)
	}
	return had.Quantity
}
