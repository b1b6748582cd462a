package notify

import (
	"fmt"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

var lucas = event.Customer{Name: "LUCAS", ID: "CLI-991"}

func TestConfirmation(t *testing.T) {
	withMail := lucas
	withMail.Email = "lucas@example.org"
	i := event.Invoice{Number: "FA-2026-000001", Type: "FACTURE", Order: "991", Customer: withMail, Amount: 120_50, Currency: "EUR"}
	want := event.Notification{
		ID: "991-CONFIRMATION", Order: "991", Customer: withMail, Type: "CONFIRMATION", Priority: "GENERALE", Channel: "EMAIL",
		Subject: "Commande 991 confirmée",
		Message: "Bonjour LUCAS, votre commande 991 est confirmée. Facture FA-2026-000001, 120.5 EUR.",
	}
	if n, _, ok := confirmation(&i); !ok || n != want {
		t.Errorf("%+v", n)
	}
	i.Customer = lucas
	if n, _, _ := confirmation(&i); n.Channel != "JOURNAL" {
		t.Errorf("without an address the channel is %s", n.Channel)
	}
	i.Type = "AVOIR"
	if n, ignored, ok := confirmation(&i); ok || ignored == "" {
		t.Errorf("a credit note gives %+v, counted as %q", n, ignored)
	}
}

func TestStockRefusal(t *testing.T) {
	line := func(name, reason string) event.VerdictLine { return event.VerdictLine{Name: name, Reason: reason} }
	var many []event.VerdictLine
	for i := range 7 {
		many = append(many, line(fmt.Sprint("p", i), "STOCK_INSUFFISANT"))
	}
	for _, c := range []struct {
		name  string
		lines []event.VerdictLine
		why   string
	}{
		{"one missing", []event.VerdictLine{line("PC Gamer", "STOCK_INSUFFISANT"), line("Souris", "")}, " : stock insuffisant (PC Gamer)"},
		{"unknown", []event.VerdictLine{line("1x", "PRODUIT_INCONNU")}, " : produit inconnu (1x)"},
		{"both", []event.VerdictLine{line("1x", "PRODUIT_INCONNU"), line("a", "STOCK_INSUFFISANT"), line("b", "STOCK_INSUFFISANT")}, " : stock insuffisant (a, b), produit inconnu (1x)"},
		{"many", many, " : stock insuffisant (p0, p1, p2, p3, p4, et 2 de plus)"},
		{"no reason given", []event.VerdictLine{line("a", "")}, ""},
	} {
		v := event.Verdict{Order: "991", Status: "REFUSE", Customer: lucas, Lines: c.lines}
		want := event.Notification{
			ID: "991-REFUS_STOCK", Order: "991", Customer: lucas, Type: "REFUS_STOCK", Priority: "CRITIQUE", Channel: "JOURNAL",
			Subject: "Commande 991 refusée",
			Message: "Bonjour LUCAS, votre commande 991 ne peut pas être honorée" + c.why + ". Aucun montant n'a été débité.",
		}
		if n, _, ok := stockRefusal(&v); !ok || n != want {
			t.Errorf("%s: %+v", c.name, n)
		}
	}
	if n, ignored, ok := stockRefusal(&event.Verdict{Order: "991", Status: "VALIDE"}); ok || ignored != "" {
		t.Errorf("a valid verdict gives %+v, counted as %q", n, ignored)
	}
}

func TestPaymentRefusal(t *testing.T) {
	for reason, why := range map[string]string{
		"PLAFOND_DEPASSE":   "le plafond de paiement est dépassé",
		"REFUS_PRESTATAIRE": "le prestataire de paiement l'a refusé",
	} {
		p := event.PaymentRefused{Order: "991", Customer: lucas, Amount: 10_000_01, Currency: "EUR", Reason: reason}
		want := event.Notification{
			ID: "991-REFUS_PAIEMENT", Order: "991", Customer: lucas, Type: "REFUS_PAIEMENT", Priority: "CRITIQUE", Channel: "JOURNAL",
			Subject: "Paiement de la commande 991 refusé",
			Message: "Bonjour LUCAS, le paiement de votre commande 991 (10000.01 EUR) n'a pas abouti : " + why + ". La commande est annulée.",
		}
		if n, _, ok := paymentRefusal(&p); !ok || n != want {
			t.Errorf("%s: %+v", reason, n)
		}
	}
}

func FuzzTime(f *testing.F) {
	f.Add(timeSerde.Append(nil, time.Date(2026, 11, 20, 10, 0, 0, 5e6, time.UTC)))
	f.Add([]byte{})
	f.Add([]byte{0x80})
	f.Add([]byte{1, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		at, err := timeSerde.Parse(data)
		if err != nil {
			return
		}
		if again, err := timeSerde.Parse(timeSerde.Append(nil, at)); err != nil || !again.Equal(at) {
			t.Fatalf("%v became %v, %v", at, again, err)
		}
	})
}
