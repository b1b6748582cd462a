package anomaly

import (
	"reflect"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

var now = time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)

func TestAlerts(t *testing.T) {
	prices := func(l event.Line) (event.Amount, bool) {
		switch l.Product {
		case "PC Gamer", "1001":
			return 120_50, true
		case "1597":
			return 29_99, true
		case "gift":
			return 0, true
		}
		return 0, false
	}
	tests := []struct {
		name, value string
		want        []string // code, field, code, field …
	}{
		{"the seed order", `"montant":120.5,"produit":"PC Gamer"`, nil},
		{"exactly 5,000", `"montant":5000,"produit":"x"`, nil},
		{"a cent more", `"montant":5000.01,"produit":"x"`, []string{"MONTANT_ELEVE", "montant"}},
		{"a cent more in another currency", `"montant":5000.01,"devise":"USD","produit":"x"`, []string{"MONTANT_ELEVE", "montant"}},
		{"single line, right", `"montant":241,"quantite":2,"produit":1001`, nil},
		{"single line, wrong", `"montant":120.5,"quantite":2,"produit":1001`, []string{"PRIX_INATTENDU", "montant"}},
		{"single line, not exact", `"montant":100,"quantite":3,"produit":1001`, nil},
		{"both", `"montant":9000,"produit":1001`, []string{"MONTANT_ELEVE", "montant", "PRIX_INATTENDU", "montant"}},
		{"unknown product", `"montant":1,"produit":"nothing"`, nil},
		{"other currency", `"montant":1,"devise":"USD","produit":1001`, nil},
		{"currency given", `"montant":1,"devise":"EUR","produit":1001`, []string{"PRIX_INATTENDU", "montant"}},
		{"lines, right", `"montant":180.48,"lignes":[{"id_produit":1001,"quantite":1,"prix":120.5},{"id_produit":1597,"quantite":2,"prix":29.99}]`, nil},
		{"second line wrong", `"montant":180.5,"lignes":[{"id_produit":1001,"quantite":1,"prix":120.5},{"id_produit":1597,"quantite":2,"prix":30}]`, []string{"PRIX_INATTENDU", "lignes[1].prix"}},
		{"all lines wrong: one alert", `"montant":3,"lignes":[{"id_produit":1001,"quantite":1,"prix":1},{"id_produit":1597,"quantite":2,"prix":1}]`, []string{"PRIX_INATTENDU", "lignes[0].prix"}},
		{"price 0 in the catalogue", `"montant":1,"lignes":[{"id_produit":"gift","quantite":1,"prix":1}]`, []string{"PRIX_INATTENDU", "lignes[0].prix"}},
		{"price 0 in the order", `"montant":120.5,"lignes":[{"id_produit":1001,"quantite":1,"prix":120.5},{"id_produit":1597,"quantite":1,"prix":0}]`, []string{"PRIX_INATTENDU", "lignes[1].prix"}},
	}
	for _, tt := range tests {
		o, problems, _ := event.ParseOrder(nil, []byte(`{"commandeId":991,"client":"LUCAS",`+tt.value+`}`), now)
		if len(problems) > 0 {
			t.Fatalf("%s: %v", tt.name, problems)
		}
		var got []string
		for _, p := range Alerts(o, prices, DefaultThresholds()) {
			if got = append(got, p.Code, p.Field); p.Detail == "" {
				t.Errorf("%s: %s has no detail", tt.name, p.Code)
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestFrequencyAlert(t *testing.T) {
	want := event.Problem{Code: "FREQUENCE_ELEVEE", Field: "clientId", Detail: "more than 50 orders of this client within 1m0s"}
	if got := FrequencyAlert(DefaultThresholds()); got != want {
		t.Errorf("%+v", got)
	}
}
