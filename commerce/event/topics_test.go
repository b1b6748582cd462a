package event

import (
	"bytes"
	"errors"
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

func TestRefusedVerdicts(t *testing.T) {
	const rest = `,"client":"L","clientId":"C","montant":1,"devise":"EUR","lignes":[],"date_commande":"2026-11-20T09:29:59Z","timestamp":"2026-11-20T09:30:00.005Z"}`
	for _, c := range []struct {
		value string
		skip  bool
	}{
		{`{"commandeId":991,"statut":"VALIDE"` + rest, true},
		{string(Verdict{Order: `a","statut":"REFUSE"`, Status: StatusValid, Customer: lucas, Currency: "EUR", OrderedAt: "x", At: at}.AppendJSON(nil)), true},
		{`{"commandeId":991,"statut":"REFUSE"` + rest, false},
		{`{"commandeId":",\"statut\":\"VALIDE\"","statut":"REFUSE"` + rest, false},
		{`{"commandeId":991,"x":{"y":1,"statut":"VALIDE"},"statut":"REFUSE"` + rest, false},
		{`{"commandeId":991,"x":[{"y":1,"statut":"VALIDE"}],"statut":"REFUSE"` + rest, false},
		{`{"statut":"VALIDE","commandeId":991` + rest, false}, // read, though in vain
	} {
		v, err := RefusedVerdicts.Value.Parse([]byte(c.value))
		if skipped := errors.Is(err, streams.ErrSkip); skipped != c.skip || err != nil && !skipped {
			t.Errorf("%s: %+v, %v", c.value, v, err)
		}
	}
}
