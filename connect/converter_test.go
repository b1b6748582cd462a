package connect

import (
	"reflect"
	"strings"
	"testing"
)

func TestEnvelope(t *testing.T) {
	const schema = `{"type":"struct","fields":[
		{"field":"id","type":"int64"},{"field":"name","type":"string","optional":true},
		{"field":"price","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}},
		{"field":"day","type":"int32","name":"org.apache.kafka.connect.data.Date"},
		{"field":"at","type":"int64","name":"org.apache.kafka.connect.data.Timestamp"},
		{"field":"raw","type":"bytes"},{"field":"tags","type":"array","items":{"type":"string"}}]}`
	tests := []struct {
		name, payload string
		want          []Field
		err           string
	}{
		{"all types", `{"id":7,"name":null,"price":"L0I=","day":20777,"at":1795252461191,"raw":"AP8=","tags":["a"]}`, []Field{
			{"id", Value{Kind: Number, Text: "7", Type: "int64"}}, {"name", Value{}},
			{"price", Value{Kind: Number, Text: "120.98", Type: "decimal"}},
			{"day", Value{Kind: String, Text: "2026-11-20", Type: "date"}},
			{"at", Value{Kind: String, Text: "2026-11-21T09:14:21.191Z", Type: "timestamp"}},
			{"raw", Value{Kind: Bytes, Text: "\x00\xff", Type: "bytes"}},
			{"tags", Value{Kind: Array, Text: `["a"]`, Type: "array"}},
		}, ""},
		{"negative and small decimals", `{"price":"/w=="}`, []Field{{"price", Value{Kind: Number, Text: "-0.01", Type: "decimal"}}}, ""},
		{"wrong type", `{"id":"7"}`, nil, `field "id": is of type string, the schema says int64`},
		{"wrong base64", `{"raw":"%"}`, nil, "base64"},
		{"not a struct", `[]`, nil, "the schema says struct"},
	}
	conv, err := newConverter(map[string]string{"value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "true"}, "value.converter", decodeJSON)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := conv([]byte(`{"schema":` + schema + `,"payload":` + tt.payload + `}`))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(v.Fields, tt.want) {
				t.Errorf("got %#v\nwant %#v", v.Fields, tt.want)
			}
		})
	}
	for _, bad := range []string{`{"a":1}`, `{"schema":null}`, `7`, `{"schema":7,"payload":1}`, `{"schema":{"type":"odd"},"payload":1}`} {
		if _, err := conv([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	if v, err := conv(nil); err != nil || v.Kind != Null {
		t.Errorf("a tombstone became %v, %v", v, err)
	}
	if v, err := conv([]byte(`{"schema":null,"payload":{"a":1}}`)); err != nil || len(v.Fields) != 1 {
		t.Errorf("a null schema became %v, %v", v, err)
	}
}

func TestConverters(t *testing.T) {
	tests := []struct{ class, in, kind string }{
		{"", `{"a":1}`, "object"},
		{"org.apache.kafka.connect.json.JsonConverter", `{"a":1}`, "object"},
		{"JsonConverter", `7`, "number"},
		{"org.apache.kafka.connect.storage.StringConverter", `{"a":1}`, "string"},
		{"org.apache.kafka.connect.converters.ByteArrayConverter", "\xff", "bytes"},
	}
	for _, tt := range tests {
		conv, err := newConverter(map[string]string{"value.converter": tt.class}, "value.converter", decodeJSON)
		if err != nil {
			t.Fatal(err)
		}
		v, err := conv([]byte(tt.in))
		if err != nil || v.Kind.String() != tt.kind {
			t.Errorf("%s reads %q as %s, %v; want %s", tt.class, tt.in, v.Kind, err, tt.kind)
		}
		if v, err := conv(nil); err != nil || v.Kind != Null {
			t.Errorf("%s reads null as %s, %v", tt.class, v.Kind, err)
		}
	}
	if _, err := newConverter(map[string]string{"value.converter": "io.confluent.connect.avro.AvroConverter"}, "value.converter", nil); err == nil {
		t.Error("an unknown converter was accepted")
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"schema":{"type":"struct","fields":[{"field":"a","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"3"}}]},"payload":{"a":"AQ=="}}`))
	f.Add([]byte(`{"schema":{"type":"int32","name":"org.apache.kafka.connect.data.Date"},"payload":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		v, err := (&envelopes{}).decode(data)
		if err == nil && v.Kind == Number && v.Text == "" {
			t.Fatalf("%q gave a number without digits", data)
		}
	})
}
