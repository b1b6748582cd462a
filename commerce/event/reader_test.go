package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// strict reads one value as ParseOrder and the codecs do.
func strict(b []byte) error {
	r := newReader(b)
	r.skip()
	return r.end("test")
}

func TestStrict(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1) }
	var many, manyTwice strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, `,"f%d":%d`, i, i)
		fmt.Fprintf(&manyTwice, `,"f%d":%d`, i%99, i)
	}
	tests := []struct {
		in string
		ok bool
	}{
		{`{}`, true}, {`[]`, true}, {`0`, true}, {`"x"`, true}, {`null`, true}, {`true`, true}, {`false`, true},
		{" \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : {} } \n", true},
		{``, false}, {` `, false}, {`{`, false}, {`}`, false}, {`[`, false}, {`]`, false}, {`"`, false},
		{`{}{}`, false}, {`{} x`, false}, {`nul`, false}, {`nulll`, false}, {`True`, false}, {`NaN`, false},
		{`{"a"}`, false}, {`{"a":}`, false}, {`{"a":1,}`, false}, {`{,"a":1}`, false}, {`{a:1}`, false}, {`{'a':1}`, false},
		{`{"a":1 "b":2}`, false}, {`[1,]`, false}, {`[,1]`, false}, {`[1 2]`, false}, {`{"a":1]`, false}, {`[1}`, false},
		{`[1,2,]`, false}, {`// x`, false}, {`[1]//`, false}, {"\ufeff{}", false}, {"{\u00a0}", false}, {"\x00", false}, {"{}\x00", false},
		{`-`, false}, {`-1`, true}, {`01`, false}, {`-01`, false}, {`1.`, false}, {`.1`, false}, {`1e`, false}, {`1e+`, false},
		{`+1`, false}, {`1.5e-3`, true}, {`-0.0E+00`, true}, {`0x1`, false}, {`1_0`, false},
		// strings
		{`"\"\\\/\b\f\n\r\t\u00e9"`, true}, {`"\x"`, false}, {`"\u12"`, false}, {`"\u12g4"`, false}, {`"\`, false}, {`"\u`, false}, {`"\U0041"`, false},
		{"\"a\nb\"", false}, {"\"a\x00b\"", false}, {"\"\\n\x1f\"", false}, {"\"\x7f\"", true}, {`"\u0000"`, true},
		{"\"é€😀\"", true}, {"\"\xff\"", false}, {"\"\\n\xff\"", false}, {"\"\xc3\"", false}, {"\"\xed\xa0\x80\"", false}, {"\"\xc0\x80\"", false},
		// surrogates
		{`"\ud83d\ude00"`, true}, {`"\uD83D\uDE00"`, true}, {`"\ud83d"`, false}, {`"\ude00"`, false}, {`"\ude00\ud83d"`, false},
		{`"\ud83d\ud83d\ude00"`, false}, {`"\ud83dx\ude00"`, false}, {`"\ud83d\n"`, false}, {`"\ud83d\u0041"`, false}, {`{"\ud83d":1}`, false},
		// duplicate keys
		{`{"a":1,"a":2}`, false}, {`{"a":1,"\u0061":2}`, false}, {`{"a":1,"A":2}`, true}, {`{"":1,"":2}`, false},
		{`{"a":{"b":1},"c":{"b":1}}`, true}, {`{"x":{"y":[{"b":1,"b":1}]}}`, false}, {`{"a":null,"a":null}`, false},
		{`{"a":{"a":{"a":1}}}`, true}, {`{"a":{"b":1},"b":2}`, true}, {`{"a":{"b":1},"b":2,"b":3}`, false},
		{`{"f":0` + many.String() + `}`, true}, {`{"f":0` + manyTwice.String() + `}`, false}, {`{"f0":0` + many.String() + `}`, false},
		// depth
		{nested(1000), true}, {nested(1001), false}, {objects(1000), true}, {objects(1001), false},
		{strings.Repeat("[", 1000) + "1" + strings.Repeat("]", 1000), true},
		{`[` + nested(999) + `,` + nested(999) + `]`, true},
		{strings.Repeat("[", 100_000), false},
		{strings.Repeat(`{"":`, 100_000), false},
		// size
		{`"` + strings.Repeat("x", MaxEventBytes-2) + `"`, true}, {`"` + strings.Repeat("x", MaxEventBytes-1) + `"`, false},
	}
	for _, tt := range tests {
		if err := strict([]byte(tt.in)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", shorten(tt.in), err)
		}
	}
}

// FuzzStrict compares the reader with encoding/json and our extra rules.
func FuzzStrict(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00",null,true,false,{}],"b":{"c":[]}}`, `{"a":1,"\u0061":2}`, `"\ud83d"`, "\"\xff\"",
		`[[[[[[[[[[]]]]]]]]]]`, `{"a":{"b":1},"b":{"b":1,"b":2}}`, ` [ ] `, `{"0":0,"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7,"8":8,"9":9,"a":0,"b":1,"c":2,"d":3,"e":4,"f":5,"g":6,"a":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want := json.Valid(b) && utf8.Valid(b) && uniqueKeys(b) && wholeSurrogates(b)
		if err := strict(b); (err == nil) != want {
			t.Fatalf("%q: %v, want valid = %v", b, err, want)
		}
		if !want {
			return
		}
		// What the reader made of a string must be what encoding/json makes.
		var s string
		if json.Unmarshal(b, &s) == nil && bytes.TrimSpace(b)[0] == '"' {
			r := newReader(b)
			if got := r.token(); got.text != s {
				t.Fatalf("%q read as %q", b, got.text)
			}
			out := appendString(nil, s)
			if len(out) > len(bytes.TrimSpace(b)) {
				t.Fatalf("%q grew into %q", b, out)
			}
			var again string
			if err := json.Unmarshal(out, &again); err != nil || again != s {
				t.Fatalf("%q written as %q: %v", s, out, err)
			}
		}
	})
}

// uniqueKeys says of valid JSON whether no object has a key twice and no value
// is nested deeper than 1000.
func uniqueKeys(b []byte) bool {
	type level struct {
		keys  map[string]bool // nil for an array
		value bool            // a value, not a key, comes next
	}
	var stack []level
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		tok, err := d.Token()
		if err != nil {
			return true
		}
		top := len(stack) - 1
		switch tok {
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
			continue
		}
		if top >= 0 && stack[top].keys != nil {
			if stack[top].value = !stack[top].value; stack[top].value {
				key := tok.(string)
				if stack[top].keys[key] {
					return false
				}
				stack[top].keys[key] = true
				continue
			}
		}
		switch tok {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		}
		if len(stack) > 1000 {
			return false
		}
	}
}

// wholeSurrogates says of valid JSON whether every \u escape of a surrogate is
// part of a pair.
func wholeSurrogates(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		i++
		if b[i] != 'u' {
			continue
		}
		switch u := strings.ToLower(string(b[i+1 : i+5])); {
		case u >= "d800" && u <= "dbff":
			next := strings.ToLower(string(b[i+5 : min(len(b), i+11)]))
			if len(next) < 6 || next[:2] != `\u` || next[2:] < "dc00" || next[2:] > "dfff" {
				return false
			}
			i += 10
		case u >= "dc00" && u <= "dfff":
			return false
		default:
			i += 4
		}
	}
	return true
}
