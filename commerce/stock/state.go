package stock

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
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
	if p.Key == nil {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = appendText(b, p.Key)
	}
	b = binary.AppendUvarint(b, uint64(len(p.Headers)))
	for _, h := range p.Headers {
		b = appendText(b, h.Key)
		if h.Value == nil {
			b = append(b, 0)
		} else {
			b = append(b, 1)
			b = appendText(b, h.Value)
		}
	}
	b = appendText(b, p.Product)
	return appendText(b, p.Value)
}

func parsePending(data []byte) (*pending, error) {
	d := decode("order in a queue", data)
	p := &pending{Offset: d.int63(), At: d.varint()}
	p.Key = d.nullable(maxKept)
	if n := d.count(maxHeaders); n > 0 {
		p.Headers = make([]streams.Header, n)
	}
	for i := range p.Headers {
		p.Headers[i] = streams.Header{Key: d.text(maxKept), Value: d.nullable(maxKept)}
	}
	p.Product = d.optionalID()
	p.Value = []byte(d.text(event.MaxOrderBytes))
	if err := d.end(); err != nil {
		return nil, err
	}
	if problems := p.parse(nil); len(problems) > 0 {
		return nil, fmt.Errorf("order in a queue, offset %d: it was coherent when it came and is not now: %v", p.Offset, problems)
	}
	return p, nil
}

func appendQueue(b []byte, q queue) []byte {
	b = append(b, wireVersion)
	b = binary.AppendUvarint(b, uint64(q.Head))
	b = binary.AppendUvarint(b, uint64(q.Tail-q.Head))
	return appendPending(b, q.First)
}

func parseQueue(data []byte) (q queue, err error) {
	d := decode("queue of a client", data)
	q.Head = d.int63()
	q.Tail = q.Head + int64(d.uvarint(uint64(1<<63-1-q.Head)))
	if d.bad {
		return q, d.end()
	}
	q.First, err = parsePending(data[len(data)-len(d.s):])
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

func appendGathered(b []byte, g gathered) []byte {
	b = append(b, wireVersion, flag(g.Silent))
	b = binary.AppendUvarint(b, uint64(len(g.Outcomes)))
	for _, o := range g.Outcomes {
		b = append(b, byte(o.Kind))
		b = binary.AppendUvarint(b, uint64(o.Part))
		b = appendText(b, o.Name)
	}
	return b
}

func parseGathered(data []byte) (g gathered, err error) {
	d := decode("answers to an order", data)
	g.Silent = d.flag()
	if n := d.count(event.MaxLines); n > 0 {
		g.Outcomes = make([]outcome, n)
	}
	for i := range g.Outcomes {
		o := &g.Outcomes[i]
		if o.Kind = answerKind(d.byte()); o.Kind < answerReserved || !o.Kind.fromProduct() {
			d.fail()
		}
		o.Part = int(d.uvarint(event.MaxLines - 1))
		o.Name = d.text(maxName)
	}
	return g, d.end()
}

func appendIdentity(b []byte, i identity) []byte {
	b = append(b, wireVersion)
	b = binary.AppendUvarint(b, uint64(i.At))
	b = append(b, i.Digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(i.Products)))
	for _, p := range i.Products {
		b = appendText(b, p)
	}
	return b
}

func parseIdentity(data []byte) (i identity, err error) {
	d := decode("identity of an order", data)
	i.At = d.int63()
	i.Digest = d.digest()
	i.Products = make([]event.ID, d.count(event.MaxLines))
	for n := range i.Products {
		i.Products[n] = d.id()
	}
	return i, d.end()
}

func appendLevel(b []byte, l level) []byte {
	b = append(b, wireVersion, flag(l.Catalogued)|flag(l.Supplied)<<1)
	b = binary.AppendUvarint(b, uint64(l.Available))
	b = binary.AppendUvarint(b, uint64(l.Reserved))
	return appendText(b, l.Name)
}

func parseLevel(data []byte) (l level, err error) {
	d := decode("level of a product", data)
	known := d.byte()
	if known > 3 {
		d.fail()
	}
	l.Catalogued, l.Supplied = known&1 != 0, known&2 != 0
	l.Available = d.int63()
	l.Reserved = int64(d.uvarint(uint64(1<<63 - 1 - l.Available)))
	l.Name = d.text(maxName)
	return l, d.end()
}

func appendReservation(b []byte, r reservation) []byte {
	b = append(b, wireVersion, byte(r.State))
	b = binary.AppendUvarint(b, uint64(r.Quantity))
	return binary.AppendUvarint(b, uint64(r.Born))
}

func parseReservation(data []byte) (r reservation, err error) {
	d := decode("reservation", data)
	if r.State = reservationState(d.byte()); r.State < reserved || r.State > exited {
		d.fail()
	}
	r.Quantity = int64(d.uvarint(maxPart))
	r.Born = d.int63()
	return r, d.end()
}

// Keys of two ids: the first with its length, then the second.

func appendHeld(b []byte, h held) []byte { return append(appendText(b, h.Product), h.Order...) }

func parseHeld(data []byte) (h held, err error) {
	h.Product, h.Order, err = twoIDs("key of a reservation", data)
	return h, err
}

func appendSupplied(b []byte, s supplied) []byte {
	return append(appendText(b, s.Product), s.Supply...)
}

func parseSupplied(data []byte) (s supplied, err error) {
	s.Product, s.Supply, err = twoIDs("key of a supply", data)
	return s, err
}

func twoIDs(what string, data []byte) (a, b event.ID, err error) {
	d := decoder{what: what, s: string(data), size: len(data)}
	a = d.id()
	if b = event.ID(d.s); len(b) == 0 || len(b) > maxID {
		d.fail()
	}
	d.s = ""
	return a, b, d.end()
}

func appendMillis(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(append(b, wireVersion), uint64(t.UnixMilli()))
}

func parseMillis(data []byte) (time.Time, error) {
	d := decode("time", data)
	t := time.UnixMilli(d.int63()).UTC()
	return t, d.end()
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}
