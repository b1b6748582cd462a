package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/kclient"
)

// pipeline answers to orders as the contract says, in one step. It stands for
// the stages in the tests of this package.
type pipeline struct {
	seen     map[event.ID]bool
	invoices int
	// spoil changes the answers to one order; nil leaves them.
	spoil func(id event.ID, answers []*kgo.Record) []*kgo.Record
}

// answer returns the records that an order leads to, in causal order, one
// millisecond apart.
func (f *pipeline) answer(r *kgo.Record) (out []*kgo.Record) {
	at := r.Timestamp
	write := func(topic string, key event.ID, id event.ID, e interface{ AppendJSON([]byte) []byte }) {
		out = append(out, &kgo.Record{Topic: topic, Key: []byte(key), Value: e.AppendJSON(nil), Timestamp: at,
			Headers: []kgo.RecordHeader{{Key: event.HeaderOrder, Value: []byte(id)}}})
	}
	next := func() time.Time { at = at.Add(time.Millisecond); return at }

	o, problems, strict := event.ParseOrder(r.Key, r.Value, r.Timestamp)
	accuse := func(severity string, problems []event.Problem) {
		write(event.TopicErrors, event.ID(r.Key), o.ID, event.ErrorRecord{Order: o.ID, Severity: severity, Problems: problems, Value: r.Value,
			Strict: strict, Origin: event.Origin{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, At: next()})
	}
	defer func() {
		if f.spoil != nil {
			out = f.spoil(o.ID, out)
		}
	}()
	if len(problems) > 0 {
		accuse(event.SeverityReject, problems)
		return
	}
	if f.seen[o.ID] {
		return
	}
	f.seen[o.ID] = true
	if o.Amount > 5000_00 {
		accuse(event.SeverityAlert, []event.Problem{{Code: event.CodeHighAmount, Field: "montant", Detail: "is over 5000"}})
	}
	v := event.Verdict{Order: o.ID, Status: event.StatusValid, Customer: o.Customer, Amount: o.Amount, Currency: o.Currency, OrderedAt: o.OrderedAt}
	perProduct := map[event.ID]int64{}
	for _, l := range o.Lines {
		p, known := find(l.Product, o.Product)
		perProduct[p.ID] += l.Quantity
		if !known {
			v.Status, v.Reason = event.StatusRefused, event.ReasonUnknownProduct
		} else if perProduct[p.ID] > p.Quantity {
			v.Status, v.Reason = event.StatusRefused, event.ReasonOutOfStock
		}
		v.Lines = append(v.Lines, event.VerdictLine{Product: p.ID, Name: p.Name, Quantity: l.Quantity, Amount: l.Amount, Price: l.Price, HasPrice: l.HasPrice})
	}
	move := func(kind string, sign int64) {
		at := next()
		for id, n := range perProduct {
			p, _ := find(id, "")
			write(event.TopicMovements, id, o.ID, event.Movement{Product: id, Name: p.Name, Kind: kind, Quantity: sign * n, Available: 1000 - n, Reserved: n, Order: o.ID, At: at})
		}
	}
	notify := func(kind, subject string) {
		n := event.Notification{ID: string(o.ID) + "-" + kind, Order: o.ID, Customer: o.Customer, Type: kind, Priority: event.PriorityCritical,
			Channel: event.ChannelLog, Subject: fmt.Sprintf("Commande %s %s", o.ID, subject), Message: "Bonjour", At: next()}
		if kind == event.NotifyConfirmation {
			n.Priority = event.PriorityGeneral
		}
		if o.Customer.Email != "" {
			n.Channel = event.ChannelEmail
		}
		write(event.TopicNotifications, o.Customer.ID, o.ID, n)
	}
	if v.Status == event.StatusRefused {
		v.At = next()
		write(event.TopicVerdicts, o.Customer.ID, o.ID, v)
		notify(event.NotifyStockRefused, "refusée")
		return
	}
	move(event.MovementReserve, -1)
	v.At = next()
	write(event.TopicVerdicts, o.Customer.ID, o.ID, v)
	if o.Amount > 10_000_00 {
		write(event.TopicRefused, o.ID, o.ID, event.PaymentRefused{Order: o.ID, Customer: o.Customer, Amount: o.Amount, Currency: o.Currency, Reason: event.ReasonOverLimit, At: next()})
		move(event.MovementRelease, 1)
		notify(event.NotifyPaymentRefused, "refusée")
		return
	}
	write(event.TopicAccepted, o.ID, o.ID, event.PaymentAccepted{Order: o.ID, Customer: o.Customer, Amount: o.Amount, Currency: o.Currency,
		Method: event.MethodSimulation, Reference: "SIM-" + string(o.ID), At: next()})
	f.invoices++
	number, net := fmt.Sprintf("FA-2026-%06d", f.invoices), o.Amount*100/120
	inv := event.Invoice{Number: number, Type: event.InvoiceTypeInvoice, Order: o.ID, Customer: o.Customer, Date: "2026-11-20", Net: net, VAT: o.Amount - net,
		VATRate: 2000, Amount: o.Amount, Currency: o.Currency, OrderedAt: o.OrderedAt, At: next()}
	for _, l := range v.Lines {
		inv.Lines = append(inv.Lines, event.InvoiceLine{Product: l.Product, Name: l.Name, Quantity: l.Quantity, Amount: l.Amount, Price: l.Price, HasPrice: l.HasPrice})
	}
	write(event.TopicInvoices, o.Customer.ID, o.ID, inv)
	write(event.TopicConfirmations, o.ID, o.ID, event.Confirmed{Order: o.ID, Customer: o.Customer, Amount: o.Amount, Currency: o.Currency, Invoice: number, At: at})
	move(event.MovementExit, -1)
	notify(event.NotifyConfirmation, "confirmée")
	return
}

// find looks a product up by its id, or by what a single-line order says.
func find(id event.ID, said string) (Product, bool) {
	for _, p := range Catalogue() {
		if p.ID == id || string(p.ID) == said || said != "" && strings.EqualFold(p.Name, strings.TrimSpace(said)) {
			return p, true
		}
	}
	return Product{ID: id + event.ID(said), Name: string(id) + said}, false
}

const fakeGroup = "service-faux"

// startKafka starts a broker in the process with every public topic.
func startKafka(t *testing.T) kclient.Config {
	kafka, _ := startCluster(t)
	return kafka
}

func startCluster(t *testing.T) (kclient.Config, *kfake.Cluster) {
	t.Helper()
	names := make([]string, 0, len(event.Topics))
	for _, s := range event.Topics {
		names = append(names, s.Name)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(event.DefaultPartitions, names...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return kclient.Config{Brokers: c.ListenAddrs()}, c
}

// start answers to orders with exactly-once transactions until the test ends.
func (f *pipeline) start(t *testing.T, kafka kclient.Config) {
	t.Helper()
	f.seen = map[event.ID]bool{}
	session, err := kgo.NewGroupTransactSession(append(kafka.Options(),
		kgo.ConsumerGroup(fakeGroup), kgo.ConsumeTopics(event.TopicOrders), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.TransactionalID("faux"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for ctx.Err() == nil {
			fetches := session.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			if err := session.Begin(); err != nil {
				t.Error(err)
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				for _, a := range f.answer(r) {
					session.Produce(ctx, a, nil)
				}
			})
			if ok, err := session.End(ctx, kgo.TryCommit); ctx.Err() == nil && (err != nil || !ok) {
				t.Errorf("the fake pipeline did not commit: %v", err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		done.Wait()
		session.Close()
	})
}

// without drops the answers in some topics to the order with a suffix.
func without(suffix string, topics ...string) func(event.ID, []*kgo.Record) []*kgo.Record {
	return func(id event.ID, answers []*kgo.Record) []*kgo.Record {
		if !strings.HasSuffix(string(id), suffix) {
			return answers
		}
		return slices.DeleteFunc(answers, func(r *kgo.Record) bool { return slices.Contains(topics, r.Topic) })
	}
}

// doubled repeats the answers in a topic to the order with a suffix.
func doubled(suffix, topic string) func(event.ID, []*kgo.Record) []*kgo.Record {
	return func(id event.ID, answers []*kgo.Record) (out []*kgo.Record) {
		for _, r := range answers {
			out = append(out, r)
			if strings.HasSuffix(string(id), suffix) && r.Topic == topic {
				again := *r
				out = append(out, &again)
			}
		}
		return out
	}
}
