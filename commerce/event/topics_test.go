package event

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/streams"
)

// TestWhatIsPassedOnIsBounded: a record of any producer must not make one that a
// broker refuses.
func TestWhatIsPassedOnIsBounded(t *testing.T) {
	trace := func(n int) []streams.Header {
		return []streams.Header{{Key: "other", Value: []byte("x")}, {Key: HeaderTrace, Value: bytes.Repeat([]byte("a"), n)}}
	}
	if got := Headers("1", trace(maxTrace)); len(got) != 2 {
		t.Errorf("a trace of %d bytes gives %d headers, want 2", maxTrace, len(got))
	}
	if got := Headers("1", trace(maxTrace+1)); len(got) != 1 || got[0].Key != HeaderOrder {
		t.Errorf("a trace of %d bytes gives %v", maxTrace+1, got)
	}
	p := PaymentRefused{Order: "1", Customer: Customer{Name: strings.Repeat("é", 200), ID: "C"}, Amount: 1, Currency: "EUR", Reason: ReasonOutOfStock, At: time.Now()}
	if _, err := ParsePaymentRefused(p.AppendJSON(nil)); err != nil {
		t.Errorf("a name of 200 characters: %v", err)
	}
	p.Customer.Name += "é"
	if _, err := ParsePaymentRefused(p.AppendJSON(nil)); err == nil {
		t.Error("a name of 201 characters is taken")
	}
	p.Customer.Name, p.Customer.Email = "N", strings.Repeat("e", MaxOrderBytes+1)
	if _, err := ParsePaymentRefused(p.AppendJSON(nil)); err == nil {
		t.Error("an e-mail longer than an order is taken")
	}
}
