package api

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestPostOrder(t *testing.T) {
	s := newShop(t)
	// The value goes out byte for byte.
	value := " {\"commandeId\" : \"991\", \"client\":\"LU\\u0043AS\", \"montant\":1.205e2,\r\n\"produit\":\"PC Gamer\", \"clientId\":\"CLI 7/é\", \"x\":[1.0] }\n"
	r := s.want(201, `{"commandeId":991,"statut":"RECUE"}`, "POST", "/commandes", value, "traceparent", trace)
	if got := r.header.Get("Location"); got != "/commandes/991" {
		t.Errorf("Location %q", got)
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	out := s.outbox()
	if len(out) != 1 {
		t.Fatalf("%d messages", len(out))
	}
	m := out[0]
	if m.Topic != event.TopicOrders || string(m.Key) != "CLI 7/é" || string(m.Value) != value || !m.At.Equal(noon) {
		t.Errorf("message %s %q %q at %v", m.Topic, m.Key, m.Value, m.At)
	}
	if got := fmt.Sprintf("%s", m.Headers); got != "[{comptoir-order 991} {traceparent "+trace+"}]" {
		t.Errorf("headers %s", got)
	}

	// The same again, spelled otherwise; then with other content.
	s.want(200, `{"commandeId":991,"statut":"RECUE"}`, "POST", "/commandes", `{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer","clientId":"CLI 7/é"}`)
	r = s.send("POST", "/commandes", order("991", `,"clientId":"CLI 7/é","quantite":2`))
	if r.status != 409 || r.code() != "COMMANDE_EN_CONFLIT" {
		t.Errorf("conflict: %d %s", r.status, r.body)
	}
	if n := len(s.outbox()); n != 1 {
		t.Errorf("%d messages after repetition and conflict", n)
	}
	for result, n := range map[string]float64{"created": 1, "same": 1, "conflict": 1, "incoherent": 0, "repeated": 0} {
		if got := s.metric("comptoir_api_orders_total", result); got != n {
			t.Errorf("%s: counted %v, want %v", result, got, n)
		}
	}

	// The client is the key by default, and a bad trace context is left out.
	s.want(201, `{"commandeId":"0/é","statut":"RECUE"}`, "POST", "/commandes", order(`"0/é"`, ""), "traceparent", "00-0-0-01")
	out = s.outbox()
	if m := out[len(out)-1]; string(m.Key) != "LUCAS" || len(m.Headers) != 1 {
		t.Errorf("message with key %q, headers %s", m.Key, m.Headers)
	}
	if r := s.send("GET", "/commandes/0%2F%C3%A9", ""); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestPostOrderState(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("7", ""), "Idempotency-Key", "a")
	s.track(s.record("7", event.TopicAccepted, 0, 5, orderdb.Paid, `{}`))
	s.want(200, `{"commandeId":7,"statut":"PAYEE"}`, "POST", "/commandes", order("7", ""))
	s.want(200, `{"commandeId":7,"statut":"PAYEE"}`, "POST", "/commandes", order("7", ""), "Idempotency-Key", "b")
	s.track(s.record("7", event.TopicNotifications, 0, 9, orderdb.Notified, `{}`))
	// A repeated answer is the first one, whatever became of the order.
	s.want(200, `{"commandeId":7,"statut":"PAYEE"}`, "POST", "/commandes", order("7", ""), "Idempotency-Key", "b")
	s.want(201, `{"commandeId":7,"statut":"RECUE"}`, "POST", "/commandes", order("7", ""), "Idempotency-Key", "a")
}

func TestAssignedID(t *testing.T) {
	s := newShop(t)
	for _, body := range []string{order("", ""), order("null", "")} {
		r := s.send("POST", "/commandes", body, "Idempotency-Key", body)
		m := regexp.MustCompile(`^\{"commandeId":"(CMD-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})","statut":"RECUE"\}$`).FindStringSubmatch(r.body)
		if r.status != 201 || m == nil {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if got := r.header.Get("Location"); got != "/commandes/"+m[1] {
			t.Errorf("Location %q", got)
		}
		out := s.outbox()
		last := out[len(out)-1]
		want := strings.Replace(body, "null", `"`+m[1]+`"`, 1)
		if want == body {
			want = `{"commandeId":"` + m[1] + `",` + body[1:]
		}
		if string(last.Value) != want || string(last.Headers[0].Value) != m[1] {
			t.Errorf("sent %s with headers %s, want %s", last.Value, last.Headers, want)
		}
		// The id of a repeated answer is the first one's.
		if again := s.send("POST", "/commandes", body, "Idempotency-Key", body); again.body != r.body || again.status != 201 || again.header.Get("Location") != r.header.Get("Location") {
			t.Errorf("again: %d %s, first %s", again.status, again.body, r.body)
		}
	}
	if n := len(s.outbox()); n != 2 {
		t.Errorf("%d messages", n)
	}
}

func TestIdempotencyKeyAtOnce(t *testing.T) {
	s := newShop(t)
	var mu sync.Mutex
	answers := map[string]int{}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			r, err := s.try("POST", "/commandes", order("", ""), "Idempotency-Key", "fifty")
			mu.Lock()
			defer mu.Unlock()
			answers[fmt.Sprint(r.status, r.body, r.header.Get("Location"), r.header.Get("Content-Type"), err)]++
		})
	}
	wg.Wait()
	if len(answers) != 1 || len(s.outbox()) != 1 {
		t.Errorf("%d messages, answers %v", len(s.outbox()), answers)
	}
	s.open() // after a restart too
	r := s.send("POST", "/commandes", order("", ""), "Idempotency-Key", "fifty")
	if answers[fmt.Sprint(r.status, r.body, r.header.Get("Location"), r.header.Get("Content-Type"), nil)] != 50 {
		t.Errorf("after a restart: %d %s, before %v", r.status, r.body, answers)
	}
}

func TestIdempotencyKeyWhileFirstRuns(t *testing.T) {
	s := newShop(t)
	type result struct {
		r   reply
		err error
	}
	post := func(body string, header ...string) chan result {
		c := make(chan result, 1)
		go func() {
			r, err := s.try("POST", "/commandes", body, append([]string{"Idempotency-Key", "k"}, header...)...)
			c <- result{r, err}
		}()
		return c
	}
	gate := s.db.close()
	first := post(order("1", ""))
	<-gate.arrived

	// Its limit over, the second is told so; the first is not disturbed.
	s.api.times.flight = time.Millisecond
	if r := <-post(order("1", "")); r.r.status != 409 || r.r.code() != "REQUETE_EN_COURS" {
		t.Errorf("second: %d %s %v", r.r.status, r.r.body, r.err)
	}
	s.api.times.flight = time.Minute
	equal, other := post(order("1", "")), post(order("2", ""))
	close(gate.open)
	if r := <-first; r.r.status != 201 {
		t.Errorf("first: %d %s %v", r.r.status, r.r.body, r.err)
	}
	if r := <-equal; r.r.status != 201 || r.r.body != `{"commandeId":1,"statut":"RECUE"}` {
		t.Errorf("equal: %d %s %v", r.r.status, r.r.body, r.err)
	}
	if r := <-other; r.r.status != 422 || r.r.code() != "CLE_REUTILISEE" {
		t.Errorf("other: %d %s %v", r.r.status, r.r.body, r.err)
	}
	if n := len(s.outbox()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// A first request that came to nothing uses the key not up.
func TestIdempotencyKeyAfterFailure(t *testing.T) {
	s := newShop(t)
	s.api.cfg.Now = time.Now // or the keys would have expired
	s.db.down.Store(true)
	if r := s.send("POST", "/commandes", order("1", ""), "Idempotency-Key", "k"); r.status != 503 {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.db.down.Store(false)
	if r := s.send("POST", "/commandes", order("", `,"quantite":0`), "Idempotency-Key", "k"); r.code() != "COMMANDE_INCOHERENTE" {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.want(201, `{"commandeId":2,"statut":"RECUE"}`, "POST", "/commandes", order("2", ""), "Idempotency-Key", "k")
	// Now it is used, also against an order that is incoherent, and on other paths.
	for path, body := range map[string]string{"/commandes": order("", `,"quantite":0`), "/stock/1/approvisionnements": `{"quantite":1}`} {
		if r := s.send("POST", path, body, "Idempotency-Key", "k"); r.status != 422 || r.code() != "CLE_REUTILISEE" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	// A conflict is an answer, and repeated.
	first := s.send("POST", "/commandes", order("2", `,"email":"a@b.c"`), "Idempotency-Key", "c")
	again := s.send("POST", "/commandes", order("2", `,"email":"a@b.c"`), "Idempotency-Key", "c")
	if first.status != 409 || again.status != 409 || first.body != again.body || again.code() != "COMMANDE_EN_CONFLIT" {
		t.Errorf("%d %s, then %d %s", first.status, first.body, again.status, again.body)
	}
}

func TestGetOrder(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("991", `,"clientId":"CLI-991","a":1.50,"statut":"x","canal":{"b": "\u0041"},"timestamp":"2026-11-20T10:30:00+01:00"`))
	const extras = `"a":1.50,"canal":{"b": "\u0041"}}`
	s.want(200, `{"commandeId":991,"statut":"RECUE","client":"LUCAS","clientId":"CLI-991","montant":120.5,"devise":"EUR","lignes":[{"produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5}],"date_commande":"2026-11-20T10:30:00+01:00","alertes":[],"modifiee_le":"2020-11-20T12:00:00.123Z",`+extras,
		"GET", "/commandes/991", "")

	verdict := s.record("991", event.TopicVerdicts, 3, 8, orderdb.StockRefused, `{"commandeId":991,"statut":"REFUSE","motif":"STOCK_INSUFFISANT","client":"LUCAS","clientId":"CLI-991","montant":120.50,"devise":"EUR","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5,"reserve":false,"motif":"STOCK_INSUFFISANT"}],"date_commande":"2026-11-20T10:30:00+01:00","timestamp":"2020-11-20T12:00:00.131Z"}`)
	verdict.Reason = "STOCK_INSUFFISANT"
	alert := s.record("991", event.TopicErrors, 2, 4, orderdb.Unknown, `{}`)
	placed, _, err := s.db.Order(t.Context(), "991")
	if err != nil {
		t.Fatal(err)
	}
	alert.Alerts, alert.Accused = []string{"PRIX_INATTENDU", "MONTANT_ELEVE"}, placed.Digest
	s.track(verdict, alert)
	s.want(200, `{"commandeId":991,"statut":"STOCK_REFUSE","motif":"STOCK_INSUFFISANT","client":"LUCAS","clientId":"CLI-991","montant":120.50,"devise":"EUR","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5,"reserve":false,"motif":"STOCK_INSUFFISANT"}],"date_commande":"2026-11-20T10:30:00+01:00","alertes":["MONTANT_ELEVE","PRIX_INATTENDU"],"modifiee_le":"2020-11-20T12:00:00.131Z",`+extras,
		"GET", "/commandes/991", "")

	// Lines, an e-mail, and the time of acceptance.
	s.send("POST", "/commandes", `{"commandeId":"L","client":"Zoé","email":"z@e.f","montant":92233720368547758.07,"devise":"USD","lignes":[{"id_produit":"1","nom_produit":"A","quantite":1,"prix":92233720368547758.07},{"id_produit":"B","quantite":2,"prix":0}]}`)
	s.want(200, `{"commandeId":"L","statut":"RECUE","client":"Zoé","clientId":"Zoé","email":"z@e.f","montant":92233720368547758.07,"devise":"USD","lignes":[{"id_produit":1,"nom_produit":"A","quantite":1,"montant":92233720368547758.07,"prix":92233720368547758.07},{"id_produit":"B","quantite":2,"montant":0,"prix":0}],"date_commande":"2020-11-20T12:00:00.123Z","alertes":[],"modifiee_le":"2020-11-20T12:00:00.123Z"}`,
		"GET", "/commandes/L", "")

	// What else stands in a line is kept, spelled as it came, with a verdict too.
	s.send("POST", "/commandes", `{"commandeId":"E","client":"Zoé","montant":3,"lignes":[{"couleur":"rouge","id_produit":1,"quantite":1,"prix":1, "poids" : 1.50e0,"reserve":5},{"id_produit":2,"quantite":1,"prix":2},{"id_produit":3,"quantite":1,"prix":0,"x":{"y": [1]},"statut":null}]}`)
	s.want(200, `{"commandeId":"E","statut":"RECUE","client":"Zoé","clientId":"Zoé","montant":3,"devise":"EUR","lignes":[{"id_produit":1,"quantite":1,"montant":1,"prix":1,"couleur":"rouge","poids":1.50e0},{"id_produit":2,"quantite":1,"montant":2,"prix":2},{"id_produit":3,"quantite":1,"montant":0,"prix":0,"x":{"y": [1]},"statut":null}],"date_commande":"2020-11-20T12:00:00.123Z","alertes":[],"modifiee_le":"2020-11-20T12:00:00.123Z"}`,
		"GET", "/commandes/E", "")
	s.track(s.record("E", event.TopicVerdicts, 3, 9, orderdb.Reserved, `{"commandeId":"E","statut":"VALIDE","client":"Zoé","clientId":"Zoé","montant":3,"devise":"EUR","lignes":[{"id_produit":1,"nom_produit":"A","quantite":1,"montant":1,"prix":1,"reserve":true},{"id_produit":2,"nom_produit":"B","quantite":1,"montant":2,"prix":2,"reserve":true},{"id_produit":3,"nom_produit":"C","quantite":1,"montant":0,"prix":0,"reserve":true}],"date_commande":"2020-11-20T12:00:00.123Z","timestamp":"2020-11-20T12:00:00.132Z"}`))
	s.want(200, `{"commandeId":"E","statut":"RESERVEE","client":"Zoé","clientId":"Zoé","montant":3,"devise":"EUR","lignes":[{"id_produit":1,"nom_produit":"A","quantite":1,"montant":1,"prix":1,"reserve":true,"couleur":"rouge","poids":1.50e0},{"id_produit":2,"nom_produit":"B","quantite":1,"montant":2,"prix":2,"reserve":true},{"id_produit":3,"nom_produit":"C","quantite":1,"montant":0,"prix":0,"reserve":true,"x":{"y": [1]},"statut":null}],"date_commande":"2020-11-20T12:00:00.123Z","alertes":[],"modifiee_le":"2020-11-20T12:00:00.132Z"}`,
		"GET", "/commandes/E", "")

	// An order by Kafka: its record's key is the client.
	s.track(s.record("K", event.TopicOrders, 0, 1, orderdb.Received, order(`"K"`, "")))
	if r := s.send("GET", "/commandes/K", ""); !strings.Contains(r.body, `"clientId":"CLI-991"`) {
		t.Errorf("%s", r.body)
	}
	// Only later records are known.
	invoice := s.record("I", event.TopicInvoices, 0, 1, orderdb.Invoiced, `{}`)
	invoice.Client, invoice.Invoice = "17", "FA-2026-000001"
	s.track(invoice)
	s.want(200, `{"commandeId":"I","statut":"FACTUREE","clientId":17,"alertes":[],"numero_facture":"FA-2026-000001","modifiee_le":"2020-11-20T12:00:00.124Z"}`, "GET", "/commandes/I", "")
	// Only records that say nothing of a state.
	s.track(s.record("U", event.TopicMovements, 0, 1, orderdb.Unknown, `{}`))
	s.want(200, `{"commandeId":"U","statut":"RECUE","alertes":[],"modifiee_le":"2020-11-20T12:00:00.124Z"}`, "GET", "/commandes/U", "")
}

func TestAwait(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("1", ""))
	for wanted, status := range map[string]string{"RECUE": "", "PAYEE": "expiree", "STOCK_REFUSE": "expiree", "REJETEE": "expiree"} {
		r := s.send("GET", "/commandes/1?delai=30ms&attendre="+wanted, "")
		if r.status != 200 || strings.Contains(r.body, `"attente":"expiree"`) != (status != "") {
			t.Errorf("%s: %d %s", wanted, r.status, r.body)
		}
	}

	waits := make(chan reply)
	wait := func(wanted string) {
		go func() {
			r, _ := s.try("GET", "/commandes/1?delai=30s&attendre="+wanted, "")
			waits <- r
		}()
	}
	waiting := func(n float64) {
		eventually(t, "requests wait", func() bool { return s.metric("comptoir_api_waiters", "") == n })
	}
	for range 20 {
		wait("PAYEE")
	}
	waiting(20)
	s.track(s.record("1", event.TopicVerdicts, 0, 1, orderdb.Reserved, `{}`))
	s.track(s.record("1", event.TopicInvoices, 0, 2, orderdb.Invoiced, `{}`))
	for range 20 {
		if r := <-waits; r.status != 200 || !strings.Contains(r.body, `"statut":"FACTUREE"`) || strings.Contains(r.body, "attente") {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	waiting(0)

	// A final state answers everybody, and so does our end.
	wait("STOCK_REFUSE")
	waiting(1)
	s.track(s.record("1", event.TopicNotifications, 0, 3, orderdb.Notified, `{}`))
	if r := <-waits; !strings.Contains(r.body, `"statut":"NOTIFIEE"`) || strings.Contains(r.body, "attente") {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.send("POST", "/commandes", order("2", ""))
	go func() {
		r, _ := s.try("GET", "/commandes/2?delai=30s&attendre=NOTIFIEE", "")
		waits <- r
	}()
	waiting(1)
	if err := s.api.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if r := <-waits; r.status != 200 || !strings.Contains(r.body, `"attente":"expiree"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := s.send("GET", "/commandes/2?delai=30s&attendre=NOTIFIEE", ""); r.status != 200 || !strings.Contains(r.body, `"attente":"expiree"`) {
		t.Errorf("after the stop: %d %s", r.status, r.body)
	}
}

func TestReached(t *testing.T) {
	for _, tc := range []struct {
		is, wanted orderdb.State
		want       bool
	}{
		{orderdb.Unknown, orderdb.Received, true}, {orderdb.Unknown, orderdb.Reserved, false},
		{orderdb.Received, orderdb.Received, true}, {orderdb.Received, orderdb.Reserved, false},
		{orderdb.Invoiced, orderdb.Paid, true}, {orderdb.Paid, orderdb.Notified, false}, {orderdb.Notified, orderdb.Notified, true},
		{orderdb.Paid, orderdb.Rejected, false}, {orderdb.Paid, orderdb.InConflict, false}, {orderdb.Paid, orderdb.StockRefused, false},
		{orderdb.Rejected, orderdb.Paid, true}, {orderdb.InConflict, orderdb.Notified, true}, {orderdb.StockRefused, orderdb.PaymentRefused, true},
		{orderdb.Notified, orderdb.StockRefused, true},
	} {
		if got := reached(tc.is, tc.wanted); got != tc.want {
			t.Errorf("reached(%q, %q) = %v", tc.is, tc.wanted, got)
		}
	}
}

func TestListOrders(t *testing.T) {
	s := newShop(t)
	s.want(200, `{"commandes":[]}`, "GET", "/commandes", "")
	for i := range 7 {
		s.send("POST", "/commandes", order(fmt.Sprint(i), fmt.Sprintf(`,"clientId":"C-%d"`, i%2)))
	}
	s.track(s.record("3", event.TopicAccepted, 0, 1, orderdb.Paid, `{}`))
	ids := regexp.MustCompile(`"commandeId":(\d+)`)
	next := regexp.MustCompile(`"suivant":"([^"]+)"`)
	list := func(query string) (got string) {
		t.Helper()
		for page := query; ; {
			r := s.send("GET", "/commandes?"+page, "")
			if r.status != 200 {
				t.Fatalf("%s: %d %s", page, r.status, r.body)
			}
			for _, m := range ids.FindAllStringSubmatch(r.body, -1) {
				got += m[1]
			}
			m := next.FindStringSubmatch(r.body)
			if m == nil {
				return got
			}
			got += "|"
			page = query + "&apres=" + m[1]
		}
	}
	for query, want := range map[string]string{
		"":                               "6543210",
		"limite=7":                       "6543210",
		"limite=3":                       "654|321|0",
		"limite=2&client=C-1":            "53|1",
		"statut=PAYEE":                   "3",
		"statut=RECUE&client=C-1":        "51",
		"statut=&client=&apres=&limite=": "6543210",
		"client=nobody":                  "",
	} {
		if got := list(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	// One answer is the order as it is read alone.
	one := s.send("GET", "/commandes/6", "")
	s.want(200, `{"commandes":[`+one.body+`],"suivant":"`+orderCursor(7)+`"}`, "GET", "/commandes?limite=1", "")
}

func TestHead(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("1", ""))
	for _, path := range []string{"/commandes", "/commandes/1", "/produits", "/openapi.yaml"} {
		if r := s.send("HEAD", path, ""); r.status != http.StatusOK || r.body != "" {
			t.Errorf("%s: %d %q", path, r.status, r.body)
		}
	}
	for accept, want := range map[string]string{"text/event-stream": "text/event-stream", "*/*": "application/json"} {
		if r := s.send("HEAD", "/commandes/1/evenements", "", "Accept", accept); r.status != http.StatusOK || r.header.Get("Content-Type") != want || r.body != "" {
			t.Errorf("%s: %d %s %q", accept, r.status, r.header.Get("Content-Type"), r.body)
		}
	}
	if r := s.send("HEAD", "/commandes/2/evenements", "", "Accept", "text/event-stream"); r.status != http.StatusNotFound {
		t.Errorf("unknown: %d", r.status)
	}
}
