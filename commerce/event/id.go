package event

import (
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxIDBytes is the longest text an ID may have.
const MaxIDBytes = 200

// IdentityTTL is how long the stages remember orders by wall clock, unless they
// are told otherwise: what comes again within that time is recognised.
const IdentityTTL = 400 * 24 * time.Hour

// ID names an order, a product or a client. It is text: the JSON literal 991
// and the string "991" are one ID, "0991" is another.
type ID string

// Valid says whether id may stand on the wire: 1 to 200 bytes of UTF-8 without
// control characters, and neither "." nor "..", which no URL path could carry.
func (id ID) Valid() bool {
	if len(id) == 0 || len(id) > MaxIDBytes || id == "." || id == ".." {
		return false
	}
	return clean(string(id))
}

// clean says whether s is UTF-8 without control characters (C0, DEL, C1).
func clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return cleanSlow(s[i:])
		}
	}
	return true
}

func cleanSlow(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// AppendJSON appends id as a JSON number if it matches 0|[1-9][0-9]{0,14},
// which every JSON reader holds exactly, and else as a string.
func (id ID) AppendJSON(b []byte) []byte {
	if id.numeric() {
		return append(b, id...)
	}
	return appendString(b, string(id))
}

func (id ID) numeric() bool {
	if len(id) == 0 || len(id) > 15 || id[0] == '0' && len(id) > 1 {
		return false
	}
	for i := 0; i < len(id); i++ {
		if id[i] < '0' || id[i] > '9' {
			return false
		}
	}
	return true
}
