package event

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

var recordTime = time.Date(2026, 11, 20, 9, 30, 0, 123_000_000, time.UTC)

// order returns an order's JSON: the seed order with the given fields in place
// of its own; "-" takes a field away.
func order(fields ...string) string {
	names := []string{"commandeId", "client", "montant", "produit"}
	values := map[string]string{"commandeId": `991`, "client": `"LUCAS"`, "montant": `120.5`, "produit": `"PC Gamer"`}
	for i := 0; i < len(fields); i += 2 {
		if _, ok := values[fields[i]]; !ok {
			names = append(names, fields[i])
		}
		values[fields[i]] = fields[i+1]
	}
	var parts []string
	for _, name := range names {
		if values[name] != "-" {
			parts = append(parts, `"`+name+`":`+values[name])
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// quote returns s as JSON.
func quote(s string) string { return string(appendString(nil, s)) }

func TestParseOrderCoherent(t *testing.T) {
	ok := Order{
		ID: "991", Customer: Customer{Name: "LUCAS", ID: "CLI-991"}, Amount: 12050, Currency: "EUR",
		Product: "PC Gamer", SingleLine: true, OrderedAt: "2026-11-20T09:30:00.123Z",
		Lines: []Line{{Quantity: 1, Price: 12050, HasPrice: true, Amount: 12050}},
	}
	const key = "CLI-991"
	tests := []struct {
		name, key, value string
		change           func(o *Order)
	}{
		{"the seed line", key, `{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`, nil},
		{"blanks", key, " {\n\t\"commandeId\" : 991 , \"client\":\"LUCAS\",\"montant\":120.5,\r\n\"produit\":\"PC Gamer\" } ", nil},
		{"other order", key, `{"produit":"PC Gamer","montant":120.5,"client":"LUCAS","commandeId":991}`, nil},
		{"escapes", key, `{"commande\u0049d":"\u0039\u0039\u0031","client":"\u004cUCAS","montant":120.5,"produit":"PC Gamer"}`, nil},
		{"unknown fields", key, order("x", `{"commandeId":1,"y":[1,{"z":null}]}`, "Client", `5`, "MONTANT", `"x"`), nil},
		{"nulls are absent", key, order("clientId", `null`, "email", `null`, "devise", `null`, "quantite", `null`, "lignes", `null`, "timestamp", `null`), nil},
		{"string id", key, order("commandeId", `"CMD-1"`), func(o *Order) { o.ID = "CMD-1" }},
		{"id with leading zero", key, order("commandeId", `"0991"`), func(o *Order) { o.ID = "0991" }},
		{"long integer id", key, order("commandeId", `12345678901234567890`), func(o *Order) { o.ID = "12345678901234567890" }},
		{"longest integer id", key, order("commandeId", strings.Repeat("9", 200)), func(o *Order) { o.ID = ID(strings.Repeat("9", 200)) }},
		{"longest id", key, order("commandeId", quote(strings.Repeat("x", 200))), func(o *Order) { o.ID = ID(strings.Repeat("x", 200)) }},
		{"longest client", key, order("client", quote(strings.Repeat("é", 200))), func(o *Order) { o.Customer.Name = strings.Repeat("é", 200) }},
		{"client of no id with a key", key, order("client", `"."`), func(o *Order) { o.Customer.Name = "." }},
		{"clientId wins over the key", key, order("clientId", `"C"`), func(o *Order) { o.Customer.ID, o.ClientGiven = "C", true }},
		{"numeric clientId", key, order("clientId", `17`), func(o *Order) { o.Customer.ID, o.ClientGiven = "17", true }},
		{"no key", "", order(), func(o *Order) { o.Customer.ID = "LUCAS" }},
		{"key that is no id", "..", order(), func(o *Order) { o.Customer.ID = "LUCAS" }},
		{"key with control character", "a\tb", order(), func(o *Order) { o.Customer.ID = "LUCAS" }},
		{"key not UTF-8", "\xff", order(), func(o *Order) { o.Customer.ID = "LUCAS" }},
		{"key too long", strings.Repeat("k", 201), order(), func(o *Order) { o.Customer.ID = "LUCAS" }},
		{"longest key", strings.Repeat("k", 200), order(), func(o *Order) { o.Customer.ID = ID(strings.Repeat("k", 200)) }},
		{"email", key, order("email", `"a@b.c"`), func(o *Order) { o.Customer.Email = "a@b.c" }},
		{"devise", key, order("devise", `"USD"`), func(o *Order) { o.Currency = "USD" }},
		{"montant 1e2", key, order("montant", `1e2`), func(o *Order) { o.Amount = 10000; o.Lines[0].Amount = 10000; o.Lines[0].Price = 10000 }},
		{"montant 120.50", key, order("montant", `120.50`), nil},
		{"montant 1.500", key, order("montant", `1.500`), func(o *Order) { o.Amount = 150; o.Lines[0].Amount = 150; o.Lines[0].Price = 150 }},
		{"smallest montant", key, order("montant", `0.01`), func(o *Order) { o.Amount = 1; o.Lines[0].Amount = 1; o.Lines[0].Price = 1 }},
		{"largest montant", key, order("montant", `92233720368547758.07`), func(o *Order) { o.Amount = MaxAmount; o.Lines[0].Amount = MaxAmount; o.Lines[0].Price = MaxAmount }},
		{"numeric produit", key, order("produit", `1597`), func(o *Order) { o.Product = "1597" }},
		{"produit as given", key, order("produit", `"  pc gamer "`), func(o *Order) { o.Product = "  pc gamer " }},
		{"quantite exact", key, order("quantite", `5`), func(o *Order) { o.Lines[0].Quantity = 5; o.Lines[0].Price = 2410 }},
		{"quantite not exact", key, order("quantite", `7`), func(o *Order) { o.Lines[0] = Line{Quantity: 7, Amount: 12050} }},
		{"largest quantite", key, order("quantite", `1000000`), func(o *Order) { o.Lines[0] = Line{Quantity: 1_000_000, Amount: 12050} }},
		{"timestamp as it came", key, order("timestamp", `"2026-11-20T10:30:00.1234567890+01:00"`), func(o *Order) { o.OrderedAt, o.TimestampGiven = "2026-11-20T10:30:00.1234567890+01:00", true }},
		{"lines", key, order("produit", "-", "lignes", `[{"id_produit":1597,"nom_produit":"T-shirt","quantite":2,"prix":29.99},{"quantite":1,"id_produit":"X","prix":60.52}]`), func(o *Order) {
			o.SingleLine, o.Product = false, ""
			o.Lines = []Line{{"1597", "T-shirt", 2, 2999, true, 5998}, {"X", "", 1, 6052, true, 6052}}
		}},
		{"lines hide produit and quantite", key, order("produit", `false`, "quantite", `-1.5`, "lignes", `[{"id_produit":1,"quantite":1,"prix":120.5,"nom_produit":null,"x":[]},{"id_produit":1,"quantite":3,"prix":0}]`), func(o *Order) {
			o.SingleLine, o.Product = false, ""
			o.Lines = []Line{{"1", "", 1, 12050, true, 12050}, {"1", "", 3, 0, true, 0}}
		}},
		{"largest total", key, order("montant", `92233720368547758.07`, "lignes", `[{"id_produit":1,"quantite":7,"prix":13176245766935394.01}]`), func(o *Order) {
			o.SingleLine, o.Product, o.Amount = false, "", MaxAmount
			o.Lines = []Line{{"1", "", 7, MaxAmount / 7, true, MaxAmount}}
		}},
		{"500 lines", key, order("montant", `5`, "lignes", `[`+strings.Repeat(`{"id_produit":1,"quantite":1,"prix":0.01},`, 499)+`{"id_produit":1,"quantite":1,"prix":0.01}]`), func(o *Order) {
			o.SingleLine, o.Product, o.Amount, o.Lines = false, "", 500, nil
			for range 500 {
				o.Lines = append(o.Lines, Line{"1", "", 1, 1, true, 1})
			}
		}},
		{"exactly 256 KiB", key, order() + strings.Repeat(" ", MaxOrderBytes-len(order())), nil},
		{"depth 1000", key, order("x", strings.Repeat("[", 999)+strings.Repeat("]", 999)), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := ok
			want.Lines = append([]Line(nil), ok.Lines...)
			if tt.change != nil {
				tt.change(&want)
			}
			got, problems, strict := ParseOrder([]byte(tt.key), []byte(tt.value), recordTime)
			if len(problems) > 0 || !strict {
				t.Fatalf("problems %v, strict %v", problems, strict)
			}
			if got.Digest == ([16]byte{}) {
				t.Error("no digest")
			}
			got.Digest = want.Digest
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestParseOrderIncoherent(t *testing.T) {
	line := func(fields string) string {
		return order("lignes", `[{"id_produit":1,"quantite":1,"prix":120.5},`+fields+`]`)
	}
	deep := func(n int) string { return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1) }
	tests := []struct {
		name, value string
		want        string // "CODE champ, …"
		id          ID     // 991 unless the value is not strict
	}{
		// the whole value
		{"empty", "", "JSON_INVALIDE ", ""},
		{"blank", "  ", "JSON_INVALIDE ", ""},
		{"text", "hello", "JSON_INVALIDE ", ""},
		{"cut off", `{"commandeId":991,"client":"LUCAS"`, "JSON_INVALIDE ", ""},
		{"trailing comma", `{"commandeId":991,}`, "JSON_INVALIDE ", ""},
		{"two values", order() + order(), "JSON_INVALIDE ", ""},
		{"byte order mark", "\ufeff" + order(), "JSON_INVALIDE ", ""},
		{"not UTF-8", order("x", "\"\xff\""), "JSON_INVALIDE ", ""},
		{"not UTF-8 beside the object", order() + "\xff", "JSON_INVALIDE ", ""},
		{"lone surrogate", order("client", `"\ud83d"`), "JSON_INVALIDE ", ""},
		{"lone surrogate in an unknown field", order("x", `["\ude00"]`), "JSON_INVALIDE ", ""},
		{"lone surrogate in a key", order("x", `{"\ud800":1}`), "JSON_INVALIDE ", ""},
		{"duplicate key", `{"commandeId":991,"client":"A","client":"A","montant":1,"produit":1}`, "JSON_INVALIDE ", ""},
		{"duplicate by escape", `{"commandeId":991,"client":"A","\u0063lient":"A","montant":1,"produit":1}`, "JSON_INVALIDE ", ""},
		{"duplicate in an unknown field", order("x", `[{"y":{"a":1,"b":2,"a":1}}]`), "JSON_INVALIDE ", ""},
		{"duplicate in a line", line(`{"id_produit":1,"quantite":1,"prix":0,"prix":0}`), "JSON_INVALIDE ", ""},
		{"duplicate after a null", order("email", "null", "x", `1,"email":null`), "JSON_INVALIDE ", ""},
		{"invalid number", order("montant", `01`), "JSON_INVALIDE ", ""},
		{"NaN", order("montant", `NaN`), "JSON_INVALIDE ", ""},
		{"depth 1001", order("x", deep(1000)), "JSON_INVALIDE ", ""},
		{"invalid JSON says nothing else", `{"commandeId":1.5,"montant":-1,`, "JSON_INVALIDE ", ""},

		// the id
		{"no id", order("commandeId", "-"), "CHAMP_MANQUANT commandeId", ""},
		{"id null", order("commandeId", "null"), "CHAMP_MANQUANT commandeId", ""},
		{"id 991.0", order("commandeId", "991.0"), "TYPE_INVALIDE commandeId", ""},
		{"id 1e3", order("commandeId", "1e3"), "TYPE_INVALIDE commandeId", ""},
		{"id -5", order("commandeId", "-5"), "TYPE_INVALIDE commandeId", ""},
		{"id -0", order("commandeId", "-0"), "TYPE_INVALIDE commandeId", ""},
		{"id true", order("commandeId", "true"), "TYPE_INVALIDE commandeId", ""},
		{"id object", order("commandeId", "{}"), "TYPE_INVALIDE commandeId", ""},
		{"id array", order("commandeId", "[991]"), "TYPE_INVALIDE commandeId", ""},
		{"id empty", order("commandeId", `""`), "TYPE_INVALIDE commandeId", ""},
		{"id .", order("commandeId", `"."`), "TYPE_INVALIDE commandeId", ""},
		{"id ..", order("commandeId", `".."`), "TYPE_INVALIDE commandeId", ""},
		{"id with newline", order("commandeId", `"a\nb"`), "TYPE_INVALIDE commandeId", ""},
		{"id with NUL", order("commandeId", `"\u0000"`), "TYPE_INVALIDE commandeId", ""},
		{"id with DEL", order("commandeId", "\"\x7f\""), "TYPE_INVALIDE commandeId", ""},
		{"id with C1", order("commandeId", `"\u0085"`), "TYPE_INVALIDE commandeId", ""},
		{"id of 201 bytes", order("commandeId", quote(strings.Repeat("x", 201))), "TYPE_INVALIDE commandeId", ""},
		{"id of 202 bytes, 101 characters", order("commandeId", quote(strings.Repeat("é", 101))), "TYPE_INVALIDE commandeId", ""},
		{"id of 201 digits", order("commandeId", strings.Repeat("1", 201)), "TYPE_INVALIDE commandeId", ""},
		{"wrong case", order("commandeId", "-", "commandeid", "991"), "CHAMP_MANQUANT commandeId", ""},

		// the customer
		{"no client", order("client", "-"), "CHAMP_MANQUANT client", "991"},
		{"client null", order("client", "null"), "CHAMP_MANQUANT client", "991"},
		{"client number", order("client", "5"), "TYPE_INVALIDE client", "991"},
		{"client empty", order("client", `""`), "TYPE_INVALIDE client", "991"},
		{"client of 201 characters", order("client", quote(strings.Repeat("é", 201))), "TYPE_INVALIDE client", "991"},
		{"client that is no id, no key", order("client", `".."`), "TYPE_INVALIDE clientId", "991"},
		{"client of 202 bytes, no key", order("client", quote(strings.Repeat("é", 101))), "TYPE_INVALIDE clientId", "991"},
		{"client with a control character, no key", order("client", `"a\u0001"`), "TYPE_INVALIDE clientId", "991"},
		{"clientId empty", order("clientId", `""`), "TYPE_INVALIDE clientId", "991"},
		{"clientId 1.0", order("clientId", `1.0`), "TYPE_INVALIDE clientId", "991"},
		{"clientId of 201 bytes", order("clientId", quote(strings.Repeat("x", 201))), "TYPE_INVALIDE clientId", "991"},
		{"email number", order("email", `1`), "TYPE_INVALIDE email", "991"},
		{"email empty", order("email", `""`), "TYPE_INVALIDE email", "991"},

		// money
		{"no montant", order("montant", "-"), "CHAMP_MANQUANT montant", "991"},
		{"montant null", order("montant", "null"), "CHAMP_MANQUANT montant", "991"},
		{"montant string", order("montant", `"120.5"`), "TYPE_INVALIDE montant", "991"},
		{"montant 0", order("montant", `0`), "MONTANT_INVALIDE montant", "991"},
		{"montant -0.00", order("montant", `-0.00`), "MONTANT_INVALIDE montant", "991"},
		{"montant -5", order("montant", `-5`), "MONTANT_INVALIDE montant", "991"},
		{"montant 1.005", order("montant", `1.005`), "MONTANT_INVALIDE montant", "991"},
		{"montant 1e-3", order("montant", `1e-3`), "MONTANT_INVALIDE montant", "991"},
		{"montant one cent more", order("montant", `92233720368547758.08`), "MONTANT_INVALIDE montant", "991"},
		{"montant 1e400", order("montant", `1e400`), "MONTANT_INVALIDE montant", "991"},
		{"devise unknown", order("devise", `"ABC"`), "DEVISE_INCONNUE devise", "991"},
		{"devise small", order("devise", `"eur"`), "DEVISE_INCONNUE devise", "991"},
		{"devise empty", order("devise", `""`), "TYPE_INVALIDE devise", "991"},
		{"devise number", order("devise", `978`), "TYPE_INVALIDE devise", "991"},

		// the single-line form
		{"no product", order("produit", "-"), "PRODUIT_ABSENT produit", "991"},
		{"nulls", order("produit", "null", "lignes", "null"), "PRODUIT_ABSENT produit", "991"},
		{"no product and a wrong quantity", order("produit", "-", "quantite", "0"), "PRODUIT_ABSENT produit, QUANTITE_INVALIDE quantite", "991"},
		{"product empty", order("produit", `""`), "TYPE_INVALIDE produit", "991"},
		{"product bool", order("produit", `true`), "TYPE_INVALIDE produit", "991"},
		{"product 1.0", order("produit", `1.0`), "TYPE_INVALIDE produit", "991"},
		{"product array", order("produit", `[]`), "TYPE_INVALIDE produit", "991"},
		{"product of 201 bytes", order("produit", quote(strings.Repeat("x", 201))), "TYPE_INVALIDE produit", "991"},
		{"quantity 0", order("quantite", "0"), "QUANTITE_INVALIDE quantite", "991"},
		{"quantity -1", order("quantite", "-1"), "QUANTITE_INVALIDE quantite", "991"},
		{"quantity 1000001", order("quantite", "1000001"), "QUANTITE_INVALIDE quantite", "991"},
		{"quantity 2^64+1", order("quantite", "18446744073709551617"), "QUANTITE_INVALIDE quantite", "991"},
		{"quantity 1.5", order("quantite", "1.5"), "TYPE_INVALIDE quantite", "991"},
		{"quantity 1.0", order("quantite", "1.0"), "TYPE_INVALIDE quantite", "991"},
		{"quantity 1e3", order("quantite", "1e3"), "TYPE_INVALIDE quantite", "991"},
		{"quantity -1.5", order("quantite", "-1.5"), "TYPE_INVALIDE quantite", "991"},
		{"quantity string", order("quantite", `"1"`), "TYPE_INVALIDE quantite", "991"},

		// the lines
		{"lines of the wrong type", order("lignes", `{}`), "TYPE_INVALIDE lignes", "991"},
		{"lines a string", order("lignes", `"x"`), "TYPE_INVALIDE lignes", "991"},
		{"no line", order("lignes", `[]`), "LIGNES_INCOHERENTES lignes", "991"},
		{"501 lines", order("montant", "5.01", "lignes", `[`+strings.Repeat(`{"id_produit":1,"quantite":1,"prix":0.01},`, 500)+`{"id_produit":1,"quantite":1,"prix":0.01}]`), "LIGNES_INCOHERENTES lignes", "991"},
		{"one cent less", order("lignes", `[{"id_produit":1,"quantite":1,"prix":120.49}]`), "LIGNES_INCOHERENTES lignes", "991"},
		{"one cent more", line(`{"id_produit":1,"quantite":1,"prix":0.01}`), "LIGNES_INCOHERENTES lignes", "991"},
		{"all for nothing", order("lignes", `[{"id_produit":1,"quantite":1,"prix":0}]`), "LIGNES_INCOHERENTES lignes", "991"},
		{"product overflows", order("lignes", `[{"id_produit":1,"quantite":1000000,"prix":92233720368547758.07}]`), "LIGNES_INCOHERENTES lignes", "991"},
		{"sum overflows", order("montant", "0.01", "lignes", `[{"id_produit":1,"quantite":1,"prix":92233720368547758.07},{"id_produit":1,"quantite":1,"prix":92233720368547758.07},{"id_produit":1,"quantite":1,"prix":0.03}]`), "LIGNES_INCOHERENTES lignes", "991"},
		{"line null", line(`null`), "CHAMP_MANQUANT lignes[1]", "991"},
		{"line number", line(`5`), "TYPE_INVALIDE lignes[1]", "991"},
		{"line array", line(`[]`), "TYPE_INVALIDE lignes[1]", "991"},
		{"empty line", line(`{}`), "CHAMP_MANQUANT lignes[1].id_produit, CHAMP_MANQUANT lignes[1].quantite, CHAMP_MANQUANT lignes[1].prix", "991"},
		{"nulls in a line", line(`{"id_produit":null,"quantite":null,"prix":null,"nom_produit":null}`), "CHAMP_MANQUANT lignes[1].id_produit, CHAMP_MANQUANT lignes[1].quantite, CHAMP_MANQUANT lignes[1].prix", "991"},
		{"types in a line", line(`{"id_produit":1.0,"nom_produit":5,"quantite":"1","prix":"1"}`), "TYPE_INVALIDE lignes[1].id_produit, TYPE_INVALIDE lignes[1].nom_produit, TYPE_INVALIDE lignes[1].quantite, TYPE_INVALIDE lignes[1].prix", "991"},
		{"values in a line", line(`{"id_produit":"..","nom_produit":"","quantite":1000001,"prix":-0.01}`), "TYPE_INVALIDE lignes[1].id_produit, TYPE_INVALIDE lignes[1].nom_produit, QUANTITE_INVALIDE lignes[1].quantite, MONTANT_INVALIDE lignes[1].prix", "991"},
		{"price 1.005", line(`{"id_produit":1,"quantite":1,"prix":1.005}`), "MONTANT_INVALIDE lignes[1].prix", "991"},
		{"price too large", line(`{"id_produit":1,"quantite":1,"prix":92233720368547758.08}`), "MONTANT_INVALIDE lignes[1].prix", "991"},
		{"the third line", order("lignes", `[{"id_produit":1,"quantite":1,"prix":1},{"id_produit":1,"quantite":1,"prix":1},{"id_produit":1,"quantite":1}]`), "CHAMP_MANQUANT lignes[2].prix", "991"},
		{"no sum with a wrong amount", order("montant", "-1", "lignes", `[{"id_produit":1,"quantite":1,"prix":1}]`), "MONTANT_INVALIDE montant", "991"},

		// the time
		{"time number", order("timestamp", `1795167000`), "TYPE_INVALIDE timestamp", "991"},
		{"time without zone", order("timestamp", `"2026-11-20T09:30:00"`), "TYPE_INVALIDE timestamp", "991"},
		{"time empty", order("timestamp", `""`), "TYPE_INVALIDE timestamp", "991"},
		{"31 February", order("timestamp", `"2026-02-31T09:30:00Z"`), "TYPE_INVALIDE timestamp", "991"},

		{"everything", `{"timestamp":1,"lignes":[{"prix":-1}],"devise":"x","montant":0,"email":[],"clientId":{}}`,
			"CHAMP_MANQUANT commandeId, CHAMP_MANQUANT client, TYPE_INVALIDE clientId, TYPE_INVALIDE email, MONTANT_INVALIDE montant, DEVISE_INCONNUE devise, " +
				"CHAMP_MANQUANT lignes[0].id_produit, CHAMP_MANQUANT lignes[0].quantite, MONTANT_INVALIDE lignes[0].prix, TYPE_INVALIDE timestamp", ""},
		{"empty object", `{}`, "CHAMP_MANQUANT commandeId, CHAMP_MANQUANT client, CHAMP_MANQUANT montant, PRODUIT_ABSENT produit", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, problems, strict := ParseOrder(nil, []byte(tt.value), recordTime)
			if got := codes(problems); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !reflect.DeepEqual(o, Order{ID: tt.id}) {
				t.Errorf("order %+v, want only the id %q", o, tt.id)
			}
			if want := tt.want != "JSON_INVALIDE "; strict != want {
				t.Errorf("strict = %v", strict)
			}
			for _, p := range problems {
				if p.Detail == "" || len(p.Detail) > 200 {
					t.Errorf("%s: detail %q", p.Code, p.Detail)
				}
			}
		})
	}
}

func codes(problems []Problem) string {
	var s []string
	for _, p := range problems {
		s = append(s, p.Code+" "+p.Field)
	}
	return strings.Join(s, ", ")
}

// TestParseOrderWholeValue covers what stands beside the JSON object.
func TestParseOrderWholeValue(t *testing.T) {
	padded := order("x", quote(strings.Repeat("y", MaxOrderBytes)))
	tests := []struct {
		name   string
		value  []byte
		want   string
		strict bool
	}{
		{"tombstone", nil, "JSON_INVALIDE ", false},
		{"no bytes", []byte{}, "JSON_INVALIDE ", false},
		{"null", []byte("null"), "JSON_INVALIDE ", true},
		{"array", []byte(" [1] "), "JSON_INVALIDE ", true},
		{"number", []byte("5"), "JSON_INVALIDE ", true},
		{"string", []byte(`"x"`), "JSON_INVALIDE ", true},
		{"array with duplicates", []byte(`[{"a":1,"a":1}]`), "JSON_INVALIDE ", false},
		{"depth 1001 outside an object", []byte(strings.Repeat("[", 1001) + strings.Repeat("]", 1001)), "JSON_INVALIDE ", false},
		{"256 KiB and a byte", []byte(order() + strings.Repeat(" ", MaxOrderBytes+1-len(order()))), "COMMANDE_TROP_GRANDE ", false},
		{"too large and more wrong", []byte(padded[:len(padded)-1]), "COMMANDE_TROP_GRANDE ", false},
		{"900 KB", []byte(strings.Repeat("x", 900_000)), "COMMANDE_TROP_GRANDE ", false},
	}
	for _, tt := range tests {
		o, problems, strict := ParseOrder([]byte("k"), tt.value, recordTime)
		if got := codes(problems); got != tt.want || strict != tt.strict || o.ID != "" {
			t.Errorf("%s: %s, strict %v, order %+v", tt.name, got, strict, o)
		}
	}
}

// TestProblemsAreBounded: however wrong an order is, its problems must fit in
// a record of commandes.erreurs.
func TestProblemsAreBounded(t *testing.T) {
	bad := `{"id_produit":"","quantite":0,"prix":-1,"nom_produit":0},`
	value := []byte(order("lignes", "["+strings.Repeat(bad, 4000)+"0]"))
	if len(value) > MaxOrderBytes {
		t.Fatalf("%d bytes", len(value))
	}
	_, problems, strict := ParseOrder(nil, value, recordTime)
	if len(problems) != 4*MaxLines+1 {
		t.Errorf("%d problems", len(problems))
	}
	out := AppendErrorRecord(nil, nil, SeverityReject, problems, value, strict, Origin{Topic: "commandes.ecommerce"}, recordTime)
	if len(out) > MaxErrorRecord {
		t.Errorf("%d bytes", len(out))
	}
}

func TestDigest(t *testing.T) {
	lines := func(s string) string { return order("produit", "-", "lignes", s) }
	const one = `[{"id_produit":991,"quantite":1,"prix":120.5}]`
	same := [][]string{
		{
			order(), order("quantite", "1"), order("devise", `"EUR"`), order("montant", "120.50"), order("montant", "1205e-1"),
			order("x", `[1]`), order("email", "null"), order("client", `"\u004cUCAS"`), order("commandeId", "992"),
			order("nom_produit", `"x"`), ` {"produit":"PC Gamer" ,"montant":120.5,"client":"LUCAS","commandeId":991}`,
		},
		{order("produit", "991"), order("produit", `"991"`)},
		{order("produit", `"0991"`)},
		{order("produit", `"pc gamer"`)},
		{order("clientId", `"CLI-991"`)},
		{order("clientId", `7`), order("clientId", `"7"`)},
		{order("client", `"LUCA"`)},
		{order("client", `"LUCASP"`)},
		{order("email", `"a@b.c"`)},
		{order("montant", "120.51")},
		{order("devise", `"USD"`)},
		{order("quantite", "2")},
		{
			order("timestamp", `"2026-11-20T09:30:00Z"`), order("timestamp", `"2026-11-20T09:30:00.000Z"`), order("timestamp", `"2026-11-20T10:30:00+01:00"`),
			order("timestamp", `"2026-11-20t09:30:00.0000000000000z"`),
		},
		{order("timestamp", `"2026-11-20T09:30:00.1Z"`), order("timestamp", `"2026-11-20T08:30:00.100-01:00"`)},
		{order("timestamp", `"2026-11-20T09:30:00.0000000000001Z"`)},
		{order("timestamp", `"2026-11-20T09:30:00.123Z"`)}, // the record's time, but given
		{lines(one), lines(`[{"id_produit":"991","nom_produit":"x","quantite":1,"prix":120.50,"y":0}]`), order("quantite", "7", "lignes", one)},
		{lines(`[{"id_produit":"PC Gamer","quantite":1,"prix":120.5}]`)},
		{lines(`[{"id_produit":992,"quantite":1,"prix":120.5}]`)},
		{lines(`[{"id_produit":991,"quantite":1,"prix":120},{"id_produit":992,"quantite":1,"prix":0.5}]`)},
		{lines(`[{"id_produit":992,"quantite":1,"prix":0.5},{"id_produit":991,"quantite":1,"prix":120}]`)},
		{lines(`[{"id_produit":991,"quantite":1,"prix":0.5},{"id_produit":992,"quantite":1,"prix":120}]`)},
		{lines(`[{"id_produit":991,"quantite":2,"prix":60.25}]`)},
		{lines(`[{"id_produit":991,"quantite":1,"prix":120.5},{"id_produit":991,"quantite":1,"prix":0}]`)},
	}
	seen := map[[16]byte]string{}
	for _, group := range same {
		var first [16]byte
		for i, value := range group {
			// Neither key nor record time are content.
			o, problems, _ := ParseOrder(fmt.Appendf(nil, "key-%d", i), []byte(value), recordTime.Add(time.Duration(i)*time.Hour))
			if len(problems) > 0 {
				t.Fatalf("%s: %v", value, problems)
			}
			if i == 0 {
				first = o.Digest
				if other, ok := seen[first]; ok {
					t.Errorf("same digest:\n%s\n%s", other, value)
				}
				seen[first] = value
			} else if o.Digest != first {
				t.Errorf("other digest:\n%s\n%s", group[0], value)
			}
		}
	}
}

// TestDigestNeverChanges guards identities that were stored long ago.
func TestDigestNeverChanges(t *testing.T) {
	tests := map[string]string{
		order(): "97f87513a36f067adc4d2c2b842b12cf",
		order("clientId", "7", "email", `"a@b.c"`, "devise", `"USD"`, "timestamp", `"2026-11-20T09:30:00.1Z"`,
			"lignes", `[{"id_produit":1,"quantite":2,"prix":60.25}]`): "82c62d8fcd8388f660c4f60a68b1f5d9",
	}
	for value, want := range tests {
		o, _, _ := ParseOrder(nil, []byte(value), recordTime)
		if got := fmt.Sprintf("%x", o.Digest); got != want {
			t.Errorf("%s: digest %s, want %s", value, got, want)
		}
	}
}

func FuzzParseOrder(f *testing.F) {
	f.Add([]byte("CLI-991"), []byte(order()))
	f.Add([]byte(nil), []byte(order("lignes", `[{"id_produit":1597,"nom_produit":"T","quantite":2,"prix":29.99},{"id_produit":"X","quantite":1,"prix":60.52}]`)))
	f.Add([]byte("\xff"), []byte(order("email", `"a@b.c"`, "devise", `"USD"`, "timestamp", `"2026-11-20T09:30:00.5+01:00"`, "clientId", "7", "quantite", "3")))
	f.Add([]byte(".."), []byte(`{"lignes":[null,5,{}],"montant":1e400,"x":[{"a":1,"a":2}]}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		o, problems, isStrict := ParseOrder(key, value, recordTime)
		if isStrict != (len(value) <= MaxOrderBytes && strict(value) == nil) {
			t.Fatalf("strict = %v", isStrict)
		}
		if o.ID != "" && !o.ID.Valid() {
			t.Fatalf("id %q", o.ID)
		}
		for _, p := range problems {
			if p.Code == "" || p.Detail == "" || len(p.Detail) > 300 || p.Field == "" && p.Code != CodeInvalidJSON && p.Code != CodeOrderTooLarge {
				t.Fatalf("problem %+v", p)
			}
		}
		record := AppendErrorRecord(nil, nil, SeverityReject, problems, value, isStrict, Origin{}, recordTime)
		if len(record) > MaxErrorRecord || !json.Valid(record) {
			t.Fatalf("error record of %d bytes: %s", len(record), shorten(string(record)))
		}
		if len(problems) > 0 {
			return
		}
		if !o.Customer.ID.Valid() || o.Customer.Name == "" || o.Amount <= 0 || !KnownCurrency(o.Currency) || len(o.Lines) == 0 || len(o.Lines) > MaxLines {
			t.Fatalf("coherent: %+v", o)
		}
		if _, err := ParseTime(o.OrderedAt); err != nil {
			t.Fatal(err)
		}
		var sum Amount
		for _, l := range o.Lines {
			if l.Quantity < 1 || l.Quantity > MaxQuantity || l.HasPrice && l.Price*Amount(l.Quantity) != l.Amount || !o.SingleLine && !l.Product.Valid() {
				t.Fatalf("line %+v", l)
			}
			sum += l.Amount
		}
		if sum != o.Amount {
			t.Fatalf("lines make %v of %v", sum, o.Amount)
		}
		// Another spelling is the same order.
		spelled := respell(&o)
		if len(spelled) > MaxOrderBytes {
			return // 1e9 became longer
		}
		again, problems, _ := ParseOrder(key, spelled, recordTime)
		if len(problems) > 0 || again.Digest != o.Digest {
			t.Fatalf("%s is another order than %s (%v)", spelled, value, problems)
		}
	})
}

// respell writes a coherent order anew.
func respell(o *Order) []byte {
	b := append([]byte(`{"commandeId":`), o.ID.AppendJSON(nil)...)
	c := o.Customer
	b = append(b, `,"client":`...)
	b = appendString(b, c.Name)
	if o.ClientGiven {
		b = c.ID.AppendJSON(append(b, `,"clientId":`...))
	}
	b = appendOptional(b, `,"email":`, c.Email)
	b = o.Amount.AppendJSON(append(b, `,"montant":`...))
	b = appendOptional(b, `,"devise":`, o.Currency)
	if o.TimestampGiven {
		b = appendOptional(b, `,"timestamp":`, o.OrderedAt)
	}
	if o.SingleLine {
		b = fmt.Appendf(b, `,"quantite":%d,"produit":%s}`, o.Lines[0].Quantity, ID(o.Product).AppendJSON(nil))
		return b
	}
	b = append(b, `,"lignes":[`...)
	for i, l := range o.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"id_produit":%s,"quantite":%d,"prix":%s}`, l.Product.AppendJSON(nil), l.Quantity, l.Price)
	}
	return append(b, "]}"...)
}
