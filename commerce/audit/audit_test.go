package audit

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// audited runs a round over a shop's history.
func audited(t *testing.T, s *shop, stored bool) Report {
	t.Helper()
	cfg := Config{Dir: t.TempDir()}
	if stored {
		cfg.Database, cfg.Archive = model{s}, table{s}
	}
	r, err := run(context.Background(), cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// violated lists what is, and says it in the test's log.
func violated(t *testing.T, r Report) (ids []string) {
	t.Helper()
	for _, i := range r.Invariants {
		if i.Violations > 0 {
			ids = append(ids, i.ID)
		}
		for n, v := range i.First {
			if n < 5 {
				t.Logf("%s: %s", i.ID, v)
			}
		}
	}
	return ids
}

func TestFaultless(t *testing.T) {
	for seed := range uint64(3) {
		s := history(seed, 150)
		r := audited(t, s, true)
		if ids := violated(t, r); len(ids) > 0 || r.InFlight > 0 {
			t.Fatalf("seed %d: violated %v, %d in flight", seed, ids, r.InFlight)
		}
		for _, i := range r.Invariants {
			if i.Checked == 0 && i.ID != "group-lag" && i.ID != "outbox-sent" {
				t.Errorf("%s was not checked", i.ID)
			}
		}
	}
}

// find returns the first record of a topic whose value matches.
func (s *shop) find(topic, pattern string) *Record {
	re := regexp.MustCompile(pattern)
	for _, r := range s.records {
		if r.Topic == topic && !r.Control && re.Match(r.Value) {
			return r
		}
	}
	panic("no record of " + topic + " matches " + pattern)
}

func drop(topic, pattern string) func(*shop) {
	return func(s *shop) {
		gone := s.find(topic, pattern)
		s.records = slices.DeleteFunc(s.records, func(r *Record) bool { return r == gone })
	}
}

func double(topic, pattern string) func(*shop) {
	return func(s *shop) {
		r := *s.find(topic, pattern)
		s.add(&r)
	}
}

// change replaces the first match in a value.
func change(topic, pattern, with string) func(*shop) {
	return func(s *shop) {
		r := s.find(topic, pattern)
		re := regexp.MustCompile(pattern)
		at := re.FindSubmatchIndex(r.Value)
		out := re.Expand(bytes.Clone(r.Value[:at[0]]), []byte(with), r.Value, at)
		r.Value = append(out, r.Value[at[1]:]...)
	}
}

func with(topic, pattern string, f func(*Record)) func(*shop) {
	return func(s *shop) { f(s.find(topic, pattern)) }
}

const (
	valid    = `"statut":"VALIDE"`
	refused  = `"statut":"REFUSE"`
	conflict = `COMMANDE_EN_CONFLIT`
	bad      = `DEVISE_INCONNUE`
	raw      = `"commande_brute"`
)

var faults = []struct {
	name  string
	fault func(*shop)
	want  string // ids, by blanks
}{
	{"money in another form", change(event.TopicAccepted, `"montant":([0-9]+\.[0-9]),`, `"montant":${1}0,`), "record-well-formed"},
	{"id in another form", change(event.TopicConfirmations, `"id_commande":([0-9]+),`, `"id_commande":"$1",`), "record-well-formed"},
	{"time in another form", change(event.TopicVerdicts, `"timestamp":"(.*)Z"}`, `"timestamp":"$1+00:00"}`), "record-well-formed"},
	{"name twice", change(event.TopicRefused, `^{`, `{"montant":1,`), "record-well-formed payment-once"},
	{"timestamp of another time", change(event.TopicNotifications, `"timestamp":"202.`, `"timestamp":"2019`), "record-well-formed"},
	{"another key", with(event.TopicConfirmations, ``, func(r *Record) {
		r.Key = append(r.Key, 'x')
		r.Partition = partitionOf(r.Key, partitionsOfTest)
		r.Offset = 1 << 20
	}), "record-key"},
	{"another partition", func(s *shop) {
		r := s.find(event.TopicNotifications, ``)
		r.Partition = (r.Partition + 1) % partitionsOfTest
		r.Offset = 1 << 20
	}, "record-partition"},
	{"no header", with(event.TopicMovements, `RESERVATION`, func(r *Record) { r.Headers = nil }), "record-headers"},
	{"header of another order", with(event.TopicInvoices, ``, func(r *Record) { r.Headers[0].Value = []byte("1") }), "record-headers"},
	{"header twice", with(event.TopicErrors, conflict, func(r *Record) { r.Headers = append(r.Headers, r.Headers[0]) }), "record-headers"},
	{"header of the accused not copied", func(s *shop) {
		for _, r := range s.records {
			if _, n := r.header("boutique"); n == 1 && r.Topic == event.TopicErrors {
				r.Headers = slices.DeleteFunc(r.Headers, func(h Header) bool { return h.Key == "boutique" })
				return
			}
		}
		panic("none")
	}, "record-headers"},
	{"another trace", func(s *shop) {
		for _, r := range s.records {
			if _, n := r.header(event.HeaderTrace); n == 1 && r.Topic == event.TopicNotifications {
				r.Headers[1].Value = []byte("00-0123-4567-01")
				return
			}
		}
		panic("none")
	}, "trace-carried"},

	{"incoherent and not rejected", drop(event.TopicErrors, bad), "order-has-one-answer"},
	{"rejected twice", double(event.TopicErrors, bad), "order-has-one-answer"},
	{"tombstone not rejected", drop(event.TopicErrors, `"commande":null`), "order-has-one-answer"},
	{"conflict not rejected", drop(event.TopicErrors, conflict), "order-has-one-answer"},
	{"conflict rejected twice", double(event.TopicErrors, conflict), "order-has-one-answer"},
	{"redelivery rejected", func(s *shop) {
		r := s.find(event.TopicOrders, `"commandeId":99[0-9]`)
		id := orderOf(r)
		s.reject(s.write(event.TopicOrders, string(r.Key), nil, string(r.Value)), id, "commande", string(r.Value), conflict)
	}, "order-has-one-answer"},
	{"value not as it was", change(event.TopicErrors, `"commande":{"commandeId":`, `"commande":{ "commandeId":`), "error-accuses-record"},
	{"value in base64 not as it was", change(event.TopicErrors, `"commande_brute":"e`, `"commande_brute":"f`), "error-accuses-record"},
	{"value left out", change(event.TopicErrors, raw+`:"[^"]*"`, `"taille":14`), "error-accuses-record"},
	{"accuses nothing", change(event.TopicErrors, bad+`(.*)"offset":[0-9]+`, bad+`$1"offset":99999`), "error-accuses-record order-has-one-answer"},
	{"accuses another topic", change(event.TopicErrors, bad+`(.*)"topic":"commandes.ecommerce"`, bad+`$1"topic":"autre"`), "error-accuses-record order-has-one-answer"},
	{"key of the accused not copied", with(event.TopicErrors, bad, func(r *Record) { r.Key = nil }), "error-accuses-record"},
	{"a code too few", change(event.TopicErrors, `,{"code":"DEVISE_INCONNUE"[^}]*}`, ``), "error-codes"},
	{"a code too many", change(event.TopicErrors, `"erreurs":\[({"code":"JSON_INVALIDE")`, `"erreurs":[{"code":"PRODUIT_ABSENT","champ":"","detail":""},$1`), "error-codes"},
	{"unknown code", change(event.TopicErrors, bad, `AUTRE`), "record-well-formed error-codes"},
	{"alert twice", double(event.TopicErrors, `MONTANT_ELEVE`), "alert-once"},
	{"alert of an incoherent record", func(s *shop) {
		r := s.find(event.TopicOrders, `XXY`)
		s.accuse(r, "alerte", orderOf(r), "commande", strings.TrimSpace(string(r.Value)), "MONTANT_ELEVE")
	}, "alert-once"},

	{"no verdict", drop(event.TopicVerdicts, valid), "verdict-once"},
	{"verdict twice", double(event.TopicVerdicts, valid), "verdict-once"},
	{"verdict on nothing", change(event.TopicOrders, `"commandeId":992`, `"commandeId":99299`), "verdict-once verdict-repeats-order"},
	{"another client", change(event.TopicVerdicts, `"client":"Zo`, `"client":"Zoo`), "verdict-repeats-order payment-repeats-order confirmation-repeats-order invoice-repeats-order notification-repeats-order"},
	{"another date", change(event.TopicVerdicts, refused+`(.*)"date_commande":"20`, refused+`$1"date_commande":"19`), "verdict-repeats-order"},
	{"another quantity", change(event.TopicVerdicts, refused+`(.*?)"quantite":1`, refused+`$1"quantite":11`), "verdict-repeats-order"},
	{"another price", change(event.TopicVerdicts, refused+`(.*?)"prix":`, refused+`$1"prix":1`), "verdict-repeats-order"},
	{"another product", change(event.TopicVerdicts, refused+`(.*)"INCONNU","nom_produit":"INCONNU"`, refused+`$1"INCONNUE","nom_produit":"INCONNUE"`), "verdict-repeats-order"},
	{"a name the product never had", change(event.TopicVerdicts, refused+`(.*?)Produit`, refused+`${1}Article`), "verdict-repeats-order"},
	{"half reserved", change(event.TopicVerdicts, refused+`(.*?)"reserve":false`, refused+`$1"reserve":true`), "verdict-consistent"},
	{"refused without reason", change(event.TopicVerdicts, refused+`,"motif":"[A-Z_]*"`, refused), "verdict-consistent"},
	{"another reason", change(event.TopicVerdicts, refused+`,"motif":"PRODUIT_INCONNU"`, refused+`,"motif":"STOCK_INSUFFISANT"`), "verdict-consistent"},
	{"verdicts of a client out of order", func(s *shop) {
		var first, second *Record
		for _, r := range s.records {
			if r.Topic == event.TopicVerdicts && !r.Control && string(r.Key) == "CLI-1" {
				first, second = second, r
			}
		}
		first.Offset, second.Offset = second.Offset, first.Offset
	}, "verdict-order-per-client"},

	{"no payment", drop(event.TopicAccepted, ``), "payment-once"},
	{"payment twice", double(event.TopicAccepted, ``), "payment-once"},
	{"refusal twice", double(event.TopicRefused, ``), "payment-once"},
	{"payment of a refused order", func(s *shop) {
		order := orderOf(s.find(event.TopicVerdicts, refused))
		r := s.find(event.TopicVerdicts, refused)
		v, _ := readJSON(r.Value, maxDepth)
		trace, _ := r.header(event.HeaderTrace)
		email := ""
		if e := v.get("email").raw; e != "" {
			email = `,"email":` + e
		}
		s.event(event.TopicRefused, order, order, string(trace), `"id_commande":`+idJSON(order), `"client":`+v.get("client").raw, `"clientId":`+v.get("clientId").raw+email,
			`"montant":`+v.get("montant").raw, `"devise":`+v.get("devise").raw, `"motif":"REFUS_PRESTATAIRE"`)
	}, "payment-once"},
	{"payment of another amount", change(event.TopicAccepted, `"montant":`, `"montant":1`), "payment-repeats-order"},
	{"payment of another currency", change(event.TopicRefused, `"devise":"..`, `"devise":"CH`), "payment-repeats-order"},
	{"another reference", change(event.TopicAccepted, `SIM-`, `SIM-x`), "payment-repeats-order"},
	{"no confirmation", drop(event.TopicConfirmations, ``), "confirmation-once"},
	{"confirmation twice", double(event.TopicConfirmations, ``), "confirmation-once"},
	{"confirmation of another invoice", change(event.TopicConfirmations, `FA-2025-000001`, `FA-2025-000002`), "confirmation-repeats-order"},
	{"confirmation of another client", change(event.TopicConfirmations, `"client":"Z`, `"client":"z`), "confirmation-repeats-order"},
	{"no invoice", drop(event.TopicInvoices, `000002`), "invoice-once invoice-numbers-gapless"},
	{"invoice twice", double(event.TopicInvoices, `000003`), "invoice-once invoice-numbers-gapless invoice-order-of-issue"},
	{"another line", change(event.TopicInvoices, `"nom_produit":"P`, `"nom_produit":"p`), "invoice-repeats-order"},
	{"another date of the order", change(event.TopicInvoices, `"date_commande":"20`, `"date_commande":"19`), "invoice-repeats-order"},
	{"another net", change(event.TopicInvoices, `"total_ht":`, `"total_ht":1`), "invoice-tax"},
	{"another rate", change(event.TopicInvoices, `"taux_tva":20`, `"taux_tva":5.5`), "invoice-tax"},
	{"a number left out", change(event.TopicInvoices, `"numero":"FA-(....)-000004"`, `"numero":"FA-$1-900004"`),
		"confirmation-repeats-order invoice-numbers-gapless invoice-order-of-issue notification-repeats-order"},
	{"two invoices change places", func(s *shop) {
		list := map[int32][]*Record{}
		for _, r := range s.records {
			if r.Topic == event.TopicInvoices && !r.Control && bytes.Contains(r.Value, []byte(`FA-2025-`)) {
				if list[r.Partition] = append(list[r.Partition], r); len(list[r.Partition]) == 3 {
					a, b := list[r.Partition][1], r
					a.Offset, b.Offset = b.Offset, a.Offset
					return
				}
			}
		}
		panic("too few")
	}, "invoice-order-of-issue"},
	{"another day", change(event.TopicInvoices, `"date":"2025-12-31"`, `"date":"2025-12-30"`), "invoice-dates"},
	{"another year", change(event.TopicInvoices, `"date":"2026`, `"date":"2028`), "invoice-dates"},
	{"nobody told", drop(event.TopicNotifications, `CONFIRMATION`), "notification-once"},
	{"refusal not told", drop(event.TopicNotifications, `REFUS_STOCK`), "notification-once"},
	{"told twice", double(event.TopicNotifications, `REFUS_PAIEMENT`), "notification-once"},
	{"told something else", change(event.TopicNotifications, `"id":"(.*)-CONFIRMATION"(.*)"type":"CONFIRMATION","priorite":"GENERALE"`, `"id":"$1-REFUS_STOCK"$2"type":"REFUS_STOCK","priorite":"CRITIQUE"`), "notification-once"},
	{"another message", change(event.TopicNotifications, `Facture FA`, `Facture FB`), "notification-repeats-order"},
	{"another channel", change(event.TopicNotifications, `"canal":"EMAIL"`, `"canal":"JOURNAL"`), "notification-repeats-order"},
	{"another priority", change(event.TopicNotifications, `"priorite":"CRITIQUE"`, `"priorite":"GENERALE"`), "notification-repeats-order"},
	{"another addressee", change(event.TopicNotifications, `"email":"zoe`, `"email":"zoo`), "notification-repeats-order"},

	{"no exit", drop(event.TopicMovements, `SORTIE`), "movements-fit-outcome stock-ledger"},
	{"exit twice", double(event.TopicMovements, `SORTIE`), "movements-fit-outcome stock-ledger"},
	{"release instead of exit", change(event.TopicMovements, `"mouvement":"SORTIE","quantite":-`, `"mouvement":"LIBERATION","quantite":`), "movements-fit-outcome stock-ledger"},
	{"no reservation", drop(event.TopicMovements, `RESERVATION`), "movements-fit-outcome stock-ledger"},
	{"another level", change(event.TopicMovements, `SORTIE(.*)"disponible":`, `SORTIE$1"disponible":1`), "stock-ledger"},
	{"below zero", func(s *shop) {
		p := s.products["1000"]
		n := p.available + 5
		s.move("1000", event.MovementSupply, -n, -n, 0, "", "", `"reference":"LIV-0"`)
	}, "stock-ledger stock-never-negative supply-once"},
	{"supply not counted", drop(event.TopicMovements, `"reference":"LIV-5-`), "stock-ledger supply-once"},
	{"supply counted twice", double(event.TopicMovements, `"reference":"LIV-5-`), "stock-ledger supply-once"},
	{"supply of nothing", drop(event.TopicSupplies, `"LIV-3-`), "supply-once"},
	{"group stands still", func(s *shop) {
		s.waiting = []lag{{"service-paiement", event.TopicVerdicts, 0, 1, 5}}
	}, "group-lag"},
}

// TestMoney: amounts are read as package event reads them, which has other code.
func TestMoney(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	digits := func(most int) string {
		b := []byte{byte('0' + rng.IntN(10))}
		for range rng.IntN(most) {
			b = append(b, byte('0'+rng.IntN(10)))
		}
		return strings.TrimLeft(string(b[:len(b)-1]), "0") + string(b[len(b)-1])
	}
	read := 0
	for range 20_000 {
		literal := digits(20)
		if rng.IntN(3) > 0 {
			literal += "." + digits(4)
		}
		if rng.IntN(8) == 0 {
			literal += fmt.Sprintf("e%d", rng.IntN(5)-2)
		}
		if rng.IntN(4) == 0 {
			literal = "-" + literal
		}
		got, fine := money(literal)
		want, err := event.ParseAmount([]byte(literal))
		if fine != (err == nil) || fine && got != int64(want) {
			t.Fatalf("%s is %d, %v; want %d, %v", literal, got, fine, want, err)
		}
		if fine {
			read++
		}
	}
	if read < 1000 {
		t.Errorf("only %d amounts", read)
	}
}

func TestNumberOfInvoice(t *testing.T) {
	for _, tc := range []struct {
		text            string
		year, series, n int64
	}{
		{"FA-2026-000001", 2026, 0, 1}, {"FA-2026-999999", 2026, 0, 999_999}, {"FA-2026-1000000", 2026, 0, 1_000_000}, {"FA-2026-12-000007", 2026, 12, 7},
	} {
		if year, series, n, ok := numberOfInvoice(tc.text); !ok || year != tc.year || series != tc.series || n != tc.n {
			t.Errorf("%s: %d %d %d %v", tc.text, year, series, n, ok)
		}
	}
	for _, text := range []string{"", "FA-", "FA-2026", "FA-2026-", "FA-2026-1", "FA-2026-0000001", "FA-2026-00000a", "FA-2026-0-000001", "FA-2026-01-000001", "FA-2026--000001",
		"FA-2026-1-2-000001", "FA-26-000001", "FA-20260-000001", "FB-2026-000001", "FA-2026-1000000000000000000", "FA-2026-1234567890-000001", "FA-2026-+00001"} {
		if _, _, _, ok := numberOfInvoice(text); ok {
			t.Errorf("%q is one", text)
		}
	}
}

// TestFaults plants one fault in a history without any, and wants it found under
// its invariant and no other, or those that cannot but follow.
func TestFaults(t *testing.T) {
	caught := map[string]bool{}
	for _, c := range faults {
		want := strings.Fields(c.want)
		for _, id := range want {
			caught[id] = true
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := history(7, 150)
			c.fault(s)
			r := audited(t, s, false)
			if got := violated(t, r); !sameSet(got, want) {
				t.Errorf("violated %v, want %v", got, want)
			}
		})
	}
	for _, c := range storedFaults {
		caught[c.want] = true
	}
	for i := range Invariants {
		if !caught[Invariants[i].ID] {
			t.Errorf("no fault is caught under %s", Invariants[i].ID)
		}
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func row(id string, f func(*Row)) func(*shop) { return func(s *shop) { s.edit[id] = f } }

var storedFaults = []struct {
	name  string
	fault func(*shop)
	want  string
}{
	{"another state", row("991", func(r *Row) { r.State = "PAYEE" }), "database-order"},
	{"another invoice", row("991", func(r *Row) { r.Invoice = "FA-2025-000099" }), "database-order"},
	{"another client", row("991", func(r *Row) { r.Client = "CLI-99" }), "database-order"},
	{"another reason", func(s *shop) {
		s.edit[orderOf(s.find(event.TopicVerdicts, refused))] = func(r *Row) { r.Reason = "AUTRE" }
	}, "database-order"},
	{"an alert more", row("991", func(r *Row) { r.Alerts = []string{"FREQUENCE_ELEVEE"} }), "database-order"},
	{"order missing", row("991", func(r *Row) { r.ID = "" }), "database-order"},
	{"order of nobody", row("personne", func(*Row) {}), "database-order"},
	{"record missing in a timeline", func(s *shop) { s.entries["991"] = func(e *[]part) { *e = (*e)[1:] } }, "database-timeline"},
	{"record too many in a timeline", func(s *shop) { s.entries["991"] = func(e *[]part) { *e = append(*e, (*e)[0]) } }, "database-timeline"},
	{"another record in a timeline", func(s *shop) { s.entries["991"] = func(e *[]part) { (*e)[2].partition ^= 1 } }, "database-timeline"},
	{"another level", func(s *shop) { s.level["1000"] = 1 }, "database-stock"},
	{"message not sent", func(s *shop) { s.pending, s.oldest = 3, s.clock }, "outbox-sent"},
	{"invoice not archived", func(s *shop) { s.rows = s.rows[1:] }, "archive-once"},
	{"invoice archived twice", func(s *shop) { s.rows = append(s.rows, s.rows[3]) }, "archive-once"},
	{"row of nothing", func(s *shop) { s.rows = append(s.rows, map[string]string{"numero": "FA-2025-999999"}) }, "archive-once"},
	{"another amount in the archive", func(s *shop) { s.rows[4]["montant"] = "0.01" }, "archive-repeats-invoice"},
	{"line missing in the archive", func(s *shop) { delete(s.rows[4], "lignes") }, "archive-repeats-invoice"},
}

func TestStoredFaults(t *testing.T) {
	for _, c := range storedFaults {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := history(7, 150)
			c.fault(s)
			if got := violated(t, audited(t, s, true)); !slices.Equal(got, []string{c.want}) {
				t.Errorf("violated %v, want %s", got, c.want)
			}
		})
	}
}

// TestIssuedTwiceNotArchived: what is missing once is counted once.
func TestIssuedTwiceNotArchived(t *testing.T) {
	s := history(7, 150)
	double(event.TopicInvoices, `000003`)(s)
	s.rows = slices.DeleteFunc(s.rows, func(row map[string]string) bool { return strings.HasSuffix(row["numero"], "000003") })
	for _, i := range audited(t, s, true).Invariants {
		if i.ID == "archive-once" && (len(i.First) == 0 || i.Violations != int64(len(i.First))) {
			t.Errorf("%d violations: %v", i.Violations, i.First)
		}
	}
}

// TestManyRecords: an order may have more records than are kept in memory.
func TestManyRecords(t *testing.T) {
	s := history(7, 50)
	for range recordsKept + 5 {
		double(event.TopicOrders, `"commandeId":991,`)(s)
	}
	if ids := violated(t, audited(t, s, true)); len(ids) > 0 {
		t.Errorf("violated %v", ids)
	}
}

// TestInFlight cuts a history that is happening now anywhere: what is missing is
// in flight, nothing is violated.
func TestInFlight(t *testing.T) {
	s := history(3, 60)
	waiting := 0
	for cut := 30; cut < len(s.records); cut += 37 {
		s.cut = cut
		r, err := run(context.Background(), Config{Dir: t.TempDir(), Limit: 100 * 365 * 24 * time.Hour, Database: model{s}, Archive: table{s}}, s)
		if err != nil {
			t.Fatal(err)
		}
		if ids := violated(t, r); len(ids) > 0 {
			t.Fatalf("after %d records: violated %v", cut, ids)
		}
		if r.InFlight > 0 {
			waiting++
		}
	}
	if waiting == 0 {
		t.Error("nothing was ever in flight")
	}
}

var sinceWhen = regexp.MustCompile(` \(since [^)]*\)`)

// found is a report without what depends on when and how it was made.
func essence(r Report) (out []string) {
	for _, i := range r.Invariants {
		if i.Needs() {
			i.Checked = 0 // counts comparisons, of which there are more in several rounds
		}
		out = append(out, fmt.Sprintf("%s %d %d", i.ID, i.Checked, i.Violations))
		for _, v := range i.First {
			out = append(out, i.ID+" "+sinceWhen.ReplaceAllString(v.String(), ""))
		}
	}
	return append(out, fmt.Sprint(r.Records))
}

func (r Result) Needs() bool {
	i, _ := invOf(r.ID)
	return Invariants[i].Needs != "" || i == groupLag
}

// TestRounds reads a history bit by bit, with the store closed and opened in
// between, and wants in the end what one round finds.
func TestRounds(t *testing.T) {
	for seed := range uint64(4) {
		s := history(seed, 120)
		for i := range 6 { // some faults
			faults[int(seed*31+uint64(i)*17)%len(faults)].fault(s)
		}
		s.waiting = nil
		want := essence(audited(t, s, true))
		dir := t.TempDir()
		ctx := context.Background()
		var got Report
		deadline := time.Now().Add(20 * time.Second)
		for cut, more := 0, true; more; {
			cut += 1 + s.rng.IntN(400)
			if s.cut = ordered(s, cut); s.cut >= len(s.records) {
				s.cut = -1
			}
			st, err := openStore(dir, 8<<20, true)
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{Dir: dir, Limit: time.Millisecond, Database: model{s}, Archive: table{s}}
			cfg.defaults()
			e := newEngine(cfg, s, st)
			if err := e.round(ctx); err != nil {
				t.Fatal(err)
			}
			if got, err = e.report(); err != nil {
				t.Fatal(err)
			}
			if err := st.close(); err != nil {
				t.Fatal(err)
			}
			more = cut < len(s.records) || got.InFlight > 0
			if time.Now().After(deadline) {
				t.Fatalf("still %d in flight", got.InFlight)
			}
		}
		if have := essence(got); !slices.Equal(have, want) {
			for _, line := range want {
				if !slices.Contains(have, line) {
					t.Errorf("seed %d: lacks %s", seed, line)
				}
			}
			for _, line := range have {
				if !slices.Contains(want, line) {
					t.Errorf("seed %d: has %s", seed, line)
				}
			}
		}
	}
}

// ordered moves a cut to where each partition is shown up to some offset.
func ordered(s *shop, cut int) int {
	for ; cut < len(s.records); cut++ {
		ends, fine := map[part]int64{}, true
		for _, r := range s.records[:cut] {
			p := part{topicIndex(r.Topic), r.Partition}
			ends[p] = max(ends[p], r.Offset)
		}
		for _, r := range s.records[cut:] {
			if end, ok := ends[part{topicIndex(r.Topic), r.Partition}]; ok && r.Offset < end {
				fine = false
				break
			}
		}
		if fine {
			break
		}
	}
	return cut
}
