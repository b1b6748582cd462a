package stock

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

// fleet runs the kinds of task apart from each other and carries their messages
// itself, one at a time from a random partition, as tasks of several instances
// would interleave. A test driver alone handles all that follows from a record
// before the next.
type fleet struct {
	books
	rng     *rand.Rand
	drivers map[string]*streamstest.Driver // by the topic they read
	all     []*streamstest.Driver
	waiting map[slot][]streams.RawRecord
	slots   []slot // with something waiting
}

type slot struct {
	topic     string
	partition int32
}

const (
	topicRequests = App + "-commandes-repartition"
	topicCommands = App + "-lignes-repartition"
	topicAnswers  = App + "-reponses-repartition"
)

func newFleet(t testing.TB, seed uint64, partitions int32) *fleet {
	f := &fleet{books: newBooks(t), rng: rand.New(rand.NewPCG(seed, 0)), drivers: map[string]*streamstest.Driver{}, waiting: map[slot][]streams.RawRecord{}}
	run := func(build func(b *streams.Builder), topics ...string) {
		d := streamstest.New(t, App, build, streamstest.Partitions(partitions), streamstest.TopicPartitions(event.TopicOrders, partitions))
		f.all = append(f.all, d)
		for _, topic := range topics {
			f.drivers[topic] = d
		}
	}
	run(func(b *streams.Builder) {
		s, _, _, answers := newStage(b, Config{})
		s.clientTask(streams.From(b, event.Orders), answers)
	}, event.TopicOrders, topicAnswers)
	run(func(b *streams.Builder) {
		s, requests, _, _ := newStage(b, Config{})
		s.identityTask(requests)
	}, topicRequests)
	run(func(b *streams.Builder) {
		s, _, commands, _ := newStage(b, Config{})
		s.productTask(commands)
	}, topicCommands)
	run(func(b *streams.Builder) {
		s, _, _, _ := newStage(b, Config{})
		s.forward(b)
	}, event.TopicSupplies, event.TopicProducts, event.TopicRefused, event.TopicConfirmations)
	return f
}

// send puts a record of a public topic in line.
func (f *fleet) send(topic, key string, value []byte, partition int32) {
	f.enqueue(streams.RawRecord{Topic: topic, Partition: partition, Key: []byte(key), Value: value})
}

func (f *fleet) enqueue(r streams.RawRecord) {
	at := slot{r.Topic, r.Partition}
	if len(f.waiting[at]) == 0 {
		f.slots = append(f.slots, at)
	}
	f.waiting[at] = append(f.waiting[at], r)
}

// step handles one record, or returns false if there is none. after is called
// for every verdict.
func (f *fleet) step(after func(event.Verdict)) bool {
	if len(f.slots) == 0 {
		return false
	}
	i := f.rng.IntN(len(f.slots))
	at := f.slots[i]
	r := f.waiting[at][0]
	if f.waiting[at] = f.waiting[at][1:]; len(f.waiting[at]) == 0 {
		f.slots = slices.Delete(f.slots, i, i+1)
	}
	d := f.drivers[at.topic]
	if f.rng.IntN(50) == 0 {
		d.Restart()
	}
	d.PipeRaw(r)
	for _, err := range d.Dropped() {
		f.t.Errorf("dropped: %v", err)
	}
	for _, topic := range []string{topicRequests, topicCommands, topicAnswers} {
		for _, r := range d.Read(topic) {
			f.enqueue(r)
		}
	}
	for _, r := range d.Read(event.TopicMovements) {
		f.movement(r)
	}
	for _, r := range d.Read(event.TopicErrors) {
		f.conflict(r)
	}
	for _, r := range d.Read(event.TopicVerdicts) {
		after(f.verdict(r))
	}
	return true
}

func (f *fleet) counted(outcome string) (n int) {
	for _, d := range f.all {
		n += d.Counted(outcome)
	}
	return n
}

// arrival is a record of commandes.ecommerce as the test made it.
type arrival struct {
	client string
	order  event.ID
	amount int // tells the contents under one id apart
	value  string
}

// arrivals makes orders of a few clients: new, redelivered under the same and
// another key, and conflicting.
func arrivals(rng *rand.Rand, n, products int) []arrival {
	var all []arrival
	for i := range n {
		a := arrival{client: fmt.Sprint("c", rng.IntN(5)), order: event.ID(fmt.Sprint("o", i))}
		if len(all) > 0 {
			switch old := all[rng.IntN(len(all))]; rng.IntN(10) {
			case 0:
				all = append(all, old)
				continue
			case 1:
				old.client = a.client
				all = append(all, old)
				continue
			case 2:
				a.order = old.order // with other content
			}
		}
		a.amount = 1000 + i
		var b strings.Builder
		fmt.Fprintf(&b, `{"commandeId":%q,"client":"L","montant":%d,"lignes":[`, a.order, a.amount)
		for range rng.IntN(4) {
			fmt.Fprintf(&b, `{"id_produit":"p%d","quantite":%d,"prix":0},`, rng.IntN(products), 1+rng.IntN(5))
		}
		fmt.Fprintf(&b, `{"id_produit":"p%d","quantite":1,"prix":%d}]}`, rng.IntN(products), a.amount)
		a.value = b.String()
		all = append(all, a)
	}
	return all
}

func TestAnyInterleaving(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			partitions := []int32{1, 3, 7}[seed%3]
			f := newFleet(t, seed, partitions)
			const products = 6
			for p := range products {
				// p0 is unknown, the last ones are scarce.
				for i := range 4 {
					id := event.ID(fmt.Sprint("p", p))
					if p > 0 {
						v := event.Supply{ID: event.ID(fmt.Sprint("s", i/2)), Product: id, Quantity: int64(200 / p)}
						f.send(event.TopicSupplies, string(id), v.AppendJSON(nil), f.rng.Int32N(partitions))
					}
				}
			}
			for f.step(nil) {
			}
			all := arrivals(f.rng, 150, products)
			byClient := map[string][]arrival{}
			amounts := map[event.ID]map[int]int{} // records per id and content
			for _, a := range all {
				byClient[a.client] = append(byClient[a.client], a)
				if amounts[a.order] == nil {
					amounts[a.order] = map[int]int{}
				}
				amounts[a.order][a.amount]++
			}
			ended := map[event.ID]bool{}
			end := func(v event.Verdict) {
				if v.Status != event.StatusValid || f.rng.IntN(4) == 0 {
					return
				}
				ended[v.Order] = true
				topic, value := event.TopicConfirmations, event.Confirmed{Order: v.Order, Customer: someone, Amount: 1, Currency: "EUR", Invoice: "FA", At: v.At}.AppendJSON(nil)
				if f.rng.IntN(3) == 0 {
					topic, value = event.TopicRefused, event.PaymentRefused{Order: v.Order, Customer: someone, Amount: 1, Currency: "EUR", Reason: event.ReasonProvider, At: v.At}.AppendJSON(nil)
				}
				for range 1 + f.rng.IntN(2) {
					f.send(topic, "", value, f.rng.Int32N(partitions))
				}
			}
			for len(all) > 0 {
				for range f.rng.IntN(10) {
					f.step(end)
				}
				a := all[0]
				all = all[1:]
				f.send(event.TopicOrders, a.client, []byte(a.value), streams.Partition([]byte(a.client), partitions))
			}
			for f.step(end) {
			}

			f.close(ended)
			got := map[event.ID]event.Verdict{}
			for _, v := range f.verdicts {
				got[v.Order] = v
			}
			redelivered := 0
			for order, contents := range amounts {
				v, ok := got[order]
				if !ok {
					t.Errorf("order %s has no verdict", order)
					continue
				}
				conflicts := 0
				for amount, records := range contents {
					if v.Amount == event.Amount(amount*100) {
						redelivered += records - 1
					} else {
						conflicts += records
					}
				}
				if f.conflicts[order] != conflicts {
					t.Errorf("order %s: %d conflicts reported, want %d", order, f.conflicts[order], conflicts)
				}
			}
			if len(got) != len(amounts) {
				t.Errorf("%d orders have a verdict, want %d", len(got), len(amounts))
			}
			// Repeated supplies and records count as duplicates.
			if n := f.counted("duplicate"); n != redelivered+2*(products-1) {
				t.Errorf("%d duplicates counted, want %d", n, redelivered+2*(products-1))
			}
			// A client's verdicts are in the order of its records.
			for _, v := range f.verdicts {
				client := string(v.Customer.ID)
				queue := byClient[client]
				at := slices.IndexFunc(queue, func(a arrival) bool { return a.order == v.Order && event.Amount(a.amount*100) == v.Amount })
				if at < 0 {
					t.Fatalf("client %s: the verdict on %s comes after a later order's", client, v.Order)
				}
				byClient[client] = queue[at+1:]
			}
			f.checkEmpty()
		})
	}
}

// checkEmpty checks that no queue has been left with anything: a new order of
// every client is answered at once.
func (f *fleet) checkEmpty() {
	f.t.Helper()
	before := len(f.verdicts)
	for c := range 5 {
		client := fmt.Sprint("c", c)
		value := fmt.Sprintf(`{"commandeId":"last%d","client":"L","montant":1,"produit":"rien"}`, c)
		f.drivers[event.TopicOrders].Pipe(event.TopicOrders, client, value)
		for _, r := range f.drivers[event.TopicOrders].Read(topicRequests) {
			f.enqueue(r)
		}
	}
	for f.step(func(event.Verdict) {}) {
	}
	if n := len(f.verdicts) - before; n != 5 {
		f.t.Errorf("%d of 5 clients got a verdict on their last order", n)
	}
}

// The number of partitions changes nothing in what becomes of each order, as
// long as the order of records is the same.
func TestPartitionsChangeNothing(t *testing.T) {
	outcomes := func(partitions int32) string {
		s := newShop(t, streamstest.Partitions(partitions))
		for p := 1; p < 6; p++ {
			id := event.ID(fmt.Sprint("p", p))
			s.catalogue(id, "Produit "+string(id))
			s.supply(id, int64(300/p))
		}
		s.read()
		for i, a := range arrivals(rand.New(rand.NewPCG(7, 7)), 300, 6) {
			s.order(a.client, a.value)
			s.read()
			if i%3 == 0 && len(s.verdicts) > 0 {
				s.confirm(s.verdicts[len(s.verdicts)-1].Order)
			} else if i%3 == 1 && len(s.verdicts) > 0 {
				s.refusePayment(s.verdicts[len(s.verdicts)-1].Order)
			}
			if i%40 == 0 {
				s.Restart()
			}
		}
		s.read()
		var b strings.Builder
		valid := 0
		for _, v := range s.verdicts {
			fmt.Fprintf(&b, "%s\n", v.AppendJSON(nil))
			if v.Status == event.StatusValid {
				valid++
			}
		}
		if valid < 20 || len(s.verdicts)-valid < 20 {
			t.Fatalf("%d of %d verdicts are good: the test needs many of both kinds", valid, len(s.verdicts))
		}
		fmt.Fprintln(&b, s.levels, s.conflicts)
		return b.String()
	}
	want := outcomes(1)
	for _, n := range []int32{3, 7} {
		if got := outcomes(n); got != want {
			t.Errorf("%d partitions: other outcomes than with 1:\n%s\nwant\n%s", n, got, want)
		}
	}
}
