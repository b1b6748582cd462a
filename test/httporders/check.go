package httporders

import (
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
)

// Check holds the answers to the requests against each other and against what
// the run left behind, once it is at rest. direct is how many records of
// commandes.ecommerce came by Kafka. That each order has one verdict, one
// payment and one invoice is for package invariants to say.
func Check(requests []Request, answers []Answer, h *invariants.History, direct int) (complaints []string) {
	c := &checker{placed: map[string]*placed{}}
	c.readAnswers(requests, answers)
	c.checkAnswers()
	c.readRecords(h, direct)
	c.checkSequence(requests, answers)
	return c.complaints
}

type checker struct {
	complaints []string
	placed     map[string]*placed // by order id: what was accepted
	sequence   map[string][]string
}

// placed is an order id, and what was answered to the requests for it.
type placed struct {
	id       string
	winner   *Request // answered 201
	created  int
	others   []attempt // coherent ones that were not answered 201
	outgoing int       // records in commandes.ecommerce
}

type attempt struct {
	*Request
	Answer
}

func (c *checker) complain(format string, args ...any) {
	c.complaints = append(c.complaints, fmt.Sprintf(format, args...))
}

func (c *checker) readAnswers(requests []Request, answers []Answer) {
	for n := range requests {
		q, a := &requests[n], answers[n]
		for _, fault := range a.Faults {
			c.complain("%s (%s): %s", q.Key, q.Kind, fault)
		}
		switch {
		case a.Status == 0:
			c.complain("%s (%s): no answer after %d tries", q.Key, q.Kind, a.Tries)
			continue
		case len(q.Codes) > 0:
			if a.Status != http.StatusUnprocessableEntity || a.Code != "COMMANDE_INCOHERENTE" || !slices.Equal(a.Codes, q.Codes) {
				c.complain("%s (%s): answered %d %s %v, want 422 COMMANDE_INCOHERENTE %v", q.Key, q.Kind, a.Status, a.Code, a.Codes, q.Codes)
			}
			continue
		}
		id := q.ID
		if id == "" {
			id = a.ID
		} else if a.Status < 300 && a.ID != id {
			c.complain("%s (%s): answered for order %q, was %q", q.Key, q.Kind, a.ID, id)
		}
		p := c.placed[id]
		if p == nil {
			p = &placed{id: id}
			c.placed[id] = p
		}
		if a.Status == http.StatusCreated {
			p.winner = q
			p.created++
		} else {
			p.others = append(p.others, attempt{q, a})
		}
	}
}

// checkAnswers: of the requests for an order id one is answered 201, those with
// the same content 200, and the others 409.
func (c *checker) checkAnswers() {
	for _, id := range slices.Sorted(maps.Keys(c.placed)) {
		p := c.placed[id]
		if p.created != 1 {
			c.complain("order %q: %d requests were answered 201 (others %v)", id, p.created, p.others)
			continue
		}
		for _, o := range p.others {
			switch same := o.Request.Identity == p.winner.Identity; {
			case same && o.Status != http.StatusOK:
				c.complain("order %q: %s (%s) has the winner's content and was answered %d %s", id, o.Key, o.Kind, o.Status, o.Code)
			case !same && (o.Status != http.StatusConflict || o.Code != "COMMANDE_EN_CONFLIT"):
				c.complain("order %q: %s (%s) has other content than the winner and was answered %d %s", id, o.Key, o.Kind, o.Status, o.Code)
			}
		}
	}
}

// readRecords: what was accepted stands in commandes.ecommerce as it was given,
// and nothing else does.
func (c *checker) readRecords(h *invariants.History, direct int) {
	c.sequence = map[string][]string{}
	others, partitions := 0, map[string]int32{}
	for _, r := range h.Topics[orders.OrdersTopic] {
		header := ""
		for _, h := range r.Headers {
			if h.Key == "comptoir-order" {
				header = string(h.Value)
			}
		}
		if header == "" {
			others++
			continue
		}
		j := orders.Judge(r.Key, r.Value, r.Time)
		p := c.placed[j.ID]
		switch {
		case j.ID != header, len(j.Codes) > 0:
			c.complain("%s has header %q, order id %q, errors %v", r, header, j.ID, j.Codes)
			continue
		case p == nil || p.winner == nil:
			c.complain("%s: order %q was not accepted", r, j.ID)
			continue
		case j.Order.Identity != p.winner.Identity || string(r.Key) != p.winner.Client:
			c.complain("%s (key %q): order %q is not the accepted one: %.200s", r, r.Key, j.ID, r.Value)
		case p.winner.ID != "" && string(r.Value) != string(p.winner.Body):
			c.complain("%s: order %q is not byte for byte what was posted: %.200s", r, j.ID, r.Value)
		}
		if p.outgoing++; p.outgoing == 1 {
			c.sequence[string(r.Key)] = append(c.sequence[string(r.Key)], j.ID)
		}
		if at, ok := partitions[string(r.Key)]; ok && at != r.Partition {
			c.complain("%s: client %q is in partition %d too", r, r.Key, at)
		}
		partitions[string(r.Key)] = r.Partition
	}
	if others != direct {
		c.complain("%d records did not come through the outbox, %d were sent by Kafka", others, direct)
	}
	for _, id := range slices.Sorted(maps.Keys(c.placed)) {
		if p := c.placed[id]; p.winner != nil && p.outgoing == 0 {
			c.complain("order %q was accepted and is not in %s", id, orders.OrdersTopic)
		}
	}
}

// checkSequence: a client's orders stand in Kafka in the order of acceptance.
// What was sent again may stand there again.
func (c *checker) checkSequence(requests []Request, answers []Answer) {
	accepted := map[string][]string{}
	for n := range requests {
		if answers[n].Status == http.StatusCreated {
			accepted[requests[n].Client] = append(accepted[requests[n].Client], answers[n].ID)
		}
	}
	for client, want := range accepted {
		if got := c.sequence[client]; !slices.Equal(got, want) {
			c.complain("client %q: accepted in the order %.300q, in Kafka in the order %.300q", client, want, got)
		}
	}
}
