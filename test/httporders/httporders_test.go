package httporders

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
)

func TestRequests(t *testing.T) {
	w := orders.Generate(orders.Config{Seed: 1, Orders: 400})
	coherent, without := 0, 0
	for i, q := range Requests(w, "k") {
		r := w.Orders[i]
		if q.Key != fmt.Sprintf("k-%d", i) {
			t.Errorf("key %q", q.Key)
		}
		if missing := strings.HasPrefix(q.Kind, "no order id") || strings.HasPrefix(q.Kind, "null as order id"); missing {
			without++
			if len(q.Codes) > 0 || q.ID != "" || q.Client != "CLI-7" {
				t.Errorf("%s: codes %v, id %q, client %q", q.Kind, q.Codes, q.ID, q.Client)
			}
			continue
		}
		if len(r.Codes) > 0 != (len(q.Codes) > 0) {
			t.Errorf("%s: codes %v by HTTP, %v by Kafka", q.Kind, q.Codes, r.Codes)
		}
		if len(q.Codes) == 0 {
			coherent++
			if q.ID == "" || q.Client == "" || q.Identity == "" {
				t.Errorf("%s: id %q, client %q, identity %q", q.Kind, q.ID, q.Client, q.Identity)
			}
		}
	}
	if coherent < 200 || without < 2 {
		t.Errorf("%d coherent, %d without id", coherent, without)
	}
}

// TestLoad: answers that are lost, 503 or REQUETE_EN_COURS are asked for again
// under the same key, and a client's orders never overtake each other.
func TestLoad(t *testing.T) {
	var (
		mu    sync.Mutex
		tries = map[string]int{}
		taken = map[string][]string{}
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		mu.Lock()
		defer mu.Unlock()
		tries[key]++
		switch tries[key] {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"code":"INDISPONIBLE"}`)
			return
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"code":"REQUETE_EN_COURS"}`)
			return
		}
		client, n, _ := strings.Cut(key, "/")
		taken[client] = append(taken[client], n)
		w.Header().Set("Location", "/commandes/991")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"commandeId":%s,"statut":"RECUE"}`, n)
	}))
	defer server.Close()
	var requests []Request
	for n := range 24 {
		client := fmt.Sprintf("CLI-%d", n%4)
		requests = append(requests, Request{Client: client, ID: fmt.Sprint(n), Key: fmt.Sprintf("%s/%d", client, n), Body: []byte("{}")})
	}
	load := Start(t.Context(), requests, Config{Connections: 3, Target: func(int, int) string { return server.URL }})
	answers, err := load.Wait()
	if err != nil || load.Answered() != len(requests) {
		t.Fatalf("%d answers, %v", load.Answered(), err)
	}
	for n, a := range answers {
		// A transport that finds its connection closed may have sent it again by itself.
		if a.Status != http.StatusCreated || a.ID != fmt.Sprint(n) || a.Unavailable != 1 || a.Lost > 1 || len(a.Faults) > 0 {
			t.Errorf("answer %d: %+v", n, a)
		}
	}
	for client, numbers := range taken {
		var want []string
		for n := range requests {
			if requests[n].Client == client {
				want = append(want, requests[n].ID)
			}
		}
		if !slices.Equal(numbers, want) {
			t.Errorf("%s: %q, want %q", client, numbers, want)
		}
	}
}

// TestEnough: what is not begun is left out, what is begun is answered.
func TestEnough(t *testing.T) {
	enough := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Idempotency-Key") == "k-2" {
			close(enough)
		}
		w.Header().Set("Location", "/commandes/991")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"commandeId":991,"statut":"RECUE"}`)
	}))
	defer server.Close()
	var requests []Request
	for n := range 6 {
		requests = append(requests, Request{Key: fmt.Sprint("k-", n), Client: "A", Body: []byte(`{}`)})
	}
	answers, err := Start(t.Context(), requests, Config{
		Connections: 3, Enough: enough, Target: func(int, int) string { return server.URL },
	}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	for n, a := range answers {
		if begun := n <= 2; begun != (a.Tries == 1) || begun != (a.Status == http.StatusCreated) {
			t.Errorf("request %d: %d tries, answered %d", n, a.Tries, a.Status)
		}
	}
}

// TestCheckComplains: each way in which answers and Kafka may disagree is seen.
func TestCheckComplains(t *testing.T) {
	order := func(id, client string, quantity int, key string) Request {
		return New("", fmt.Appendf(nil, `{"commandeId":%q,"client":"L","clientId":%q,"montant":12,"produit":7,"quantite":%d}`, id, client, quantity), key)
	}
	requests := []Request{order("a", "C", 1, "1"), order("b", "C", 1, "2"), order("a", "C", 1, "3"), order("a", "C", 2, "4"), New("", []byte("[]"), "5")}
	conflict := Answer{Status: 409, Code: "COMMANDE_EN_CONFLIT"}
	fine := func() ([]Answer, *invariants.History) {
		record := func(q Request, offset int64) invariants.Record {
			return invariants.Record{Topic: orders.OrdersTopic, Offset: offset, Key: []byte(q.Client), Value: q.Body,
				Headers: []orders.Header{{Key: "comptoir-order", Value: []byte(q.ID)}}}
		}
		return []Answer{{Status: 201, ID: "a"}, {Status: 201, ID: "b"}, {Status: 200, ID: "a"}, conflict,
				{Status: 422, Code: "COMMANDE_INCOHERENTE", Codes: []string{"JSON_INVALIDE"}}},
			&invariants.History{Topics: map[string][]invariants.Record{orders.OrdersTopic: {record(requests[0], 0), record(requests[1], 1), record(requests[0], 2)}}}
	}
	topic := func(h *invariants.History) []invariants.Record { return h.Topics[orders.OrdersTopic] }
	for _, c := range []struct {
		name  string
		spoil func(a []Answer, h *invariants.History)
		want  string
	}{
		{"fine, one of them sent again", func([]Answer, *invariants.History) {}, ""},
		{"no answer", func(a []Answer, _ *invariants.History) { a[1] = Answer{} }, "no answer"},
		{"accepted twice", func(a []Answer, _ *invariants.History) { a[2].Status = 201 }, "2 requests were answered 201"},
		{"same content refused", func(a []Answer, _ *invariants.History) { a[2] = conflict }, "has the winner's content"},
		{"other content accepted", func(a []Answer, _ *invariants.History) { a[3] = a[2] }, "has other content"},
		{"incoherent accepted", func(a []Answer, _ *invariants.History) { a[4] = Answer{Status: 201, ID: "x"} }, "want 422"},
		{"other id", func(a []Answer, _ *invariants.History) { a[1].ID = "x" }, `answered for order "x"`},
		{"other codes", func(a []Answer, _ *invariants.History) { a[4].Codes = nil }, "want 422"},
		{"fault", func(a []Answer, _ *invariants.History) { a[0].Faults = []string{"503 without Retry-After"} }, "503 without"},
		{"lost", func(_ []Answer, h *invariants.History) { h.Topics[orders.OrdersTopic] = topic(h)[:1] }, "was accepted and is not in"},
		{"not accepted and there", func(a []Answer, _ *invariants.History) { a[1] = conflict }, "was not accepted"},
		{"overtaken", func(_ []Answer, h *invariants.History) { topic(h)[0], topic(h)[1] = topic(h)[1], topic(h)[0] }, "in Kafka in the order"},
		{"loser sent", func(_ []Answer, h *invariants.History) { topic(h)[2].Value = requests[3].Body }, "is not the accepted one"},
		{"other bytes", func(_ []Answer, h *invariants.History) { topic(h)[2].Value = append([]byte(" "), requests[0].Body...) }, "byte for byte"},
		{"other key", func(_ []Answer, h *invariants.History) { topic(h)[2].Key = []byte("X") }, "is not the accepted one"},
		{"other partition", func(_ []Answer, h *invariants.History) { topic(h)[2].Partition = 1 }, "is in partition"},
		{"by Kafka", func(_ []Answer, h *invariants.History) { topic(h)[2].Headers = nil }, "did not come through the outbox"},
	} {
		answers, h := fine()
		c.spoil(answers, h)
		got := Check(requests, answers, h, 0)
		if c.want == "" && len(got) > 0 || !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
