package event

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestInsertOrderID(t *testing.T) {
	for _, tc := range []struct{ name, value, want string }{
		{"absent", `{"client":"A"}`, `{"commandeId":"CMD-1","client":"A"}`},
		{"null", `{"client":"A","commandeId": null ,"x":1}`, `{"client":"A","commandeId": "CMD-1" ,"x":1}`},
		{"null under an escaped name", `{"\u0063ommandeId":null}`, `{"\u0063ommandeId":"CMD-1"}`},
		{"empty object", "{ }", `{"commandeId":"CMD-1" }`},
		{"spelling is kept", " {\r\n\t\"a\" : 1.50e0, \"b\":\"\\u0041\" }\n", " {\"commandeId\":\"CMD-1\",\r\n\t\"a\" : 1.50e0, \"b\":\"\\u0041\" }\n"},
		{"inside another field it counts for nothing", `{"x":{"commandeId":5}}`, `{"commandeId":"CMD-1","x":{"commandeId":5}}`},
		{"given", `{"commandeId":5}`, ""},
		{"given empty", `{"commandeId":""}`, ""},
		{"given of the wrong type", `{"commandeId":false}`, ""},
		{"no object", `[1]`, ""},
		{"null value", `null`, ""},
		{"empty", ``, ""},
		{"cut off", `{"client":"A"`, ""},
		{"twice", `{"commandeId":null,"commandeId":null}`, ""},
		{"more after it", `{} {}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			value := []byte(tc.value)
			got, ok := InsertOrderID(value, "CMD-1")
			if ok != (tc.want != "") || string(got) != tc.want {
				t.Errorf("got %q, %v, want %q", got, ok, tc.want)
			}
			if string(value) != tc.value {
				t.Errorf("the value given was changed: %q", value)
			}
		})
	}
}

// FuzzInsertOrderID: what gets an id is an order with this id and else the same
// fields, in the same spelling.
func FuzzInsertOrderID(f *testing.F) {
	for _, s := range []string{order(), order("commandeId", "-"), order("commandeId", "null"), `{}`, ` { } `, `{"a":{"commandeId":null}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		with, ok := InsertOrderID(value, "CMD-1")
		if !ok {
			return
		}
		var id string
		rest := map[string]string{}
		if !Fields(with, func(name, spelled string) {
			if name == "commandeId" {
				id = spelled
			} else {
				rest[name] = spelled
			}
		}) {
			t.Fatalf("%q became %q, which is no strict object", value, with)
		}
		if id != `"CMD-1"` {
			t.Fatalf("%q became %q", value, with)
		}
		Fields(value, func(name, spelled string) {
			if name != "commandeId" && rest[name] != spelled {
				t.Fatalf("%q became %q: field %q", value, with, name)
			}
			delete(rest, name)
		})
		if len(rest) > 0 {
			t.Fatalf("%q became %q: new fields %v", value, with, rest)
		}
		if a, b := bytes.Count(with, []byte("CMD-1")), bytes.Count(value, []byte("CMD-1")); a != b+1 {
			t.Fatalf("%q became %q", value, with)
		}
	})
}

// The id that is put in must not change what the order says.
func TestInsertOrderIDKeepsDigest(t *testing.T) {
	without, ok := InsertOrderID([]byte(order("commandeId", "-")), "991")
	if !ok {
		t.Fatal("no id was put in")
	}
	a, problems, _ := ParseOrder(nil, without, time.Now())
	b, _, _ := ParseOrder(nil, []byte(order()), time.Now())
	if len(problems) > 0 || a.ID != "991" || a.Digest != b.Digest {
		t.Errorf("%s: %v, digest %x, want %x", without, problems, a.Digest, b.Digest)
	}
}

func TestFields(t *testing.T) {
	var got []string
	ok := Fields([]byte(`{"a":1.50,"b\u0063":{"x": [1]},"d":"\u0041","e":null}`), func(name, spelled string) {
		got = append(got, name+"="+spelled)
	})
	if want := `a=1.50|bc={"x": [1]}|d="\u0041"|e=null`; !ok || strings.Join(got, "|") != want {
		t.Errorf("got %v, %v, want %s", got, ok, want)
	}
	for _, bad := range []string{"", "[]", "null", `{"a":1,"a":2}`, `{"a":"` + "\xff" + `"}`, `{"a":1`} {
		if Fields([]byte(bad), func(string, string) {}) {
			t.Errorf("%q was taken for a strict object", bad)
		}
	}
}

func TestElements(t *testing.T) {
	for value, want := range map[string]string{
		`[]`:                                "",
		" [ 1.50 , {\"a\": [1]},\n\"x\" ] ": `1.50|{"a": [1]}|"x"`,
		`[null,[]]`:                         `null|[]`,
	} {
		var got []string
		if ok := Elements([]byte(value), func(spelled string) { got = append(got, spelled) }); !ok || strings.Join(got, "|") != want {
			t.Errorf("%q: %q, %v", value, got, ok)
		}
	}
	for _, bad := range []string{"", "{}", "null", "[1", "[1,]", "[1 2]", "[1] 2", `[{"a":1,"a":2}]`, strings.Repeat("[", 1001) + strings.Repeat("]", 1001)} {
		if Elements([]byte(bad), func(string) {}) {
			t.Errorf("%.40q was taken for a strict array", bad)
		}
	}
}

func TestStrictSays(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for value, want := range map[string]bool{
		`{"a":1}`: true, `"x"`: true, `null`: true, ` 1 `: true, deep(1001): true,
		``: false, `{`: false, `{"a":1,"a":1}`: false, `"\ud800"`: false, "\"\xff\"": false, deep(1002): false, `1 2`: false,
	} {
		if Strict([]byte(value)) != want {
			t.Errorf("Strict(%.40q) = %v, want %v", value, !want, want)
		}
	}
}

func TestParseProductRequest(t *testing.T) {
	for _, tc := range []struct {
		body, err string
		want      Product
	}{
		{`{"nom_produit":"PC Gamer","prix":120.50}`, "", Product{"1001", "PC Gamer", 12050, true}},
		{`{"nom_produit":"PC","prix":0}`, "", Product{"1001", "PC", 0, true}},
		{`{"nom_produit":"PC","prix":null}`, "", Product{ID: "1001", Name: "PC"}},
		{`{"id_produit":1001,"nom_produit":"PC","disponible":5,"reserve":{}}`, "", Product{ID: "1001", Name: "PC"}},
		{`{"id_produit":"1001","nom_produit":"PC"}`, "", Product{ID: "1001", Name: "PC"}},
		{`{"id_produit":null,"nom_produit":"PC"}`, "", Product{ID: "1001", Name: "PC"}},
		{`{"id_produit":1002,"nom_produit":"PC"}`, "id_produit must be the id in the path, 1001", Product{}},
		{`{"id_produit":1001.0,"nom_produit":"PC"}`, "id_produit must be the id in the path, 1001", Product{}},
		{`{"id_produit":"","nom_produit":"PC"}`, "id_produit must be the id in the path, 1001", Product{}},
		{`{"prix":1}`, "nom_produit is missing", Product{}},
		{`{"nom_produit":null}`, "nom_produit is missing", Product{}},
		{`{"nom_produit":""}`, "nom_produit must be 1 to 500 bytes", Product{}},
		{`{"nom_produit":5}`, "nom_produit must be a string", Product{}},
		{`{"nom_produit":"` + strings.Repeat("x", 501) + `"}`, "nom_produit must be 1 to 500 bytes", Product{}},
		{`{"nom_produit":"PC","prix":-1}`, "prix must not be negative", Product{}},
		{`{"nom_produit":"PC","prix":"1"}`, "prix must be a number", Product{}},
		{`{"nom_produit":"PC","prix":1.005}`, "prix has more than 2 decimals", Product{}},
		{`{"nom_produit":"PC","prx":1}`, "prx is not a field", Product{}},
		{`{"nom_produit":"PC","nom_produit":"PC"}`, "stands twice", Product{}},
		{`[]`, "must be an object", Product{}},
		{``, "not strict JSON", Product{}},
	} {
		got, err := ParseProductRequest("1001", []byte(tc.body))
		if !failsWith(err, tc.err) || got != tc.want {
			t.Errorf("%.80s: %+v, %v, want %+v, %q", tc.body, got, err, tc.want, tc.err)
		}
	}
}

func TestParseSupplyRequest(t *testing.T) {
	for _, tc := range []struct {
		body, err string
		want      Supply
	}{
		{`{"quantite":5}`, "", Supply{ID: "S", Product: "P", Quantity: 5}},
		{`{"quantite":5,"nom_produit":null}`, "", Supply{ID: "S", Product: "P", Quantity: 5}},
		{`{"nom_produit":"N","quantite":1000000000000}`, "", Supply{"S", "P", "N", MaxSupply}},
		{`{"quantite":1000000000001}`, "quantite must be at most 1000000000000", Supply{}},
		{`{"quantite":9223372036854775807}`, "quantite must be at most 1000000000000", Supply{}},
		{`{}`, "quantite is missing", Supply{}},
		{`{"quantite":null}`, "quantite is missing", Supply{}},
		{`{"quantite":0}`, "quantite must be at least 1", Supply{}},
		{`{"quantite":-1}`, "quantite must be at least 1", Supply{}},
		{`{"quantite":1.0}`, "quantite must be an integer", Supply{}},
		{`{"quantite":"1"}`, "quantite must be an integer", Supply{}},
		{`{"quantite":9223372036854775808}`, "quantite is too large", Supply{}},
		{`{"quantite":1,"nom_produit":""}`, "nom_produit must be 1 to 500 bytes", Supply{}},
		{`{"quantite":1,"nom_produit":[]}`, "nom_produit must be a string", Supply{}},
		{`{"quantite":1,"id":"x"}`, "id is not a field", Supply{}},
	} {
		got, err := ParseSupplyRequest("S", "P", []byte(tc.body))
		if !failsWith(err, tc.err) || got != tc.want {
			t.Errorf("%.80s: %+v, %v, want %+v, %q", tc.body, got, err, tc.want, tc.err)
		}
	}
}

// failsWith says whether err has the text in it, or is nil if there is none.
func failsWith(err error, text string) bool {
	if text == "" || err == nil {
		return text == "" && err == nil
	}
	return strings.Contains(err.Error(), text)
}

func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{"nom_produit":"PC Gamer","prix":120.5}`))
	f.Add([]byte(`{"quantite":5,"nom_produit":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if p, err := ParseProductRequest("1", body); err == nil {
			if back, err := ParseProduct(p.AppendJSON(nil)); err != nil || back != p {
				t.Errorf("%q: %+v is read back as %+v, %v", body, p, back, err)
			}
		}
		if s, err := ParseSupplyRequest("1", "2", body); err == nil {
			if back, err := ParseSupply(s.AppendJSON(nil)); err != nil || back != s {
				t.Errorf("%q: %+v is read back as %+v, %v", body, s, back, err)
			}
		}
		if Strict(body) && !json.Valid(body) {
			t.Errorf("%q is strict, but not JSON", body)
		}
	})
}
