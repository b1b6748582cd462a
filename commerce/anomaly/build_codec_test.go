package anomaly

import (
	"bytes"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire/wiretest"
)

var someSuspect = suspect{
	order: "991", client: "CLI-991", digest: [16]byte{1, 2, 3}, at: time.Date(2026, 11, 20, 10, 0, 0, 5e6, time.UTC),
	key: []byte("k"), value: []byte(`{"commandeId":991}`), origin: event.Origin{Topic: "commandes.ecommerce", Partition: 2, Offset: 40_000_000_000},
	alerts: []event.Problem{{Code: "MONTANT_ELEVE", Field: "montant", Detail: "too much"}},
}

func someActivity() activity {
	a := activity{}
	for i := range 3 {
		a, _, _ = a.add(event.ID(rune('a'+i)), now.Add(time.Duration(i)*time.Second), DefaultThresholds())
	}
	a.at = now
	return a
}

func TestCodecs(t *testing.T) {
	wiretest.RoundTrip(t, suspectSerde, someSuspect)
	bare := someSuspect
	bare.key, bare.alerts = nil, nil
	wiretest.RoundTrip(t, suspectSerde, bare)
	bare.key = []byte{}
	wiretest.RoundTrip(t, suspectSerde, bare)
	wiretest.RoundTrip(t, alertedSerde, alerted{at: now, digest: [16]byte{9}, codes: 5})
	wiretest.RoundTrip(t, activitySerde, someActivity())
	if n := len(activitySerde.Append(nil, someActivity())); n > 40 {
		t.Errorf("three orders take %d bytes", n)
	}
}

// FuzzCodecs: what is accepted means the same after being written again.
func FuzzCodecs(f *testing.F) {
	f.Add(suspectSerde.Append(nil, someSuspect))
	f.Add(alertedSerde.Append(nil, alerted{at: now}))
	f.Add(activitySerde.Append(nil, someActivity()))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		wiretest.Fuzz(t, suspectSerde, data)
		wiretest.Fuzz(t, alertedSerde, data)
		wiretest.Fuzz(t, activitySerde, data)
	})
}

func TestCatalogue(t *testing.T) {
	c := newCatalogue()
	put := func(id event.ID, name string, price event.Amount) {
		c.apply(id, &event.Product{ID: id, Name: name, Price: price, HasPrice: price > 0})
	}
	price := func(what string, product event.ID, names bool, want event.Amount) {
		t.Helper()
		if got, ok := c.price(product, names); got != want || ok != (want > 0) {
			t.Errorf("%s: %v %v, want %v", what, got, ok, want)
		}
	}
	put("2", "PC Gamer", 20)
	put("1", "pc gamer ", 10)
	put("3", "Été", 30)
	put("free", "Cadeau", 0)
	price("by id", "2", true, 20)
	price("by id alone", "2", false, 20)
	price("by name, the smallest id", " Pc GAMER", true, 10)
	price("names not looked at", "PC Gamer", false, 0)
	price("accents", "éTÉ", true, 30)
	price("no price", "free", true, 0)
	price("unknown", "x", true, 0)
	put("PC Gamer", "other", 40)
	price("the id goes before the name", "PC Gamer", true, 40)
	put("1", "Ordinateur", 11) // renamed
	price("renamed", "1", true, 11)
	price("the name is the other's", "pc gamer", true, 20)
	c.apply("2", nil)
	c.apply("unknown", nil)
	price("deleted", "2", true, 0)
	price("its name is gone", "pc gamer", true, 0)
	put("2", "PC Gamer", 21)
	price("back", "pc gamer", true, 21)
	for _, id := range []event.ID{"1", "2", "3", "free", "PC Gamer"} {
		c.apply(id, nil)
	}
	if len(c.products)+len(c.names) != 0 {
		t.Errorf("%v %v are left", c.products, c.names)
	}
}

func TestActivity(t *testing.T) {
	limits := Thresholds{Orders: 2, Window: time.Minute}
	var a activity
	add := func(what string, id event.ID, at time.Duration, over, again bool) {
		t.Helper()
		before := activitySerde.Append(nil, a)
		next, gotOver, gotAgain := a.add(id, now.Add(at), limits)
		if gotOver != over || gotAgain != again {
			t.Errorf("%s: over %v, again %v", what, gotOver, gotAgain)
		}
		if !bytes.Equal(before, activitySerde.Append(nil, a)) {
			t.Errorf("%s: the old value is changed", what)
		}
		if a = next; len(a.orders) > limits.Orders+1 || len(a.orders) != len(a.recent.times) {
			t.Errorf("%s: %d orders, %d times", what, len(a.orders), len(a.recent.times))
		}
	}
	add("first", "1", 0, false, false)
	add("second", "2", time.Second, false, false)
	add("second again", "2", 2*time.Second, false, true)
	add("first again", "1", 2*time.Second, false, true)
	add("third", "3", 3*time.Second, true, false)
	add("third again", "3", 3*time.Second, false, true)
	add("later", "4", 2*time.Minute, false, false)
	add("third, long after", "3", 2*time.Minute, false, false)
}

func TestAlertedAdd(t *testing.T) {
	high, price := event.Problem{Code: "MONTANT_ELEVE"}, event.Problem{Code: "PRIX_INATTENDU"}
	codes, fresh := alerted{}.add([]event.Problem{high, high})
	if codes != 1 || len(fresh) != 1 {
		t.Errorf("%b %v", codes, fresh)
	}
	codes, fresh = alerted{codes: codes}.add([]event.Problem{high, price})
	if codes != 0b101 || len(fresh) != 1 || fresh[0] != price {
		t.Errorf("%b %v", codes, fresh)
	}
	if _, fresh = (alerted{codes: codes}).add([]event.Problem{price, high}); fresh != nil {
		t.Errorf("%v", fresh)
	}
}
