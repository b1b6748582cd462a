package notify

import (
	"fmt"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

const (
	invoice = `{"numero":"FA-2026-000001","type":"FACTURE","commandeId":991,"client":"LUCAS","clientId":"CLI-991","date":"2026-11-20","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5}],"total_ht":100.42,"tva":20.08,"taux_tva":20,"montant":120.5,"devise":"EUR","date_commande":"2026-11-20T09:30:00Z","timestamp":"2026-11-20T09:30:00.000Z"}`
	credit  = `{"numero":"AV-2026-000001","type":"AVOIR","commandeId":991,"client":"LUCAS","clientId":"CLI-991","date":"2026-11-20","lignes":[],"total_ht":100.42,"tva":20.08,"taux_tva":20,"montant":120.5,"devise":"EUR","date_commande":"2026-11-20T09:30:00Z","timestamp":"2026-11-20T09:30:00.000Z"}`
	verdict = `{"commandeId":%s,"statut":"%s","client":"LUCAS","clientId":"CLI-991","montant":120.5,"devise":"EUR","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"reserve":false,"motif":"STOCK_INSUFFISANT"}],"date_commande":"2026-11-20T09:30:00Z","timestamp":"2026-11-20T09:30:00.000Z"}`
	refusal = `{"id_commande":993,"client":"LUCAS","clientId":"CLI-991","montant":10000.01,"devise":"EUR","motif":"PLAFOND_DEPASSE","timestamp":"2026-11-20T09:30:00.000Z"}`
)

func TestNotify(t *testing.T) {
	// Other partition counts everywhere: the sources share nothing.
	d := streamstest.New(t, App, func(b *streams.Builder) { Build(b, Config{}) },
		streamstest.TopicPartitions(event.TopicInvoices, 5), streamstest.TopicPartitions(event.TopicRefused, 1))
	d.PipeRaw(streams.RawRecord{Topic: event.TopicInvoices, Partition: -1, Key: []byte("CLI-991"), Value: []byte(invoice),
		Headers: []streams.Header{{Key: "traceparent", Value: []byte("00-ab-cd-01")}}})
	got := d.Read(event.TopicNotifications)
	want := `{"id":"991-CONFIRMATION","commandeId":991,"client":"LUCAS","clientId":"CLI-991","type":"CONFIRMATION","priorite":"GENERALE","canal":"JOURNAL","sujet":"Commande 991 confirmée","message":"Bonjour LUCAS, votre commande 991 est confirmée. Facture FA-2026-000001, 120.5 EUR.","timestamp":"2026-11-20T10:00:00.000Z"}`
	if len(got) != 1 || string(got[0].Value) != want || string(got[0].Key) != "CLI-991" || !got[0].Time.Equal(d.Now()) {
		t.Fatalf("%+v", got)
	}
	if h := fmt.Sprintf("%s", got[0].Headers); h != "[{comptoir-order 991} {traceparent 00-ab-cd-01}]" {
		t.Errorf("headers %s", h)
	}

	d.Pipe(event.TopicVerdicts, "CLI-991", fmt.Sprintf(verdict, "992", "REFUSE"))
	d.Pipe(event.TopicVerdicts, "CLI-991", fmt.Sprintf(verdict, "991", "VALIDE"))
	d.Pipe(event.TopicRefused, "993", refusal)
	var ids []string
	for _, r := range d.Read(event.TopicNotifications) {
		n, err := event.ParseNotification(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, n.ID)
	}
	if fmt.Sprint(ids) != "[992-REFUS_STOCK 993-REFUS_PAIEMENT]" {
		t.Errorf("%v", ids)
	}

	again := func() {
		d.Pipe(event.TopicInvoices, "CLI-991", invoice)
		d.Pipe(event.TopicVerdicts, "CLI-991", fmt.Sprintf(verdict, "992", "REFUSE"))
		d.Pipe(event.TopicRefused, "993", refusal)
	}
	d.Restart()
	again()
	if n := len(d.Read(event.TopicNotifications)); n != 0 || d.Counted("duplicate") != 3 || d.Counted("ok") != 3 {
		t.Errorf("%d notifications again; %d duplicates, %d ok", n, d.Counted("duplicate"), d.Counted("ok"))
	}
	d.Pipe(event.TopicInvoices, "CLI-991", credit)
	if n := len(d.Read(event.TopicNotifications)); n != 0 || d.Counted("ignored") != 1 {
		t.Errorf("a credit note gives %d notifications, %d are counted", n, d.Counted("ignored"))
	}
	d.Pipe(event.TopicInvoices, "CLI-991", `{"numero":`)
	if len(d.Dropped()) != 1 {
		t.Error("a damaged invoice is not reported")
	}

	d.Advance(401 * 24 * time.Hour) // forgotten
	again()
	if n := len(d.Read(event.TopicNotifications)); n != 3 {
		t.Errorf("%d notifications after the identity's end", n)
	}
}
