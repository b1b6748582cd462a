package connect

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecodeJSON(t *testing.T) {
	tests := []struct {
		name, in string
		want     Value
		err      string
	}{
		{"null", ` null `, Value{}, ""},
		{"number keeps its digits", `120.50`, Value{Kind: Number, Text: "120.50"}, ""},
		{"large number", `92233720368547758.07`, Value{Kind: Number, Text: "92233720368547758.07"}, ""},
		{"string", `"aé\n\u00e9\ud83d\ude00"`, Value{Kind: String, Text: "aé\né😀"}, ""},
		{"bool", "true", Value{Kind: Bool, Text: "true"}, ""},
		{"array", `[1, "]"]`, Value{Kind: Array, Text: `[1, "]"]`}, ""},
		{"object", ` {"a" : {"b":"}"} , "c":[{}], "d\"":1e2,"e":null} `, Value{Kind: Object, Text: `{"a" : {"b":"}"} , "c":[{}], "d\"":1e2,"e":null}`, Fields: []Field{
			{"a", Value{Kind: Object, Text: `{"b":"}"}`}}, {"c", Value{Kind: Array, Text: "[{}]"}}, {`d"`, Value{Kind: Number, Text: "1e2"}}, {"e", Value{}},
		}}, ""},
		{"empty object", `{}`, Value{Kind: Object, Text: "{}", Fields: []Field{}}, ""},
		{"duplicate", `{"a":1,"\u0061":2}`, Value{}, `"a" stands there twice`},
		{"lone surrogate", `{"a":"\ud83d"}`, Value{}, "surrogate"},
		{"surrogates the wrong way round", `"\ude00\ud83d"`, Value{}, "surrogate"},
		{"not UTF-8", "\"\xff\"", Value{}, "UTF-8"},
		{"cut", `{"a":`, Value{}, "invalid JSON at byte 5"},
		{"two values", `{} {}`, Value{}, "invalid JSON"},
		{"empty", ``, Value{}, "invalid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeJSON([]byte(tt.in))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v\nwant %#v", got, tt.want)
			}
		})
	}
}

func TestDecodeJSONManyFields(t *testing.T) {
	var b strings.Builder
	b.WriteByte('{')
	for i := range 5000 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"f` + strings.Repeat("x", i%7) + json.Number(strings.Repeat("1", 1+i%3)).String() + "-")
		b.WriteString(string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)) + `":1`)
	}
	b.WriteString(`,"f1-aaa":2}`)
	if _, err := DecodeJSON([]byte(b.String())); err == nil {
		t.Error("the duplicate behind 5000 fields was not seen")
	}
}

// rebuild writes a decoded value again.
func rebuild(t *testing.T, v Value) []byte {
	switch v.Kind {
	case Null:
		return []byte("null")
	case String:
		b, err := json.Marshal(v.Text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	case Object:
		if v.Fields == nil {
			return []byte(v.Text)
		}
		var b bytes.Buffer
		b.WriteByte('{')
		for i, f := range v.Fields {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(rebuild(t, Value{Kind: String, Text: f.Name}))
			b.WriteByte(':')
			b.Write(rebuild(t, f.Value))
		}
		b.WriteByte('}')
		return b.Bytes()
	}
	return []byte(v.Text)
}

func generic(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":[{"c":"}"}],"d":"\u00e9\ud83d\ude00"}`, `[]`, `"x"`, `-1.5e-7`, ` {"" : null}`, `{"a":1,"a":2}`, `"\ud800"`, `{"a":{"b":[1,2,{"c":"\\\""}]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		v, err := DecodeJSON(data)
		if err != nil {
			return
		}
		if !json.Valid(data) || !utf8.Valid(data) {
			t.Fatalf("accepted what is not JSON: %q", data)
		}
		want, err := generic(data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := generic(rebuild(t, v))
		if err != nil {
			t.Fatalf("rebuilt is not JSON: %v", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q was read as %q", data, rebuild(t, v))
		}
	})
}
