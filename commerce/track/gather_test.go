package track

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// TestJoinedIsTheSame applies random records joined by a batch, and one by one:
// the databases must show the same, whatever the buffers of the records hold
// afterwards.
func TestJoinedIsTheSame(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(3, seed))
	joined, apart := openSQLite(t), openSQLite(t)
	p := orderdb.Partition{Topic: event.TopicOrders}
	const orders = 30
	var most int
	for at := range 6 {
		b := &batch{}
		said := orderdb.Batch{From: map[orderdb.Partition]orderdb.Position{p: {Next: int64(at)}}, To: map[orderdb.Partition]orderdb.Position{p: {Next: int64(at + 1)}}}
		var read []*kgo.Record
		for range 200 {
			topic, id := topics[rng.IntN(len(topics))], fmt.Sprint(rng.IntN(orders))
			r := record(topic, 0, id)
			r.Offset, r.Timestamp = int64(rng.IntN(1e6)), time.UnixMilli(1e12+rng.Int64N(1e6))
			value := string(r.Value)
			if rng.IntN(4) == 0 {
				value = strings.ReplaceAll(value, `"clientId":"CLI-991"`, fmt.Sprintf(`"clientId":"CLI-%d"`, rng.IntN(5)))
				value = strings.ReplaceAll(value, "FA-2026-000001", fmt.Sprintf("FA-2026-%06d", rng.IntN(5)))
			}
			if rng.IntN(4) == 0 {
				value = strings.ReplaceAll(value, "VALIDE", "REFUSE")
			}
			r.Value = []byte(value)
			read = append(read, r)
			twin := *r
			twin.Value = []byte(value)
			Index(&said, &twin)
		}
		for _, r := range read {
			b.add(r)
		}
		for _, r := range read {
			clear(r.Value)
			clear(r.Key)
		}
		most = max(most, len(said.Orders)-len(b.said.Orders))
		b.said.From, b.said.To = said.From, said.To
		if err := joined.Apply(t.Context(), b.said); err != nil {
			t.Fatal(err)
		}
		if err := apart.Apply(t.Context(), said); err != nil {
			t.Fatal(err)
		}
	}
	if most < 20 {
		t.Fatalf("at most %d records joined others", most)
	}
	for i := range orders {
		id := event.ID(fmt.Sprint(i))
		got, _, err := joined.Order(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := apart.Order(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		got.Number, want.Number = 0, 0
		if !reflect.DeepEqual(got, want) {
			t.Errorf("order %s joined:\n%+v\none by one:\n%+v", id, got, want)
		}
		a, err := joined.Timeline(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := apart.Timeline(t.Context(), id); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("timeline of %s joined:\n%v\none by one:\n%v (%v)", id, a, b, err)
		}
	}
}

// TestProductsFill has nothing but a catalogue: what a batch keeps of it counts.
func TestProductsFill(t *testing.T) {
	const products, name = 1000, event.MaxNameBytes
	b := &batch{}
	for i := range products {
		p := event.Product{ID: event.ID(fmt.Sprintf("P-%04d", i)), Name: strings.Repeat("n", name)}
		if !b.add(&kgo.Record{Topic: event.TopicProducts, Value: p.AppendJSON(nil)}) {
			t.Fatal("the product cannot be read")
		}
	}
	if got := b.size(); got < products*name || got > 2*products*name {
		t.Errorf("%d products with names of %d bytes take %d", products, name, got)
	}
}
