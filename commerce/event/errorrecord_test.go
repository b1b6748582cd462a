package event

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// TestErrorRecordSize: the value is left out exactly when the record would be
// longer than 900,000 bytes.
func TestErrorRecordSize(t *testing.T) {
	origin := Origin{Topic: "commandes.ecommerce", Partition: 1, Offset: 5}
	problems := []Problem{{CodeOrderTooLarge, "", "x"}}
	id := ID("991")
	frame := len(AppendErrorRecord(nil, &id, SeverityReject, problems, []byte{}, false, origin, at))
	most := base64.StdEncoding.DecodedLen((MaxErrorRecord - frame) / 4 * 4)
	tests := []struct {
		name   string
		value  []byte
		strict bool
		left   bool
	}{
		{"small", []byte("x"), false, false},
		{"fits as base64", bytes.Repeat([]byte("x"), most), false, false},
		{"does not fit as base64", bytes.Repeat([]byte("x"), most+1), false, true},
		{"900 KB", bytes.Repeat([]byte("x"), 900_000), false, true},
		{"5 MB", bytes.Repeat([]byte("x"), 5_000_000), false, true},
		{"strict", []byte(`"` + strings.Repeat("x", MaxOrderBytes-2) + `"`), true, false},
	}
	for _, tt := range tests {
		out := AppendErrorRecord([]byte("before"), &id, SeverityReject, problems, tt.value, tt.strict, origin, at)
		out, ok := bytes.CutPrefix(out, []byte("before"))
		e, err := ParseErrorRecord(out)
		if !ok || err != nil || len(out) > MaxErrorRecord || e.Order != id || e.Origin != origin {
			t.Errorf("%s: %d bytes, %+v, %v", tt.name, len(out), e.Origin, err)
		}
		if tt.left {
			if e.Value != nil || e.Size != int64(len(tt.value)) {
				t.Errorf("%s: %d bytes of value, size %d", tt.name, len(e.Value), e.Size)
			}
		} else if !bytes.Equal(e.Value, tt.value) || e.Strict != tt.strict || e.Size != 0 {
			t.Errorf("%s: %d bytes of value, size %d, strict %v", tt.name, len(e.Value), e.Size, e.Strict)
		}
	}
}

// TestErrorRecordOfDeepestOrder: an order nested as deep as allowed makes a
// record that can be read.
func TestErrorRecordOfDeepestOrder(t *testing.T) {
	value := []byte(order("montant", "-1", "x", strings.Repeat("[", 999)+strings.Repeat("]", 999)))
	o, problems, strict := ParseOrder(nil, value, recordTime)
	if len(problems) != 1 || !strict {
		t.Fatal(problems)
	}
	e, err := ParseErrorRecord(AppendErrorRecord(nil, &o.ID, SeverityReject, problems, value, strict, Origin{Topic: "t"}, at))
	if err != nil || !bytes.Equal(e.Value, value) {
		t.Errorf("%v", err)
	}
}
