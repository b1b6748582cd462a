package audit

import "github.com/comptoir/comptoir/commerce/event"

// moves counts an order's movements of one product.
type moves struct {
	reserved, released, exited int
	last                       place
}

// move takes a movement of the order. Those of one product come together, in
// their order.
func (c *orderCheck) move(product string, f *eventFact, at place) {
	c.traced(f, at)
	if product != c.moving {
		c.settleMoves()
		c.moving = product
	}
	m, want := &c.moves, c.parts[product].quantity
	switch m.last = at; f.word {
	case event.MovementReserve:
		m.reserved++
		want = -want
	case event.MovementRelease:
		m.released++
	case event.MovementExit:
		m.exited++
		want = -want
	}
	if m.reserved == 0 {
		c.st.violate(movementsFit, at, "order %q, product %q: %s before any RESERVATION", c.id, product, f.word)
	}
	if c.verdicts > 0 && want != 0 && f.amount != want {
		c.st.violate(movementsFit, at, "order %q, product %q: %s of %d, want %d", c.id, product, f.word, f.amount, want)
	}
}

// settleMoves judges the movements of the product that was being read.
func (c *orderCheck) settleMoves() {
	m, product := c.moves, c.moving
	c.moves, c.moving = moves{}, ""
	if product == "" {
		return
	}
	part, ordered := c.parts[product]
	switch {
	case c.verdicts == 0 && c.coherent > 0:
		return // on its way
	case !ordered:
		c.st.violate(movementsFit, m.last, "order %q has movements of product %q and no verdict on it", c.id, product)
		return
	}
	part.met = true
	c.parts[product] = part
	c.compare(product, part, m)
}

// moved judges the products that have no movement.
func (c *orderCheck) moved() {
	for product, part := range c.parts {
		if !part.failed && !part.met {
			c.st.missing(&c.e.clock, c.verdict.at, movementsFit, c.at, "order %q, product %q: no movement", c.id, product)
		}
	}
}

// compare holds the movements of a product against the order's outcome.
func (c *orderCheck) compare(product string, part partOf, m moves) {
	valid := c.verdict.word == event.StatusValid
	wrong := func(what string, n, want int) {
		c.st.violate(movementsFit, m.last, "order %q, product %q: %d %s, want %d", c.id, product, n, what, want)
	}
	if part.failed {
		if m.reserved+m.released+m.exited > 0 {
			wrong("movements", m.reserved+m.released+m.exited, 0)
		}
		return
	}
	if m.reserved != 1 {
		wrong(event.MovementReserve, m.reserved, 1)
	}
	switch {
	case valid && c.accepted.n+c.refused.n == 0:
		// What became of the payment is missing, and said: either end will do.
		if m.released+m.exited > 1 {
			wrong("ends of a reservation", m.released+m.exited, 1)
		}
	case valid && c.accepted.n > 0:
		c.ended(product, m, event.MovementExit, m.exited, &c.confirmations)
		if m.released > 0 {
			wrong(event.MovementRelease, m.released, 0)
		}
	case valid:
		c.ended(product, m, event.MovementRelease, m.released, &c.refused)
		if m.exited > 0 {
			wrong(event.MovementExit, m.exited, 0)
		}
	default:
		c.ended(product, m, event.MovementRelease, m.released, &happened{1, c.verdict, c.at})
		if m.exited > 0 {
			wrong(event.MovementExit, m.exited, 0)
		}
	}
}

// ended judges that a reservation has ended once, after its cause.
func (c *orderCheck) ended(product string, m moves, what string, n int, cause *happened) {
	switch {
	case n > 1:
		c.st.violate(movementsFit, m.last, "order %q, product %q: %d %s, want 1", c.id, product, n, what)
	case n == 0 && cause.n > 0:
		c.st.missing(&c.e.clock, cause.fact.at, movementsFit, cause.at, "order %q, product %q: no %s", c.id, product, what)
	}
}
