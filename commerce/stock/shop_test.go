package stock

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

// shop is the whole stage under a test driver.
type shop struct {
	*streamstest.Driver
	books
	supplies int
	events   int
}

func newShop(t testing.TB, opts ...streamstest.Option) *shop {
	t.Helper()
	d := streamstest.New(t, App, func(b *streams.Builder) { Build(b, Config{}) }, opts...)
	return &shop{Driver: d, books: newBooks(t)}
}

// catalogue lists a product.
func (s *shop) catalogue(id event.ID, name string) {
	s.t.Helper()
	s.Pipe(event.TopicProducts, string(id), string(event.Product{ID: id, Name: name}.AppendJSON(nil)))
}

// supply brings n pieces of a product, under a new supply id.
func (s *shop) supply(id event.ID, n int64) {
	s.t.Helper()
	s.supplies++
	s.supplyAs(event.ID(fmt.Sprintf("s%d", s.supplies)), id, n)
}

func (s *shop) supplyAs(supply, id event.ID, n int64) {
	s.t.Helper()
	s.Pipe(event.TopicSupplies, string(id), string(event.Supply{ID: supply, Product: id, Quantity: n}.AppendJSON(nil)))
}

func (s *shop) order(key, value string) { s.t.Helper(); s.Pipe(event.TopicOrders, key, value) }

var someone = event.Customer{Name: "LUCAS", ID: "CLI-991"}

// refusePayment reports that an order's payment was refused. The record's key
// is of no account.
func (s *shop) refusePayment(order event.ID) {
	s.t.Helper()
	s.events++
	v := event.PaymentRefused{Order: order, Customer: someone, Amount: 1, Currency: "EUR", Reason: event.ReasonOverLimit, At: s.Now()}
	s.Pipe(event.TopicRefused, fmt.Sprint(s.events), string(v.AppendJSON(nil)))
}

func (s *shop) confirm(order event.ID) {
	s.t.Helper()
	s.events++
	v := event.Confirmed{Order: order, Customer: someone, Amount: 1, Currency: "EUR", Invoice: "FA-2026-000001", At: s.Now()}
	s.Pipe(event.TopicConfirmations, fmt.Sprint(s.events), string(v.AppendJSON(nil)))
}

// read takes in what was written since the last time and returns it in short.
func (s *shop) read() (verdicts, movements []string) {
	s.t.Helper()
	for _, err := range s.Dropped() {
		s.t.Errorf("dropped: %v", err)
	}
	for _, r := range s.Read(event.TopicMovements) {
		m := s.movement(r)
		movements = append(movements, fmt.Sprintf("%s %s %d → %d+%d %s%s", m.Product, m.Kind, m.Quantity, m.Available, m.Reserved, m.Order, m.Reference))
	}
	for _, r := range s.Read(event.TopicVerdicts) {
		verdicts = append(verdicts, short(s.verdict(r)))
	}
	for _, r := range s.Read(event.TopicErrors) {
		e := s.conflict(r)
		verdicts = append(verdicts, fmt.Sprintf("%s %s", e.Order, e.Problems[0].Code))
	}
	return verdicts, movements
}

func short(v event.Verdict) string {
	s := fmt.Sprintf("%s %s", v.Order, v.Status)
	if v.Reason != "" {
		s += " " + v.Reason
	}
	return s
}

// expect compares what was written since the last time.
func (s *shop) expect(verdicts, movements []string) {
	s.t.Helper()
	v, m := s.read()
	if fmt.Sprint(v) != fmt.Sprint(verdicts) {
		s.t.Errorf("verdicts %q, want %q", v, verdicts)
	}
	if fmt.Sprint(m) != fmt.Sprint(movements) {
		s.t.Errorf("movements %q, want %q", m, movements)
	}
}

// counted checks how often an outcome was counted so far.
func (s *shop) counted(outcome string, want int) {
	s.t.Helper()
	if got := s.Counted(outcome); got != want {
		s.t.Errorf("%s was counted %d times, want %d", outcome, got, want)
	}
}

// lines is an order of several lines: product, quantity and price by turns.
func lines(id, client string, parts ...any) string {
	var b bytes.Buffer
	total := 0
	fmt.Fprintf(&b, `{"commandeId":%q,"client":%q,"lignes":[`, id, client)
	for i := 0; i < len(parts); i += 3 {
		if i > 0 {
			b.WriteByte(',')
		}
		n, price := parts[i+1].(int), parts[i+2].(int)
		total += n * price
		fmt.Fprintf(&b, `{"id_produit":%q,"quantite":%d,"prix":%d}`, parts[i], n, price)
	}
	fmt.Fprintf(&b, `],"montant":%d}`, total)
	return b.String()
}
