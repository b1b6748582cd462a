package audit

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// orderSeeds are values of commandes.ecommerce at the edges of the contract.
var orderSeeds = []string{
	`{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`,
	`{"commandeId":"0991","client":"L","clientId":7,"email":"a@b","montant":1e2,"devise":"USD","timestamp":"2026-11-20T09:15:00+01:00","lignes":[{"id_produit":1,"nom_produit":"x","quantite":2,"prix":50.00}]}`,
	`{"commandeId":"é😀","client":"L","montant":0.1,"produit":1,"quantite":3,"x":[1,2.5e-3,null,{"a":{}}]}`,
	`{"commandeId":1,"client":"","montant":-0.00,"lignes":[]}`, `{"commandeId":1.0,"client":null,"montant":1.005,"lignes":{}}`,
	`{"commandeId":"..","client":"\u0001","montant":92233720368547758.08,"produit":" ","quantite":1000001}`,
	`{"commandeId":1,"client":"L","montant":1E+2,"lignes":[{"id_produit":1,"quantite":-1,"prix":-1},7,{"id_produit":{},"quantite":1.5,"prix":"1"}]}`,
	`{"commandeId":1,"client":"L","montant":1,"produit":1,"timestamp":"2016-12-31T23:59:60Z"}`,
	`{"commandeId":1,"client":"L","montant":1,"produit":1,"timestamp":"2026-02-29t00:00:00.123456789012z"}`,
	`{"commandeId":1,"client":"L","montant":1,"produit":1,"a":"\ud800"}`, `{"a":1,"a":2}`, `[]`, `"x"`, ` {} `, ``, `{`, `{"a":01}`, `nulll`, `{"montant":1e-99999999999}`,
}

// FuzzJudge holds the auditor's word on orders against that of the stages, which
// shares no code with it.
func FuzzJudge(f *testing.F) {
	for _, s := range orderSeeds {
		f.Add([]byte("CLI-1"), []byte(s))
		f.Add([]byte(nil), []byte(s))
	}
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, key, data []byte) {
		j := judge(key, data, at)
		o, problems, strict := event.ParseOrder(key, data, at)
		if data == nil {
			return
		}
		if j.strict != strict && len(data) <= event.MaxOrderBytes {
			t.Fatalf("strict: %v, the stages say %v", j.strict, strict)
		}
		var theirs codes
		for _, p := range problems {
			theirs |= codeOf(p.Code)
		}
		if j.coherent() != (len(problems) == 0) || theirs&j.must != j.must || theirs&^(j.must|j.may) != 0 {
			t.Fatalf("judged %s (may be %s), the stages say %s: %v", j.must, j.may, theirs, problems)
		}
		if j.id != string(o.ID) {
			t.Fatalf("id %q, the stages say %q", j.id, o.ID)
		}
		if !j.coherent() {
			return
		}
		if j.client != o.Customer.Name || j.clientID != string(o.Customer.ID) || j.email != o.Customer.Email || j.amount != int64(o.Amount) ||
			j.currency != o.Currency || j.orderedAt != o.OrderedAt || j.single != o.SingleLine || len(j.lines) != len(o.Lines) {
			t.Fatalf("order %+v, the stages say %+v", j.order, o)
		}
		for i, l := range j.lines {
			their := o.Lines[i]
			if l.quantity != their.Quantity || l.amount != int64(their.Amount) || l.priced != their.HasPrice || l.priced && l.price != int64(their.Price) ||
				l.name != their.Name || !j.single && l.product != string(their.Product) || j.single && l.product != o.Product {
				t.Fatalf("line %+v, the stages say %+v", l, their)
			}
		}
	})
}

// FuzzReadJSON wants what is read to be JSON, and what is no JSON to be refused.
func FuzzReadJSON(f *testing.F) {
	for _, s := range orderSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := readJSON(data, 50)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("%q was read", data)
		}
		if v.kind == kindText {
			var s string
			if err := json.Unmarshal(data, &s); err != nil || s != v.text {
				t.Fatalf("text %q is read as %q", data, v.text)
			}
		}
		if again, err := readJSON([]byte(v.raw), 50); err != nil || string(again.canonical(nil)) != string(v.canonical(nil)) {
			t.Fatalf("%q is read otherwise the second time", v.raw)
		}
	})
}

// FuzzReadEvent reads any bytes as any topic's event.
func FuzzReadEvent(f *testing.F) {
	for _, r := range history(1, 30).records {
		f.Add(topicIndex(r.Topic), r.Value)
	}
	f.Fuzz(func(t *testing.T, topic byte, data []byte) {
		r := &Record{Topic: topicNames[topic%topics], Value: data}
		_, h, wrong, readable := readEvent(r)
		if !readable && wrong == "" {
			t.Fatal("nothing is read and nothing is wrong")
		}
		if readable && h.order != "" && !validID(h.order) && wrong == "" {
			t.Fatalf("%q is read as an order's id", h.order)
		}
	})
}

// FuzzFacts reads any bytes as what the store keeps: the files may be damaged.
func FuzzFacts(f *testing.F) {
	f.Add((&orderFact{coherent: true, names: []uint64{1}}).append(nil))
	f.Add((&eventFact{parts: []lineFact{{product: "p"}}}).append(nil))
	f.Add((&placeFact{id: "1"}).append(nil))
	f.Add((&errorFact{id: "1"}).append(nil))
	f.Add((&stepFact{kind: "x"}).append(nil))
	m := meta{positions: map[part]position{{1, 2}: {next: 3}}}
	f.Add(m.append(nil))
	st := status{inFlight: 1}
	st.violate(wellFormed, place{}, "x")
	f.Add(st.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := readOrderFact(data); err == nil && !slices.Equal(data, v.append(nil)) && len(v.append(nil)) > len(data) {
			t.Fatal("order: written longer than it was read")
		}
		_, _ = readEventFact(data)
		_, _ = readPlaceFact(data)
		_, _ = readErrorFact(data)
		_, _ = readStepFact(data)
		_, _ = readMeta(data)
		_, _ = readStatus(data)
	})
}

// TestPartition holds the partitioner against the keys of Kafka's own test.
func TestPartition(t *testing.T) {
	for key, want := range map[string]int32{ // murmur2, made positive, of Utils.murmur2's test vectors
		"21":                         -973932308 & 0x7fffffff,
		"foobar":                     -790332482 & 0x7fffffff,
		"a-little-bit-long-string":   -985981536 & 0x7fffffff,
		"a-little-bit-longer-string": -1486304829 & 0x7fffffff,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971 & 0x7fffffff,
		"abc": 479470107,
	} {
		if got := partitionOf([]byte(key), 1<<31-1); got != want%(1<<31-1) {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
}
