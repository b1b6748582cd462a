package invoice

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

func driver(t *testing.T, cfg Config, opts ...streamstest.Option) *streamstest.Driver {
	t.Helper()
	return streamstest.New(t, App, func(b *streams.Builder) { Build(b, cfg) }, opts...)
}

var trace = streams.Header{Key: "traceparent", Value: []byte("00-ab-cd-01")}

func verdict(d *streamstest.Driver, id event.ID) {
	v := event.Verdict{
		Order: id, Status: event.StatusValid, Customer: event.Customer{Name: "LUCAS", ID: "CLI-991", Email: "lucas@example.org"},
		Amount: 120_50, Currency: "EUR", OrderedAt: "2026-11-20T09:30:00+01:00", At: d.Now(),
		Lines: []event.VerdictLine{{Product: "1001", Name: "PC Gamer", Quantity: 1, Amount: 120_50, Price: 120_50, HasPrice: true, Reserved: true}},
	}
	d.PipeRaw(streams.RawRecord{Topic: event.TopicVerdicts, Partition: -1, Key: []byte("CLI-991"), Value: v.AppendJSON(nil), Headers: []streams.Header{trace}})
}

func payment(d *streamstest.Driver, id event.ID) {
	p := event.PaymentAccepted{Order: id, Customer: event.Customer{Name: "LUCAS", ID: "CLI-991"}, Amount: 120_50, Currency: "EUR", Method: "SIMULATION", Reference: "SIM", At: d.Now()}
	d.PipeRaw(streams.RawRecord{Topic: event.TopicAccepted, Partition: -1, Key: []byte(id), Value: p.AppendJSON(nil), Headers: []streams.Header{trace}})
}

func TestInvoice(t *testing.T) {
	d := driver(t, Config{})
	verdict(d, "991")
	if len(d.Read(event.TopicInvoices)) != 0 {
		t.Fatal("an invoice without payment")
	}
	d.Advance(1500 * time.Millisecond)
	payment(d, "991")
	inv, ok := d.Read(event.TopicInvoices), d.Read(event.TopicConfirmations)
	want := `{"numero":"FA-2026-000001","type":"FACTURE","commandeId":991,"client":"LUCAS","clientId":"CLI-991","email":"lucas@example.org","date":"2026-11-20","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5}],"total_ht":100.42,"tva":20.08,"taux_tva":20,"montant":120.5,"devise":"EUR","date_commande":"2026-11-20T09:30:00+01:00","timestamp":"2026-11-20T10:00:01.500Z"}`
	if len(inv) != 1 || string(inv[0].Value) != want || string(inv[0].Key) != "CLI-991" || !inv[0].Time.Equal(d.Now()) {
		t.Errorf("%s", inv[0].Value)
	}
	want = `{"id_commande":991,"client":"LUCAS","clientId":"CLI-991","email":"lucas@example.org","montant":120.5,"devise":"EUR","numero_facture":"FA-2026-000001","timestamp":"2026-11-20T10:00:01.500Z"}`
	if len(ok) != 1 || string(ok[0].Value) != want || string(ok[0].Key) != "991" {
		t.Errorf("%s", ok[0].Value)
	}
	for _, r := range append(inv, ok...) {
		if h := fmt.Sprintf("%s", r.Headers); h != "[{comptoir-order 991} {traceparent 00-ab-cd-01}]" {
			t.Errorf("%s has the headers %s", r.Topic, h)
		}
	}

	payment(d, "992") // the other order of arrival
	verdict(d, "992")
	verdict(d, "991")
	d.Restart()
	payment(d, "991")
	payment(d, "992")
	if got := numbers(t, d); !slices.Equal(got, []string{"FA-2026-000002"}) {
		t.Errorf("%v", got)
	}
	if d.Counted("duplicate") != 3 || d.Counted("ok") != 4 {
		t.Errorf("%d duplicates, %d ok", d.Counted("duplicate"), d.Counted("ok"))
	}
}

func TestRefusedVerdictIsNotInvoiced(t *testing.T) {
	d := driver(t, Config{})
	d.Pipe(event.TopicVerdicts, "CLI-991", `{"commandeId":991,"statut":"REFUSE","client":"LUCAS","clientId":"CLI-991","montant":1,"devise":"EUR","lignes":[],"date_commande":"2026-11-20T09:30:00Z","timestamp":"2026-11-20T09:30:00Z"}`)
	payment(d, "991")
	if n := len(d.Read(event.TopicInvoices)); n != 0 {
		t.Errorf("%d invoices", n)
	}
}

func numbers(t *testing.T, d *streamstest.Driver) (got []string) {
	t.Helper()
	for _, r := range d.Read(event.TopicInvoices) {
		inv, err := event.ParseInvoice(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if inv.Net+inv.VAT != inv.Amount {
			t.Errorf("%s: %v + %v is not %v", inv.Number, inv.Net, inv.VAT, inv.Amount)
		}
		got = append(got, inv.Number)
	}
	return got
}

// TestNumbering: gapless in the order of issue, from 1 each year in Paris, over
// any partition counts and restarts.
func TestNumbering(t *testing.T) {
	for _, partitions := range []int32{1, 3, 7} {
		d := driver(t, Config{}, streamstest.Partitions(partitions), streamstest.TopicPartitions(event.TopicAccepted, 2*partitions+1),
			streamstest.Now(time.Date(2026, 12, 31, 22, 59, 0, 0, time.UTC)))
		rnd := rand.New(rand.NewPCG(5, uint64(partitions)))
		var steps []func()
		for i := range 40 {
			id := event.ID(fmt.Sprintf("CMD-%d", i))
			for range 1 + rnd.IntN(2) {
				steps = append(steps, func() { verdict(d, id) }, func() { payment(d, id) })
			}
		}
		rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		for i, s := range steps {
			if s(); i%10 == 0 {
				d.Restart()
			}
		}
		got := numbers(t, d)
		if len(got) != 40 {
			t.Fatalf("%d partitions: %d invoices", partitions, len(got))
		}
		for i, n := range got {
			if want := fmt.Sprintf("FA-2026-%06d", i+1); n != want {
				t.Errorf("%d partitions: %s, want %s", partitions, n, want)
			}
		}
		d.Advance(time.Minute) // midnight
		verdict(d, "new")
		payment(d, "new")
		if got := numbers(t, d); !slices.Equal(got, []string{"FA-2027-000001"}) {
			t.Errorf("%d partitions: %v", partitions, got)
		}
	}
}

func TestSeries(t *testing.T) {
	zero := event.Percent(0)
	d := driver(t, Config{Series: 3, Rate: &zero, Zone: time.UTC})
	for i := range 60 {
		id := event.ID(fmt.Sprint(i))
		verdict(d, id)
		payment(d, id)
	}
	count := map[string]int{}
	for _, n := range numbers(t, d) {
		i := strings.LastIndex(n, "-")
		count[n[:i]]++
		if want := fmt.Sprintf("%s-%06d", n[:i], count[n[:i]]); n != want {
			t.Errorf("%s, want %s", n, want)
		}
	}
	if len(count) != 3 || count["FA-2026-1"] == 0 || count["FA-2026-2"] == 0 || count["FA-2026-3"] == 0 {
		t.Errorf("series %v", count)
	}
}

// TestLostCounter: an empty counter never begins beside invoices that are there.
func TestLostCounter(t *testing.T) {
	issued := Counters{1: {2026, 41, "2026-11-25"}}
	refuse := func(cfg Config, order event.ID) (got error) {
		d := driver(t, cfg, streamstest.Partitions(1))
		verdict(d, order)
		defer func() {
			got, _ = recover().(error)
			if got != nil && len(d.Read(event.TopicInvoices)) > 0 {
				t.Error("an invoice all the same")
			}
		}()
		payment(d, order)
		return nil
	}
	holds := func() (Counters, error) { return issued, nil }
	var lost *LostCounterError
	if err := refuse(Config{Issued: holds}, "991"); !errors.As(err, &lost) || lost.Last != "FA-2026-000041" || !strings.Contains(err.Error(), "--recover-counter") {
		t.Errorf("lost counter: %v", err)
	}
	down := errors.New("the broker is down")
	if err := refuse(Config{Issued: func() (Counters, error) { return nil, down }, Recover: true}, "991"); !errors.Is(err, down) {
		t.Errorf("unreadable topic: %v", err)
	}

	d := driver(t, Config{Issued: holds, Recover: true})
	verdict(d, "991")
	payment(d, "991")
	inv, err := event.ParseInvoice(d.Read(event.TopicInvoices)[0].Value)
	if err != nil || inv.Number != "FA-2026-000042" || inv.Date != "2026-11-25" {
		t.Errorf("recovered: %+v %v", inv, err)
	}
	issued = nil // asked for no more
	verdict(d, "992")
	payment(d, "992")
	if got := numbers(t, d); !slices.Equal(got, []string{"FA-2026-000043"}) {
		t.Errorf("%v", got)
	}

	// Another series than the one with invoices may begin.
	d = driver(t, Config{Series: 2, Issued: func() (Counters, error) { return Counters{3: {2026, 1, "2026-11-25"}}, nil }})
	verdict(d, "991")
	payment(d, "991")
	if got := numbers(t, d); len(got) != 1 || !strings.HasSuffix(got[0], "-000001") {
		t.Errorf("%v", got)
	}
}

func TestWaitingExpires(t *testing.T) {
	d := driver(t, Config{IdentityTTL: time.Hour})
	verdict(d, "991")
	d.Advance(2 * time.Hour)
	payment(d, "991")
	if got := numbers(t, d); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
