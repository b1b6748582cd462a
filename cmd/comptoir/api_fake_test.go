package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// fakeAPI plays the order API as the contract has it, with what the commands
// need of it.
type fakeAPI struct {
	mu     sync.Mutex
	url    string
	orders []*fakeOrder // in the order of acceptance
	keys   map[string]fakeAnswer
	posts  int // that took effect
	calls  []string
	bodies []string
	// faults are played one per request, in place of the answer; one that
	// returns true has dealt with the request.
	faults []func(f *fakeAPI, w http.ResponseWriter, r *http.Request) bool
	// comes is the state an order is in when it was asked for so often.
	comes func(o *fakeOrder)

	products map[string]map[string]any
	// stream writes an event stream; the argument is Last-Event-ID.
	stream func(w http.ResponseWriter, r *http.Request, last string)
	lasts  []string // of the streams
}

type fakeOrder struct {
	ID     string
	State  string
	Reason string
	Digest string
	Client string
	Name   string
	asked  int
}

type fakeAnswer struct {
	status int
	body   string
}

// startAPI returns the fake with a shell whose commands find it.
func startAPI(t *testing.T) (*fakeAPI, *shell) {
	t.Helper()
	f := &fakeAPI{keys: map[string]fakeAnswer{}, products: map[string]map[string]any{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f, &shell{t: t, environ: []string{"COMPTOIR_API=" + strings.TrimPrefix(srv.URL, "http://")}}
}

// unavailable answers 503, to be asked again at once.
func unavailable(_ *fakeAPI, w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Retry-After", "0")
	answerProblem(w, http.StatusServiceUnavailable, "INDISPONIBLE", "the order database is away", "")
	return true
}

// lost takes effect, and breaks the connection instead of answering.
func lost(f *fakeAPI, _ http.ResponseWriter, r *http.Request) bool {
	f.answer(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

func answerProblem(w http.ResponseWriter, status int, code, detail, more string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"about:blank","title":%q,"status":%d,"code":%q,"detail":%q%s}`, http.StatusText(status), status, code, detail, more)
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Accept") == "text/event-stream" && f.stream != nil {
		f.mu.Lock()
		f.calls = append(f.calls, r.Method+" "+r.URL.RequestURI())
		f.lasts = append(f.lasts, r.Header.Get("Last-Event-ID"))
		f.mu.Unlock()
		f.stream(w, r, r.Header.Get("Last-Event-ID"))
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Method+" "+r.URL.RequestURI())
	if len(f.faults) > 0 {
		fault := f.faults[0]
		f.faults = f.faults[1:]
		if fault(f, w, r) {
			return
		}
	}
	f.answer(w, r)
}

func (f *fakeAPI) answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		answerProblem(w, 400, "REQUETE_INVALIDE", err.Error(), "")
		return
	}
	if len(body) > 0 {
		f.bodies = append(f.bodies, string(body))
		if r.Header.Get("Content-Type") != "application/json" {
			answerProblem(w, 415, "TYPE_DE_CONTENU_REFUSE", "send JSON", "")
			return
		}
	}
	if r.Method == "POST" {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			answerProblem(w, 400, "REQUETE_INVALIDE", "the commands always send a key", "")
			return
		}
		ans, ok := f.keys[key]
		if !ok {
			rec := httptest.NewRecorder()
			f.post(rec, r, body)
			ans = fakeAnswer{rec.Code, rec.Body.String()}
			if rec.Code < 300 {
				f.keys[key] = ans
				f.posts++
			}
		}
		w.WriteHeader(ans.status)
		fmt.Fprint(w, ans.body)
		return
	}
	path := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	id := ""
	if len(path) > 1 {
		id = strings.ReplaceAll(path[1], "%2F", "/")
	}
	switch {
	case path[0] == "commandes" && id == "":
		f.list(w, r)
	case path[0] == "commandes":
		i := slices.IndexFunc(f.orders, func(o *fakeOrder) bool { return o.ID == id })
		if i < 0 {
			answerProblem(w, 404, "INTROUVABLE", "no order "+id+" is known", "")
			return
		}
		f.order(w, r, f.orders[i])
	case path[0] == "produits" && r.Method == "PUT":
		var p map[string]any
		_ = json.Unmarshal(body, &p)
		p["id_produit"], p["disponible"], p["reserve"] = id, 0, 0
		f.products[id] = p
		w.WriteHeader(201)
		_ = json.NewEncoder(w).Encode(p)
	case path[0] == "produits" && id != "":
		if f.products[id] == nil {
			answerProblem(w, 404, "INTROUVABLE", "no product "+id+" is known", "")
			return
		}
		_ = json.NewEncoder(w).Encode(f.products[id])
	case path[0] == "produits":
		f.listProducts(w, r)
	default:
		answerProblem(w, 404, "INTROUVABLE", "no such path: "+r.URL.Path, "")
	}
}

func (f *fakeAPI) post(w http.ResponseWriter, r *http.Request, body []byte) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/stock/"); ok {
		id = strings.TrimSuffix(id, "/approvisionnements")
		var s struct{ Quantite int }
		_ = json.Unmarshal(body, &s)
		p := f.products[id]
		if p == nil {
			p = map[string]any{"id_produit": id, "nom_produit": id, "disponible": 0, "reserve": 0}
			f.products[id] = p
		}
		p["disponible"] = p["disponible"].(int) + s.Quantite
		w.WriteHeader(202)
		fmt.Fprintf(w, `{"id":"APP-%d"}`, len(f.keys)+1)
		return
	}
	o, problems, _ := event.ParseOrder(nil, body, time.Now())
	if len(problems) == 1 && problems[0].Code == event.CodeMissingField && problems[0].Field == "commandeId" {
		o, problems, _ = event.ParseOrder(nil, append([]byte(fmt.Sprintf(`{"commandeId":"CMD-%d",`, len(f.orders)+1)), body[1:]...), time.Now())
	}
	if len(problems) > 0 {
		var list []string
		for _, p := range problems {
			list = append(list, fmt.Sprintf(`{"code":%q,"champ":%q,"detail":%q}`, p.Code, p.Field, p.Detail))
		}
		answerProblem(w, 422, "COMMANDE_INCOHERENTE", "the order is incoherent", `,"erreurs":[`+strings.Join(list, ",")+`]`)
		return
	}
	status := 201
	i := slices.IndexFunc(f.orders, func(k *fakeOrder) bool { return k.ID == string(o.ID) })
	if i < 0 {
		f.orders = append(f.orders, &fakeOrder{ID: string(o.ID), State: "RECUE", Digest: string(body), Client: string(o.Customer.ID), Name: o.Customer.Name})
		i = len(f.orders) - 1
	} else if status = 200; f.orders[i].Digest != string(body) {
		answerProblem(w, 409, "COMMANDE_EN_CONFLIT", "order "+string(o.ID)+" exists with other content", "")
		return
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"commandeId":%s,"statut":%q}`, o.ID.AppendJSON(nil), f.orders[i].State)
}

// json is the order as it is shown.
func (o *fakeOrder) json() string {
	reason, invoice := "", ""
	if o.Reason != "" {
		reason = fmt.Sprintf(`,"motif":%q`, o.Reason)
	}
	if slices.Contains([]string{"FACTUREE", "NOTIFIEE"}, o.State) {
		invoice = `,"numero_facture":"FA-2026-000001"`
	}
	return fmt.Sprintf(`{"commandeId":%s,"statut":%q%s,"client":%q,"clientId":%q,"montant":120.50,"devise":"EUR","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5}],"alertes":[]%s,"date_commande":"2026-11-20T09:30:00.000Z","modifiee_le":"2026-11-20T09:30:00.042Z"`,
		event.ID(o.ID).AppendJSON(nil), o.State, reason, o.Name, o.Client, invoice)
}

func (f *fakeAPI) order(w http.ResponseWriter, r *http.Request, o *fakeOrder) {
	o.asked++
	if f.comes != nil {
		f.comes(o)
	}
	waited := ""
	if want := r.URL.Query().Get("attendre"); want != "" && slices.Contains(statesOnTheWay, o.State) && !reached(o.State, want) {
		waited = `,"attente":"expiree"`
	}
	fmt.Fprint(w, o.json()+waited+"}")
}

func (f *fakeAPI) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limite"))
	before := len(f.orders)
	if s := q.Get("apres"); s != "" {
		before, _ = strconv.Atoi(strings.TrimPrefix(s, "c"))
	}
	var list []string
	next := ""
	for i := before - 1; i >= 0; i-- {
		o := f.orders[i]
		if s := q.Get("statut"); s != "" && s != o.State || q.Get("client") != "" && q.Get("client") != o.Client {
			continue
		}
		if len(list) == min(limit, fakePage) {
			next = fmt.Sprintf(`,"suivant":"c%d"`, i+1)
			break
		}
		list = append(list, o.json()+"}")
	}
	fmt.Fprintf(w, `{"commandes":[%s]%s}`, strings.Join(list, ","), next)
}

// fakePage is the most that the fake lists at once.
const fakePage = 3

func (f *fakeAPI) listProducts(w http.ResponseWriter, r *http.Request) {
	var ids []string
	for id := range f.products {
		if id > r.URL.Query().Get("apres") {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	next := ""
	if len(ids) > fakePage {
		ids = ids[:fakePage]
		next = fmt.Sprintf(`,"suivant":%q`, ids[fakePage-1])
	}
	var list []string
	for _, id := range ids {
		b, _ := json.Marshal(f.products[id])
		list = append(list, string(b))
	}
	fmt.Fprintf(w, `{"produits":[%s]%s}`, strings.Join(list, ","), next)
}

// last is the last call.
func (f *fakeAPI) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[len(f.calls)-1]
}
