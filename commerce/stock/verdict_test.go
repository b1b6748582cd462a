package stock

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

func TestPartsOf(t *testing.T) {
	lines := []event.Line{{Product: "a", Quantity: 1}, {Product: "b", Quantity: 2}, {Product: "a", Quantity: 4}}
	parts, of := partsOf(lines)
	if want := []part{{"a", 5}, {"b", 2}}; !slices.Equal(parts, want) || !slices.Equal(of, []int{0, 1, 0}) {
		t.Errorf("%v %v", parts, of)
	}

	// The way of long orders gives the same as that of short ones.
	lines = nil
	for i := range event.MaxLines {
		lines = append(lines, event.Line{Product: event.ID(fmt.Sprint(i * 7 % 60)), Quantity: event.MaxQuantity})
	}
	parts, of = partsOf(lines)
	if len(parts) != 60 || len(of) != len(lines) {
		t.Fatalf("%d parts, %d lines", len(parts), len(of))
	}
	sum := make([]int64, len(parts))
	for i, l := range lines {
		if parts[of[i]].Product != l.Product {
			t.Fatalf("line %d of product %s belongs to the part of %s", i, l.Product, parts[of[i]].Product)
		}
		sum[of[i]] += l.Quantity
	}
	for i, p := range parts {
		if p.Quantity != sum[i] || p.Quantity > maxPart {
			t.Errorf("part %v, want %d", p, sum[i])
		}
	}
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	order := event.Order{
		ID: "991", Customer: event.Customer{Name: "LUCAS", ID: "CLI-991", Email: "l@x.fr"}, Amount: 700, Currency: "EUR", OrderedAt: "hier",
		Lines: []event.Line{
			{Product: "a", Quantity: 1, Price: 100, HasPrice: true, Amount: 100},
			{Product: "b", Name: "Bé", Quantity: 2, Price: 100, HasPrice: true, Amount: 200},
			{Product: "a", Quantity: 4, Price: 100, HasPrice: true, Amount: 400},
		},
	}
	parts, of := partsOf(order.Lines)
	line := func(i int, name string, reserved bool, reason string) event.VerdictLine {
		l := order.Lines[i]
		return event.VerdictLine{Product: l.Product, Name: name, Quantity: l.Quantity, Amount: l.Amount, Price: l.Price, HasPrice: true, Reserved: reserved, Reason: reason}
	}
	const short, unknown = event.ReasonOutOfStock, event.ReasonUnknownProduct
	for _, c := range []struct {
		name     string
		outcomes []outcome // as they arrived
		status   string
		reason   string
		lines    []event.VerdictLine
		releases []part
	}{
		{
			"all reserved", []outcome{{answerReserved, 1, "Bob"}, {answerReserved, 0, "Al"}},
			event.StatusValid, "",
			[]event.VerdictLine{line(0, "Al", true, ""), line(1, "Bob", true, ""), line(2, "Al", true, "")}, nil,
		},
		{
			"one short", []outcome{{answerShort, 0, ""}, {answerReserved, 1, ""}},
			event.StatusRefused, short,
			[]event.VerdictLine{line(0, "a", false, short), line(1, "Bé", false, ""), line(2, "a", false, short)}, []part{parts[1]},
		},
		{
			"one unknown", []outcome{{answerReserved, 0, "Al"}, {answerUnknown, 1, ""}},
			event.StatusRefused, unknown,
			[]event.VerdictLine{line(0, "Al", false, ""), line(1, "Bé", false, unknown), line(2, "Al", false, "")}, []part{parts[0]},
		},
		{
			"unknown outranks short", []outcome{{answerShort, 1, "Bob"}, {answerUnknown, 0, ""}},
			event.StatusRefused, unknown,
			[]event.VerdictLine{line(0, "a", false, unknown), line(1, "Bob", false, short), line(2, "a", false, unknown)}, nil,
		},
		{
			"whichever comes first", []outcome{{answerUnknown, 1, ""}, {answerShort, 0, ""}},
			event.StatusRefused, unknown,
			[]event.VerdictLine{line(0, "a", false, short), line(1, "Bé", false, unknown), line(2, "a", false, short)}, nil,
		},
	} {
		v, releases := judge(&order, parts, of, c.outcomes, now)
		want := event.Verdict{
			Order: "991", Status: c.status, Reason: c.reason, Customer: order.Customer, Amount: 700, Currency: "EUR",
			Lines: c.lines, OrderedAt: "hier", At: now,
		}
		if !reflect.DeepEqual(v, want) || !slices.Equal(releases, c.releases) {
			t.Errorf("%s:\n got %+v, releases %v\nwant %+v, releases %v", c.name, v, releases, want, c.releases)
		}
	}
}

func TestNames(t *testing.T) {
	n := newNames()
	put := func(id event.ID, name string) { n.apply(id, &event.Product{ID: id, Name: name}) }
	put("1001", "PC Gamer")
	put("1002", "Été")
	put("7", " pc gamer ")
	put("lampe", "Table")
	put("9", "lampe")
	expect := func(text string, want event.ID) {
		t.Helper()
		if got := n.resolve(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	expect("1001", "1001")
	expect("PC Gamer", "1001") // "1001" is smaller than "7", byte by byte
	expect("\tpc GAMER ", "1001")
	expect("ÉTÉ", "1002")
	expect("lampe", "lampe") // an id before a name
	expect("Lampe", "9")
	expect("inconnu", "inconnu")
	expect(" 1001 ", " 1001 ")
	put("1001", "Tour")
	expect("pc gamer", "7")
	expect("tour", "1001")
	put("1001", "TOUR")
	expect("tour", "1001")
	n.apply("7", nil)
	n.apply("7", nil)
	expect("pc gamer", "pc gamer")
	n.apply("1001", nil)
	expect("1001", "1001")
	expect("tour", "tour")
	if len(n.of) != 3 || len(n.by) != 3 {
		t.Errorf("%d products and %d names are left, want 3 and 3", len(n.of), len(n.by))
	}
}
