package event

import (
	"time"
	"unicode/utf8"
)

// appendString appends s as a JSON string. Only what JSON demands is escaped,
// in its shortest form, so that a text never takes more room than in the
// record it came from; bytes that are no UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if plain[c] {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			b = appendEscape(b, c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = utf8.AppendRune(b, utf8.RuneError)
			start = i + 1
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// plain holds the ASCII that stands for itself in a JSON string.
var plain = func() (t [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendOptional appends the field unless s is empty; name is `,"motif":`.
func appendOptional(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, name...), s)
}

// appendOptionalID is appendOptional for an ID.
func appendOptionalID(b []byte, name string, id ID) []byte {
	if id == "" {
		return b
	}
	return id.AppendJSON(append(b, name...))
}

// appendTimestamp appends the field that ends every event of ours.
func appendTimestamp(b []byte, t time.Time) []byte {
	b = append(b, `,"timestamp":"`...)
	b = AppendTime(b, t)
	return append(b, `"}`...)
}
