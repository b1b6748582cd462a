package httpprovider

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/payment"
)

func provider(t *testing.T, timeout time.Duration, h http.HandlerFunc) *Provider {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	p, err := New(Config{URL: srv.URL + "/paiements/", Timeout: timeout, Transport: srv.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRequests(t *testing.T) {
	var got []string
	p := provider(t, 0, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, r.Method+" "+r.URL.EscapedPath()+" "+r.Header.Get("Idempotency-Key")+" "+r.Header.Get("Content-Type")+" "+string(body))
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"statut":"ACCEPTE","reference":"ch_1","plus":{"a":[1]}}`)
	})
	want := payment.Outcome{Accepted: true, Method: "PRESTATAIRE", Reference: "ch_1"}
	for _, id := range []event.ID{"991", "a/b c%é"} {
		if o, err := p.Pay(t.Context(), payment.Request{Order: id, Amount: 120_50, Currency: "EUR"}); err != nil || o != want {
			t.Errorf("%+v %v", o, err)
		}
		if o, err := p.Ask(t.Context(), id); err != nil || o != want {
			t.Errorf("%+v %v", o, err)
		}
	}
	for i, want := range []string{
		`POST /paiements 991 application/json {"id_commande":991,"montant":120.5,"devise":"EUR"}`,
		`GET /paiements/991   `,
		`POST /paiements a%2Fb%20c%25%C3%A9 application/json {"id_commande":"a/b c%é","montant":120.5,"devise":"EUR"}`,
		`GET /paiements/a%2Fb%20c%25%C3%A9   `,
	} {
		if got[i] != want {
			t.Errorf("%s, want %s", got[i], want)
		}
	}
}

// TestAnswers: only a clear answer is an outcome.
func TestAnswers(t *testing.T) {
	accepted := payment.Outcome{Accepted: true, Method: "PRESTATAIRE", Reference: "991"}
	refused := payment.Outcome{Reason: "REFUS_PRESTATAIRE"}
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   payment.Outcome
		ok     bool
	}{
		{"accepted without a reference", 200, `{"statut":"ACCEPTE"}`, accepted, true},
		{"null is absent", 200, `{"statut":"ACCEPTE","reference":null,"motif":null}`, accepted, true},
		{"refused", 200, `{"statut":"REFUSE"}`, refused, true},
		{"refused for the limit", 200, `{"statut":"REFUSE","motif":"PLAFOND_DEPASSE"}`, payment.Outcome{Reason: "PLAFOND_DEPASSE"}, true},
		{"refused for a reason of its own", 200, `{"statut":"REFUSE","motif":"carte \n volée"}`, refused, true},
		{"not decided yet", 200, `{"statut":"EN_COURS"}`, payment.Outcome{}, false},
		{"no statut", 200, `{}`, payment.Outcome{}, false},
		{"empty", 204, ``, payment.Outcome{}, false},
		{"server error", 500, `{"statut":"REFUSE"}`, payment.Outcome{}, false},
		{"client error", 422, `{"statut":"REFUSE"}`, payment.Outcome{}, false},
		{"redirect", 302, `{"statut":"ACCEPTE"}`, payment.Outcome{}, false},
		{"other case", 200, `{"Statut":"ACCEPTE"}`, payment.Outcome{}, false},
		{"twice", 200, `{"statut":"ACCEPTE","statut":"REFUSE"}`, payment.Outcome{}, false},
		{"two values", 200, `{"statut":"ACCEPTE"}{}`, payment.Outcome{}, false},
		{"not an object", 200, `["ACCEPTE"]`, payment.Outcome{}, false},
		{"not JSON", 200, `<html>`, payment.Outcome{}, false},
		{"cut short", 200, `{"statut":"ACCEPTE"`, payment.Outcome{}, false},
		{"not UTF-8", 200, "{\"statut\":\"ACCEPTE\",\"x\":\"\xff\"}", payment.Outcome{}, false},
		{"lone surrogate", 200, `{"statut":"ACCEPTE","reference":"\ud800"}`, payment.Outcome{}, false},
		{"a number for a text", 200, `{"statut":"ACCEPTE","reference":1}`, payment.Outcome{}, false},
		{"long reference", 200, `{"statut":"ACCEPTE","reference":"` + strings.Repeat("x", 201) + `"}`, payment.Outcome{}, false},
		{"long answer", 200, `{"statut":"ACCEPTE"}` + strings.Repeat(" ", maxAnswer), payment.Outcome{}, false},
		{"just not too long", 200, `{"statut":"ACCEPTE"}` + strings.Repeat(" ", maxAnswer-20), accepted, true},
	} {
		p := provider(t, 0, func(w http.ResponseWriter, r *http.Request) {
			if c.status == 302 {
				w.Header().Set("Location", "/elsewhere")
			}
			w.WriteHeader(c.status)
			if c.status != 204 {
				io.WriteString(w, c.body)
			}
		})
		for name, call := range map[string]func() (payment.Outcome, error){
			"pay": func() (payment.Outcome, error) {
				return p.Pay(t.Context(), payment.Request{Order: "991", Amount: 1, Currency: "EUR"})
			},
			"ask": func() (payment.Outcome, error) { return p.Ask(t.Context(), "991") },
		} {
			if o, err := call(); (err == nil) != c.ok || o != c.want {
				t.Errorf("%s, %s: %+v %v", c.name, name, o, err)
			} else if errors.Is(err, payment.ErrNoPayment) {
				t.Errorf("%s, %s: taken for an unknown payment", c.name, name)
			}
		}
	}
}

func TestNotFound(t *testing.T) {
	p := provider(t, 0, http.NotFound)
	if _, err := p.Ask(t.Context(), "991"); !errors.Is(err, payment.ErrNoPayment) {
		t.Errorf("ask: %v", err)
	}
	// The address is wrong: that is no word on the payment.
	if _, err := p.Pay(t.Context(), payment.Request{Order: "991"}); err == nil || errors.Is(err, payment.ErrNoPayment) {
		t.Errorf("pay: %v", err)
	}
}

func TestSlowAnswersAreUnknown(t *testing.T) {
	release := make(chan struct{})
	p := provider(t, 20*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	if o, err := p.Pay(t.Context(), payment.Request{Order: "991"}); err == nil {
		t.Errorf("%+v", o)
	}
}

// TestBrokenConnection: the transport does not send a payment again by itself
// when a connection that it used before breaks, though it has an idempotency key.
func TestBrokenConnection(t *testing.T) {
	var mu sync.Mutex
	sent := map[string]int{}
	p := provider(t, 0, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		id := r.Header.Get("Idempotency-Key")
		mu.Lock()
		sent[id]++
		mu.Unlock()
		if id == "broken" {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, `{"statut":"ACCEPTE"}`)
	})
	if _, err := p.Pay(t.Context(), payment.Request{Order: "fine", Currency: "EUR"}); err != nil {
		t.Fatal(err)
	}
	if o, err := p.Pay(t.Context(), payment.Request{Order: "broken", Currency: "EUR"}); err == nil {
		t.Errorf("%+v", o)
	}
	mu.Lock()
	defer mu.Unlock()
	if sent["broken"] != 1 {
		t.Errorf("sent %d times", sent["broken"])
	}
}

func TestURLs(t *testing.T) {
	for _, u := range []string{"", "/p", "ftp://h/p", "https://h/p?x=1", "https://h/p?", "https://h/p#f", "https:///p", "http://h:x/"} {
		if _, err := New(Config{URL: u}); err == nil {
			t.Errorf("%q is accepted", u)
		}
	}
	_, err := New(Config{URL: "ftp://user:secret@h/p"})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if p, err := New(Config{URL: "https://h/p//"}); err != nil || p.url != "https://h/p" {
		t.Errorf("%+v %v", p, err)
	}
}

// TestUnreliableProvider runs the workers against a server that captures by
// idempotency key but loses requests and answers: every order is captured once,
// and its one outcome comes back.
func TestUnreliableProvider(t *testing.T) {
	var mu sync.Mutex
	captured := map[string]string{}
	calls := map[string]int{}
	p := provider(t, 5*time.Second, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		id := r.Header.Get("Idempotency-Key")
		if r.Method == http.MethodGet {
			id = strings.TrimPrefix(r.URL.Path, "/paiements/")
		}
		calls[id]++
		n := calls[id]
		if id == "lost-request" && n == 1 {
			panic(http.ErrAbortHandler)
		}
		status := captured[id]
		if r.Method == http.MethodPost {
			if status == "" {
				status = "ACCEPTE"
				if id == "refused" {
					status = "REFUSE"
				}
				captured[id] = status
			} else if id != "lost-request" {
				t.Errorf("%s is sent again though it arrived", id)
			}
			if id == "lost-answer" {
				panic(http.ErrAbortHandler)
			}
		}
		if id == "in-trouble" && n < 4 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if status == "" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, `{"statut":"`+status+`","reference":"ref"}`)
	})
	results := make(chan string, 10)
	workers, err := payment.NewWorkers(payment.WorkersConfig{Provider: p, Results: func(_ context.Context, _ int32, key, _ []byte) error {
		results <- string(key)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := workers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	orders := []event.ID{"plain", "refused", "lost-request", "lost-answer", "in-trouble"}
	for _, id := range orders {
		workers.Offer(0, payment.Request{Order: id, Amount: 120_50, Currency: "EUR"}, true)
	}
	for range orders {
		workers.Settled(event.ID(<-results))
	}
	if err := workers.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if len(captured) != len(orders) || len(results) != 0 {
		t.Errorf("captured %v, and %d results too many", captured, len(results))
	}
}

// TestKey: no two ids share an idempotency key.
func TestKey(t *testing.T) {
	seen := map[string]event.ID{}
	for _, id := range []event.ID{"991", "0991", "CMD-1", "a b", "a%20b", "a%2520b", " a", "a", "é", "%C3%A9", "a/b", "a%2Fb"} {
		k := key(id)
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q share %q", id, other, k)
		}
		seen[k] = id
	}
	if key("CMD-1/2") != "CMD-1/2" {
		t.Error("a plain id is changed")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"statut":"ACCEPTE","reference":"ch_1","motif":null,"plus":[{}]}`))
	f.Add([]byte(`{"statut":"REFUSE","motif":"PLAFOND_DEPASSE"}`))
	f.Add([]byte(`{"statut":"ACCEPTE","statut":"REFUSE"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parseAnswer(body)
		if err != nil {
			return
		}
		o := a.outcome("991")
		if o.Accepted != (o.Reason == "") || o.Accepted != (o.Method != "") || o.Accepted != (o.Reference != "") || len(o.Reference) > event.MaxIDBytes {
			t.Fatalf("%q gives %+v", body, o)
		}
	})
}
