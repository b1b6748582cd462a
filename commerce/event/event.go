// Package event owns the wire contract: the events of the order pipeline and
// their JSON, byte by byte, and nothing else. An order is judged here by one
// pure function without configuration (ParseOrder), so that every reader
// judges it alike; the events that our own stages write have a codec each.
//
// The package must not decide anything about stock, payment or invoices, hold
// configuration, log, or talk to Kafka or a database. It imports the standard
// library and, for the typed topics, package streams.
//
// Conventions of the codecs: a string field that the contract marks optional
// is absent when it is empty; times are written in UTC with three decimals;
// unknown fields are ignored when reading; what is read is strict JSON (UTF-8,
// exact names, no duplicate key, no lone surrogate, bounded depth and size).
// Strings of a parsed event share one copy of the record's value.
package event

// Customer is who ordered; it travels with every event of the order.
type Customer struct {
	Name  string // client: the display name
	ID    ID     // clientId
	Email string // email, empty when the order has none
}

func (c *Customer) appendFields(b []byte) []byte {
	b = append(b, `,"client":`...)
	b = appendString(b, c.Name)
	b = append(b, `,"clientId":`...)
	b = c.ID.AppendJSON(b)
	if c.Email != "" {
		b = append(b, `,"email":`...)
		b = appendString(b, c.Email)
	}
	return b
}

// The customer of an event is repeated in those that follow from it. An order's
// are bounded by the order's rules; the same bounds hold for events that others
// write, so that what follows from them fits in a record.

func (o *object) name() string {
	s := o.text()
	if tooLong(s) {
		o.fail("must have at most 200 characters")
	}
	return s
}

func (o *object) email() string {
	s := o.optionalText()
	if len(s) > MaxOrderBytes {
		o.fail("is longer than an order may be")
	}
	return s
}
