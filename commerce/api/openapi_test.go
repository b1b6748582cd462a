package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// operation is one of the OpenAPI document.
type operation struct {
	method, path string
	params       []map[string]any
	schema       map[string]any            // of the body, nil for none
	examples     map[string]map[string]any // of the body
	responses    map[string]map[string]any // by status
	first        string                    // status listed first
}

func operations(t *testing.T) (schemas, []operation) {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	c := schemas{doc}
	if doc["openapi"] != "3.1.0" {
		t.Errorf("openapi: %v", doc["openapi"])
	}
	var order struct {
		Paths map[string]map[string]struct{ Responses yaml.Node }
	}
	if err := yaml.Unmarshal(document, &order); err != nil {
		t.Fatal(err)
	}
	var all []operation
	for path, item := range doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			op := op.(map[string]any)
			o := operation{method: strings.ToUpper(method), path: path, responses: map[string]map[string]any{}}
			o.first = order.Paths[path][method].Responses.Content[0].Value
			list, _ := op["parameters"].([]any)
			for _, p := range list {
				o.params = append(o.params, c.resolve(p.(map[string]any)))
			}
			if b, ok := op["requestBody"].(map[string]any); ok {
				media := b["content"].(map[string]any)[mediaJSON].(map[string]any)
				o.schema = media["schema"].(map[string]any)
				o.examples = map[string]map[string]any{}
				for name, e := range media["examples"].(map[string]any) {
					o.examples[name] = e.(map[string]any)
				}
			}
			for status, r := range op["responses"].(map[string]any) {
				o.responses[status] = c.resolve(r.(map[string]any))
			}
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return c, all
}

func TestDocumentHasTheRoutes(t *testing.T) {
	_, ops := operations(t)
	var got []string
	for _, o := range ops {
		got = append(got, o.method+" "+o.path)
	}
	slices.Sort(got)
	if want := slices.Sorted(maps.Keys(new(API).routes())); !slices.Equal(got, want) {
		t.Errorf("the document has %q\nthe code %q", got, want)
	}
}

// TestDocumentExamples checks the document's own examples against its schemas.
func TestDocumentExamples(t *testing.T) {
	c, ops := operations(t)
	for _, o := range ops {
		for status, r := range o.responses {
			for media, m := range r["content"].(map[string]any) {
				m := m.(map[string]any)
				all := map[string]any{}
				if e, ok := m["example"]; ok {
					all["example"] = e
				}
				more, _ := m["examples"].(map[string]any)
				for name, e := range more {
					all[name] = e.(map[string]any)["value"]
				}
				if len(all) == 0 && media != "application/yaml" {
					t.Errorf("%s %s %s %s has no example", o.method, o.path, status, media)
				}
				for name, e := range all {
					if err := c.check(name, m["schema"].(map[string]any), viaJSON(t, e)); err != nil {
						t.Errorf("%s %s %s: %v", o.method, o.path, status, err)
					}
				}
			}
		}
		for name, e := range o.examples {
			err := c.check(name, o.schema, viaJSON(t, e["value"]))
			if (err == nil) != (e["x-status"] != "422") && name != "incoherente" {
				t.Errorf("%s %s: %v", o.method, o.path, err)
			}
		}
	}
}

// viaJSON is a YAML value as JSON has it.
func viaJSON(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := parse(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// documented checks an answer against the document.
func documented(c schemas, o operation, r reply) error {
	d, ok := o.responses[strconv.Itoa(r.status)]
	if !ok {
		return fmt.Errorf("status %d is not documented: %.300s", r.status, r.body)
	}
	media := r.header.Get("Content-Type")
	m, ok := d["content"].(map[string]any)[media].(map[string]any)
	if !ok {
		return fmt.Errorf("content type %q is not documented for %d", media, r.status)
	}
	headers, _ := d["headers"].(map[string]any)
	for name, h := range headers {
		if err := c.check(name, h.(map[string]any)["schema"].(map[string]any), r.header.Get(name)); err != nil {
			return err
		}
	}
	if !strings.HasSuffix(media, "json") {
		return nil
	}
	v, err := parse(r.body)
	if err != nil {
		return fmt.Errorf("%w: %.300s", err, r.body)
	}
	return c.check(strconv.Itoa(r.status), m["schema"].(map[string]any), v)
}

// fill is the path of an operation with its parameters' examples; replace has
// other values by name.
func (o operation) fill(replace map[string]string) (path string, header []string) {
	path = o.path
	query := url.Values{}
	for _, p := range o.params {
		name := p["name"].(string)
		value, ok := replace[name]
		if !ok {
			if p["example"] == nil {
				continue
			}
			value = fmt.Sprint(p["example"])
		}
		if value == "LONG" {
			value = strings.Repeat("x", 300)
		}
		switch p["in"] {
		case "path":
			path = strings.Replace(path, "{"+name+"}", url.PathEscape(value), 1)
		case "query":
			query.Set(name, value)
		case "header":
			header = append(header, name, value)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path, header
}

// documentShop has what the examples speak of.
func documentShop(t *testing.T) *shop {
	s := newShop(t)
	s.send("PUT", "/produits/1597", `{"nom_produit":"T-shirt en coton bio","prix":29.99}`)
	s.track(
		s.record("known", event.TopicOrders, 0, 0, orderdb.Received, `{"commandeId":"known","client":"A","montant":1,"produit":1,"x":{"y":1}}`),
		s.record("known", event.TopicVerdicts, 1, 5, orderdb.Reserved, `{"commandeId":"known","statut":"VALIDE","client":"A","clientId":"CLI-991","email":"a@b.c","montant":1,"devise":"EUR","lignes":[{"id_produit":1,"nom_produit":"B","quantite":1,"montant":1,"prix":1,"reserve":true}],"date_commande":"2026-11-20T12:00:00.000Z","timestamp":"2026-11-20T12:00:00.005Z"}`),
		s.record("known", event.TopicNotifications, 2, 6, orderdb.Notified, "\xff"),
	)
	return s
}

// send sends an operation with the examples of its parameters.
func (o operation) send(s *shop, replace map[string]string, body string, header ...string) reply {
	s.t.Helper()
	path, more := o.fill(replace)
	return s.send(o.method, path, body, append(more, header...)...)
}

// TestDocumentRequests sends every example of a request, with all parameters
// and with none.
func TestDocumentRequests(t *testing.T) {
	c, ops := operations(t)
	s := documentShop(t)
	// The order in which the examples of POST /commandes build on each other.
	names := []string{"une_ligne", "repetee", "conflit", "sans_id", "incoherente", "complet", "sans_prix", "relu", "simple", "nouveau"}
	sent := 0
	for _, o := range ops {
		for _, name := range names {
			e, ok := o.examples[name]
			if !ok {
				continue
			}
			sent++
			body, err := json.Marshal(e["value"])
			if err != nil {
				t.Fatal(err)
			}
			want, ok := e["x-status"].(string)
			if !ok {
				want = o.first
			}
			r := o.send(s, nil, string(body))
			if err := documented(c, o, r); err != nil || strconv.Itoa(r.status) != want {
				t.Errorf("%s %s %s: %d, want %s: %v: %s", o.method, o.path, name, r.status, want, err, r.body)
			}
		}
		for name := range o.examples {
			if !slices.Contains(names, name) {
				t.Errorf("%s %s: example %s is not sent", o.method, o.path, name)
			}
		}
	}
	if sent != len(names) {
		t.Errorf("%d examples sent, of %d", sent, len(names))
	}
	for _, o := range ops {
		if o.method != "GET" {
			continue
		}
		for _, replace := range []map[string]string{nil, {"attendre": "", "delai": "", "statut": "", "client": "", "apres": "", "limite": ""}, {"attendre": "NOTIFIEE", "delai": "10ms"}} {
			for _, id := range []string{"", "known"} {
				if id != "" && !strings.Contains(o.path, "{id}") || id != "" && strings.HasPrefix(o.path, "/produits") {
					continue
				}
				r := maps.Clone(replace)
				if id != "" {
					if r == nil {
						r = map[string]string{}
					}
					r["id"] = id
				}
				if got := o.send(s, r, ""); got.status != 200 {
					t.Errorf("%s %s with %v: %d %s", o.method, o.path, r, got.status, got.body)
				} else if err := documented(c, o, got); err != nil {
					t.Errorf("%s %s with %v: %v", o.method, o.path, r, err)
				}
			}
		}
	}
	// New in the catalogue.
	for _, o := range ops {
		if o.method == "PUT" {
			r := o.send(s, map[string]string{"id": "new"}, `{"nom_produit":"x","prix":1.5}`)
			if err := documented(c, o, r); err != nil || r.status != 201 {
				t.Errorf("%d %v", r.status, err)
			}
		}
	}
	if r := s.send("GET", "/openapi.yaml", ""); r.body+"\n" != string(document) || r.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("document: %d, %d bytes as %s", r.status, len(r.body), r.header.Get("Content-Type"))
	}
}

// TestDocumentBadInput spoils each parameter and each field of a body in turn:
// the answer is a documented problem, never a 5xx.
func TestDocumentBadInput(t *testing.T) {
	c, ops := operations(t)
	s := documentShop(t)
	before := len(s.outbox())
	refused := func(o operation, what string, r reply) {
		t.Helper()
		err := documented(c, o, r)
		if err != nil || r.status < 400 || r.status >= 500 {
			t.Errorf("%s %s, %s: %d %v: %.300s", o.method, o.path, what, r.status, err, r.body)
		}
	}
	n := 0
	for _, o := range ops {
		good := ""
		for _, name := range slices.Sorted(maps.Keys(o.examples)) {
			if status, _ := o.examples[name]["x-status"].(string); good == "" && status < "400" {
				b, err := json.Marshal(o.examples[name]["value"])
				if err != nil {
					t.Fatal(err)
				}
				good = string(b)
			}
		}
		for _, p := range o.params {
			values, ok := p["x-invalid"].([]any)
			if !ok && p["name"] != "traceparent" {
				t.Errorf("%s %s: parameter %s says not what is invalid", o.method, o.path, p["name"])
			}
			for _, v := range values {
				replace := map[string]string{p["name"].(string): fmt.Sprint(v)}
				refused(o, fmt.Sprintf("%s %q", p["name"], v), o.send(s, replace, good, "Accept", "text/event-stream"))
				n++
			}
		}
		path, _ := o.fill(nil)
		path, _, _ = strings.Cut(path, "?")
		refused(o, "unknown parameter", s.send(o.method, path+"?inconnu=1", good))
		if o.schema == nil {
			continue
		}
		for what, body := range spoiled(t, c, o.schema, good) {
			refused(o, what+" "+body, o.send(s, nil, body))
			n++
		}
		refused(o, "media type", o.send(s, nil, good, "Content-Type", "-"))
		refused(o, "size", o.send(s, nil, good+strings.Repeat(" ", 1<<20)))
	}
	if n < 150 {
		t.Errorf("only %d bad inputs", n)
	}
	if after := len(s.outbox()); after != before {
		t.Errorf("bad input sent %d messages", after-before)
	}
}

// spoiled returns bodies that are not what the schema says, by what is wrong.
func spoiled(t *testing.T, c schemas, schema map[string]any, good string) map[string]string {
	t.Helper()
	schema = c.resolve(schema)
	out := map[string]string{"empty": "", "cut off": good[:len(good)-1], "array": "[" + good + "]", "null": "null", "text": `"x"`, "two": good + good}
	base, err := parse(good)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, v any) string {
		m := maps.Clone(base.(map[string]any))
		if v == nil {
			delete(m, name)
		} else {
			m[name] = v
		}
		// Money is compared with the lines: a single line has none.
		if name == "produit" || name == "quantite" {
			delete(m, "lignes")
			if name == "quantite" {
				m["produit"] = "x"
			}
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		out["no "+name.(string)] = put(name.(string), nil)
	}
	for name, s := range schema["properties"].(map[string]any) {
		out["twice "+name] = good[:len(good)-1] + `,"` + name + `":1,"` + name + `":1}`
		for _, v := range []any{true, "", "x", -1, 0, 1.5, []any{}, []any{1}, map[string]any{}, strings.Repeat("y", 501), json.Number("1e999"), "a\u0001"} {
			if err := c.check(name, s.(map[string]any), viaJSON(t, v)); err != nil {
				out[fmt.Sprintf("%s %.20v", name, v)] = put(name, v)
			}
		}
	}
	return out
}
