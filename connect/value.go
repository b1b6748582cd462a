package connect

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Kind says what a Value is.
type Kind uint8

// The kinds of value. Bytes comes from the byte array converter and from
// schemas only: plain JSON has none.
const (
	Null Kind = iota
	Bool
	Number
	String
	Bytes
	Object
	Array
)

// String names the kind as messages to users do.
func (k Kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "bytes", "object", "array"}[k]
}

// Value is a record's key, value or one field of it. Numbers keep the digits
// they were written with, so no amount ever passes through a float.
type Value struct {
	Kind Kind
	// Text is the literal of a boolean or number, the content of a string or
	// bytes, and the JSON source of an object or array.
	Text string
	// Fields are an object's members in their order. They are decoded one level
	// deep: a member that is itself an object or array has only its Text.
	Fields []Field
	// Type is the schema's type ("int32", "decimal", "timestamp", …), empty for
	// data without schema.
	Type string
}

// Field is one member of an object.
type Field struct {
	Name  string
	Value Value
}

// Field returns the member called name, and whether there is one.
func (v Value) Field(name string) (Value, bool) {
	for i := range v.Fields {
		if v.Fields[i].Name == name {
			return v.Fields[i].Value, true
		}
	}
	return Value{}, false
}

var (
	errNotUTF8   = errors.New("not valid UTF-8")
	errSurrogate = errors.New("a string holds half of a surrogate pair")
)

// DecodeJSON reads one JSON value. It is strict where leniency would lose
// data: invalid UTF-8, lone surrogates in field names and strings, and
// duplicate fields of the outermost object are errors.
func DecodeJSON(data []byte) (Value, error) {
	if !utf8.Valid(data) {
		return Value{}, errNotUTF8
	}
	if !json.Valid(data) {
		// Only now pay for the position of the error.
		var raw json.RawMessage
		err := json.Unmarshal(data, &raw)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return Value{}, fmt.Errorf("invalid JSON at byte %d: %w", syntax.Offset, err)
		}
		return Value{}, fmt.Errorf("invalid JSON: %w", err)
	}
	s := scanner{data: string(data)}
	s.space()
	return s.value(true)
}

// scanner walks over JSON that is known to be valid, which keeps it simple. What
// it finds are parts of one text: a record's fields are used together.
type scanner struct {
	data string
	pos  int
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// skip moves behind the value at pos.
func (s *scanner) skip() {
	depth := 0
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case '"':
			s.skipString()
		case '{', '[':
			depth++
			s.pos++
		case '}', ']':
			depth--
			s.pos++
		case ' ', '\t', '\n', '\r', ',', ':':
			s.pos++
			continue
		default:
			for s.pos < len(s.data) && !delimiter(s.data[s.pos]) {
				s.pos++
			}
		}
		if depth == 0 {
			return
		}
	}
}

func delimiter(b byte) bool {
	switch b {
	case ',', ':', '}', ']', ' ', '\t', '\n', '\r':
		return true
	}
	return false
}

func (s *scanner) skipString() {
	for s.pos++; s.data[s.pos] != '"'; s.pos++ {
		if s.data[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
}

func (s *scanner) value(fields bool) (Value, error) {
	start := s.pos
	switch s.data[s.pos] {
	case '{':
		if fields {
			return s.object()
		}
		s.skip()
		return Value{Kind: Object, Text: s.data[start:s.pos]}, nil
	case '[':
		s.skip()
		return Value{Kind: Array, Text: s.data[start:s.pos]}, nil
	case '"':
		text, err := s.str()
		return Value{Kind: String, Text: text}, err
	}
	s.skip()
	v := Value{Text: s.data[start:s.pos]}
	switch v.Text[0] {
	case 'n':
		return Value{}, nil
	case 't', 'f':
		v.Kind = Bool
	default:
		v.Kind = Number
	}
	return v, nil
}

func (s *scanner) object() (Value, error) {
	start := s.pos
	v := Value{Kind: Object, Fields: make([]Field, 0, 16)}
	s.pos++
	var seen map[string]bool
	for {
		s.space()
		switch s.data[s.pos] {
		case '}':
			s.pos++
			v.Text = s.data[start:s.pos]
			return v, nil
		case ',':
			s.pos++
			s.space()
		}
		name, err := s.str()
		if err != nil {
			return Value{}, fmt.Errorf("field name: %w", err)
		}
		s.space()
		s.pos++ // the colon
		s.space()
		f := Field{Name: name}
		if f.Value, err = s.value(false); err != nil {
			return Value{}, fmt.Errorf("field %q: %w", name, err)
		}
		// Few fields are compared one by one; a hostile million is not.
		if len(v.Fields) == 32 {
			seen = make(map[string]bool)
			for i := range v.Fields {
				seen[v.Fields[i].Name] = true
			}
		}
		duplicate := seen[name]
		if seen == nil {
			_, duplicate = v.Field(name)
		} else {
			seen[name] = true
		}
		if duplicate {
			return Value{}, fmt.Errorf("field %q stands there twice", name)
		}
		v.Fields = append(v.Fields, f)
	}
}

func (s *scanner) str() (string, error) {
	start, escaped := s.pos, false
	for s.pos++; s.data[s.pos] != '"'; s.pos++ {
		if s.data[s.pos] == '\\' {
			escaped = true
			s.pos++
		}
	}
	s.pos++
	raw := s.data[start:s.pos]
	if !escaped {
		return raw[1 : len(raw)-1], nil
	}
	if loneSurrogate(raw) {
		return "", errSurrogate
	}
	var text string
	if err := json.Unmarshal([]byte(raw), &text); err != nil {
		return "", err
	}
	return text, nil
}

// loneSurrogate reports whether an escaped string names half a pair, which
// encoding/json would silently replace.
func loneSurrogate(raw string) bool {
	unit := func(i int) rune {
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return -1
		}
		var r rune
		for _, c := range raw[i+2 : i+6] {
			switch {
			case c <= '9':
				r = r<<4 | rune(c-'0')
			default:
				r = r<<4 | rune(c|0x20-'a'+10)
			}
		}
		return r
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		switch u := unit(i); {
		case u < 0:
			i++ // a short escape
		case u >= 0xD800 && u < 0xDC00:
			if low := unit(i + 6); low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 11
		case u >= 0xDC00 && u <= 0xDFFF:
			return true
		default:
			i += 5
		}
	}
	return false
}
