package audit

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxID is the longest id, in bytes.
const maxID = 200

// validID says whether a text may be an id.
func validID(s string) bool {
	return len(s) >= 1 && len(s) <= maxID && s != "." && s != ".." && clean(s)
}

// clean says whether a text is UTF-8 without control characters.
func clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
		}
	}
	return true
}

// digitsOnly says whether a number is spelled without sign, point and exponent.
func digitsOnly(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// idOf reads an id as others may write it: a text, or an integer literal by its
// digits.
func (v *value) id() (id string, ok bool) {
	return v.text, (v.kind == kindText || v.kind == kindNumber && digitsOnly(v.text)) && validID(v.text)
}

// writtenID reads an id as our stages must write it: as a number exactly if it
// looks like one of at most 15 digits.
func (v *value) writtenID() (id string, ok bool) {
	plain := digitsOnly(v.text) && len(v.text) <= 15 && (v.text[0] != '0' || len(v.text) == 1)
	id, ok = v.id()
	return id, ok && plain == (v.kind == kindNumber)
}

// money reads a number by its value, in hundredths. fine is false if it has more
// than two decimals or is too large.
func money(literal string) (minor int64, fine bool) {
	if n, ok := plainMoney(literal); ok {
		return n, true
	}
	body, negative := strings.CutPrefix(literal, "-")
	exponent := 0
	if at := strings.IndexAny(body, "eE"); at >= 0 {
		// Beyond these bounds the exact exponent changes nothing.
		n, err := strconv.Atoi(strings.TrimPrefix(body[at+1:], "+"))
		if exponent = min(max(n, -maxBytes*2), maxBytes*2); err != nil {
			exponent = maxBytes * 2
			if body[at+1] == '-' {
				exponent = -exponent
			}
		}
		body = body[:at]
	}
	whole, fraction, _ := strings.Cut(body, ".")
	mantissa := strings.TrimLeft(whole+fraction, "0")
	exponent += 2 - len(fraction)
	trimmed := strings.TrimRight(mantissa, "0")
	exponent += len(mantissa) - len(trimmed)
	switch {
	case trimmed == "":
		return 0, true
	case exponent < 0, len(trimmed)+exponent > 19:
		return 0, false
	}
	u, err := strconv.ParseUint(trimmed+strings.Repeat("0", exponent), 10, 64)
	if err != nil || u > math.MaxInt64 {
		return 0, false
	}
	if negative {
		return -int64(u), true
	}
	return int64(u), true
}

// plainMoney reads what almost every amount looks like: up to 15 digits, then at
// most two decimals.
func plainMoney(literal string) (minor int64, ok bool) {
	n, decimals := int64(0), -1
	for i := 0; i < len(literal); i++ {
		switch c := literal[i]; {
		case c >= '0' && c <= '9' && decimals < 2:
			if n = n*10 + int64(c-'0'); decimals >= 0 {
				decimals++
			}
		case c == '.' && i > 0 && decimals < 0:
			decimals = 0
		default:
			return 0, false
		}
	}
	switch {
	case literal == "" || len(literal) > 18 || decimals == 0:
		return 0, false
	case decimals < 0:
		if len(literal) > 15 {
			return 0, false
		}
		return n * 100, true
	case decimals == 1:
		return n * 10, true
	}
	return n, true
}

// decimal writes hundredths in the shortest exact form.
func decimal(minor int64) string {
	sign, u := "", uint64(minor)
	if minor < 0 {
		sign, u = "-", -u
	}
	text := sign + strconv.FormatUint(u/100, 10)
	if cents := u % 100; cents != 0 {
		text += strings.TrimRight("."+string([]byte{'0' + byte(cents/10), '0' + byte(cents%10)}), "0")
	}
	return text
}

// written is how times are written: UTC, three decimals.
const written = "2006-01-02T15:04:05.000Z"

// instant reads an RFC 3339 time as seconds since 1970 and the digits of its
// fraction, of which there may be more than time.Time holds.
func instant(s string) (seconds int64, fraction string, ok bool) {
	if len(s) < 20 || s[10]|0x20 != 't' {
		return 0, "", false
	}
	rest := s[19:]
	if rest[0] == '.' {
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 1 {
			return 0, "", false
		}
		fraction, rest = strings.TrimRight(rest[1:n], "0"), rest[n:]
	}
	var ahead time.Duration
	switch {
	case len(rest) == 1 && rest[0]|0x20 == 'z':
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':' && digitsOnly(rest[1:3]) && digitsOnly(rest[4:]) &&
		rest[1:3] <= "23" && rest[4:] <= "59":
		hours, _ := strconv.Atoi(rest[1:3]) // digits, as checked
		minutes, _ := strconv.Atoi(rest[4:])
		ahead = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
		if rest[0] == '-' {
			ahead = -ahead
		}
	default:
		return 0, "", false
	}
	clock := s[11:19]
	leap := strings.HasSuffix(clock, ":60")
	if leap {
		clock = clock[:6] + "59"
	}
	t, err := time.Parse("2006-01-02T15:04:05", s[:10]+"T"+clock)
	if err != nil {
		return 0, "", false
	}
	t = t.Add(-ahead)
	if leap {
		// Only the last minute of a day in UTC can have a second more.
		if t = t.Add(time.Second); t.Unix()%86400 != 0 {
			return 0, "", false
		}
	}
	return t.Unix(), fraction, true
}
