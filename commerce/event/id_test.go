package event

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestID(t *testing.T) {
	tests := []struct {
		id    ID
		valid bool
		json  string
	}{
		{"991", true, `991`},
		{"0", true, `0`},
		{"0991", true, `"0991"`},
		{"00", true, `"00"`},
		{"-5", true, `"-5"`},
		{"1.0", true, `"1.0"`},
		{"1e3", true, `"1e3"`},
		{"999999999999999", true, `999999999999999`},     // 15 digits
		{"1000000000000000", true, `"1000000000000000"`}, // 16 digits
		{"CLI-991", true, `"CLI-991"`},
		{"é", true, `"é"`},
		{" ", true, `" "`},
		{"...", true, `"..."`},
		{`a"b\c/`, true, `"a\"b\\c/"`},
		{ID(strings.Repeat("x", 200)), true, `"` + strings.Repeat("x", 200) + `"`},
		{ID(strings.Repeat("x", 201)), false, `"` + strings.Repeat("x", 201) + `"`},
		{ID(strings.Repeat("é", 100)), true, `"` + strings.Repeat("é", 100) + `"`},
		{ID(strings.Repeat("é", 101)), false, `"` + strings.Repeat("é", 101) + `"`},
		{"", false, `""`},
		{".", false, `"."`},
		{"..", false, `".."`},
		{"a\x00", false, `"a\u0000"`},
		{"a\n", false, `"a\n"`},
		{"\x7f", false, "\"\x7f\""},
		{"\u0085", false, "\"\u0085\""},
		{"a\xff", false, "\"a\ufffd\""},
		{"\xed\xa0\x80", false, "\"\ufffd\ufffd\ufffd\""}, // a surrogate in UTF-8
	}
	for _, tt := range tests {
		if got := tt.id.Valid(); got != tt.valid {
			t.Errorf("ID(%q).Valid() = %v", tt.id, got)
		}
		got := string(tt.id.AppendJSON(nil))
		if got != tt.json {
			t.Errorf("ID(%q).AppendJSON = %s, want %s", tt.id, got, tt.json)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("ID(%q).AppendJSON = %s is no JSON", tt.id, got)
		}
	}
}

func FuzzID(f *testing.F) {
	f.Add("991")
	f.Add("0991")
	f.Add("é\u2028\xff\"\\\x00")
	f.Fuzz(func(t *testing.T, s string) {
		out := ID(s).AppendJSON(nil)
		if !json.Valid(out) {
			t.Fatalf("%q is no JSON", out)
		}
		r := newReader(append(append([]byte(`{"x":`), out...), '}'))
		o := r.object()
		for o.next() {
			got := o.id()
			if utf8.ValidString(s) && ID(s).Valid() != (r.err == nil) {
				t.Fatalf("%q: valid %v, read with %v", s, ID(s).Valid(), r.err)
			}
			if r.err == nil && utf8.ValidString(s) && got != ID(s) {
				t.Fatalf("%q became %q", s, got)
			}
		}
	})
}
