package orders

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var recorded = time.Date(2026, 11, 20, 10, 0, 0, 5e6, time.UTC)

// TestGenerateAgreesWithJudge holds the two readings of the contract against
// each other: what a record was made to be, and what Judge finds.
func TestGenerateAgreesWithJudge(t *testing.T) {
	w := Generate(Config{Seed: 3, Orders: 3000})
	type claim struct{ identity, key string }
	first := map[string]claim{}
	verdicts := map[string]bool{}
	kinds := map[string]bool{}
	for i, r := range w.Orders {
		kinds[r.Kind] = true
		j := Judge(r.Key, r.Value, recorded)
		if !slices.Equal(j.Codes, slices.Sorted(slices.Values(r.Codes))) {
			t.Errorf("record %d, %s: made for %v, judged %v: %.200s", i, r.Kind, r.Codes, j.Codes, r.Value)
			continue
		}
		if len(j.Codes) > 0 {
			continue
		}
		verdicts[j.ID] = true
		if _, ok := w.Expected[j.ID]; !ok {
			t.Errorf("record %d, %s: nothing is expected of order %q", i, r.Kind, j.ID)
		}
		old, again := first[j.ID]
		if !again {
			first[j.ID] = claim{j.Order.Identity, string(r.Key)}
		} else if same := old.identity == j.Order.Identity; same == r.Conflict {
			t.Errorf("record %d, %s: same content %v, made as a conflict %v", i, r.Kind, same, r.Conflict)
		}
	}
	if len(verdicts) != len(w.Expected) {
		t.Errorf("%d orders expected, %d in the records", len(w.Expected), len(verdicts))
	}
	for _, m := range slices.Concat(coherent, incoherent()) {
		if !kinds[m.kind] {
			t.Errorf("kind %q never came", m.kind)
		}
	}
	outcomes := map[Outcome]int{}
	for _, o := range w.Expected {
		outcomes[o]++
	}
	for _, o := range []Outcome{Invoiced, PaymentRefused, StockRefused, Contended} {
		if outcomes[o] == 0 {
			t.Errorf("no order is expected to end %s", o)
		}
	}
}

// TestOnly: of what was sent alone something is expected, and of all of that.
func TestOnly(t *testing.T) {
	w := Generate(Config{Seed: 4, Orders: 800})
	if all := w.Only(func(int) bool { return true }); !reflect.DeepEqual(all, w) {
		t.Errorf("all of it: %d orders and %d outcomes, want %d and %d", len(all.Orders), len(all.Expected), len(w.Orders), len(w.Expected))
	}
	half := w.Only(func(i int) bool { return i%2 == 0 })
	if len(half.Orders) != (len(w.Orders)+1)/2 {
		t.Errorf("half of %d orders are %d", len(w.Orders), len(half.Orders))
	}
	sent := map[string]Outcome{}
	for _, r := range half.Orders {
		if id := Judge(r.Key, r.Value, recorded).ID; len(r.Codes) == 0 {
			sent[id] = w.Expected[id]
		}
	}
	if !reflect.DeepEqual(half.Expected, sent) {
		t.Errorf("of half of it %d outcomes are expected, want %d", len(half.Expected), len(sent))
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	a, b := Generate(Config{Seed: 9, Orders: 400}), Generate(Config{Seed: 9, Orders: 400})
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed gave two workloads")
	}
	for id := range Generate(Config{Seed: 10, Orders: 400}).Expected {
		if _, ok := a.Expected[id]; ok {
			t.Fatalf("two seeds share the order id %q", id)
		}
	}
	if _, err := strict(a.Catalogue()); err != nil {
		t.Errorf("the catalogue is no strict JSON: %v", err)
	}
}

func TestJudge(t *testing.T) {
	const rest = `"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`
	for _, c := range []struct {
		name, key, value string
		codes            string
	}{
		{"the seed line", "CLI-991", `{"commandeId":991,` + rest, ""},
		{"no key, client as client id", "", `{"commandeId":991,` + rest, ""},
		{"neither is an id", "", `{"commandeId":991,"client":"..","montant":1,"produit":1}`, "TYPE_INVALIDE"},
		{"unknown names count by case", "k", `{"commandeid":991,` + rest, "CHAMP_MANQUANT"},
		{"a pair of surrogates", "k", `{"commandeId":991,"x":"\ud83d\ude00",` + rest, ""},
		{"an escaped backslash before u", "k", `{"commandeId":991,"x":"\\ud83d",` + rest, ""},
		{"high surrogate, then text", "k", `{"commandeId":991,"x":"\ud83dabcdef",` + rest, "JSON_INVALIDE"},
		{"depth 1000", "k", `{"commandeId":991,"x":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `,` + rest, ""},
		{"depth 1001", "k", `{"commandeId":991,"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `,` + rest, "JSON_INVALIDE"},
		{"lines rule over product and quantity", "k", `{"commandeId":1,"client":"L","montant":1,"produit":{},"quantite":0,"lignes":[{"id_produit":1,"quantite":1,"prix":1.00}]}`, ""},
		{"largest amount", "k", `{"commandeId":1,"client":"L","montant":92233720368547758.07,"produit":1}`, ""},
		{"null is absent", "k", `{"commandeId":1,"client":"L","montant":null,"produit":1}`, "CHAMP_MANQUANT"},
		{"sum beyond 64 bits", "k", `{"commandeId":1,"client":"L","montant":1,"lignes":[{"id_produit":1,"quantite":1000000,"prix":92233720368547758.07}]}`, "LIGNES_INCOHERENTES"},
	} {
		var key []byte
		if c.key != "" {
			key = []byte(c.key)
		}
		if got := strings.Join(Judge(key, []byte(c.value), recorded).Codes, ","); got != c.codes {
			t.Errorf("%s: %q, want %q", c.name, got, c.codes)
		}
	}
}

func TestIdentity(t *testing.T) {
	identity := func(value string) string { return Judge([]byte("k"), []byte(value), recorded).Order.Identity }
	base := identity(`{"commandeId":1,"client":"L","montant":100,"produit":7}`)
	for _, same := range []string{
		`{"produit":"7","montant":1e2,"client":"\u004c","commandeId":"1","autre":[1]}`,
		`{"commandeId":1,"client":"L","montant":100.00,"produit":7,"quantite":1,"devise":"EUR"}`,
	} {
		if identity(same) != base {
			t.Errorf("other content: %s", same)
		}
	}
	for _, other := range []string{
		`{"commandeId":1,"client":"L","montant":100,"produit":"07"}`,
		`{"commandeId":1,"client":"L","montant":100,"produit":7,"quantite":2}`,
		`{"commandeId":1,"client":"L","montant":100,"produit":7,"clientId":"k"}`,
		`{"commandeId":1,"client":"L","montant":100,"produit":7,"email":"a@b"}`,
		`{"commandeId":1,"client":"L","montant":100,"lignes":[{"id_produit":7,"quantite":1,"prix":100}]}`,
		`{"commandeId":1,"client":"L","montant":100,"produit":7,"timestamp":"2026-01-01T00:00:00Z"}`,
	} {
		if identity(other) == base {
			t.Errorf("same content: %s", other)
		}
	}
	a := identity(`{"commandeId":1,"client":"L","montant":100,"produit":7,"timestamp":"2026-01-01T00:00:00Z"}`)
	b := identity(`{"commandeId":1,"client":"L","montant":100,"produit":7,"timestamp":"2026-01-01T02:00:00.000+02:00"}`)
	if a != b {
		t.Error("one instant spelled twice is other content")
	}
}

func TestMinor(t *testing.T) {
	for literal, want := range map[string]int64{
		"0": 0, "1e2": 10000, "120.50": 12050, "1.500": 150, "12E-1": 120, "-0.3": -30, "0e99999": 0,
		"92233720368547758.07": 9223372036854775807, "-92233720368547758.08": -9223372036854775808,
	} {
		if got, ok := Minor(literal); !ok || got != want {
			t.Errorf("%s: %d, %v; want %d", literal, got, ok, want)
		}
	}
	for _, literal := range []string{"1.005", "1e-3", "92233720368547758.08", "1e99999", "1e-99999"} {
		if got, ok := Minor(literal); ok {
			t.Errorf("%s: accepted as %d", literal, got)
		}
	}
	for minor, want := range map[int64]string{12050: "120.5", 12000: "120", 30: "0.3", 0: "0", -5: "-0.05", 100000: "1000"} {
		if got := Decimal(minor); got != want {
			t.Errorf("Decimal(%d) = %s, want %s", minor, got, want)
		}
	}
}

// FuzzJudge: outside bytes never panic, and what is coherent has an identity
// that does not depend on the key.
func FuzzJudge(f *testing.F) {
	for _, r := range Generate(Config{Seed: 1, Orders: 120}).Orders {
		if len(r.Value) < 4096 {
			f.Add(r.Value)
		}
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		a, b := Judge([]byte("a"), value, recorded), Judge([]byte("b"), value, recorded)
		if len(a.Codes) == 0 && (a.Order.Identity != b.Order.Identity || len(a.Order.Lines) == 0 || a.Order.Amount < 1) {
			t.Errorf("coherent without being an order: %+v", a.Order)
		}
	})
}
