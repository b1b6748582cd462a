package stock

import (
	"fmt"
	"slices"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// pending is a coherent order that stands in its client's queue. It is never
// modified.
type pending struct {
	Offset  int64 // of its record, in the task's partition
	At      int64 // ms; its record's time
	Key     []byte
	Headers []streams.Header
	Value   []byte   // as it came: a conflict is reported with it
	Product event.ID // single-line form: what produit meant when the order came

	// Read from the above, not stored.
	order  event.Order
	parts  []part
	of     []int            // which part each line belongs to
	events []streams.Header // of what is written for the order
}

// parse reads the order, with problems if it is incoherent. product, if not
// nil, says what the produit of an order in single-line form means.
func (p *pending) parse(product func(string) event.ID) []event.Problem {
	o, problems, _ := event.ParseOrder(p.Key, p.Value, time.UnixMilli(p.At).UTC())
	if len(problems) > 0 {
		return problems
	}
	if o.SingleLine {
		if product != nil {
			p.Product = product(o.Product)
		}
		o.Lines[0].Product = p.Product
	}
	p.order = o
	p.parts, p.of = partsOf(o.Lines)
	return nil
}

// queue is the orders of one client that wait for their verdicts, in the order
// in which they came. The orders behind the first are kept apart, so that a
// lone order, the usual case, costs one entry.
type queue struct {
	Head, Tail int64 // the places of the first order and of the last
	First      *pending
	Got        gathered // what has been answered to First
	// Apart is set of a queue that an older version has stored: what has been
	// answered to First stands in the store "gathered".
	Apart bool
}

// place is an order's place in a client's queue.
type place struct {
	Client event.ID
	Seq    int64
}

// gathered is what has been answered to an order so far.
type gathered struct {
	Silent   bool // the order gets no verdict: it is a redelivery or in conflict
	Outcomes []outcome
}

// complete tells whether nothing is missing.
func (g gathered) complete(p *pending) bool { return g.Silent || len(g.Outcomes) == len(p.parts) }

// add returns g with an answer added. ok is false if it was there before or
// makes no sense.
func (g gathered) add(p *pending, a answer) (gathered, bool) {
	if g.complete(p) {
		return g, false
	}
	if !a.Kind.fromProduct() {
		g.Silent = true
		return g, true
	}
	if a.Part >= len(p.parts) || slices.ContainsFunc(g.Outcomes, func(o outcome) bool { return o.Part == a.Part }) {
		return g, false
	}
	// The new slice may share memory with the old one, which is not read again:
	// after an aborted transaction both are gone.
	g.Outcomes = append(g.Outcomes, outcome{Kind: a.Kind, Part: a.Part, Name: a.Name})
	return g, true
}

// clientTask owns the queues of clients: orders go on to identity as they come,
// and the verdicts of a client leave in the order of arrival.
func (s *stage) clientTask(orders streams.Stream[[]byte, []byte], answers streams.Stream[event.ID, answer]) {
	orders.Process("queue", s.orderCame, s.names, s.queues, s.waiting, s.requests)
	answers.Process("verdict", s.answerCame, s.queues, s.waiting, s.gathered, s.requests, s.verdicts, s.errors)
}

func (s *stage) orderCame(c *streams.Context, r streams.Record[[]byte, []byte]) {
	p := &pending{Offset: c.Offset(), At: c.RecordTime().UnixMilli(), Key: r.Key, Value: r.Value}
	problems := p.parse(func(text string) (id event.ID) {
		s.names.View(c, func(n *names) { id = n.resolve(text) })
		return id
	})
	if len(problems) > 0 {
		c.Count("incoherent") // detection-anomalies reports it
		return
	}
	p.Headers = keptHeaders(r.Headers)
	p.events = event.Headers(p.order.ID, p.Headers)
	if len(p.Key) > maxKept {
		p.Key = nil // no id is that long, so the order is the same without it
	}

	client := p.order.Customer.ID
	// A queue begins at the offset of its first order, which is beyond every
	// place before, so that no place comes twice.
	seq := p.Offset
	q, busy := s.queues.Get(c, client)
	if busy {
		seq = q.Tail + 1
		q.Tail = seq
		s.waiting.Put(c, place{client, seq}, p)
	} else {
		q = queue{Head: seq, Tail: seq, First: p}
	}
	s.queues.Put(c, client, q)
	s.requests.Send(c, streams.Record[event.ID, request]{
		Key: p.order.ID,
		Value: request{
			Kind: requestOrder, Client: client, Partition: c.Partition(), Seq: seq,
			Digest: p.order.Digest, Parts: p.parts,
		},
		Headers: p.events,
	})
}

func (s *stage) answerCame(c *streams.Context, r streams.Record[event.ID, answer]) {
	a := r.Value
	q, ok := s.queues.Get(c, r.Key)
	if !ok || a.Seq < q.Head || a.Seq > q.Tail {
		c.Count("unfit")
		return
	}
	if a.Seq != q.Head {
		s.answerBehind(c, place{r.Key, a.Seq}, a)
		return
	}
	if q.Apart {
		q.Got, q.Apart = s.takeGathered(c, place{r.Key, q.Head}), false
		s.queues.Put(c, r.Key, q)
	}
	if q.Got, ok = q.Got.add(q.First, a); !ok {
		c.Count("unfit")
		return
	}
	if a.Kind == answerConflict {
		s.conflict(c, q.First)
	}
	s.settle(c, r.Key, q)
}

// answerBehind keeps an answer to an order that is not the first of its queue.
func (s *stage) answerBehind(c *streams.Context, at place, a answer) {
	p := s.orderAt(c, at)
	g, _ := s.gathered.Get(c, at)
	g, ok := g.add(p, a)
	if !ok {
		c.Count("unfit")
		return
	}
	if a.Kind == answerConflict {
		s.conflict(c, p)
	}
	s.gathered.Put(c, at, g)
}

// takeGathered takes what has been answered to an order out of the store.
func (s *stage) takeGathered(c *streams.Context, at place) gathered {
	g, stored := s.gathered.Get(c, at)
	if stored {
		s.gathered.Delete(c, at)
	}
	return g
}

// settle gives the verdict on the first order of a queue, if it is complete, and
// on those behind it as long as they are complete too.
func (s *stage) settle(c *streams.Context, client event.ID, q queue) {
	for q.Got.complete(q.First) {
		if !q.Got.Silent {
			s.verdict(c, q.First, q.Got.Outcomes)
		}
		if q.Head == q.Tail {
			s.queues.Delete(c, client)
			return
		}
		q.Head++
		next := place{client, q.Head}
		q.First = s.orderAt(c, next)
		s.waiting.Delete(c, next)
		q.Got = s.takeGathered(c, next)
	}
	s.queues.Put(c, client, q)
}

// orderAt returns an order that stands behind the first of its queue.
func (s *stage) orderAt(c *streams.Context, at place) *pending {
	p, ok := s.waiting.Get(c, at)
	if !ok {
		// The two stores change together, so this is damaged state.
		panic(fmt.Errorf("client %q: the order at place %d of the queue is not in store %q", at.Client, at.Seq, storeWaiting))
	}
	return p
}

func (s *stage) verdict(c *streams.Context, p *pending, outcomes []outcome) {
	v, releases := judge(&p.order, p.parts, p.of, outcomes, c.Now())
	if v.Status == event.StatusValid {
		c.Count("ok")
	} else {
		c.Count("refused")
		s.requests.Send(c, streams.Record[event.ID, request]{
			Key: v.Order, Value: request{Kind: requestShort, Parts: releases}, Headers: p.events,
		})
	}
	s.verdicts.Send(c, streams.Record[event.ID, event.Verdict]{
		Key: v.Customer.ID, Value: v, Headers: p.events,
	})
}

// conflict reports an order whose id is another's, as detection-anomalies would.
func (s *stage) conflict(c *streams.Context, p *pending) {
	value := event.AppendErrorRecord(nil, &p.order.ID, event.SeverityReject,
		[]event.Problem{{
			Code: event.CodeOrderConflict, Field: "commandeId",
			Detail: "the id was taken by an order with other content",
		}},
		p.Value, true, event.Origin{Topic: event.Orders.Name, Partition: c.Partition(), Offset: p.Offset}, c.Now())
	s.errors.Send(c, streams.Record[[]byte, []byte]{
		Key: p.Key, Value: value, Headers: accusedHeaders(p.order.ID, p.Headers),
	})
}
