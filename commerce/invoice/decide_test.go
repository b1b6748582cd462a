package invoice

import (
	"errors"
	"iter"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

func TestNet(t *testing.T) {
	for _, c := range []struct {
		total event.Amount
		rate  event.Percent
		want  event.Amount
	}{
		{120_50, 20_00, 100_42}, // 100.4166…
		{120_00, 20_00, 100_00},
		{1, 20_00, 1}, // 0.0083… is a cent
		{0, 20_00, 0},
		{3, 20_00, 3},     // 2.5 cents: half goes up
		{3, 100_00, 2},    // 1.5
		{99_99, 0, 99_99}, // no tax
		{105_50, 5_50, 100_00},
		{event.MaxAmount, 0, event.MaxAmount},
	} {
		if got := netOf(c.total, c.rate); got != c.want {
			t.Errorf("netOf(%v, %v) = %v, want %v", c.total, c.rate, got, c.want)
		}
	}
	// Against the definition, floor(2x+1)/2, in big numbers.
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		total, rate := rnd.Int64N(math.MaxInt64), rnd.Int64N(100_00)
		if rnd.IntN(2) == 0 {
			total %= 1_000_000
		}
		num := new(big.Int).Mul(big.NewInt(total), big.NewInt(2*100_00))
		num.Add(num, big.NewInt(100_00+rate))
		num.Div(num, big.NewInt(2*(100_00+rate)))
		if got := netOf(event.Amount(total), event.Percent(rate)); int64(got) != num.Int64() {
			t.Fatalf("netOf(%d, %d) = %d, want %v", total, rate, got, num)
		}
	}
}

func TestJoin(t *testing.T) {
	one := &bill{amount: 1}
	at := time.UnixMilli(1)
	for _, c := range []struct {
		name   string
		st     state
		known  bool
		p      part
		next   state
		issues *bill
		ok     bool
	}{
		{"verdict first", state{}, false, part{one}, state{bill: one}, nil, true},
		{"payment first", state{}, false, part{}, state{}, nil, true},
		{"payment second", state{at: at, bill: one}, true, part{}, state{issued: true}, one, true},
		{"verdict second", state{at: at}, true, part{one}, state{issued: true}, one, true},
		{"verdict twice", state{at: at, bill: one}, true, part{&bill{amount: 2}}, state{at: at, bill: one}, nil, false},
		{"payment twice", state{at: at}, true, part{}, state{at: at}, nil, false},
		{"verdict after the invoice", state{at: at, issued: true}, true, part{one}, state{at: at, issued: true}, nil, false},
		{"payment after the invoice", state{at: at, issued: true}, true, part{}, state{at: at, issued: true}, nil, false},
	} {
		next, issues, ok := c.st.join(c.known, c.p)
		if !reflect.DeepEqual(next, c.next) || issues != c.issues || ok != c.ok {
			t.Errorf("%s: %+v %v %v", c.name, next, issues, ok)
		}
	}
}

func TestCounter(t *testing.T) {
	paris := defaultZone
	utc := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at.In(paris)
	}
	for _, c := range []struct {
		name string
		last Counter
		now  string
		want Counter
	}{
		{"first of all", Counter{}, "2026-11-20T10:00:00Z", Counter{2026, 1, "2026-11-20"}},
		{"the next", Counter{2026, 1, "2026-11-20"}, "2026-11-20T10:00:01Z", Counter{2026, 2, "2026-11-20"}},
		{"another day", Counter{2026, 2, "2026-11-20"}, "2026-11-21T10:00:01Z", Counter{2026, 3, "2026-11-21"}},
		{"midnight in Paris", Counter{2026, 3, "2026-11-21"}, "2026-11-21T23:00:00Z", Counter{2026, 4, "2026-11-22"}},
		{"just before midnight in Paris", Counter{2026, 3, "2026-11-21"}, "2026-11-21T22:59:59Z", Counter{2026, 4, "2026-11-21"}},
		{"summer time", Counter{2026, 3, "2026-07-01"}, "2026-07-01T22:00:00Z", Counter{2026, 4, "2026-07-02"}},
		{"new year in Paris", Counter{2026, 44, "2026-12-31"}, "2026-12-31T23:00:00Z", Counter{2027, 1, "2027-01-01"}},
		{"clock steps back a day", Counter{2026, 4, "2026-11-22"}, "2026-11-21T10:00:00Z", Counter{2026, 5, "2026-11-22"}},
		{"clock steps back into the old year", Counter{2027, 1, "2027-01-01"}, "2026-12-31T10:00:00Z", Counter{2027, 2, "2027-01-01"}},
		{"more than six digits", Counter{2026, 999_999, "2026-11-22"}, "2026-11-22T10:00:00Z", Counter{2026, 1_000_000, "2026-11-22"}},
	} {
		if got := c.last.next(utc(c.now)); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an invoice of the year 10000")
		}
	}()
	Counter{}.next(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC))
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		text       string
		of, series int
		c          Counter
	}{
		{"FA-2026-000001", 1, 1, Counter{Year: 2026, Number: 1}},
		{"FA-2026-1000000", 1, 1, Counter{Year: 2026, Number: 1_000_000}},
		{"FA-2026-3-000012", 4, 3, Counter{Year: 2026, Number: 12}},
		{"FA-2026-12-000012", 12, 12, Counter{Year: 2026, Number: 12}},
	} {
		if got := c.c.number(c.series, c.of); got != c.text {
			t.Errorf("%s, want %s", got, c.text)
		}
		if s, got, ok := parseNumber(c.text, c.of); !ok || s != c.series || got != c.c {
			t.Errorf("%s read as %d %+v %v", c.text, s, got, ok)
		}
	}
	for _, c := range []struct {
		text string
		of   int
	}{
		{"", 1}, {"FA-2026-0001", 1}, {"FA-2026-0000001", 1}, {"FA-2026-000000", 1}, {"FA-26-000001", 1}, {"FA-2026-1-000001", 1},
		{"AV-2026-000001", 1}, {"FA-2026-00000x", 1}, {"FA-2026--00001", 1}, {"FA-2026-+00001", 1}, {"FA-2026-9999999999999999999", 1},
		{"FA-2026-000001", 2}, {"FA-2026-3-000001", 2}, {"FA-2026-0-000001", 2}, {"FA-2026-01-000001", 2},
	} {
		if s, got, ok := parseNumber(c.text, c.of); ok {
			t.Errorf("%q of %d read as %d %+v", c.text, c.of, s, got)
		}
	}
}

func TestLast(t *testing.T) {
	inv := func(number, date string) event.Invoice {
		return event.Invoice{Number: number, Type: event.InvoiceTypeInvoice, Date: date}
	}
	credit := event.Invoice{Number: "AV-2026-000009", Type: "AVOIR", Date: "2030-01-01"}
	all := func(list ...event.Invoice) iter.Seq2[event.Invoice, error] {
		return func(yield func(event.Invoice, error) bool) {
			for _, i := range list {
				if !yield(i, nil) {
					return
				}
			}
		}
	}
	failing := func(yield func(event.Invoice, error) bool) { yield(event.Invoice{}, errors.New("the broker is down")) }
	for _, c := range []struct {
		name   string
		in     iter.Seq2[event.Invoice, error]
		series int
		want   Counters
		err    string
	}{
		{"nothing", all(), 1, Counters{}, ""},
		{"credit notes alone", all(credit), 1, Counters{}, ""},
		{"out of order", all(inv("FA-2026-000002", "2026-11-20"), inv("FA-2026-000010", "2026-11-21"), credit, inv("FA-2026-000009", "2026-11-21")), 1,
			Counters{1: {2026, 10, "2026-11-21"}}, ""},
		{"two years", all(inv("FA-2027-000001", "2027-01-01"), inv("FA-2026-000999", "2026-12-31")), 1, Counters{1: {2027, 1, "2027-01-01"}}, ""},
		{"two series", all(inv("FA-2026-1-000002", "2026-11-20"), inv("FA-2026-3-000007", "2026-11-21")), 3,
			Counters{1: {2026, 2, "2026-11-20"}, 3: {2026, 7, "2026-11-21"}}, ""},
		{"another numbering", all(inv("FA-2026-1-000002", "2026-11-20")), 1, nil, "facturation.series"},
		{"no date", all(inv("FA-2026-000002", "yesterday")), 1, nil, "yesterday"},
		{"unreadable", failing, 1, nil, "broker"},
	} {
		got, err := Last(c.in, c.series)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v", c.name, err)
			}
		} else if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v %v", c.name, got, err)
		}
	}
}
