package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/web"
)

// getProduct is GET /produits/{id}.
func (a *API) getProduct(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	if _, err := parameters(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readLimit)
	defer cancel()
	p, ok, err := a.cfg.DB.Product(ctx, id)
	switch {
	case err != nil:
		return err
	case !ok:
		return web.Problemf(http.StatusNotFound, web.CodeNotFound, "no product %s is known", id)
	}
	sendJSON(w, http.StatusOK, appendProduct(nil, &p))
	return nil
}

// listProducts is GET /produits.
func (a *API) listProducts(w http.ResponseWriter, r *http.Request) error {
	q, err := parameters(r, "apres", "limite")
	if err != nil {
		return err
	}
	after, err := parseProductCursor(q["apres"])
	if err != nil {
		return err
	}
	page, err := limit(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readLimit)
	defer cancel()
	list, err := a.cfg.DB.Products(ctx, after, page+1)
	if err != nil {
		return err
	}
	next := ""
	if len(list) > page {
		list = list[:page]
		next = productCursor(list[page-1].ID)
	}
	b := []byte(`{"produits":[`)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendProduct(b, &list[i])
	}
	sendJSON(w, http.StatusOK, appendPageEnd(b, next))
	return nil
}

// putProduct is PUT /produits/{id}.
func (a *API) putProduct(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	data, err := body(r)
	if err != nil {
		return err
	}
	p, err := event.ParseProductRequest(id, data)
	if err != nil {
		return badRequest("%v", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeLimit)
	defer cancel()
	was, ok, err := a.cfg.DB.Product(ctx, id)
	if err != nil {
		return err
	}
	value := p.AppendJSON(nil)
	did := action{what: actionProduct, on: id, after: value, at: a.now()}
	if ok {
		did.before = event.Product{ID: id, Name: was.Name, Price: was.Price, HasPrice: was.HasPrice}.AppendJSON(nil)
	}
	headers := traced(nil, a.traceParent(r))
	shown := append(p.AppendJSON(nil), '\n')
	out, err := a.cfg.DB.Submit(ctx, orderdb.Submission{
		Product: &p,
		Messages: []orderdb.Message{
			{Topic: event.TopicProducts, Key: []byte(id), Value: value, Headers: headers, At: did.at},
			did.message(headers),
		},
		Answers: map[orderdb.Result]orderdb.Answer{
			orderdb.Created: {Status: http.StatusCreated, Location: "/produits/" + url.PathEscape(string(id)), Body: shown},
			orderdb.Same:    {Status: http.StatusOK, Body: shown},
		},
		At: did.at,
	})
	if err != nil {
		return err
	}
	sendAnswer(w, out.Answer)
	return nil
}

// postSupply is POST /stock/{id}/approvisionnements.
func (a *API) postSupply(w http.ResponseWriter, r *http.Request) error {
	product, err := pathID(r)
	if err != nil {
		return err
	}
	data, err := body(r)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	id, err := newID("APP-")
	if err != nil {
		return err
	}
	s, err := event.ParseSupplyRequest(id, product, data)
	if err != nil {
		return badRequest("%v", err)
	}
	sum := fingerprint(r, data)
	headers := traced(nil, a.traceParent(r))
	at := a.now()
	ans, err := a.once(r.Context(), key, sum, func() (orderdb.Answer, bool, error) {
		ctx, cancel := context.WithTimeout(r.Context(), writeLimit)
		defer cancel()
		return a.supply(ctx, key, sum, s, headers, at)
	})
	if err != nil {
		return err
	}
	sendAnswer(w, ans)
	return nil
}

// supply makes a supply durable with its entry in the journal.
func (a *API) supply(ctx context.Context, key string, sum [32]byte, s event.Supply, headers []orderdb.Header, at time.Time) (ans orderdb.Answer, kept bool, err error) {
	value := s.AppendJSON(nil)
	did := action{what: actionSupply, on: s.Product, after: value, at: at}
	b := s.ID.AppendJSON([]byte(`{"id":`))
	out, err := a.cfg.DB.Submit(ctx, orderdb.Submission{
		Key:         key,
		Fingerprint: sum,
		Messages: []orderdb.Message{
			{Topic: event.TopicSupplies, Key: []byte(s.Product), Value: value, Headers: headers, At: at},
			did.message(headers),
		},
		Answers: map[orderdb.Result]orderdb.Answer{
			orderdb.Created: {Status: http.StatusAccepted, Body: append(b, '}', '\n')},
		},
		At: at,
	})
	switch {
	case err != nil:
		return ans, false, err
	case out.Result == orderdb.KeyReused:
		return ans, false, keyReused()
	}
	return out.Answer, true, nil
}
