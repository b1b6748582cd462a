package demo

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
)

var epoch = time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)

// replay sends the orders of a board to a pipeline on a clock of its own: one
// order every 30 ms, each record read half a millisecond after it was written.
// It stops after a number of sends, or never if that is negative.
func replay(b *board, f *pipeline, stopAfter int, crossed func(*progress, hop)) {
	f.seen = map[event.ID]bool{}
	offsets := map[string]int64{}
	fold := func(r *kgo.Record, partition int32) {
		r.Partition = partition
		r.Offset = offsets[r.Topic+string(rune('0'+partition))]
		offsets[r.Topic+string(rune('0'+partition))]++
		if p, h := b.fold(r, r.Timestamp.Add(500*time.Microsecond)); p != nil && crossed != nil {
			crossed(p, h)
		}
	}
	for n, i := range b.sends() {
		if n == stopAfter {
			return
		}
		p := b.orders[i]
		at := epoch.Add(time.Duration(n) * pace)
		if p.sentAt.IsZero() {
			p.sentAt = at
		}
		r := &kgo.Record{Topic: event.TopicOrders, Key: []byte(p.key), Value: p.value, Timestamp: at}
		fold(r, int32(i%3))
		answers := f.answer(r)
		slices.SortStableFunc(answers, func(a, b *kgo.Record) int { return strings.Compare(string(a.Key), string(b.Key)) })
		slices.SortStableFunc(answers, func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) })
		for _, a := range answers {
			fold(a, int32(i%3))
		}
	}
}

func TestEveryOrderEndsAsPromised(t *testing.T) {
	b := newBoard("DEMO-T", false)
	if b.over() {
		t.Error("over before it began")
	}
	replay(b, &pipeline{}, -1, nil)
	for _, p := range b.orders {
		if !p.kept() || p.state() != p.want.state {
			t.Errorf("%s is %s: %s", p.id, p.state(), shortfall(p))
		}
	}
	if !b.over() {
		t.Error("not over")
	}
	if n := len(b.invoices()); n != 11 {
		t.Errorf("%d invoices, want 11", n)
	}
}

func TestBrokenPromisesAreSeen(t *testing.T) {
	type spoil = func(event.ID, []*kgo.Record) []*kgo.Record
	// on applies a change to the answers to one order.
	on := func(suffix string, change func([]*kgo.Record) []*kgo.Record) spoil {
		return func(id event.ID, answers []*kgo.Record) []*kgo.Record {
			if strings.HasSuffix(string(id), suffix) {
				return change(answers)
			}
			return answers
		}
	}
	replace := func(from, to string) func([]*kgo.Record) []*kgo.Record {
		return func(answers []*kgo.Record) []*kgo.Record {
			for _, r := range answers {
				r.Value = []byte(strings.ReplaceAll(string(r.Value), from, to))
			}
			return answers
		}
	}
	tests := []struct {
		name  string
		spoil spoil
		order string // suffix of the order that suffers
		over  bool   // it is hopeless, so that nothing is waited for
		says  string // part of the shortfall
	}{
		{"no notification", without("-01", event.TopicNotifications), "-01", false, "promised confirmed: no notification CONFIRMATION in notifications.clients"},
		{"no confirmation of the order", without("-01", event.TopicConfirmations), "-01", false, "no confirmation of the order in commande-validee"},
		{"nothing at all", without("-02", watched...), "-02", false, "no verdict VALIDE in stock.verifie, no payment in paiement-accepte, no invoice in factures.ecommerce"},
		{"two invoices", doubled("-02", event.TopicInvoices), "-02", true, "2 times invoice in factures.ecommerce"},
		{"two notifications of a refusal", doubled("-08", event.TopicNotifications), "-08", true, "2 times notification REFUS_STOCK"},
		{"rejection missing", without("-10", event.TopicErrors), "-10", false, "no rejection in commandes.erreurs"},
		{"alert missing", without("-09", event.TopicErrors), "-09", false, "no alert MONTANT_ELEVE in commandes.erreurs"},
		{"alert doubled", doubled("-09", event.TopicErrors), "-09", true, "a second alert MONTANT_ELEVE"},
		{"another reason for stock", on("-12", replace(`"motif":"PRODUIT_INCONNU"`, `"motif":"STOCK_INSUFFISANT"`)), "-12", true, "refused as STOCK_INSUFFISANT"},
		{"another reason for payment", on("-11", replace("PLAFOND_DEPASSE", "REFUS_PRESTATAIRE")), "-11", true, "refused as REFUS_PRESTATAIRE"},
		{"another reason for rejection", on("-05", replace("MONTANT_INVALIDE", "TYPE_INVALIDE")), "-05", true, "refused as TYPE_INVALIDE"},
		{"refused in place of confirmed", on("-04", replace(`"statut":"VALIDE"`, `"statut":"REFUSE","motif":"STOCK_INSUFFISANT"`)), "-04", true, "verdict REFUSE in stock.verifie"},
		{"unreadable", on("-06", replace(`"numero":`, `"nombre":`)), "-06", true, "unreadable record factures.ecommerce"},
		{"unknown notification", on("-06", replace(`"type":"CONFIRMATION"`, `"type":"PUBLICITE"`)), "-06", true, `type "PUBLICITE" is unknown`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBoard("DEMO-T", false)
			replay(b, &pipeline{spoil: tt.spoil}, -1, nil)
			for _, p := range b.orders {
				text := shortfall(p)
				if !strings.HasSuffix(string(p.id), tt.order) {
					if text != "" {
						t.Errorf("%s: %s", p.id, text)
					}
					continue
				}
				if p.kept() || p.over() != tt.over || !strings.Contains(text, tt.says) {
					t.Errorf("kept %v, over %v, %q; want over %v, %q", p.kept(), p.over(), text, tt.over, tt.says)
				}
			}
			if b.over() != tt.over {
				t.Errorf("the board is over: %v", b.over())
			}
		})
	}
}

// TestOthersRecordsAreLeftAlone: the topics belong to everybody.
func TestOthersRecordsAreLeftAlone(t *testing.T) {
	b := newBoard("DEMO-T", false)
	for _, topic := range append(slices.Clone(watched), "another.topic") {
		for _, value := range []string{"", "not JSON", `{}`, `{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`} {
			if p, _ := b.fold(&kgo.Record{Topic: topic, Value: []byte(value)}, epoch); p != nil {
				t.Errorf("%s %q taken for %s", topic, value, p.id)
			}
		}
	}
	// A whole other run.
	replay(newBoard("DEMO-U", false), &pipeline{spoil: func(_ event.ID, answers []*kgo.Record) []*kgo.Record {
		for _, r := range answers {
			if p, _ := b.fold(r, epoch); p != nil {
				t.Errorf("%s of another run taken for %s", r.Value, p.id)
			}
		}
		return answers
	}}, -1, nil)
	for _, p := range b.orders {
		if len(p.hops) > 0 || len(p.broken) > 0 {
			t.Errorf("%s: %v %v", p.id, p.hops, p.broken)
		}
	}
}

func TestStateOnTheWay(t *testing.T) {
	b := newBoard("DEMO-T", false)
	var states []State
	p := b.orders[0]
	replay(b, &pipeline{}, 1, func(p *progress, _ hop) {
		if s := p.state(); len(states) == 0 || states[len(states)-1] != s {
			states = append(states, s)
		}
	})
	want := []State{"received", "reserved", "paid", "invoiced", Confirmed}
	if !slices.Equal(states, want) {
		t.Errorf("states %q, want %q", states, want)
	}
	if d, ok := p.latency(); !ok || d != 6500*time.Microsecond {
		t.Errorf("latency %v, %v", d, ok)
	}
	if s := b.orders[1].state(); s != "" {
		t.Errorf("an order not yet sent is %q", s)
	}
}

func TestPercentile(t *testing.T) {
	var sorted []time.Duration
	for i := range 20 {
		sorted = append(sorted, time.Duration(i+1))
	}
	for percent, want := range map[int]time.Duration{1: 1, 50: 10, 95: 19, 96: 20, 100: 20} {
		if got := percentile(sorted, percent); got != want {
			t.Errorf("p%d is %d, want %d", percent, got, want)
		}
		if got := percentile(sorted[:1], percent); got != 1 {
			t.Errorf("p%d of one is %d", percent, got)
		}
	}
}
