package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// TestIncoherent sends an order for each code that makes one incoherent.
func TestIncoherent(t *testing.T) {
	s := newShop(t)
	seen := map[string]bool{}
	for _, tc := range []struct{ name, body, want string }{
		{"no JSON", `{"client"`, `JSON_INVALIDE `},
		{"empty body", ``, `JSON_INVALIDE `},
		{"no object", `[]`, `JSON_INVALIDE `},
		{"null", `null`, `JSON_INVALIDE `},
		{"twice the same field", `{"client":"A","client":"A"}`, `JSON_INVALIDE `},
		{"not UTF-8", "{\"client\":\"\xff\"}", `JSON_INVALIDE `},
		{"lone surrogate", `{"client":"\ud800"}`, `JSON_INVALIDE `},
		{"too deep", strings.Repeat("[", 1001) + strings.Repeat("]", 1001), `JSON_INVALIDE `},
		{"too large", order("1", `,"x":"`+strings.Repeat("x", event.MaxOrderBytes)+`"`), `COMMANDE_TROP_GRANDE `},
		{"missing", `{}`, `CHAMP_MANQUANT client, CHAMP_MANQUANT montant, PRODUIT_ABSENT produit`},
		{"types", `{"commandeId":1.0,"client":5,"montant":"1","produit":true,"email":"","devise":1,"timestamp":"now","clientId":""}`,
			`TYPE_INVALIDE commandeId, TYPE_INVALIDE client, TYPE_INVALIDE clientId, TYPE_INVALIDE email, TYPE_INVALIDE montant, TYPE_INVALIDE devise, TYPE_INVALIDE produit, TYPE_INVALIDE timestamp`},
		{"id", order(`"."`, ""), `TYPE_INVALIDE commandeId`},
		{"empty id", order(`""`, ""), `TYPE_INVALIDE commandeId`},
		{"client that is no id", strings.Replace(order("1", ""), "LUCAS", "..", 1), `TYPE_INVALIDE clientId`},
		{"amount", strings.Replace(order("1", ""), "120.5", "0", 1), `MONTANT_INVALIDE montant`},
		{"decimals", strings.Replace(order("1", ""), "120.5", "1.005", 1), `MONTANT_INVALIDE montant`},
		{"quantity", order("1", `,"quantite":0`), `QUANTITE_INVALIDE quantite`},
		{"currency", order("1", `,"devise":"eur"`), `DEVISE_INCONNUE devise`},
		{"no product", `{"commandeId":1,"client":"A","montant":1}`, `PRODUIT_ABSENT produit`},
		{"no lines", order("1", `,"lignes":[]`), `LIGNES_INCOHERENTES lignes`},
		{"sum", order("1", `,"lignes":[{"id_produit":1,"quantite":1,"prix":1}]`), `LIGNES_INCOHERENTES lignes`},
		{"line", order("1", `,"lignes":[{"id_produit":1,"quantite":1,"prix":120.5},{"quantite":0,"prix":-1}]`),
			`CHAMP_MANQUANT lignes[1].id_produit, QUANTITE_INVALIDE lignes[1].quantite, MONTANT_INVALIDE lignes[1].prix`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := s.send("POST", "/commandes", tc.body)
			var p struct {
				Type, Title, Code, Detail string
				Status                    int
				Erreurs                   []map[string]string
			}
			if err := json.Unmarshal([]byte(r.body), &p); err != nil {
				t.Fatalf("%v: %s", err, r.body)
			}
			if r.status != 422 || r.header.Get("Content-Type") != "application/problem+json" || p.Code != "COMMANDE_INCOHERENTE" || p.Status != 422 || p.Type != "about:blank" || p.Title != "Unprocessable Entity" || p.Detail == "" {
				t.Errorf("%d %s %s", r.status, r.header.Get("Content-Type"), r.body)
			}
			var got []string
			for _, e := range p.Erreurs {
				if len(e) != 3 || e["detail"] == "" {
					t.Errorf("error %v", e)
				}
				if want := strings.TrimPrefix(e["champ"]+": "+e["detail"], ": "); len(got) == 0 && p.Detail != "the order is incoherent: "+want {
					t.Errorf("detail %q does not tell the first error, %q", p.Detail, want)
				}
				got = append(got, e["code"]+" "+e["champ"])
				seen[e["code"]] = true
			}
			if strings.Join(got, ", ") != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
	for _, code := range []string{
		event.CodeInvalidJSON, event.CodeOrderTooLarge, event.CodeMissingField, event.CodeInvalidType, event.CodeInvalidAmount,
		event.CodeInvalidQuantity, event.CodeUnknownCurrency, event.CodeNoProduct, event.CodeIncoherentLines,
	} {
		if !seen[code] {
			t.Errorf("no test produces %s", code)
		}
	}
	if n := len(s.outbox()); n != 0 {
		t.Errorf("%d messages of incoherent orders", n)
	}
	if list, err := s.db.DB.Orders(t.Context(), orderdb.Filter{Limit: 10}); err != nil || len(list) != 0 {
		t.Errorf("incoherent orders are stored: %v, %v", list, err)
	}
	// A body that is larger than an order may be is read up to 1 MiB.
	if r := s.send("POST", "/commandes", order("1", strings.Repeat(" ", 1<<20-100))); r.code() != "COMMANDE_INCOHERENTE" {
		t.Errorf("%d %.200s", r.status, r.body)
	}
}

// TestProblems produces every other error over HTTP.
func TestProblems(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("1", ""), "Idempotency-Key", "used")
	long := strings.Repeat("x", 256)
	const supplies = "/stock/1/approvisionnements"
	for _, tc := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code, detail             string
		want                     map[string]string
	}{
		{name: "conflict", method: "POST", path: "/commandes", body: order("1", `,"quantite":2`), status: 409, code: "COMMANDE_EN_CONFLIT", detail: "order 1 "},
		{name: "key reused", method: "POST", path: "/commandes", body: order("2", ""), header: []string{"Idempotency-Key", "used"}, status: 422, code: "CLE_REUTILISEE"},
		{name: "key reused for a supply", method: "POST", path: supplies, body: `{"quantite":1}`, header: []string{"Idempotency-Key", "used"}, status: 422, code: "CLE_REUTILISEE"},
		{name: "key too long", method: "POST", path: "/commandes", body: order("2", ""), header: []string{"Idempotency-Key", long}, status: 400, code: "REQUETE_INVALIDE", detail: "Idempotency-Key"},
		{name: "key too long for a supply", method: "POST", path: supplies, body: `{"quantite":1}`, header: []string{"Idempotency-Key", long}, status: 400, code: "REQUETE_INVALIDE", detail: "Idempotency-Key"},
		{name: "key empty", method: "POST", path: "/commandes", body: order("2", ""), header: []string{"Idempotency-Key", ""}, status: 400, code: "REQUETE_INVALIDE", detail: "Idempotency-Key"},
		{name: "key twice", method: "POST", path: "/commandes", body: order("2", ""), header: []string{"Idempotency-Key", "a", "Idempotency-Key", "b"}, status: 400, code: "REQUETE_INVALIDE", detail: "2 times"},
		{name: "key not UTF-8", method: "POST", path: "/commandes", body: order("2", ""), header: []string{"Idempotency-Key", "\xff"}, status: 400, code: "REQUETE_INVALIDE", detail: "UTF-8"},
		{name: "query on POST", method: "POST", path: "/commandes?x=1", body: order("2", ""), status: 400, code: "REQUETE_INVALIDE", detail: `"x"`},
		{name: "unknown parameter", path: "/commandes?etat=PAYEE", status: 400, code: "REQUETE_INVALIDE", detail: `"etat"`},
		{name: "parameter twice", path: "/commandes?limite=1&limite=2", status: 400, code: "REQUETE_INVALIDE", detail: `"limite"`},
		{name: "query malformed", path: "/commandes?a=%zz", status: 400, code: "REQUETE_INVALIDE", detail: "query"},
		{name: "state", path: "/commandes?statut=X", status: 400, code: "REQUETE_INVALIDE", detail: `"statut"`},
		{name: "wait for what", path: "/commandes/1?attendre=X", status: 400, code: "REQUETE_INVALIDE", detail: `"attendre"`},
		{name: "wait for long", path: "/commandes/1?attendre=PAYEE&delai=31s", status: 400, code: "REQUETE_INVALIDE", detail: `"delai"`},
		{name: "wait for nothing", path: "/commandes/1?delai=1s", status: 400, code: "REQUETE_INVALIDE", detail: `"delai"`},
		{name: "wait for an unknown order", path: "/commandes/404?attendre=PAYEE&delai=30s", status: 404, code: "INTROUVABLE", detail: "404"},
		{name: "product field", method: "PUT", path: "/produits/1", body: `{"nom_produit":"x","prix":"1"}`, status: 400, code: "REQUETE_INVALIDE", detail: "prix must be a number"},
		{name: "product malformed", method: "PUT", path: "/produits/1", body: `{`, status: 400, code: "REQUETE_INVALIDE", detail: "JSON"},
		{name: "supply field", method: "POST", path: supplies, body: `{"quantite":0}`, status: 400, code: "REQUETE_INVALIDE", detail: "quantite must be at least 1"},
		{name: "more than there is", method: "POST", path: supplies, body: `{"quantite":9223372036854775807}`, status: 400, code: "REQUETE_INVALIDE", detail: "quantite must be at most 1000000000000"},
		{name: "another product's id", method: "PUT", path: "/produits/1", body: `{"id_produit":2,"nom_produit":"x"}`, status: 400, code: "REQUETE_INVALIDE", detail: "id_produit must be the id in the path"},
		{name: "slashes", path: "//commandes", status: 404, code: "INTROUVABLE", detail: "//commandes"},
		{name: "dot", path: "/commandes/.", status: 404, code: "INTROUVABLE", detail: "/commandes/."},
		{name: "slash at the end", path: "/commandes/", status: 404, code: "INTROUVABLE", detail: "/commandes/"},
		{name: "id in path", path: "/commandes/%00", status: 400, code: "REQUETE_INVALIDE", detail: "id"},
		{name: "id of a product in path", method: "PUT", path: "/produits/%ff", body: `{"nom_produit":"x"}`, status: 400, code: "REQUETE_INVALIDE", detail: "id"},
		{name: "dots", path: "/commandes/%2e%2e", status: 400, code: "REQUETE_INVALIDE", detail: "id"},
		{name: "unknown order", path: "/commandes/404", status: 404, code: "INTROUVABLE", detail: "404"},
		{name: "unknown timeline", path: "/commandes/404/evenements", status: 404, code: "INTROUVABLE", detail: "404"},
		{name: "unknown stream", path: "/commandes/404/evenements", header: []string{"Accept", "text/event-stream"}, status: 404, code: "INTROUVABLE", detail: "404"},
		{name: "unknown product", path: "/produits/404", status: 404, code: "INTROUVABLE", detail: "404"},
		{name: "unknown path", path: "/commande", status: 404, code: "INTROUVABLE", detail: "/commande"},
		{name: "method", method: "DELETE", path: "/commandes/1", status: 405, code: "METHODE_REFUSEE", want: map[string]string{"Allow": "GET, HEAD"}},
		{name: "method of the list", method: "PUT", path: "/commandes", body: "{}", status: 405, code: "METHODE_REFUSEE", want: map[string]string{"Allow": "GET, HEAD, POST"}},
		{name: "too large", method: "POST", path: "/commandes", body: order("3", strings.Repeat(" ", 1<<20)), status: 413, code: "CORPS_TROP_GRAND", detail: "1048576"},
		{name: "media type", method: "POST", path: "/commandes", body: order("3", ""), header: []string{"Content-Type", "-", "Content-Type", "text/plain"}, status: 415, code: "TYPE_DE_CONTENU_REFUSE", detail: "application/json"},
		{name: "no media type", method: "PUT", path: "/produits/1", body: `{"nom_produit":"x"}`, header: []string{"Content-Type", "-"}, status: 415, code: "TYPE_DE_CONTENU_REFUSE", detail: "application/json"},
		{name: "host", path: "/commandes", header: []string{"Host", "evil.example"}, status: 421, code: "HOTE_REFUSE", detail: "evil.example"},
		{name: "origin", method: "POST", path: "/commandes", body: order("3", ""), header: []string{"Origin", "https://evil.example"}, status: 403, code: "ORIGINE_REFUSEE", detail: "evil.example"},
		{name: "site", method: "PUT", path: "/produits/1", body: `{"nom_produit":"x"}`, header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, code: "ORIGINE_REFUSEE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.method == "" {
				tc.method = "GET"
			}
			s.wantProblem(t, tc.status, tc.code, tc.detail, s.send(tc.method, tc.path, tc.body, tc.header...))
			r := s.send(tc.method, tc.path, tc.body, tc.header...) // and again
			for name, want := range tc.want {
				if got := r.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
	if n := len(s.outbox()); n != 1 {
		t.Errorf("%d messages, want that of the first order alone", n)
	}
}

// wantProblem checks the exact members of a problem.
func (s *shop) wantProblem(t *testing.T, status int, code, detail string, r reply) {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("%v: %d %s", err, r.status, r.body)
	}
	text, _ := p["detail"].(string)
	if len(p) != 5 || p["type"] != "about:blank" || p["title"] == "" || p["status"] != float64(status) || p["code"] != code || text == "" || !strings.Contains(text, detail) {
		t.Errorf("got %s, want %d %s with %q", r.body, status, code, detail)
	}
	if r.status != status || r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, content type %q", r.status, r.header.Get("Content-Type"))
	}
}

// every is a request of each route that asks the database.
var every = [][3]string{
	{"POST", "/commandes", order("5", "")}, {"GET", "/commandes"}, {"GET", "/commandes/1"}, {"GET", "/commandes/1?attendre=PAYEE"},
	{"GET", "/commandes/1/evenements"}, {"GET", "/produits"}, {"GET", "/produits/1"},
	{"PUT", "/produits/1", `{"nom_produit":"x"}`}, {"POST", "/stock/1/approvisionnements", `{"quantite":1}`},
}

func TestUnavailable(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("1", ""))
	s.db.down.Store(true)
	for _, q := range every {
		for _, header := range [][]string{nil, {"Idempotency-Key", "k"}, {"Accept", "text/event-stream"}} {
			r := s.send(q[0], q[1], q[2], header...)
			s.wantProblem(t, 503, "INDISPONIBLE", "", r)
			if r.header.Get("Retry-After") != "1" {
				t.Errorf("%s %s: Retry-After %q", q[0], q[1], r.header.Get("Retry-After"))
			}
		}
	}
	s.db.down.Store(false)
	if n := len(s.outbox()); n != 1 {
		t.Errorf("%d messages", n)
	}
	// Any other error is ours, and stays inside.
	s.db.broken.Store(true)
	for _, q := range every {
		r := s.send(q[0], q[1], q[2])
		s.wantProblem(t, 500, "ERREUR_INTERNE", "", r)
		if strings.Contains(r.body, "secret") {
			t.Errorf("%s", r.body)
		}
	}
}

func TestTooManyWait(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("1", ""))
	s.api.watcher.mu.Lock()
	s.api.watcher.count += maxWaiters
	s.api.watcher.mu.Unlock()
	r := s.send("GET", "/commandes/1?attendre=PAYEE", "")
	s.wantProblem(t, 503, "INDISPONIBLE", "wait", r)
	s.api.watcher.mu.Lock()
	s.api.watcher.count -= maxWaiters
	s.api.watcher.mu.Unlock()
}

func TestRunning(t *testing.T) {
	s := newShop(t)
	s.api.times.flight = time.Millisecond
	gate := s.db.close()
	done := make(chan error)
	for _, q := range [][3]string{{"POST", "/commandes", order("5", "")}, {"POST", "/stock/1/approvisionnements", `{"quantite":1}`}} {
		key := fmt.Sprint("key of ", q[1])
		go func() {
			r, err := s.try(q[0], q[1], q[2], "Idempotency-Key", key)
			if err == nil && r.status >= 300 {
				err = fmt.Errorf("%d %s", r.status, r.body)
			}
			done <- err
		}()
		<-gate.arrived
		s.wantProblem(t, 409, "REQUETE_EN_COURS", "", s.send(q[0], q[1], q[2], "Idempotency-Key", key))
	}
	close(gate.open)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestTraceParent(t *testing.T) {
	for s, want := range map[string]bool{
		trace:                               true,
		"":                                  false,
		strings.ToUpper(trace):              false,
		trace[:54]:                          false,
		trace + "-":                         false,
		trace + "x":                         false,
		"cc" + trace[2:]:                    true,
		"cc" + trace[2:] + "-what-ever":     true,
		"cc" + trace[2:] + "x":              false,
		"ff" + trace[2:]:                    false,
		strings.Replace(trace, "-", "_", 1): false,
		trace[:3] + strings.Repeat("0", 32) + trace[35:]:  false,
		trace[:36] + strings.Repeat("0", 16) + trace[52:]: false,
		"cc" + trace[2:] + "-" + strings.Repeat("x", 256): false,
	} {
		if got := validTraceParent(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
