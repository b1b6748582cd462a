package crash

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/test/httporders"
	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

// The load: moderate, since two cores carry three brokers and three instances.
const (
	byKafka     = 15 // records a second
	byHTTP      = 8  // requests a second
	connections = 12
)

// longestLoad is how long orders are sent at most: longer than most faults take to
// be over. A cell ends them when it has seen what it wants to see.
const longestLoad = 40 * time.Second

// load is mixed orders on their way in, by Kafka and by HTTP.
type load struct {
	r        *round
	kafka    *orders.Workload // what was sent of it, after end
	http     *orders.Workload // likewise
	requests []httporders.Request
	posting  *httporders.Load
	enough   chan struct{} // closed when no new order is to be sent
	sent     atomic.Int64  // and acknowledged, by Kafka
	doubtful int           // records that failed and were sent again; valid after produced
	produced chan struct{}
	err      error // of producing; valid after produced
}

// begin starts to send orders. bases are the APIs that take them. stubborn says
// that what Kafka refuses is sent again until it does not.
func (r *round) begin(a *attempt, brokers string, bases []*atomic.Pointer[string], stubborn bool) *load {
	r.t.Helper()
	const seconds = int(longestLoad / time.Second)
	// No two cells of a round have ids in common, nor do rounds of near seeds.
	ids := 1 + r.seed%2000*400 + 2*uint64(a.number)
	l := &load{
		r: r, enough: make(chan struct{}), produced: make(chan struct{}),
		kafka: orders.Generate(orders.Config{Seed: ids, Orders: byKafka * seconds}),
		http:  orders.Generate(orders.Config{Seed: ids + 1, Orders: byHTTP * seconds}),
	}
	l.requests = httporders.Requests(l.http, fmt.Sprint("crash-", ids))
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	// An order's time is that of its record, which the producer gives it: what it
	// then waits for a node that hangs would count as ours.
	client, err := orders.NewClient(brokers, kgo.ProduceRequestTimeout(4*time.Second), kgo.RequestTimeoutOverhead(time.Second))
	if err != nil {
		cancel()
		r.t.Fatal(err)
	}
	begun := time.Now()
	go func() {
		defer close(l.produced)
		defer client.Close()
		l.err = l.produce(ctx, client, supplies(l.kafka, ids), begun, stubborn)
	}()
	l.posting = httporders.Start(ctx, l.requests, httporders.Config{Connections: connections, Enough: l.enough, Target: func(n, try int) string {
		if try == 0 {
			select {
			case <-time.After(time.Until(begun.Add(time.Second * time.Duration(n) / byHTTP))):
			case <-l.enough:
			case <-ctx.Done():
			}
		}
		return *bases[(n+try)%len(bases)].Load()
	}})
	r.t.Cleanup(func() {
		cancel()
		<-l.produced
		_, _ = l.posting.Wait() // nothing outlives the test
	})
	return l
}

// produce sends supplies, then orders at their pace until there are enough.
func (l *load) produce(ctx context.Context, client *kgo.Client, supplies []orders.Record, begun time.Time, stubborn bool) error {
	send := func(topic string, records []orders.Record) error {
		for {
			refused, err := orders.ProduceSome(ctx, client, topic, records)
			if len(refused) == 0 || !stubborn || ctx.Err() != nil {
				return err
			}
			if topic == orders.OrdersTopic {
				l.doubtful += len(refused)
			}
			records = refused
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	if err := send(orders.SuppliesTopic, supplies); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for all := l.kafka.Orders; len(all) > 0; {
		due := int(time.Since(begun).Seconds()*byKafka) - int(l.sent.Load())
		if due = min(due, len(all)); due > 0 {
			if err := send(orders.OrdersTopic, all[:due]); err != nil {
				return err
			}
			all = all[due:]
			l.sent.Add(int64(due))
		}
		select {
		case <-tick.C:
		case <-l.enough:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// supplies are those of the workload, and a few pieces of what is scarce.
func supplies(w *orders.Workload, ids uint64) []orders.Record {
	list := w.Supplies
	for _, p := range w.Products {
		if p.Stock < 1000 && p.Stock > 1 {
			list = append(list, orders.Record{Kind: "scarce supply", Key: []byte(p.ID),
				Value: fmt.Appendf(nil, `{"id":"RARE-%d","id_produit":%s,"quantite":3}`, ids, orders.ID(p.ID))})
		}
	}
	return list
}

// reach returns once some orders, their number drawn from the seed, were sent.
func (l *load) reach(a *attempt) {
	l.r.t.Helper()
	want := int64(byKafka/2 + a.rng.IntN(3*byKafka))
	program.Until(l.r.t, patience, fmt.Sprintf("%d orders are sent", want), func() error {
		if got := l.sent.Load(); got < want {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// under says that a fault came in the middle of the load, not after it.
func (l *load) under() {
	l.r.t.Helper()
	select {
	case <-l.produced:
		l.r.t.Errorf("orders had ended before the fault: %v", l.err)
	default:
	}
}

// end sends no new order, and returns once everything is acknowledged and
// answered.
func (l *load) end() (answers []httporders.Answer, err error) {
	close(l.enough)
	<-l.produced
	all, err := l.posting.Wait()
	if l.err != nil {
		return nil, fmt.Errorf("orders by Kafka: %w", l.err)
	}
	if err != nil {
		return nil, fmt.Errorf("orders by HTTP were not all answered: %w", err)
	}
	l.kafka = l.kafka.Only(func(i int) bool { return i < int(l.sent.Load()) })
	l.http = l.http.Only(func(i int) bool { return all[i].Tries > 0 })
	var posted []httporders.Request
	for i, answer := range all {
		if answer.Tries > 0 {
			posted = append(posted, l.requests[i])
			answers = append(answers, answer)
		}
	}
	l.requests = posted
	return answers, nil
}

// way is the topics of an order's way, in their order.
var way = []string{"stock.verifie", "paiement-accepte", "factures.ecommerce", "notifications.clients"}

// longest is how long an order that was sent since begun waited for its
// notification, at most, and how that time was spent.
func longest(h *invariants.History, begun time.Time) (longest time.Duration, spent string) {
	reached := map[string]map[string]time.Time{} // order id, topic
	for _, topic := range way {
		for _, r := range h.Topics[topic] {
			for _, header := range r.Headers {
				if id := string(header.Value); header.Key == "comptoir-order" && r.Time.After(begun) {
					if reached[id] == nil {
						reached[id] = map[string]time.Time{}
					}
					reached[id][topic] = r.Time
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range h.Topics[orders.OrdersTopic] {
		if r.Time.Before(begun) {
			continue
		}
		id := orders.Judge(r.Key, r.Value, r.Time).ID
		at, ok := reached[id]["notifications.clients"]
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		if waited := at.Sub(r.Time); waited > longest {
			longest = waited
			spent = fmt.Sprintf("order %s at %s, then", id, r.Time.Format(time.TimeOnly))
			for _, topic := range way {
				if at, ok := reached[id][topic]; ok {
					spent += fmt.Sprintf(" %s +%.1f", topic, at.Sub(r.Time).Seconds())
				}
			}
		}
	}
	return longest, spent
}
