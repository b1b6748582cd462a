package jdbc

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/comptoir/comptoir/connect"
)

func mismatch(c *column, v connect.Value) error {
	return fmt.Errorf("is of type %s, the value is a JSON %s; change the column's type, or the producer", c.typ, v.Kind)
}

// bindText gives the text that a column of the class reads as exactly this
// value, or says why there is none. Nothing is rounded, cut or guessed.
func bindText(c *column, in cell) (string, error) {
	v := in.value
	switch c.class {
	case classText:
		if v.Kind == connect.Bytes {
			return "", mismatch(c, v)
		}
		return v.Text, nil
	case classInteger:
		if v.Kind == connect.Number {
			return integer(v.Text)
		}
	case classNumeric:
		if v.Kind == connect.Number {
			if d := decimals(v.Text); c.scale >= 0 && d > c.scale {
				return "", fmt.Errorf("is of type %s and would round %s; widen it", c.typ, clip(v.Text))
			}
			return v.Text, nil
		}
	case classFloat:
		if v.Kind == connect.Number {
			return v.Text, nil
		}
	case classBool:
		if v.Kind == connect.Bool {
			return v.Text, nil
		}
	case classJSON:
		return jsonText(v)
	case classBytes:
		if v.Kind == connect.Bytes {
			return `\x` + hex.EncodeToString([]byte(v.Text)), nil
		}
		return "", mismatch(c, v)
	case classTimestamp:
		// The database would drop the zone without a word.
		if v.Kind == connect.String {
			if t, err := time.Parse(time.RFC3339Nano, v.Text); err == nil {
				return t.UTC().Format("2006-01-02T15:04:05.999999999"), nil
			}
			return v.Text, nil
		}
	case classTime, classOther:
		if v.Kind == connect.String {
			return v.Text, nil
		}
	}
	if in.untyped && v.Kind == connect.String {
		return v.Text, nil
	}
	return "", mismatch(c, v)
}

// jsonText keeps documents as they are. A string that holds a document is that
// document, which is how producers without a type for it send one.
func jsonText(v connect.Value) (string, error) {
	if v.Kind == connect.Bytes {
		return "", fmt.Errorf("is JSON, the value is bytes")
	}
	if v.Kind != connect.String {
		return v.Text, nil
	}
	if t := strings.TrimSpace(v.Text); (strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[")) && json.Valid([]byte(t)) {
		return t, nil
	}
	quoted, err := json.Marshal(v.Text)
	return string(quoted), err
}

// number splits a JSON number literal into sign, digits and the power of ten
// that they are multiplied with. ok is false if the exponent is absurd.
func number(literal string) (neg bool, digits string, exp int, ok bool) {
	mantissa := literal
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		n, err := strconv.Atoi(literal[i+1:])
		if err != nil || n < -10000 || n > 10000 {
			return false, "", 0, false
		}
		mantissa, exp = literal[:i], n
	}
	mantissa, neg = strings.CutPrefix(mantissa, "-")
	whole, frac, _ := strings.Cut(mantissa, ".")
	digits = whole + frac
	exp -= len(frac)
	trimmed := strings.TrimRight(digits, "0")
	exp += len(digits) - len(trimmed)
	digits = strings.TrimLeft(trimmed, "0")
	if digits == "" {
		return false, "0", 0, true
	}
	return neg, digits, exp, true
}

// decimals counts the decimals a number needs.
func decimals(literal string) int {
	_, _, exp, ok := number(literal)
	if !ok || exp >= 0 {
		return 0 // the absurd ones are left to the database to refuse
	}
	return -exp
}

// integer writes a whole number without point and exponent: 1e2 is 100.
func integer(literal string) (string, error) {
	neg, digits, exp, ok := number(literal)
	if !ok || exp > 40 {
		return "", fmt.Errorf("cannot hold the number %s", clip(literal))
	}
	if exp < 0 {
		return "", fmt.Errorf("holds whole numbers, the value is %s; change the column's type to numeric", clip(literal))
	}
	s := digits + strings.Repeat("0", exp)
	if neg {
		s = "-" + s
	}
	return s, nil
}

// clip keeps messages short whatever the value.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
