package connect

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"
)

// converter turns the bytes of a key or value into a Value. It is safe for
// concurrent use.
type converter func(data []byte) (Value, error)

// newConverter reads "value.converter" (or "key.converter") and its own
// options. Without one the fallback holds: JSON without schemas for values,
// text for keys.
func newConverter(config map[string]string, key string, fallback converter) (converter, error) {
	class := strings.TrimSpace(config[key])
	switch shortClass(class) {
	case "":
		return fallback, nil
	case "JsonConverter":
		if strings.EqualFold(strings.TrimSpace(config[key+".schemas.enable"]), "true") {
			return (&envelopes{}).decode, nil
		}
		return decodeJSON, nil
	case "StringConverter":
		return decodeString, nil
	case "ByteArrayConverter":
		return decodeBytes, nil
	}
	return nil, fmt.Errorf("%q is not available; use org.apache.kafka.connect.json.JsonConverter, "+
		"org.apache.kafka.connect.storage.StringConverter or org.apache.kafka.connect.converters.ByteArrayConverter", class)
}

func shortClass(class string) string { return class[strings.LastIndexByte(class, '.')+1:] }

func decodeJSON(data []byte) (Value, error) {
	if data == nil {
		return Value{}, nil
	}
	return DecodeJSON(data)
}

func decodeString(data []byte) (Value, error) {
	if data == nil {
		return Value{}, nil
	}
	return Value{Kind: String, Text: string(data)}, nil
}

func decodeBytes(data []byte) (Value, error) {
	if data == nil {
		return Value{}, nil
	}
	return Value{Kind: Bytes, Text: string(data)}, nil
}

// schema is what Kafka's JSON converter writes beside a payload.
type schema struct {
	Type       string            `json:"type"`
	Name       string            `json:"name"`
	Parameters map[string]string `json:"parameters"`
	Field      string            `json:"field"`
	Fields     []schema          `json:"fields"`
}

// envelopes decodes {"schema":…,"payload":…}. Records of a topic mostly share
// one schema, so parsed ones are kept, up to a limit.
type envelopes struct {
	mu    sync.Mutex
	known map[string]*schema
}

const maxKnownSchemas = 256

func (e *envelopes) decode(data []byte) (Value, error) {
	if data == nil {
		return Value{}, nil
	}
	v, err := DecodeJSON(data)
	if err != nil {
		return Value{}, err
	}
	sv, hasSchema := v.Field("schema")
	payload, hasPayload := v.Field("payload")
	if v.Kind != Object || len(v.Fields) != 2 || !hasSchema || !hasPayload {
		return Value{}, fmt.Errorf(`not of the form {"schema":…,"payload":…}; for plain JSON set "schemas.enable" of the converter to false`)
	}
	if payload.Kind == Object {
		if payload, err = DecodeJSON([]byte(payload.Text)); err != nil {
			return Value{}, fmt.Errorf("payload: %w", err)
		}
	}
	if sv.Kind == Null {
		return payload, nil
	}
	s, err := e.schema(sv.Text)
	if err != nil {
		return Value{}, err
	}
	return s.apply(payload)
}

func (e *envelopes) schema(text string) (*schema, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.known[text]; s != nil {
		return s, nil
	}
	s := new(schema)
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if e.known == nil || len(e.known) >= maxKnownSchemas {
		e.known = make(map[string]*schema)
	}
	e.known[text] = s
	return s, nil
}

// apply gives a payload, and the members of a struct, the types of the schema.
func (s *schema) apply(v Value) (Value, error) {
	if v.Kind == Null {
		return v, nil
	}
	if s.Type == "struct" {
		if v.Kind != Object {
			return Value{}, fmt.Errorf("payload is of type %s, the schema says struct", v.Kind)
		}
		for i := range s.Fields {
			f := &s.Fields[i]
			for j := range v.Fields {
				if v.Fields[j].Name != f.Field {
					continue
				}
				typed, err := f.scalar(v.Fields[j].Value)
				if err != nil {
					return Value{}, fmt.Errorf("field %q: %w", f.Field, err)
				}
				v.Fields[j].Value = typed
			}
		}
		return v, nil
	}
	return s.scalar(v)
}

func (s *schema) scalar(v Value) (Value, error) {
	if v.Kind == Null {
		return v, nil
	}
	want := map[string]Kind{"int8": Number, "int16": Number, "int32": Number, "int64": Number,
		"float": Number, "float32": Number, "double": Number, "float64": Number,
		"boolean": Bool, "string": String, "bytes": String, "struct": Object}
	kind, known := want[s.Type]
	switch {
	case s.Type == "array" || s.Type == "map":
		// A map with other than text keys is an array of pairs.
		if v.Kind != Array && v.Kind != Object {
			return Value{}, fmt.Errorf("is of type %s, the schema says %s", v.Kind, s.Type)
		}
	case !known:
		return Value{}, fmt.Errorf("unknown schema type %q", s.Type)
	case kind != v.Kind:
		return Value{}, fmt.Errorf("is of type %s, the schema says %s", v.Kind, s.Type)
	}
	v.Type = s.Type
	switch s.Name {
	case "org.apache.kafka.connect.data.Decimal":
		return s.decimal(v)
	case "org.apache.kafka.connect.data.Date":
		return instant(v, "date", 24*time.Hour, time.DateOnly)
	case "org.apache.kafka.connect.data.Time":
		return instant(v, "time", time.Millisecond, "15:04:05.000")
	case "org.apache.kafka.connect.data.Timestamp":
		return instant(v, "timestamp", time.Millisecond, "2006-01-02T15:04:05.000Z07:00")
	}
	if s.Type == "bytes" {
		raw, err := base64.StdEncoding.DecodeString(v.Text)
		if err != nil {
			return Value{}, fmt.Errorf("is not base64: %w", err)
		}
		v.Kind, v.Text = Bytes, string(raw)
	}
	return v, nil
}

// decimal reads the two's complement bytes of a Java BigDecimal.
func (s *schema) decimal(v Value) (Value, error) {
	scale, err := strconv.Atoi(s.Parameters["scale"])
	if err != nil || scale < -1000 || scale > 1000 {
		return Value{}, fmt.Errorf("decimal has no usable scale (%q)", s.Parameters["scale"])
	}
	raw, err := base64.StdEncoding.DecodeString(v.Text)
	if err != nil || len(raw) == 0 || len(raw) > 1000 {
		return Value{}, fmt.Errorf("decimal is not base64 of 1 to 1000 bytes")
	}
	n := new(big.Int).SetBytes(raw)
	if raw[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	digits, sign := n.String(), ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	switch {
	case scale < 0:
		digits += strings.Repeat("0", -scale)
	case scale > 0:
		if len(digits) <= scale {
			digits = strings.Repeat("0", scale-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	return Value{Kind: Number, Text: sign + digits, Type: "decimal"}, nil
}

func instant(v Value, typ string, unit time.Duration, layout string) (Value, error) {
	n, err := strconv.ParseInt(v.Text, 10, 64)
	if err != nil {
		return Value{}, fmt.Errorf("%s is not a whole number", typ)
	}
	var t time.Time
	if unit == time.Millisecond {
		t = time.UnixMilli(n)
	} else {
		if n < -5e6 || n > 5e6 {
			return Value{}, fmt.Errorf("date %d is out of range", n)
		}
		t = time.Unix(n*int64(unit/time.Second), 0)
	}
	return Value{Kind: String, Text: t.UTC().Format(layout), Type: typ}, nil
}
