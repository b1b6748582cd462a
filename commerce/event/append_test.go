package event

import (
	"strings"
	"testing"
)

func TestAppendString(t *testing.T) {
	tests := map[string]string{
		"":                       `""`,
		"Commande 991 confirmée": `"Commande 991 confirmée"`,
		"\"\\/\b\f\n\r\t":        `"\"\\/\b\f\n\r\t"`,
		"\x00\x01\x1f\x7f":       "\"\\u0000\\u0001\\u001f\x7f\"",
		"a\xffb\xc3":             "\"a\ufffdb\ufffd\"",
		"<&>\u2028\u2029\ufffd😀": "\"<&>\u2028\u2029\ufffd😀\"",
	}
	for s, want := range tests {
		if got := string(appendString(nil, s)); got != want {
			t.Errorf("%q written as %s, want %s", s, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	tests := map[string]string{
		"": "", strings.Repeat("x", 40): strings.Repeat("x", 40),
		strings.Repeat("x", 41):       strings.Repeat("x", 40) + "…",
		"x" + strings.Repeat("é", 20): "x" + strings.Repeat("é", 19) + "…",
	}
	for s, want := range tests {
		if got := shorten(s); got != want {
			t.Errorf("%q shortened to %q, want %q", s, got, want)
		}
	}
}
