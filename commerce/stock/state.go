package stock

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire"
	"github.com/comptoir/comptoir/streams"
)

// Names of the stores: they stand in the changelog and never change.
const (
	storeQueues       = "queues"
	storeWaiting      = "waiting"
	storeGathered     = "gathered"
	storeIdentities   = "identities"
	storeLevels       = "levels"
	storeReservations = "reservations"
	storeSupplies     = "supplies"
)

var (
	pendingSerde     = streams.Serde[*pending]{Append: appendPending, Parse: parsePending}
	queueSerde       = streams.Serde[queue]{Append: appendQueue, Parse: parseQueue}
	placeSerde       = streams.Serde[place]{Append: appendPlace, Parse: parsePlace}
	gatheredSerde    = streams.Serde[gathered]{Append: appendGathered, Parse: parseGathered}
	identitySerde    = streams.Serde[identity]{Append: appendIdentity, Parse: parseIdentity}
	levelSerde       = streams.Serde[level]{Append: appendLevel, Parse: parseLevel}
	reservationSerde = streams.Serde[reservation]{Append: appendReservation, Parse: parseReservation}
	heldSerde        = streams.Serde[held]{Append: appendHeld, Parse: parseHeld}
	suppliedSerde    = streams.Serde[supplied]{Append: appendSupplied, Parse: parseSupplied}
	timeSerde        = streams.Serde[time.Time]{Append: appendMillis, Parse: parseMillis}
)

func appendPending(b []byte, p *pending) []byte {
	b = append(b, wireVersion)
	b = binary.AppendUvarint(b, uint64(p.Offset))
	b = binary.AppendVarint(b, p.At)
	b = wire.AppendNullable(b, p.Key)
	b = binary.AppendUvarint(b, uint64(len(p.Headers)))
	for _, h := range p.Headers {
		b = wire.AppendText(b, h.Key)
		b = wire.AppendNullable(b, h.Value)
	}
	b = wire.AppendText(b, p.Product)
	return wire.AppendText(b, p.Value)
}

func parsePending(data []byte) (*pending, error) {
	return readPending(decode("order in a queue", data))
}

// readPending reads what follows the version, up to the end.
func readPending(d *wire.Decoder) (*pending, error) {
	p := &pending{Offset: d.Uvarint(largest), At: d.Varint()}
	p.Key = d.Nullable(maxKept)
	if n := d.Count(maxHeaders, 2); n > 0 {
		p.Headers = make([]streams.Header, n)
	}
	for i := range p.Headers {
		p.Headers[i] = streams.Header{Key: d.Text(maxKept), Value: d.Nullable(maxKept)}
	}
	p.Product = event.ID(d.Text(maxID))
	p.Value = []byte(d.Text(event.MaxOrderBytes))
	if err := d.End(); err != nil {
		return nil, err
	}
	if problems := p.parse(nil); len(problems) > 0 {
		return nil, fmt.Errorf("order in a queue, offset %d: it was coherent when it came and is not now: %v", p.Offset, problems)
	}
	p.events = event.Headers(p.order.ID, p.Headers)
	return p, nil
}

// queueVersion is the first byte of a queue that holds the answers to its first
// order. Those with wireVersion do not.
const queueVersion = 2

func appendQueue(b []byte, q queue) []byte {
	if q.Apart {
		b = append(b, wireVersion)
	} else {
		b = append(b, queueVersion)
	}
	b = binary.AppendUvarint(b, uint64(q.Head))
	b = binary.AppendUvarint(b, uint64(q.Tail-q.Head))
	if !q.Apart {
		b = appendAnswers(b, q.Got)
	}
	return appendPending(b, q.First)
}

func parseQueue(data []byte) (q queue, err error) {
	d := wire.Decode("queue of a client", data)
	version := d.Byte()
	if version != wireVersion && version != queueVersion {
		d.Fail()
	}
	q.Apart = version == wireVersion
	q.Head = d.Uvarint(largest)
	q.Tail = q.Head + d.Uvarint(largest-q.Head)
	if !q.Apart {
		q.Got = readAnswers(d)
	}
	q.First, err = readPending(d.Version(wireVersion))
	return q, err
}

func appendPlace(b []byte, p place) []byte {
	return binary.BigEndian.AppendUint64(append(b, p.Client...), uint64(p.Seq))
}

func parsePlace(data []byte) (p place, err error) {
	n := len(data) - 8
	if n < 1 || n > maxID {
		return p, fmt.Errorf("place in a queue: %d bytes", len(data))
	}
	p.Client, p.Seq = event.ID(data[:n]), int64(binary.BigEndian.Uint64(data[n:]))
	if p.Seq < 0 {
		return p, fmt.Errorf("place in a queue: %d is negative", p.Seq)
	}
	return p, nil
}

func appendGathered(b []byte, g gathered) []byte { return appendAnswers(append(b, wireVersion), g) }

func parseGathered(data []byte) (gathered, error) {
	d := decode("answers to an order", data)
	g := readAnswers(d)
	return g, d.End()
}

func appendAnswers(b []byte, g gathered) []byte {
	b = wire.AppendFlag(b, g.Silent)
	b = binary.AppendUvarint(b, uint64(len(g.Outcomes)))
	for _, o := range g.Outcomes {
		b = append(b, byte(o.Kind))
		b = binary.AppendUvarint(b, uint64(o.Part))
		b = wire.AppendText(b, o.Name)
	}
	return b
}

func readAnswers(d *wire.Decoder) (g gathered) {
	g.Silent = d.Flag()
	if n := d.Count(event.MaxLines, 3); n > 0 {
		g.Outcomes = make([]outcome, n)
	}
	for i := range g.Outcomes {
		o := &g.Outcomes[i]
		if o.Kind = answerKind(d.Byte()); o.Kind < answerReserved || !o.Kind.fromProduct() {
			d.Fail()
		}
		o.Part = int(d.Uvarint(event.MaxLines - 1))
		o.Name = d.Text(maxName)
	}
	return g
}

// identityVersion is the first byte of an identity that knows how much the order
// wants of each product. Those with wireVersion do not.
const identityVersion = 2

func appendIdentity(b []byte, i identity) []byte {
	b = append(b, identityVersion)
	b = binary.AppendUvarint(b, uint64(i.At))
	b = append(b, i.Digest[:]...)
	return appendParts(b, i.Parts)
}

func parseIdentity(data []byte) (i identity, err error) {
	d := wire.Decode("identity of an order", data)
	version := d.Byte()
	i.At = d.Uvarint(largest)
	d.Fixed(i.Digest[:])
	switch version {
	case identityVersion:
		i.Parts = readParts(d)
	case wireVersion:
		if n := d.Count(event.MaxLines, 2); n > 0 {
			i.Parts = make([]part, n)
		}
		for n := range i.Parts {
			i.Parts[n].Product = readID(d)
		}
	default:
		d.Fail()
	}
	return i, d.End()
}

func appendLevel(b []byte, l level) []byte {
	var known byte
	if l.Catalogued {
		known |= 1
	}
	if l.Supplied {
		known |= 2
	}
	b = append(b, wireVersion, known)
	b = binary.AppendUvarint(b, uint64(l.Available))
	b = binary.AppendUvarint(b, uint64(l.Reserved))
	return wire.AppendText(b, l.Name)
}

func parseLevel(data []byte) (l level, err error) {
	d := decode("level of a product", data)
	known := d.Byte()
	if known > 3 {
		d.Fail()
	}
	l.Catalogued, l.Supplied = known&1 != 0, known&2 != 0
	l.Available = d.Uvarint(largest)
	l.Reserved = d.Uvarint(largest - l.Available)
	l.Name = d.Text(maxName)
	return l, d.End()
}

func appendReservation(b []byte, r reservation) []byte {
	b = append(b, wireVersion, 1)
	b = binary.AppendUvarint(b, uint64(r.Quantity))
	return binary.AppendUvarint(b, uint64(r.Born))
}

func parseReservation(data []byte) (r reservation, err error) {
	d := decode("reservation", data)
	state := d.Byte() // 1 is reserved, 2 released, 3 gone; only the first is written
	r.Quantity = d.Uvarint(maxPart)
	if state == 2 || state == 3 {
		r.Quantity = 0
	} else if state != 1 {
		d.Fail()
	}
	r.Born = d.Uvarint(largest)
	return r, d.End()
}

// Keys of two ids: the first with its length, then the second.

func appendHeld(b []byte, h held) []byte { return append(wire.AppendText(b, h.Product), h.Order...) }

func parseHeld(data []byte) (h held, err error) {
	h.Product, h.Order, err = twoIDs("key of a reservation", data)
	return h, err
}

func appendSupplied(b []byte, s supplied) []byte {
	return append(wire.AppendText(b, s.Product), s.Supply...)
}

func parseSupplied(data []byte) (s supplied, err error) {
	s.Product, s.Supply, err = twoIDs("key of a supply", data)
	return s, err
}

func twoIDs(what string, data []byte) (a, b event.ID, err error) {
	d := wire.Decode(what, data) // no version: one pair has one key, for ever
	a = readID(d)
	if b = event.ID(d.Rest()); len(b) == 0 || len(b) > maxID {
		d.Fail()
	}
	return a, b, d.End()
}

func appendMillis(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(append(b, wireVersion), uint64(t.UnixMilli()))
}

func parseMillis(data []byte) (time.Time, error) {
	d := decode("time", data)
	t := time.UnixMilli(d.Uvarint(largest)).UTC()
	return t, d.End()
}
