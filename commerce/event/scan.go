package event

import "unicode/utf8"

type kind uint8

const (
	kindNone    kind = iota // after an error
	kindNull                // null, or absent
	kindBool                // true, false
	kindString              //
	kindInteger             // digits only
	kindNumber              // any other number
	kindObject              //
	kindArray               //
)

// token is one JSON value. Its text is a string's content and anything else's
// spelling.
type token struct {
	kind kind
	text string
}

func (t token) number() bool { return t.kind == kindInteger || t.kind == kindNumber }

// token reads the next value.
func (r *reader) token() token {
	if r.err != nil {
		return token{}
	}
	c := r.peek()
	start := r.i
	switch c {
	case '"':
		return token{kindString, r.str()}
	case '{':
		r.skip()
		return token{kindObject, r.s[start:r.i]}
	case '[':
		r.skip()
		return token{kindArray, r.s[start:r.i]}
	case 'n':
		return r.literal(kindNull, "null")
	case 't':
		return r.literal(kindBool, "true")
	case 'f':
		return r.literal(kindBool, "false")
	}
	n, integer := scanNumber(r.s, start)
	if n == 0 {
		r.syntax("expected a value")
		return token{}
	}
	r.i += n
	if integer {
		return token{kindInteger, r.s[start:r.i]}
	}
	return token{kindNumber, r.s[start:r.i]}
}

// raw reads the next value as it is spelled.
func (r *reader) raw() string {
	r.peek()
	start := r.i
	r.skip()
	return r.s[start:r.i]
}

func (r *reader) literal(k kind, word string) token {
	if len(r.s)-r.i < len(word) || r.s[r.i:r.i+len(word)] != word {
		r.syntax("expected a value")
		return token{}
	}
	r.i += len(word)
	return token{k, word}
}

// skip reads over the next value.
func (r *reader) skip() {
	if r.err != nil {
		return
	}
	switch r.peek() {
	case '{':
		o := r.object()
		for o.next() {
			r.skip()
		}
	case '[':
		r.open()
		a := array{r: r}
		for a.next() {
			r.skip()
		}
	default:
		r.token()
	}
}

// scanNumber returns the length of the JSON number at s[i:], 0 if there is
// none, and whether it consists of digits only.
func scanNumber(s string, i int) (n int, integer bool) {
	start := i
	if i < len(s) && s[i] == '-' {
		i++
	}
	first := i
	i = digits(s, i)
	if i == first || s[first] == '0' && i > first+1 {
		return 0, false
	}
	integer = first == start
	if i < len(s) && s[i] == '.' {
		integer = false
		first = i + 1
		if i = digits(s, first); i == first {
			return 0, false
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		integer = false
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		first = i
		if i = digits(s, first); i == first {
			return 0, false
		}
	}
	return i - start, integer
}

func digits(s string, i int) int {
	for i < len(s) && s[i]-'0' <= 9 {
		i++
	}
	return i
}

// str reads the string whose opening quote comes next.
func (r *reader) str() string {
	s := r.s
	i := r.i + 1
	var high byte
	for i < len(s) {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			high = c
			i++
			continue
		}
		if c == '\\' {
			return r.escaped(i)
		}
		if c != '"' {
			r.i = i
			r.syntax("control character in a string")
			return ""
		}
		text := s[r.i+1 : i]
		if high != 0 && !utf8.ValidString(text) {
			r.syntax("the string is not UTF-8")
			return ""
		}
		r.i = i + 1
		return text
	}
	r.syntax("string without end")
	return ""
}

// escaped is str for a string whose first backslash stands at i.
func (r *reader) escaped(i int) string {
	s := r.s
	b := append(make([]byte, 0, i-r.i+32), s[r.i+1:i]...)
	for i < len(s) {
		c := s[i]
		switch {
		case c == '"':
			if !utf8.Valid(b) {
				r.syntax("the string is not UTF-8")
				return ""
			}
			r.i = i + 1
			return string(b)
		case c < 0x20:
			r.i = i
			r.syntax("control character in a string")
			return ""
		case c != '\\':
			b = append(b, c)
			i++
		default:
			char, n := unescape(s[i:])
			if n == 0 {
				r.i = i
				r.syntax("escape that JSON does not know, or half of a surrogate pair")
				return ""
			}
			b = utf8.AppendRune(b, char)
			i += n
		}
	}
	r.syntax("string without end")
	return ""
}

// unescape reads the escape that s begins with, both halves of a surrogate
// pair as one, and returns its length, 0 if it is none.
func unescape(s string) (char rune, n int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	char, ok := hex4(s)
	if !ok || char >= 0xdc00 && char < 0xe000 {
		return 0, 0
	}
	if char < 0xd800 || char >= 0xe000 {
		return char, 6
	}
	low, ok := hex4(s[6:])
	if !ok || low < 0xdc00 || low >= 0xe000 {
		return 0, 0
	}
	return 0x10000 + (char-0xd800)<<10 + low - 0xdc00, 12
}

// hex4 reads \uXXXX at the beginning of s.
func hex4(s string) (v rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(s[2:6]) {
		switch {
		case c-'0' <= 9:
			v = v<<4 | rune(c-'0')
		case c|0x20-'a' <= 5:
			v = v<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
