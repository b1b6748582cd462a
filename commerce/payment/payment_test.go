package payment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

func verdict(id event.ID, client string, amount event.Amount) event.Verdict {
	return event.Verdict{
		Order: id, Status: event.StatusValid, Customer: event.Customer{Name: "LUCAS", ID: event.ID(client)},
		Amount: amount, Currency: "EUR", OrderedAt: "2026-11-20T09:00:00Z", At: streamstest.Start,
		Lines: []event.VerdictLine{{Product: "1001", Name: "PC Gamer", Quantity: 1, Amount: amount, Reserved: true}},
	}
}

func pipe(d *streamstest.Driver, v event.Verdict, headers ...streams.Header) {
	d.PipeRaw(streams.RawRecord{Topic: event.TopicVerdicts, Partition: -1, Key: []byte(v.Customer.ID), Value: v.AppendJSON(nil), Headers: headers})
}

func TestSimulator(t *testing.T) {
	d := streamstest.New(t, App, func(b *streams.Builder) { Build(b, Config{}) })
	trace := streams.Header{Key: "traceparent", Value: []byte("00-ab-cd-01")}
	v := verdict("991", "CLI-991", 120_50)
	v.Customer.Email = "lucas@example.org"
	pipe(d, v, streams.Header{Key: "comptoir-order", Value: []byte("991")}, trace, streams.Header{Key: "x", Value: []byte("y")})

	got := d.Read(event.TopicAccepted)
	want := `{"id_commande":991,"client":"LUCAS","clientId":"CLI-991","email":"lucas@example.org","montant":120.5,"devise":"EUR","moyen":"SIMULATION","reference":"SIM-991","timestamp":"2026-11-20T10:00:00.000Z"}`
	if len(got) != 1 || string(got[0].Value) != want || string(got[0].Key) != "991" || !got[0].Time.Equal(d.Now()) {
		t.Fatalf("%+v", got)
	}
	if h := fmt.Sprintf("%s", got[0].Headers); h != "[{comptoir-order 991} {traceparent 00-ab-cd-01}]" {
		t.Errorf("headers %s", h)
	}

	pipe(d, v) // again
	d.Restart()
	pipe(d, v)
	if n := d.Counted("duplicate"); n != 2 || len(d.Read(event.TopicAccepted)) != 0 {
		t.Errorf("%d duplicates counted, and a second payment", n)
	}

	pipe(d, verdict("992", "CLI-991", 10_000_01))
	want = `{"id_commande":992,"client":"LUCAS","clientId":"CLI-991","montant":10000.01,"devise":"EUR","motif":"PLAFOND_DEPASSE","timestamp":"2026-11-20T10:00:00.000Z"}`
	if got := d.Values(event.TopicRefused); !slices.Equal(got, []string{want}) {
		t.Errorf("%q", got)
	}
	refused := verdict("993", "CLI-991", 1)
	refused.Status, refused.Reason = event.StatusRefused, event.ReasonOutOfStock
	pipe(d, refused)
	if len(d.Read(event.TopicAccepted))+len(d.Read(event.TopicRefused)) != 0 || d.Counted("ok") != 2 {
		t.Error("a refused order is paid")
	}

	d.Advance(401 * 24 * time.Hour) // forgotten
	pipe(d, v)
	if len(d.Read(event.TopicAccepted)) != 1 {
		t.Error("identity does not expire")
	}
}

// books is a provider in memory: it captures by idempotency key, as a real one.
type books struct {
	mu       sync.Mutex
	captured map[event.ID]int
	pays     map[event.ID]int
	asks     map[event.ID]int
	lose     func(order event.ID, pay bool, n int) error // may lose an answer, after the fact
}

func (p *books) Pay(_ context.Context, r Request) (Outcome, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.captured == nil {
		p.captured, p.pays, p.asks = map[event.ID]int{}, map[event.ID]int{}, map[event.ID]int{}
	}
	p.pays[r.Order]++
	p.captured[r.Order] = 1
	return p.answer(r.Order, true, p.pays[r.Order])
}

func (p *books) Ask(_ context.Context, order event.ID) (Outcome, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.captured == nil {
		p.captured, p.pays, p.asks = map[event.ID]int{}, map[event.ID]int{}, map[event.ID]int{}
	}
	p.asks[order]++
	if p.captured[order] == 0 {
		return Outcome{}, fmt.Errorf("ask: %w", ErrNoPayment)
	}
	return p.answer(order, false, p.asks[order])
}

func (p *books) answer(order event.ID, pay bool, n int) (Outcome, error) {
	if p.lose != nil {
		if err := p.lose(order, pay, n); err != nil {
			return Outcome{}, err
		}
	}
	if order == "13" {
		return Outcome{Reason: event.ReasonProvider}, nil
	}
	return Outcome{Accepted: true, Method: "PRESTATAIRE", Reference: "ref-" + string(order)}, nil
}

// result is what Workers write.
type result struct {
	partition  int32
	key, value []byte
}

func startWorkers(t *testing.T, p Provider) (*Workers, chan result) {
	t.Helper()
	results := make(chan result, 100)
	w, err := NewWorkers(WorkersConfig{Provider: p, Results: func(_ context.Context, partition int32, key, value []byte) error {
		results <- result{partition, key, value}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w, results
}

func deliver(d *streamstest.Driver, r result) {
	d.PipeRaw(streams.RawRecord{Topic: ResultsTopic, Partition: r.partition, Key: r.key, Value: r.value})
}

func TestRemoteProvider(t *testing.T) {
	provider := &books{}
	w, results := startWorkers(t, provider)
	d := streamstest.New(t, App, func(b *streams.Builder) { Build(b, Config{Workers: w}) }, streamstest.Partitions(5))
	trace := streams.Header{Key: "traceparent", Value: []byte("00-ab-cd-01")}
	pipe(d, verdict("991", "CLI-991", 120_50), trace)
	pipe(d, verdict("991", "CLI-991", 120_50), trace) // while pending
	if d.Counted("duplicate") != 1 || len(d.Read(event.TopicAccepted)) != 0 {
		t.Fatal("the repeated verdict counts, or an outcome before the provider's")
	}
	r := <-results
	if want := streams.Partition([]byte("CLI-991"), 5); r.partition != want {
		t.Fatalf("the result goes to partition %d, not to %d that asked", r.partition, want)
	}
	d.Advance(time.Second)
	deliver(d, r)
	got := d.Read(event.TopicAccepted)
	want := `{"id_commande":991,"client":"LUCAS","clientId":"CLI-991","montant":120.5,"devise":"EUR","moyen":"PRESTATAIRE","reference":"ref-991","timestamp":"2026-11-20T10:00:01.000Z"}`
	if len(got) != 1 || string(got[0].Value) != want || fmt.Sprintf("%s", got[0].Headers) != "[{comptoir-order 991} {traceparent 00-ab-cd-01}]" {
		t.Fatalf("%+v", got)
	}
	deliver(d, r)                                     // another instance asked, too
	pipe(d, verdict("991", "CLI-991", 120_50), trace) // redelivered
	if len(d.Read(event.TopicAccepted)) != 0 || d.Counted("duplicate") != 3 || d.Counted("ok") != 1 {
		t.Error("a duplicate has an effect")
	}
	if provider.pays["991"] != 1 || provider.asks["991"] != 0 {
		t.Errorf("paid %d times, asked %d times", provider.pays["991"], provider.asks["991"])
	}
	pipe(d, verdict("13", "CLI-991", 1))
	deliver(d, <-results)
	if got := d.Values(event.TopicRefused); len(got) != 1 {
		t.Errorf("%q", got)
	}
	deliver(d, result{0, []byte("991"), []byte("nonsense")})
	if len(d.Dropped()) != 1 {
		t.Error("a damaged result is not reported")
	}
}

// TestRestartAsksFirst: after a crash a pending payment is asked for, and sent
// only if the provider knows nothing of it.
func TestRestartAsksFirst(t *testing.T) {
	provider := &books{}
	lost := make(chan struct{})
	provider.lose = func(_ event.ID, pay bool, _ int) error {
		if pay {
			close(lost)
		}
		return errors.New("connection reset")
	}
	first, _ := startWorkers(t, provider)
	process := &struct{ remote }{first}
	d := streamstest.New(t, App, func(b *streams.Builder) { build(b, Config{}, process) })
	pipe(d, verdict("991", "CLI-991", 120_50)) // captured, the answer is lost
	<-lost
	if err := first.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	pipe(d, verdict("992", "CLI-991", 5)) // pending, but nobody sends it
	provider.lose = nil

	second, results := startWorkers(t, provider)
	process.remote = second
	d.Restart()
	d.Advance(recheck)
	for range 2 {
		deliver(d, <-results)
	}
	if n := len(d.Read(event.TopicAccepted)); n != 2 {
		t.Fatalf("%d payments", n)
	}
	provider.mu.Lock()
	defer provider.mu.Unlock()
	if provider.pays["991"] != 1 || provider.asks["991"] == 0 {
		t.Errorf("the payment that was sent: sent %d times, asked for %d times", provider.pays["991"], provider.asks["991"])
	}
	if provider.pays["992"] != 1 || provider.asks["992"] != 1 {
		t.Errorf("the payment that was not sent: sent %d times, asked for %d times", provider.pays["992"], provider.asks["992"])
	}
}

// TestForeignDemandIsAskedFor: a demand read again by another process may have
// been acted on by the one that made it.
func TestForeignDemandIsAskedFor(t *testing.T) {
	provider := &books{}
	stopped, _ := startWorkers(t, provider)
	if err := stopped.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	process := &struct{ remote }{stopped}
	d := streamstest.New(t, App, func(b *streams.Builder) { build(b, Config{}, process) }, streamstest.Partitions(1))
	pipe(d, verdict("991", "CLI-991", 120_50))
	demands := d.Read(App + "-demandes-repartition")
	if len(demands) != 1 {
		t.Fatalf("%d demands", len(demands))
	}
	second, results := startWorkers(t, provider)
	process.remote = second
	d.PipeRaw(streams.RawRecord{Topic: demands[0].Topic, Partition: 0, Key: demands[0].Key, Value: demands[0].Value})
	deliver(d, <-results)
	if len(d.Read(event.TopicAccepted)) != 1 || provider.asks["991"] != 1 || provider.pays["991"] != 1 {
		t.Errorf("asked %d times, sent %d times", provider.asks["991"], provider.pays["991"])
	}
}

// TestFullWorkersGetTheRestLater: what the Workers cannot hold stays pending.
func TestFullWorkersGetTheRestLater(t *testing.T) {
	process := &counting{}
	d := streamstest.New(t, App, func(b *streams.Builder) { build(b, Config{}, process) }, streamstest.Partitions(1))
	for i := range 5 {
		pipe(d, verdict(event.ID(fmt.Sprint(i)), "CLI-1", 100))
	}
	if len(process.offered) != 0 {
		t.Fatalf("%v are held", process.offered)
	}
	process.room = 3
	d.Advance(recheck)
	process.room = 10
	d.Advance(recheck)
	if want := []event.ID{"0", "1", "2", "0", "1", "2", "3", "4"}; !slices.Equal(process.offered, want) {
		t.Errorf("%v, want %v", process.offered, want)
	}
	// The demand of a young payment is still on its way, or not even committed.
	d.Advance(time.Second)
	pipe(d, verdict("young", "CLI-1", 100))
	process.offered, process.room = nil, 100
	d.Advance(recheck - time.Second)
	if len(process.offered) != 5 || slices.Contains(process.offered, "young") {
		t.Errorf("%v are offered", process.offered)
	}
	d.Advance(recheck)
	if !slices.Contains(process.offered, "young") {
		t.Errorf("%v are offered", process.offered)
	}
}

// counting is Workers that hold a number of payments and do nothing.
type counting struct {
	room    int
	offered []event.ID
}

func (c *counting) life() string     { return "counting" }
func (c *counting) Settled(event.ID) {}
func (c *counting) Offer(_ int32, r Request, _ bool) bool {
	if c.room == 0 {
		return false
	}
	c.room--
	c.offered = append(c.offered, r.Order)
	return true
}
