package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/web"
)

const (
	defaultDelay = 5 * time.Second
	maxDelay     = 30 * time.Second
	// maxWaiters bounds what the poller asks for at once.
	maxWaiters = 10_000
)

// order reads an order; its error is a 404 if there is none.
func (a *API) order(ctx context.Context, id event.ID) (orderdb.Order, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	o, ok, err := a.cfg.DB.Order(ctx, id)
	if err == nil && !ok {
		err = web.Problemf(http.StatusNotFound, web.CodeNotFound, "no order %s is known", id)
	}
	return o, err
}

// getOrder is GET /commandes/{id}.
func (a *API) getOrder(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	q, err := parameters(r, "attendre", "delai")
	if err != nil {
		return err
	}
	wanted, delay, err := waiting(q)
	if err != nil {
		return err
	}
	o, err := a.order(r.Context(), id)
	if err != nil {
		return err
	}
	expired := false
	if wanted != orderdb.Unknown && !reached(o.State, wanted) {
		if o, err = a.await(r.Context(), o, wanted, delay); err != nil {
			return err
		}
		expired = !reached(o.State, wanted)
	}
	sendJSON(w, http.StatusOK, appendOrder(make([]byte, 0, 1024), &o, expired))
	return nil
}

// waiting reads which state a request waits for, Unknown for none, and how long.
func waiting(q map[string]string) (wanted orderdb.State, delay time.Duration, err error) {
	word, ok := q["attendre"]
	if ok {
		if wanted, ok = orderdb.ParseState(word); !ok {
			return 0, 0, badRequest("parameter \"attendre\" must be a state such as FACTUREE")
		}
	}
	delay = defaultDelay
	if s, ok := q["delai"]; ok {
		delay, err = time.ParseDuration(s)
		switch {
		case err != nil || delay < 0 || delay > maxDelay:
			return 0, 0, badRequest("parameter \"delai\" must be a duration such as 5s or 500ms, at most 30s")
		case wanted == orderdb.Unknown:
			return 0, 0, badRequest("parameter \"delai\" has no meaning without \"attendre\"")
		}
	}
	return wanted, delay, nil
}

// reached says whether who waits for wanted has an answer. A final state
// answers everybody, and is the only answer for who waits for a refusal.
func reached(is, wanted orderdb.State) bool {
	return is.Final() || !wanted.Final() && shown(is) >= wanted
}

// await returns the order once it has reached the wanted state, or as it is
// after delay or when we stop.
func (a *API) await(ctx context.Context, o orderdb.Order, wanted orderdb.State, delay time.Duration) (orderdb.Order, error) {
	if !a.begin() {
		return o, nil
	}
	defer a.open.Done()
	sub, ok := a.watcher.subscribe(o.ID, o.Changes, maxWaiters)
	if !ok {
		return o, unavailable("too many requests wait already")
	}
	defer sub.end()
	a.metrics.waiters.Inc()
	defer a.metrics.waiters.Dec()
	limit := time.NewTimer(delay)
	defer limit.Stop()
	for {
		last := false
		select {
		case <-sub.changed:
		case <-limit.C:
			last = true
		case <-a.stopping:
			last = true
		case <-ctx.Done():
			return o, ctx.Err()
		}
		is, err := a.order(ctx, o.ID)
		if err != nil || last || reached(is.State, wanted) {
			return is, err
		}
	}
}

// listOrders is GET /commandes.
func (a *API) listOrders(w http.ResponseWriter, r *http.Request) error {
	q, err := parameters(r, "statut", "client", "apres", "limite")
	if err != nil {
		return err
	}
	f, err := filter(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readLimit)
	defer cancel()
	page := f.Limit
	f.Limit++ // one more, to know whether there is more
	list, err := a.cfg.DB.Orders(ctx, f)
	if err != nil {
		return err
	}
	next := ""
	if len(list) > page {
		list = list[:page]
		next = orderCursor(list[page-1].Number)
	}
	b := []byte(`{"commandes":[`)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendOrder(b, &list[i], false)
	}
	sendJSON(w, http.StatusOK, appendPageEnd(b, next))
	return nil
}

func filter(q map[string]string) (f orderdb.Filter, err error) {
	if s, ok := q["statut"]; ok {
		if f.State, ok = orderdb.ParseState(s); !ok {
			return f, badRequest("parameter \"statut\" must be one of %s", strings.Join(stateWords(), ", "))
		}
	}
	if f.Client = event.ID(q["client"]); f.Client != "" && !f.Client.Valid() {
		return f, badRequest("parameter \"client\" must be a clientId")
	}
	if f.Before, err = parseOrderCursor(q["apres"]); err != nil {
		return f, err
	}
	f.Limit, err = limit(q)
	return f, err
}

func stateWords() (words []string) {
	for s := orderdb.Rejected; s.String() != ""; s++ {
		words = append(words, s.String())
	}
	return words
}

// appendPageEnd closes a list and its answer.
func appendPageEnd(b []byte, next string) []byte {
	b = append(b, ']')
	if next != "" {
		b = event.AppendString(append(b, `,"suivant":`...), next)
	}
	return append(b, '}')
}
