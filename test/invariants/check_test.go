package invariants

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/orders"
)

const modelled = 400

func TestFaultlessHistory(t *testing.T) {
	h, w := history(modelled)
	report := h.Check()
	for i, v := range report.Violations {
		if i == 20 {
			t.Fatalf("and %d more", len(report.Violations)-i)
		}
		t.Error(v)
	}
	for _, d := range report.Compare(w) {
		t.Error(d)
	}
	if report.Records != len(w.Orders) || report.Rejected == 0 || report.Redelivered == 0 || report.Conflicts == 0 || report.Invoices == 0 {
		t.Errorf("counts: %s", report.Summary())
	}
	if got := report.Records - report.Rejected - report.Redelivered - report.Conflicts; got != len(report.Outcomes) {
		t.Errorf("%d records remain for %d orders", got, len(report.Outcomes))
	}
}

// clone copies what a mutation changes; values and keys it replaces.
func clone(h *History) *History {
	c := *h
	c.Topics = map[string][]Record{}
	for topic, list := range h.Topics {
		c.Topics[topic] = slices.Clone(list)
	}
	c.Archive = nil
	for _, row := range h.Archive {
		c.Archive = append(c.Archive, maps.Clone(row))
	}
	c.Positions = slices.Clone(h.Positions)
	return &c
}

// find returns the first record of a topic whose value matches.
func find(h *History, topic, pattern string) *Record {
	re := regexp.MustCompile(pattern)
	for i := range h.Topics[topic] {
		if r := &h.Topics[topic][i]; re.Match(r.Value) {
			return r
		}
	}
	panic("no record of " + topic + " matches " + pattern)
}

// edit replaces the first match in a value.
func edit(topic, pattern, replacement string) func(h *History) {
	return func(h *History) {
		re := regexp.MustCompile(pattern)
		r := find(h, topic, pattern)
		at := re.FindSubmatchIndex(r.Value)
		var out []byte
		out = append(out, r.Value[:at[0]]...)
		out = re.Expand(out, []byte(replacement), r.Value, at)
		r.Value = append(out, r.Value[at[1]:]...)
	}
}

func drop(topic, pattern string) func(h *History) {
	return func(h *History) {
		gone := *find(h, topic, pattern)
		h.Topics[topic] = slices.DeleteFunc(h.Topics[topic], func(r Record) bool { return r.Partition == gone.Partition && r.Offset == gone.Offset })
	}
}

func double(topic, pattern string) func(h *History) {
	return func(h *History) {
		r := *find(h, topic, pattern)
		at := slices.IndexFunc(h.Topics[topic], func(o Record) bool { return o.Partition == r.Partition && o.Offset == r.Offset })
		r.Offset++
		h.Topics[topic] = slices.Insert(h.Topics[topic], at+1, r)
	}
}

func on(topic, pattern string, change func(r *Record)) func(h *History) {
	return func(h *History) { change(find(h, topic, pattern)) }
}

func key(r *Record)       { r.Key = append(slices.Clone(r.Key), '?') }
func noHeaders(r *Record) { r.Headers = nil }

func TestEveryInvariantCatchesItsMutation(t *testing.T) {
	caught := map[string]bool{}
	faultless, _ := history(modelled)
	for _, m := range []struct {
		name      string
		mutate    func(h *History)
		invariant string
	}{
		{"a rejection is missing", drop(topicErrors, `"gravite":"rejet".*MONTANT_INVALIDE`), "one rejection per incoherent record"},
		{"a rejection comes twice", double(topicErrors, `"gravite":"rejet".*MONTANT_INVALIDE`), "one rejection per incoherent record"},
		{"a rejection gives another code", edit(topicErrors, `("gravite":"rejet".*)MONTANT_INVALIDE`, `${1}TYPE_INVALIDE`), "rejections list every error"},
		{"a rejection accuses another record", edit(topicErrors, `"offset":\d+`, `"offset":999999`), "refusals name their record"},
		{"a rejection names another order", edit(topicErrors, `("commandeId":)\d+(,"gravite")`, `${1}12$2`), "refusals name their order"},
		{"a rejection changes the value", edit(topicErrors, `"commande":\{`, `"commande":{"z":1,`), "refusals carry the accused value"},
		{"a rejection changes a raw value", edit(topicErrors, `"commande_brute":"..`, `"commande_brute":"AA`), "refusals carry the accused value"},
		{"a rejection leaves out a small value", edit(topicErrors, `"commande":\{.*\},"timestamp"`, `"taille":12,"timestamp"`), "refusals carry the accused value"},
		{"a rejection has another key", on(topicErrors, `rejet`, key), "keys"},
		{"a rejection lost the headers", func(h *History) {
			for i := range h.Topics[topicErrors] {
				noHeaders(&h.Topics[topicErrors][i])
			}
		}, "refusals copy headers"},
		{"a conflict is silent", drop(topicErrors, codeConflict), "one rejection per conflict"},
		{"a conflict is rejected twice", double(topicErrors, codeConflict), "one rejection per conflict"},
		{"a good order is rejected", func(h *History) {
			alert := *find(h, topicErrors, `"gravite":"alerte"`)
			alert.Value = bytes.Replace(alert.Value, []byte("alerte"), []byte("rejet"), 1)
			alert.Offset++
			h.Topics[topicErrors] = append(h.Topics[topicErrors], alert)
		}, "no coherent order is rejected"},
		{"an alert is missing", drop(topicErrors, `"gravite":"alerte"`), "high amounts raise an alert"},
		{"an alert comes twice", double(topicErrors, `"gravite":"alerte"`), "an alert once per code and order"},
		{"an alert about an incoherent order", edit(topicErrors, `"gravite":"rejet"(.*MONTANT_INVALIDE)`, `"gravite":"alerte"$1`), "alerts are about coherent orders"},

		{"a verdict is missing", drop(topicVerdicts, `VALIDE`), "one verdict per order"},
		{"a verdict comes twice", double(topicVerdicts, `VALIDE`), "one verdict per order"},
		{"a verdict about nothing", edit(topicVerdicts, `"commandeId":(\d+|"[^"]*")`, `"commandeId":4`), "verdicts are about orders"},
		{"a verdict with another amount", edit(topicVerdicts, `"montant":[0-9.]+,"devise"`, `"montant":1234.5,"devise"`), "verdicts repeat their order"},
		{"a verdict with another client", edit(topicVerdicts, `"client":"`, `"client":"x`), "verdicts repeat their order"},
		{"a verdict with another product", edit(topicVerdicts, `"id_produit":\d+`, `"id_produit":7777`), "verdicts repeat their order"},
		{"a verdict with another product name", edit(topicVerdicts, `"nom_produit":"P`, `"nom_produit":"Q`), "verdicts repeat their order"},
		{"a verdict with another quantity", edit(topicVerdicts, `"quantite":1\b`, `"quantite":2`), "verdicts repeat their order"},
		{"a verdict with another date", edit(topicVerdicts, `"date_commande":"2`, `"date_commande":"3`), "verdicts repeat their order"},
		{"a verdict with another key", on(topicVerdicts, `VALIDE`, key), "keys"},
		{"a verdict without header", on(topicVerdicts, `VALIDE`, noHeaders), "header comptoir-order"},
		{"a verdict without trace", func(h *History) {
			for i := range h.Topics[topicVerdicts] {
				r := &h.Topics[topicVerdicts][i]
				r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(o orders.Header) bool { return o.Key == "traceparent" })
			}
		}, "header traceparent"},
		{"a verdict reserves a part", edit(topicVerdicts, `("statut":"REFUSE".*)"reserve":false`, `$1"reserve":true`), "all or nothing per order"},
		{"lines of one product fare differently", edit(topicVerdicts, `("lignes":\[\{[^}]*"quantite":1,[^}]*"STOCK_INSUFFISANT"\},\{[^}]*"quantite":2[^}]*),"motif":"STOCK_INSUFFISANT"\}\]`, `$1}]`), "lines of one product count together"},
		{"a refusal without reason", edit(topicVerdicts, `"statut":"REFUSE","motif":"[A-Z_]+"`, `"statut":"REFUSE"`), "refusals give their reason"},
		{"a refusal for want of what is plenty", func(h *History) {
			edit(topicVerdicts, `"motif":"PRODUIT_INCONNU"(.*)"motif":"PRODUIT_INCONNU"`, `"motif":"STOCK_INSUFFISANT"$1"motif":"STOCK_INSUFFISANT"`)(h)
		}, "refusals give their reason"},
		{"two verdicts of a client change places", func(h *History) {
			byKey := map[string]int{}
			for i, r := range h.Topics[topicVerdicts] {
				if j, ok := byKey[string(r.Key)]; ok {
					list := h.Topics[topicVerdicts]
					list[i].Offset, list[j].Offset = list[j].Offset, list[i].Offset
					return
				}
				byKey[string(r.Key)] = i
			}
		}, "verdicts per client in the order of their records"},

		{"a movement is missing", drop(topicMovements, `"mouvement":"SORTIE"`), "movements fit the outcome"},
		{"a movement comes twice", double(topicMovements, `"mouvement":"RESERVATION"`), "stock ledger"},
		{"a movement of another quantity", edit(topicMovements, `"mouvement":"RESERVATION","quantite":-\d+`, `"mouvement":"RESERVATION","quantite":-99`), "one movement per order and product"},
		{"a movement of another order", edit(topicMovements, `"id_commande":(\d+|"[^"]*")`, `"id_commande":4`), "movements belong to a verdict"},
		{"a movement of a refused product", func(h *History) {
			edit(topicVerdicts, `("statut":"REFUSE","motif":")(.*)("reserve":false)\}`, `$1$2$3,"motif":"STOCK_INSUFFISANT"}`)(h)
		}, "movements fit the outcome"},
		{"a level goes negative", edit(topicMovements, `"disponible":\d+`, `"disponible":-1`), "stock is never negative"},
		{"a level does not add up", edit(topicMovements, `("SORTIE".*"disponible":)`, `${1}1`), "stock ledger"},
		{"a supply counts twice", double(topicMovements, `"mouvement":"APPROVISIONNEMENT"`), "a supply counts once"},
		{"a supply is lost", drop(topicMovements, `"mouvement":"APPROVISIONNEMENT"`), "every supply counts"},
		{"a supply from nowhere", edit(topicMovements, `"reference":"`, `"reference":"x`), "supplies come from the topic"},
		{"a supply of another quantity", edit(topicMovements, `"APPROVISIONNEMENT","quantite":`, `"APPROVISIONNEMENT","quantite":1`), "every supply counts"},
		{"an exit from nothing", func(h *History) {
			edit(topicMovements, `"mouvement":"SORTIE"`, `"mouvement":"AUTRE"`)(h)
		}, "supplied = sold + reserved + left"},

		{"a payment is missing", drop(topicAccepted, ``), "one payment per valid order"},
		{"a payment comes twice", double(topicAccepted, ``), "one payment per valid order"},
		{"a payment of another amount", edit(topicAccepted, `"montant":`, `"montant":1`), "amounts are exact"},
		{"a payment of another customer", edit(topicAccepted, `"client":"`, `"client":"x`), "customer is carried along"},
		{"a payment for nothing", edit(topicAccepted, `"id_commande":(\d+|"[^"]*")`, `"id_commande":4`), "events belong to a verdict"},
		{"a payment over the limit", func(h *History) { h.PaymentLimit = 1 }, "payments keep the limit"},
		{"a refusal below the limit", func(h *History) { h.PaymentLimit = 1e12 }, "payments keep the limit"},
		{"a confirmation is missing", drop(topicConfirmed, ``), "one confirmation per paid order"},
		{"a confirmation names another invoice", edit(topicConfirmed, `"FA-2026-0`, `"FA-2026-1`), "confirmation and invoice agree"},
		{"a confirmation with another key", on(topicConfirmed, ``, key), "keys"},

		{"an invoice is missing", drop(topicInvoices, `000002`), "one invoice per paid order"},
		{"an invoice leaves a gap", drop(topicInvoices, `000002`), "invoice numbers without gap or double"},
		{"an invoice comes twice", double(topicInvoices, `000002`), "invoice numbers without gap or double"},
		{"invoices out of order", func(h *History) {
			list := h.Topics[topicInvoices]
			list[0].Value, list[1].Value = list[1].Value, list[0].Value
		}, "invoice numbers in topic order"},
		{"an invoice of another amount", edit(topicInvoices, `"montant":[0-9.]+,"devise"`, `"montant":0.01,"devise"`), "amounts are exact"},
		{"an amount as it is not written", edit(topicInvoices, `"montant":(\d+)\.(\d),`, `"montant":$1.${2}0,`), "events are well-formed"},
		{"a cent of tax is lost", edit(topicInvoices, `"tva":`, `"tva":1`), "tax is exact"},
		{"an invoice without a line", edit(topicInvoices, `"lignes":\[\{`, `"lignes":[{"id_produit":1,"nom_produit":"x","quantite":1,"montant":0},{`), "invoices repeat the order's lines"},
		{"an invoice of yesterday", edit(topicInvoices, `"date":"2026-12-31"`, `"date":"2026-12-30"`), "invoice dates"},
		{"an invoice of the wrong year", edit(topicInvoices, `"date":"2027-`, `"date":"2028-`), "invoice dates"},
		{"an invoice with another timestamp", func(h *History) {
			r := find(h, topicInvoices, ``)
			r.Time = r.Time.Add(time.Millisecond)
		}, "timestamp is the record's"},

		{"a notification is missing", drop(topicNotices, `CONFIRMATION`), "one notification per order"},
		{"a notification comes twice", double(topicNotices, `REFUS_STOCK`), "one notification per order"},
		{"a notification of another kind", edit(topicNotices, `"type":"REFUS_STOCK"`, `"type":"CONFIRMATION"`), "notifications fit the outcome"},
		{"a notification names another invoice", edit(topicNotices, `Facture FA-2026-0`, `Facture FA-2026-1`), "notifications fit the outcome"},

		{"an archived row is missing", func(h *History) { h.Archive = h.Archive[1:] }, "the archive holds every invoice once"},
		{"a row is archived twice", func(h *History) { h.Archive = append(h.Archive, h.Archive[0]) }, "the archive holds every invoice once"},
		{"a row is no invoice", func(h *History) {
			h.Archive = append(h.Archive, map[string]string{"numero": "FA-2026-999999"})
		}, "the archive holds nothing else"},
		{"a cent is archived wrong", func(h *History) { h.Archive[3]["montant"] += "1" }, "archived rows are the invoices"},
		{"a column is empty", func(h *History) { delete(h.Archive[3], "client") }, "archived rows are the invoices"},

		{"a group is behind", func(h *History) { h.Positions[0].Committed-- }, "lag 0"},
		{"a group has not begun", func(h *History) { h.Positions[2].End = 1 }, "lag 0"},
		{"no connector reads the invoices", func(h *History) {
			h.Positions = append(h.Positions[:1:1], Position{"service-notification", topicInvoices, 0, 9, 9})
		}, "lag 0"},
	} {
		t.Run(m.name, func(t *testing.T) {
			h := clone(faultless)
			m.mutate(h)
			report := h.Check()
			if !slices.ContainsFunc(report.Violations, func(v Violation) bool { return v.Invariant == m.invariant }) {
				t.Errorf("not caught as %q; violations: %v", m.invariant, report.Violations)
			}
		})
		caught[m.invariant] = true
	}
	for _, name := range names(t) {
		if !caught[name] {
			t.Errorf("no mutation shows that %q is checked", name)
		}
	}
}

func TestCompareSaysWhatDiffers(t *testing.T) {
	h, w := history(modelled)
	report := h.Check()
	for id, o := range w.Expected {
		report.Outcomes[id] = map[orders.Outcome]orders.Outcome{orders.Invoiced: orders.PaymentRefused}[o]
		delete(w.Expected, "no such order")
		break
	}
	w.Expected["no such order"] = orders.Invoiced
	if got := report.Compare(w); len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), "no such order") {
		t.Errorf("differences: %q", got)
	}
}

func TestParis(t *testing.T) {
	for at, want := range map[string]string{
		"2026-03-29T00:59:59Z": "+01:00", "2026-03-29T01:00:00Z": "+02:00",
		"2026-10-25T00:59:59Z": "+02:00", "2026-10-25T01:00:00Z": "+01:00", "2026-12-31T23:00:00Z": "+01:00",
	} {
		instant, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := paris(instant).Format("-07:00"); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
}

func TestSameValue(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"120.5", "120.50", true}, {"120.5", "120.51", false}, {"", "", true}, {"", "0", false}, {"LUCAS", "LUCAS", true}, {"LUCAS", "lucas", false},
		{`[{"a": 1.0, "b":"x"}]`, `[{"b":"x","a":1}]`, true}, {`{"a":"1"}`, `{"a":1}`, false},
	} {
		if got := sameValue(c.a, c.b); got != c.same {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}

// names are the invariants that the checker's source names.
func names(t *testing.T) []string {
	t.Helper()
	re := regexp.MustCompile(`c\.violation\(\s*"([^"]+)"`)
	found := map[string]bool{}
	for _, source := range sources(t) {
		for _, m := range re.FindAllSubmatch(source, -1) {
			found[string(m[1])] = true
		}
	}
	if len(found) < 30 {
		t.Fatalf("only %d invariants found in the source", len(found))
	}
	return slices.Sorted(maps.Keys(found))
}
