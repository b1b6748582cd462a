package demo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

func TestCatalogue(t *testing.T) {
	products := Catalogue()
	if len(products) != 20 {
		t.Errorf("%d products, want 20", len(products))
	}
	ids, names := map[event.ID]Product{}, map[string]bool{}
	for _, p := range products {
		if b := p.ID.AppendJSON(nil); !p.ID.Valid() || b[0] == '"' {
			t.Errorf("%s is not written as a number", p.ID)
		}
		if !event.ValidName(p.Name) || names[strings.ToLower(p.Name)] || ids[p.ID].Name != "" {
			t.Errorf("%s %q: name invalid, or id or name taken", p.ID, p.Name)
		}
		if p.Price <= 0 || p.Quantity != 1000 {
			t.Errorf("%s: %d pieces at %s", p.Name, p.Quantity, p.Price)
		}
		ids[p.ID], names[strings.ToLower(p.Name)] = p, true
	}
	// What the contract names.
	for _, want := range []Product{{"1597", "T-shirt en coton bio", 2999, 1000}, {"1001", "PC Gamer", 12050, 1000}} {
		if ids[want.ID] != want {
			t.Errorf("product %s is %v, want %v", want.ID, ids[want.ID], want)
		}
	}
}

// TestScriptKeepsItsWord judges the script by the one function that says what
// is incoherent, and by the catalogue.
func TestScriptKeepsItsWord(t *testing.T) {
	for _, api := range []bool{false, true} {
		t.Run(fmt.Sprintf("api=%v", api), func(t *testing.T) { keepsItsWord(t, script("DEMO-T", api), api) })
	}
}

func keepsItsWord(t *testing.T, orders []order, api bool) {
	if len(orders) != 20 {
		t.Errorf("%d orders, want 20", len(orders))
	}
	ended, twice, byHTTP := map[State]int{}, 0, 0
	ways := map[string]bool{}
	sold := map[event.ID]int64{}
	for _, o := range orders {
		ended[o.want.state]++
		if o.twice {
			twice++
		}
		key := []byte(o.key)
		if o.http {
			byHTTP++
			key = nil // a request has none
			if o.twice || o.want.state == Rejected {
				t.Errorf("%s goes by HTTP: it would not be accepted as new", o.id)
			}
		}
		if other, ok := ways[o.key]; ok && other != o.http {
			t.Errorf("the orders of %s go two ways, in no order", o.key)
		}
		ways[o.key] = o.http
		got, problems, _ := event.ParseOrder(key, o.value, time.Now())
		if o.want.state == Rejected {
			if len(problems) != 1 || problems[0].Code != o.want.reason {
				t.Errorf("%s (%s): problems %v, want %s alone", o.id, o.shows, problems, o.want.reason)
			}
			continue
		}
		if len(problems) > 0 {
			t.Errorf("%s (%s): %v", o.id, o.shows, problems)
			continue
		}
		if got.ID != o.id || got.Customer.Name != o.client || got.Amount.String() != o.amount || got.Customer.ID != event.ID(o.key) {
			t.Errorf("%s is shown as %s, %s; it says %s, %s, %s", o.id, o.client, o.amount, got.ID, got.Customer.Name, got.Amount)
		}
		if flagged := slices.Contains(o.want.alerts, event.CodeHighAmount); flagged != (got.Amount > 5000_00) {
			t.Errorf("%s: %s, alert promised: %v", o.id, got.Amount, flagged)
		}
		state, reason := Confirmed, ""
		if got.Amount > 10_000_00 {
			state, reason = PaymentRefused, event.ReasonOverLimit
		}
		for _, l := range got.Lines {
			p, known := find(l.Product, got.Product)
			switch {
			case !known:
				state, reason = StockRefused, event.ReasonUnknownProduct
			case l.Quantity > 10*p.Quantity:
				state, reason = StockRefused, event.ReasonOutOfStock
			case l.Price != p.Price:
				t.Errorf("%s buys %s at %s, the catalogue says %s: that would be PRIX_INATTENDU", o.id, p.Name, l.Price, p.Price)
			case o.want.state == Confirmed:
				sold[p.ID] += l.Quantity
			}
		}
		if state != o.want.state || reason != o.want.reason {
			t.Errorf("%s will end as %s %s, promised is %s %s", o.id, state, reason, o.want.state, o.want.reason)
		}
	}
	if want := map[bool]int{true: len(orders) / 2}[api]; byHTTP != want {
		t.Errorf("%d orders go by HTTP, want %d", byHTTP, want)
	}
	if twice != 1 {
		t.Errorf("%d orders are sent twice, want 1", twice)
	}
	if ended[Confirmed] <= 10 || ended[StockRefused] < 2 || ended[PaymentRefused] < 2 || ended[Rejected] < 2 {
		t.Errorf("endings %v: most should go through, some of each other kind", ended)
	}
	for id, n := range sold {
		if n > 5 {
			t.Errorf("a run sells %d of %s: too soon sold out", n, id)
		}
	}
	if o := orders[followed]; o.want.state != Confirmed {
		t.Errorf("the timeline is that of %s, which does not go through", o.id)
	}
}

func TestSeries(t *testing.T) {
	now := time.UnixMilli(1_795_167_000_123)
	a, b := series(now), series(now.Add(time.Millisecond))
	if a == b || !strings.HasPrefix(a, "DEMO-") {
		t.Errorf("two runs are called %s and %s", a, b)
	}
	seen := map[event.ID]bool{}
	for _, o := range append(script(a, false), script(b, false)...) {
		if seen[o.id] || !o.id.Valid() {
			t.Errorf("id %s is invalid or taken", o.id)
		}
		seen[o.id] = true
		if !strings.Contains(string(o.value), string(o.id)) || strings.Contains(string(o.value), "{id}") {
			t.Errorf("%s does not say its id", o.value)
		}
		if o.want.reason != event.CodeInvalidJSON && !json.Valid(o.value) {
			t.Errorf("%s is not JSON", o.value)
		}
	}
}

func TestOrders(t *testing.T) {
	a := Orders(7, 45)
	if len(a) != 45 || len(Orders(7, 1)) != 1 {
		t.Fatalf("%d orders, want 45", len(a))
	}
	ids := map[event.ID]bool{}
	refused := 0
	for _, o := range append(a, Orders(8, 45)...) {
		if ids[o.ID] {
			t.Errorf("id %s is taken", o.ID)
		}
		ids[o.ID] = true
		got, problems, _ := event.ParseOrder(nil, o.Value, time.Now())
		if coherent := len(problems) == 0; coherent != o.Coherent {
			t.Errorf("%s is coherent: %v, said is %v", o.Value, coherent, o.Coherent)
		}
		if !o.Coherent {
			refused++
		} else if got.ID != o.ID || !strings.HasPrefix(string(got.Customer.ID), "CLI-") {
			t.Errorf("%s is read as order %s of client %s", o.Value, got.ID, got.Customer.ID)
		}
	}
	if refused != 2*9 {
		t.Errorf("%d are incoherent, want 4 of 20", refused)
	}
	for i, o := range Orders(7, 20) {
		if o.ID != a[i].ID || !slices.Equal(o.Value, a[i].Value) {
			t.Errorf("the same seed gives %s and %s", a[i].Value, o.Value)
		}
	}
}
