package api

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

func TestProducts(t *testing.T) {
	s := newShop(t)
	s.want(200, `{"produits":[]}`, "GET", "/produits", "")
	r := s.want(201, `{"id_produit":1597,"nom_produit":"T-shirt","prix":29.9}`, "PUT", "/produits/1597", `{"nom_produit":"T-shirt", "prix":29.90}`, "traceparent", trace)
	if got := r.header.Get("Location"); got != "/produits/1597" {
		t.Errorf("Location %q", got)
	}
	r = s.want(200, `{"id_produit":1597,"nom_produit":"T-shirt bio"}`, "PUT", "/produits/1597", `{"nom_produit":"T-shirt bio"}`)
	if r.header.Get("Location") != "" {
		t.Error("Location for a product that was known")
	}
	s.want(200, `{"id_produit":1597,"nom_produit":"T-shirt bio","disponible":0,"reserve":0}`, "GET", "/produits/1597", "")
	// A product of which only stock is known.
	b := orderdb.Batch{Levels: []orderdb.Level{{Product: "a/b", Available: 41, Reserved: 3}}}
	if err := s.db.DB.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	s.want(200, `{"id_produit":"a/b","nom_produit":"a/b","disponible":41,"reserve":3}`, "GET", "/produits/a%2Fb", "")

	want := []struct{ topic, key, value string }{
		{event.TopicProducts, "1597", `{"id_produit":1597,"nom_produit":"T-shirt","prix":29.9}`},
		{event.TopicJournal, "1597", `{"action":"produit.maj","objet":1597,"par":"api","apres":{"id_produit":1597,"nom_produit":"T-shirt","prix":29.9},"resultat":"ok","timestamp":"2020-11-20T12:00:00.123Z"}`},
		{event.TopicProducts, "1597", `{"id_produit":1597,"nom_produit":"T-shirt bio"}`},
		{event.TopicJournal, "1597", `{"action":"produit.maj","objet":1597,"par":"api","avant":{"id_produit":1597,"nom_produit":"T-shirt","prix":29.9},"apres":{"id_produit":1597,"nom_produit":"T-shirt bio"},"resultat":"ok","timestamp":"2020-11-20T12:00:00.123Z"}`},
	}
	out := s.outbox()
	if len(out) != len(want) {
		t.Fatalf("%d messages, want %d", len(out), len(want))
	}
	for i, m := range out {
		if m.Topic != want[i].topic || string(m.Key) != want[i].key || string(m.Value) != want[i].value || !m.At.Equal(noon) {
			t.Errorf("message %d: %s %s %s at %v", i, m.Topic, m.Key, m.Value, m.At)
		}
		if traced := fmt.Sprintf("%s", m.Headers) == "[{traceparent "+trace+"}]"; traced != (i < 2) {
			t.Errorf("message %d: headers %s", i, m.Headers)
		}
	}
}

func TestListProducts(t *testing.T) {
	s := newShop(t)
	for _, id := range []string{"b", "a", "d", "c"} {
		s.send("PUT", "/produits/"+id, `{"nom_produit":"x"}`)
	}
	ids, next := regexp.MustCompile(`"id_produit":"(.)"`), regexp.MustCompile(`"suivant":"([^"]+)"`)
	got := ""
	for query := "limite=3"; query != ""; {
		r := s.send("GET", "/produits?"+query, "")
		for _, m := range ids.FindAllStringSubmatch(r.body, -1) {
			got += m[1]
		}
		query = ""
		if m := next.FindStringSubmatch(r.body); m != nil {
			got, query = got+"|", "limite=3&apres="+m[1]
		}
	}
	if got != "abc|d" {
		t.Errorf("pages %s", got)
	}
}

func TestSupply(t *testing.T) {
	s := newShop(t)
	r := s.send("POST", "/stock/15%2097/approvisionnements", `{"quantite":100,"nom_produit":"Casquette"}`, "Idempotency-Key", "k")
	m := regexp.MustCompile(`^\{"id":"(APP-[0-9a-f-]{36})"\}$`).FindStringSubmatch(r.body)
	if r.status != 202 || m == nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	s.want(202, r.body, "POST", "/stock/15%2097/approvisionnements", `{"quantite":100,"nom_produit":"Casquette"}`, "Idempotency-Key", "k")
	if r := s.send("POST", "/stock/15%2097/approvisionnements", `{"quantite":101,"nom_produit":"Casquette"}`, "Idempotency-Key", "k"); r.code() != "CLE_REUTILISEE" {
		t.Errorf("%d %s", r.status, r.body)
	}
	value := `{"id":"` + m[1] + `","id_produit":"15 97","nom_produit":"Casquette","quantite":100}`
	out := s.outbox()
	if len(out) != 2 || out[0].Topic != event.TopicSupplies || string(out[0].Key) != "15 97" || string(out[0].Value) != value {
		t.Fatalf("%+v", out)
	}
	want := `{"action":"stock.approvisionnement","objet":"15 97","par":"api","apres":` + value + `,"resultat":"ok","timestamp":"2020-11-20T12:00:00.123Z"}`
	if out[1].Topic != event.TopicJournal || string(out[1].Key) != "15 97" || string(out[1].Value) != want {
		t.Errorf("%s %s %s", out[1].Topic, out[1].Key, out[1].Value)
	}
}
