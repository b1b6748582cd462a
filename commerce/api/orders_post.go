package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/web"
)

// postOrder is POST /commandes.
func (a *API) postOrder(w http.ResponseWriter, r *http.Request) error {
	value, err := body(r)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	p := placing{api: a, key: key, sum: fingerprint(r, value), value: value, trace: a.traceParent(r), at: a.now()}
	ans, err := a.once(r.Context(), key, p.sum, func() (orderdb.Answer, bool, error) {
		ctx, cancel := context.WithTimeout(r.Context(), writeLimit)
		defer cancel()
		return p.place(ctx)
	})
	if err != nil {
		return err
	}
	sendAnswer(w, ans)
	return nil
}

// now is a moment as records hold it: in milliseconds.
func (a *API) now() time.Time { return a.cfg.Now().Truncate(time.Millisecond) }

// placing is one request to place an order.
type placing struct {
	api   *API
	key   string
	sum   [32]byte
	value []byte
	trace string
	at    time.Time
}

// place judges the order and makes it durable. kept says whether the answer
// stands under the idempotency key.
func (p *placing) place(ctx context.Context) (ans orderdb.Answer, kept bool, err error) {
	o, problems, err := p.judge()
	if err != nil {
		return ans, false, err
	}
	if len(problems) > 0 {
		return p.refuse(ctx, problems)
	}
	s := p.submission(&o)
	if p.key != "" {
		// What is kept for an order that is known already tells its state: it
		// has to be read before.
		if is, ok, err := p.api.cfg.DB.Order(ctx, o.ID); err != nil {
			p.api.metrics.order(resultUnavailable)
			return ans, false, err
		} else if ok {
			s.Answers[orderdb.Same] = known(&is)
		}
	}
	out, err := p.api.cfg.DB.Submit(ctx, s)
	if err != nil {
		p.api.metrics.order(resultUnavailable)
		return ans, false, err
	}
	p.api.metrics.order(results[out.Result])
	switch {
	case out.Result == orderdb.KeyReused:
		return ans, false, keyReused()
	case out.Result == orderdb.Same && p.key == "":
		is, ok, err := p.api.cfg.DB.Order(ctx, o.ID)
		if err != nil {
			return ans, false, err
		}
		if ok {
			return known(&is), false, nil
		}
	}
	return out.Answer, p.key != "", nil
}

// judge parses the order, and gives it an id if it has none.
func (p *placing) judge() (event.Order, []event.Problem, error) {
	o, problems, _ := event.ParseOrder(nil, p.value, p.at)
	if len(problems) == 0 || problems[0].Code != event.CodeMissingField || problems[0].Field != "commandeId" {
		return o, problems, nil
	}
	id, err := newID("CMD-")
	if err != nil {
		return o, nil, err
	}
	if value, ok := event.InsertOrderID(p.value, id); ok {
		p.value = value
	}
	o, problems, _ = event.ParseOrder(nil, p.value, p.at)
	return o, problems, nil
}

func newID(prefix string) (event.ID, error) {
	u, err := uuid.NewV7()
	return event.ID(prefix + u.String()), err
}

// refuse answers for an incoherent order. Nothing of it is kept, since the same
// bytes are judged alike for ever; but a key that stands for another request is
// not to be had.
func (p *placing) refuse(ctx context.Context, problems []event.Problem) (ans orderdb.Answer, kept bool, err error) {
	if p.key != "" {
		// A database that does not answer is no reason to keep from the client
		// what does not depend on it.
		if was, ok, err := p.api.cfg.DB.Answer(ctx, p.key); err == nil && ok && was.Fingerprint != p.sum {
			p.api.metrics.order(results[orderdb.KeyReused])
			return ans, false, keyReused()
		}
	}
	p.api.metrics.order(resultIncoherent)
	list := []byte{'['}
	for i, problem := range problems {
		if i > 0 {
			list = append(list, ',')
		}
		list = problem.AppendJSON(list)
	}
	what := problems[0].Detail
	if field := problems[0].Field; field != "" {
		what = field + ": " + what
	}
	refusal := web.Problemf(http.StatusUnprocessableEntity, codeIncoherent, "the order is incoherent: %s", what)
	refusal.More = map[string]any{"erreurs": json.RawMessage(append(list, ']'))}
	return ans, false, refusal
}

// submission is the coherent order o with its message.
func (p *placing) submission(o *event.Order) orderdb.Submission {
	created := accepted(o.ID, orderdb.Received.String())
	created.Status = http.StatusCreated
	created.Location = "/commandes/" + url.PathEscape(string(o.ID))
	headers := make([]orderdb.Header, 1, 2)
	headers[0] = orderdb.Header{Key: event.HeaderOrder, Value: []byte(o.ID)}
	return orderdb.Submission{
		Key:         p.key,
		Fingerprint: p.sum,
		Order:       &orderdb.NewOrder{ID: o.ID, Client: o.Customer.ID, Digest: o.Digest, Value: p.value},
		Messages: []orderdb.Message{{
			Topic:   event.TopicOrders,
			Key:     []byte(o.Customer.ID),
			Value:   p.value,
			Headers: traced(headers, p.trace),
			At:      p.at,
		}},
		Answers: map[orderdb.Result]orderdb.Answer{
			orderdb.Created: created,
			orderdb.Same:    accepted(o.ID, orderdb.Received.String()),
			orderdb.Conflict: problemAnswer(http.StatusConflict, event.CodeOrderConflict,
				"order "+string(o.ID)+" exists with other content; give another commandeId or none"),
		},
		At: p.at,
	}
}

// traced adds the trace context, if there is one.
func traced(headers []orderdb.Header, trace string) []orderdb.Header {
	if trace == "" {
		return headers
	}
	return append(headers, orderdb.Header{Key: event.HeaderTrace, Value: []byte(trace)})
}

// known answers for an order that was there before.
func known(o *orderdb.Order) orderdb.Answer { return accepted(o.ID, shown(o.State).String()) }

// accepted is the answer 200 that names an order and its state.
func accepted(id event.ID, state string) orderdb.Answer {
	b := make([]byte, 0, 48+len(id)+len(state))
	b = append(b, `{"commandeId":`...)
	b = id.AppendJSON(b)
	b = append(b, `,"statut":"`...)
	b = append(b, state...)
	b = append(b, '"', '}', '\n')
	return orderdb.Answer{Status: http.StatusOK, Body: b}
}
