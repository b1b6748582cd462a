package stock

import (
	"fmt"
	"testing"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

// BenchmarkOrder takes orders from their record to the exit of their stock, each
// step in a transaction of its own.
func BenchmarkOrder(b *testing.B) {
	for _, lines := range []int{1, 3} {
		b.Run(fmt.Sprintf("lines=%d", lines), func(b *testing.B) {
			builder := streams.NewBuilder(App)
			Build(builder, Config{})
			top, err := builder.Build()
			if err != nil {
				b.Fatal(err)
			}
			box, err := streams.NewSandbox(top, streamstest.Start, 3, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer box.Close()
			pipe := func(topic, key string, value []byte) {
				box.Pipe(streams.RawRecord{Topic: topic, Partition: -1, Key: []byte(key), Value: value})
			}
			for p := range 20 {
				id := event.ID(fmt.Sprint("p", p))
				pipe(event.TopicProducts, string(id), event.Product{ID: id, Name: "Produit " + string(id)}.AppendJSON(nil))
				pipe(event.TopicSupplies, string(id), event.Supply{ID: "s", Product: id, Quantity: 1 << 40}.AppendJSON(nil))
			}
			box.Written()
			records := 0
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				order, p := fmt.Sprint(i), i%20
				value := fmt.Appendf(nil, `{"commandeId":%s,"client":"LUCAS","montant":120.5,"produit":"Produit p%d"}`, order, p)
				if lines == 3 {
					value = fmt.Appendf(nil, `{"commandeId":%s,"client":"LUCAS","montant":120.5,"lignes":[{"id_produit":"p%d","quantite":1,"prix":20.5},{"id_produit":"p%d","quantite":2,"prix":30},{"id_produit":"p%d","quantite":4,"prix":10}]}`, order, p, (p+1)%20, (p+2)%20)
				}
				pipe(event.TopicOrders, fmt.Sprint("CLI-", i%1000), value)
				pipe(event.TopicConfirmations, order, event.Confirmed{Order: event.ID(order), Customer: someone, Amount: 12050, Currency: "EUR", Invoice: "FA-2026-000001", At: streamstest.Start}.AppendJSON(nil))
				records += len(box.Written())
			}
			b.StopTimer()
			if got, want := box.Counted("ok"), b.N; got != want {
				b.Fatalf("%d good verdicts, want %d", got, want)
			}
			b.ReportMetric(float64(records)/float64(b.N), "records/order")
		})
	}
}

// BenchmarkCodecs writes and reads the messages and entries of one order of a
// single line, as they travel between the tasks.
func BenchmarkCodecs(b *testing.B) {
	p := somePending[0]
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		_, err1 := parseRequest(appendRequest(buf, someRequests[2]))
		_, err2 := parseCommand(appendCommand(buf, someCommands[0]))
		_, err3 := parseAnswer(appendAnswer(buf, someAnswers[0]))
		if err1 != nil || err2 != nil || err3 != nil {
			b.Fatal(err1, err2, err3)
		}
		appendQueue(buf, queue{Head: 1, Tail: 1, First: p})
		appendIdentity(buf, someIdentities[0])
		appendIdentity(buf, someIdentities[1])
		appendLevel(buf, someLevels[2])
	}
}
