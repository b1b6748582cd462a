package jdbc

import (
	"reflect"
	"strings"
	"testing"

	"github.com/comptoir/comptoir/connect"
)

func TestParseURL(t *testing.T) {
	tests := []struct{ url, user, password, want, err string }{
		{"jdbc:postgresql://localhost:5432/ecommerce", "postgres", "secret", "postgres:secret@localhost:5432/ecommerce", ""},
		{"jdbc:postgresql://db.example/shop?user=u&password=p&ssl=false&reWriteBatchedInserts=true&sslmode=disable", "", "", "u:p@db.example:5432/shop", ""},
		{"jdbc:postgresql:shop", "u", "", "u:@localhost:5432/shop", ""},
		{"jdbc:sqlite:/var/lib/a.db", "", "", "/var/lib/a.db", ""},
		{"jdbc:sqlite::memory:", "", "", "", "in memory"},
		{"jdbc:sqlite:", "", "", "", "in memory"},
		{"jdbc:mysql://localhost/x", "", "", "", "jdbc:postgresql://host:port/database"},
		{"jdbc:postgresql://u:p@localhost/x", "", "", "", "connection.user"},
		{"jdbc:postgresql://localhost:port/x", "", "secret", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			got, err := parseURL(tt.url, tt.user, tt.password)
			if tt.want == "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("error %v, want one with %q and without password", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			have := got.sqlite
			if got.postgres != nil {
				c := got.postgres.ConnConfig
				have = c.User + ":" + c.Password + "@" + c.Host + ":" + "5432/" + c.Database
				if c.Port != 5432 {
					t.Errorf("port %d", c.Port)
				}
			}
			if have != tt.want {
				t.Errorf("got %s, want %s", have, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	base := map[string]string{"connection.url": "jdbc:sqlite:/x"}
	tests := []struct {
		name string
		with map[string]string
		err  string
	}{
		{"defaults", nil, ""},
		{"upsert without key", map[string]string{"insert.mode": "upsert"}, "needs a primary key"},
		{"upsert", map[string]string{"insert.mode": "upsert", "pk.mode": "record_value", "pk.fields": "numero"}, ""},
		{"delete", map[string]string{"delete.enabled": "true"}, "pk.mode=record_key"},
		{"kafka", map[string]string{"pk.mode": "kafka", "pk.fields": "a,b"}, "three names"},
		{"value without fields", map[string]string{"pk.mode": "record_value"}, "names of the fields"},
		{"twice", map[string]string{"pk.mode": "record_value", "pk.fields": "a,a"}, "twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for k, v := range base {
				if tt.with == nil {
					tt.with = make(map[string]string)
				}
				tt.with[k] = v
			}
			if errs := connect.Validate(options(), tt.with); len(errs) > 0 {
				t.Fatal(errs)
			}
			errs := check(connect.NewValues(options(), tt.with))
			if tt.err == "" {
				if len(errs) > 0 {
					t.Fatal(errs)
				}
				return
			}
			if len(errs) == 0 || !strings.Contains(errs[0].Message, tt.err) {
				t.Errorf("errors %v, want %q", errs, tt.err)
			}
		})
	}
}

func TestBindText(t *testing.T) {
	v := func(kind connect.Kind, text string) connect.Value { return connect.Value{Kind: kind, Text: text} }
	tests := []struct {
		class class
		scale int
		in    connect.Value
		want  string
		err   string
	}{
		{classNumeric, -1, v(connect.Number, "92233720368547758.07"), "92233720368547758.07", ""},
		{classNumeric, 2, v(connect.Number, "120.500"), "120.500", ""},
		{classNumeric, 2, v(connect.Number, "120.505"), "", "would round"},
		{classNumeric, 2, v(connect.Number, "1e-3"), "", "would round"},
		{classNumeric, -1, v(connect.String, "12"), "", "is a JSON string"},
		{classInteger, -1, v(connect.Number, "1e2"), "100", ""},
		{classInteger, -1, v(connect.Number, "-100.0"), "-100", ""},
		{classInteger, -1, v(connect.Number, "-0"), "0", ""},
		{classInteger, -1, v(connect.Number, "1.5"), "", "holds whole numbers"},
		{classInteger, -1, v(connect.Number, "1e999999999999"), "", "cannot hold"},
		{classInteger, -1, v(connect.Bool, "true"), "", "is a JSON boolean"},
		{classText, -1, v(connect.Number, "0991"), "0991", ""},
		{classText, -1, v(connect.Object, `{"a":1}`), `{"a":1}`, ""},
		{classBool, -1, v(connect.Bool, "true"), "true", ""},
		{classBool, -1, v(connect.Number, "1"), "", "is a JSON number"},
		{classJSON, -1, v(connect.String, `{"a":1}`), `{"a":1}`, ""},
		{classJSON, -1, v(connect.String, `{a`), `"{a"`, ""},
		{classJSON, -1, v(connect.Number, "1"), "1", ""},
		{classBytes, -1, v(connect.Bytes, "\x00\xff"), `\x00ff`, ""},
		{classBytes, -1, v(connect.String, "x"), "", "is a JSON string"},
		{classTimestamp, -1, v(connect.String, "2026-11-20T10:00:00.5+02:00"), "2026-11-20T08:00:00.5", ""},
		{classTime, -1, v(connect.String, "2026-11-20"), "2026-11-20", ""},
		{classTime, -1, v(connect.Number, "20261120"), "", "is a JSON number"},
		{classOther, -1, v(connect.String, "ca9cb9a0-0000-0000-0000-000000000000"), "ca9cb9a0-0000-0000-0000-000000000000", ""},
	}
	for _, tt := range tests {
		got, err := bindText(&column{name: "c", typ: "t", class: tt.class, scale: tt.scale}, cell{name: "c", value: tt.in})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s %q into class %d: error %v, want %q", tt.in.Kind, tt.in.Text, tt.class, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s %q into class %d: %q, %v, want %q", tt.in.Kind, tt.in.Text, tt.class, got, err, tt.want)
		}
	}
	key := cell{name: "k", value: v(connect.String, "42"), untyped: true}
	if got, err := bindText(&column{class: classInteger}, key); err != nil || got != "42" {
		t.Errorf("a plain key into an integer: %q, %v", got, err)
	}
}

func TestInferredTypes(t *testing.T) {
	tests := []struct{ name, json, postgres, sqlite string }{
		{"montant", "120.5", "numeric", "TEXT"},
		{"commandeId", "991", "text", "TEXT"}, // the next may be CMD-…
		{"id_produit", "1", "text", "TEXT"},
		{"user_id", "1", "text", "TEXT"},
		{"id", "1", "text", "TEXT"},
		{"idle", "1", "numeric", "TEXT"},
		{"client", `"LUCAS"`, "text", "TEXT"},
		{"ok", "true", "boolean", "BOOLEAN"},
		{"lignes", "[]", "jsonb", "TEXT"},
		{"o", "{}", "jsonb", "TEXT"},
	}
	for _, tt := range tests {
		v, err := connect.DecodeJSON([]byte(tt.json))
		if err != nil {
			t.Fatal(err)
		}
		if p, s := pgType(cell{name: tt.name, value: v}), sqliteType(cell{name: tt.name, value: v}); p != tt.postgres || s != tt.sqlite {
			t.Errorf("%s %s is %s and %s, want %s and %s", tt.name, tt.json, p, s, tt.postgres, tt.sqlite)
		}
	}
}

func record(offset int64, key, value string) *connect.Record {
	r := &connect.Record{TopicPartition: connect.TopicPartition{Topic: "factures.ecommerce"}, Offset: offset, RawKey: []byte(key), RawValue: []byte(value)}
	v, err := connect.DecodeJSON(r.RawValue)
	if err != nil {
		panic(err)
	}
	r.Value = v
	return r
}

func TestNewRow(t *testing.T) {
	tests := []struct {
		name       string
		settings   settings
		key, value string
		cells      []string
		keys       int
		err        string
	}{
		{"all fields", settings{pkMode: "none"}, "k", `{"a":1,"b":null}`, []string{"a", "b"}, 0, ""},
		{"whitelist", settings{pkMode: "none", whitelist: map[string]bool{"b": true}}, "k", `{"a":1,"b":2}`, []string{"b"}, 0, ""},
		{"kafka", settings{pkMode: "kafka", pkFields: []string{"t", "p", "o"}}, "k", `{"a":1}`, []string{"t", "p", "o", "a"}, 3, ""},
		{"record_value", settings{pkMode: "record_value", pkFields: []string{"b"}}, "k", `{"a":1,"b":2}`, []string{"b", "a"}, 1, ""},
		{"record_value absent", settings{pkMode: "record_value", pkFields: []string{"x"}}, "k", `{"a":1}`, nil, 0, `"x" of the primary key`},
		{"record_key", settings{pkMode: "record_key", pkFields: []string{"id"}}, "k", `{"id":"other","a":1}`, []string{"id", "a"}, 1, ""},
		{"record_key without name", settings{pkMode: "record_key"}, "k", `{"a":1}`, nil, 0, "pk.fields must give"},
		{"not an object", settings{pkMode: "none"}, "k", `7`, nil, 0, "the value is of type number"},
		{"null", settings{pkMode: "none"}, "k", `null`, nil, 0, "delete.enabled"},
		{"deletion", settings{pkMode: "record_key", pkFields: []string{"id"}, deletes: true}, "k", `null`, []string{"id"}, 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := tt.settings.newRow(record(1, tt.key, tt.value))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range r.cells {
				names = append(names, c.name)
			}
			if !reflect.DeepEqual(names, tt.cells) || r.keys != tt.keys {
				t.Errorf("cells %v with %d keys, want %v with %d", names, r.keys, tt.cells, tt.keys)
			}
		})
	}
}

// FuzzRow holds that any value the decoder accepts either becomes a row whose
// cells bind, or is refused; it never panics.
func FuzzRow(f *testing.F) {
	f.Add([]byte(`{"numero":"FA-1","montant":120.5,"lignes":[{"a":1}],"ok":true,"x":null}`))
	f.Add([]byte(`{"a":1e-400,"A":2,"":3}`))
	s := settings{pkMode: "none"}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		v, err := connect.DecodeJSON(data)
		if err != nil {
			return
		}
		r, err := s.newRow(&connect.Record{Value: v})
		if err != nil {
			return
		}
		var columns []column
		for _, c := range r.cells {
			columns = append(columns, column{name: c.name, class: sqliteClass(sqliteType(c)), scale: -1})
		}
		tab := newTable("", "t", columns)
		var db sqliteStore
		if err := r.bind(tab, db.bind); err != nil {
			t.Fatalf("%q does not bind to its own columns: %v", data, err)
		}
		for i, c := range r.cells {
			if c.value.Kind == connect.Number && r.vals[i] != c.value.Text {
				t.Fatalf("number %q became %v", c.value.Text, r.vals[i])
			}
		}
	})
}
