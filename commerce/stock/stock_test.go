package stock

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

const seed = `{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`

func TestSeedOrder(t *testing.T) {
	s := newShop(t)
	s.catalogue("1001", "PC Gamer")
	s.supply("1001", 10)
	s.Read(event.TopicMovements)
	trace := []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	s.PipeRaw(streams.RawRecord{
		Topic: event.TopicOrders, Partition: -1, Key: []byte("CLI-991"), Value: []byte(seed), Time: s.Now().Add(-time.Minute),
		Headers: []streams.Header{{Key: "x", Value: []byte("y")}, {Key: event.HeaderTrace, Value: trace}},
	})
	verdict := s.Read(event.TopicVerdicts)
	movement := s.Read(event.TopicMovements)
	if len(verdict) != 1 || len(movement) != 1 {
		t.Fatalf("%d verdicts and %d movements", len(verdict), len(movement))
	}
	for _, c := range []struct {
		r         streams.RawRecord
		key, want string
	}{
		{verdict[0], "CLI-991", `{"commandeId":991,"statut":"VALIDE","client":"LUCAS","clientId":"CLI-991","montant":120.5,"devise":"EUR","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5,"reserve":true}],"date_commande":"2026-11-20T09:59:00.000Z","timestamp":"2026-11-20T10:00:00.000Z"}`},
		{movement[0], "1001", `{"id_produit":1001,"nom_produit":"PC Gamer","mouvement":"RESERVATION","quantite":-1,"disponible":9,"reserve":1,"id_commande":991,"timestamp":"2026-11-20T10:00:00.000Z"}`},
	} {
		if string(c.r.Key) != c.key || string(c.r.Value) != c.want || !c.r.Time.Equal(s.Now()) {
			t.Errorf("%s %s\n got %s %s at %v\nwant %s", c.r.Topic, c.key, c.r.Key, c.r.Value, c.r.Time, c.want)
		}
		if got := fmt.Sprintf("%s", c.r.Headers); len(c.r.Headers) != 2 {
			t.Errorf("headers %s, want two", got)
		}
		s.checkHeader(c.r, event.HeaderOrder, "991")
		s.checkHeader(c.r, event.HeaderTrace, string(trace))
	}
	s.counted("ok", 1)
}

func TestRefusedOrderInFull(t *testing.T) {
	s := newShop(t)
	s.catalogue("1", "Un")
	s.supply("1", 1)
	s.read()
	s.order("C", `{"commandeId":"R","client":"L","email":"l@x.fr","montant":7,"devise":"USD","timestamp":"2026-11-20T10:00:00+01:00",
		"lignes":[{"id_produit":1,"nom_produit":"Eins","quantite":2,"prix":3.5},{"id_produit":"x","nom_produit":"Ix","quantite":1,"prix":0}]}`)
	want := `{"commandeId":"R","statut":"REFUSE","motif":"PRODUIT_INCONNU","client":"L","clientId":"C","email":"l@x.fr","montant":7,"devise":"USD","lignes":[{"id_produit":1,"nom_produit":"Un","quantite":2,"montant":7,"prix":3.5,"reserve":false,"motif":"STOCK_INSUFFISANT"},{"id_produit":"x","nom_produit":"Ix","quantite":1,"montant":0,"prix":0,"reserve":false,"motif":"PRODUIT_INCONNU"}],"date_commande":"2026-11-20T10:00:00+01:00","timestamp":"2026-11-20T10:00:00.000Z"}`
	if got := s.Values(event.TopicVerdicts); len(got) != 1 || got[0] != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
	s.counted("refused", 1)
}

func TestAllOrNothing(t *testing.T) {
	s := newShop(t)
	s.supply("a", 5)
	s.supply("b", 1)
	s.read()
	s.order("C", lines("1", "L", "a", 2, 1, "b", 1, 1, "a", 1, 1))
	s.expect([]string{"1 VALIDE"}, []string{"a RESERVATION -3 → 2+3 1", "b RESERVATION -1 → 0+1 1"})
	s.order("C", lines("2", "L", "a", 1, 1, "b", 1, 1, "c", 1, 1))
	s.expect([]string{"2 REFUSE PRODUIT_INCONNU"}, []string{"a RESERVATION -1 → 1+4 2", "a LIBERATION 1 → 2+3 2"})
	s.order("C", lines("3", "L", "a", 1, 1, "b", 1, 1))
	s.expect([]string{"3 REFUSE STOCK_INSUFFISANT"}, []string{"a RESERVATION -1 → 1+4 3", "a LIBERATION 1 → 2+3 3"})
	// Two lines of one product want too much together.
	s.order("C", lines("4", "L", "a", 2, 1, "a", 1, 1))
	s.expect([]string{"4 REFUSE STOCK_INSUFFISANT"}, nil)
	s.order("C", lines("5", "L", "a", 1, 1, "a", 1, 1))
	s.expect([]string{"5 VALIDE"}, []string{"a RESERVATION -2 → 0+5 5"})
	v := s.verdicts[3]
	if v.Lines[0].Reason != event.ReasonOutOfStock || v.Lines[1].Reason != event.ReasonOutOfStock || v.Lines[0].Reserved {
		t.Errorf("lines %+v, want both out of stock", v.Lines)
	}
	if v := s.verdicts[1]; v.Lines[0].Reason != "" || v.Lines[0].Reserved || v.Lines[2].Reason != event.ReasonUnknownProduct {
		t.Errorf("lines %+v, want none reserved and c unknown", v.Lines)
	}
}

func TestIdentity(t *testing.T) {
	s := newShop(t)
	s.supply("1001", 10)
	s.read()
	value := func(id, amount string) string {
		return fmt.Sprintf(`{"commandeId":%s,"client":"LUCAS","montant":%s,"produit":1001}`, id, amount)
	}
	s.order("A", value("991", "120.5"))
	s.expect([]string{"991 VALIDE"}, []string{"1001 RESERVATION -1 → 9+1 991"})
	s.order("A", value("991", "120.5"))
	s.order("B", value(`"991"`, "120.50")) // under another key, spelled otherwise
	s.order("", value("991", "1205e-1"))
	s.expect(nil, nil)
	s.counted("duplicate", 3)
	s.Restart()
	s.order("B", value("991", "120"))
	s.expect([]string{"991 COMMANDE_EN_CONFLIT"}, nil)
	s.counted("conflict", 1)
	s.order("A", value(`"0991"`, "120")) // another id
	s.expect([]string{"0991 VALIDE"}, []string{"1001 RESERVATION -1 → 8+2 0991"})
	// A refused order keeps its id.
	s.order("A", `{"commandeId":7,"client":"L","montant":1,"produit":"rien"}`)
	s.order("A", `{"commandeId":7,"client":"L","montant":1,"produit":1001}`)
	s.expect([]string{"7 REFUSE PRODUIT_INCONNU", "7 COMMANDE_EN_CONFLIT"}, nil)
	// An incoherent one takes none.
	s.order("A", `{"commandeId":8,"client":"L","montant":-1,"produit":1001}`)
	s.order("A", `{"commandeId":8,"client":"L","montant":1,"produit":1001}`)
	s.expect([]string{"8 VALIDE"}, []string{"1001 RESERVATION -1 → 7+3 8"})
}

func TestConflictRecord(t *testing.T) {
	s := newShop(t)
	s.order("A", seed)
	value := "\t" + `{"commandeId":991,  "client":"LUCAS","montant":121.50,"produit":"PC Gamer","inconnu":{"é":1.0}}` + "\n"
	key := "\xff\x00key"
	s.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: 1, Value: []byte(`{}`)})
	at := s.PipeRaw(streams.RawRecord{
		Topic: event.TopicOrders, Partition: 1, Key: []byte(key), Value: []byte(value),
		Headers: []streams.Header{{Key: "h", Value: []byte("1")}, {Key: event.HeaderOrder, Value: []byte("forged")}, {Key: "h", Value: nil}},
	})
	got := s.Read(event.TopicErrors)
	if len(got) != 1 {
		t.Fatalf("%d error records", len(got))
	}
	r := got[0]
	want := `{"commandeId":991,"gravite":"rejet","erreurs":[{"code":"COMMANDE_EN_CONFLIT","champ":"commandeId","detail":"the id was taken by an order with other content"}],"commande":` +
		value + `,"origine":{"topic":"commandes.ecommerce","partition":1,"offset":` + fmt.Sprint(at.Offset) + `},"timestamp":"2026-11-20T10:00:00.000Z"}`
	if string(r.Key) != key || string(r.Value) != want {
		t.Errorf("key %q, value\n%s\nwant\n%s", r.Key, r.Value, want)
	}
	if h := fmt.Sprintf("%q", r.Headers); h != `[{"h" "1"} {"h" ""} {"comptoir-order" "991"}]` {
		t.Errorf("headers %s", h)
	}
	if _, err := event.ParseErrorRecord(r.Value); err != nil {
		t.Error(err)
	}
}

// A queue's entry must fit into the changelog whatever the order's record
// carries besides its value.
func TestOversizedKeyAndHeaders(t *testing.T) {
	s := newShop(t)
	big := []byte(strings.Repeat("k", maxKept+1))
	for i, value := range []string{seed, strings.Replace(seed, "120.5", "121", 1)} {
		s.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: 0, Key: big, Value: []byte(value), Headers: []streams.Header{
			{Key: "small", Value: []byte{byte(i)}}, {Key: event.HeaderTrace, Value: big[:maxTrace+1]}, {Key: "big", Value: big},
		}})
	}
	v := s.Read(event.TopicVerdicts)
	e := s.Read(event.TopicErrors)
	if len(v) != 1 || string(v[0].Key) != "LUCAS" || len(v[0].Headers) != 1 {
		t.Errorf("verdicts %v", v)
	}
	if len(e) != 1 || e[0].Key != nil || len(e[0].Headers) != 3 || e[0].Headers[0].Key != "small" {
		t.Errorf("error records %v", e)
	}
	for _, r := range s.Dropped() {
		t.Error(r)
	}
}

func TestEndsOfOrders(t *testing.T) {
	s := newShop(t)
	s.supply("a", 10)
	s.supply("b", 10)
	s.order("C", lines("1", "L", "a", 2, 1, "b", 1, 1))
	s.order("C", lines("2", "L", "a", 3, 1))
	s.order("C", lines("3", "L", "a", 99, 1, "b", 1, 1))
	s.read()
	s.confirm("1")
	s.expect(nil, []string{"a SORTIE -2 → 5+3 1", "b SORTIE -1 → 9+0 1"})
	s.refusePayment("2")
	s.expect(nil, []string{"a LIBERATION 3 → 8+0 2"})
	s.counted("unfit", 0)
	// Again, the other way round, for a refused order, and for nobody's.
	s.Restart()
	s.confirm("1")
	s.refusePayment("1")
	s.counted("unfit", 2)
	s.refusePayment("2")
	s.confirm("2")
	s.counted("unfit", 4)
	s.confirm("3")
	s.refusePayment("3")
	s.counted("unfit", 6)
	s.counted("unknown_order", 0)
	s.confirm("4")
	s.refusePayment("4")
	s.counted("unknown_order", 2)
	s.expect(nil, nil)
}

func TestSupplies(t *testing.T) {
	s := newShop(t)
	pipe := func(value string) { t.Helper(); s.Pipe(event.TopicSupplies, "any", value) }
	pipe(`{"id":"s1","id_produit":5,"nom_produit":"Cinq","quantite":3}`)
	s.expect(nil, []string{"5 APPROVISIONNEMENT 3 → 3+0 s1"})
	s.Restart()
	pipe(`{"id":"s1","id_produit":"5","quantite":4}`)
	s.expect(nil, nil)
	s.counted("duplicate", 1)
	pipe(`{"id":"s1","id_produit":6,"quantite":1}`) // unique per product
	pipe(`{"id":"s2","id_produit":5,"nom_produit":"Fünf","quantite":1}`)
	s.expect(nil, []string{"6 APPROVISIONNEMENT 1 → 1+0 s1", "5 APPROVISIONNEMENT 1 → 4+0 s2"})
	pipe(fmt.Sprintf(`{"id":"s3","id_produit":5,"quantite":%d}`, int64(math.MaxInt64-3)))
	s.expect(nil, nil)
	s.counted("overflow", 1)
	bad := []string{
		``, `{`, `{"id":"x","id_produit":5}`, `{"id":"x","id_produit":5,"quantite":0}`, `{"id":"x","id_produit":5,"quantite":-1}`,
		`{"id":"x","id_produit":5,"quantite":1.5}`, `{"id":"","id_produit":5,"quantite":1}`, `{"id_produit":5,"quantite":1}`, `{"id":"x","quantite":1}`,
	}
	for _, v := range bad {
		pipe(v)
	}
	if n := len(s.Dropped()); n != len(bad) {
		t.Errorf("%d supplies were refused, want all %d", n, len(bad))
	}
	s.expect(nil, nil)
	// The supply's name stands until the catalogue says otherwise.
	s.order("C", `{"commandeId":1,"client":"L","montant":1,"produit":5}`)
	s.catalogue("5", "Five")
	s.order("C", `{"commandeId":2,"client":"L","montant":1,"produit":5}`)
	s.order("C", `{"commandeId":3,"client":"L","montant":1,"produit":6}`)
	s.read()
	for i, want := range []string{"Cinq", "Five", "6"} {
		if got := s.verdicts[i].Lines[0].Name; got != want {
			t.Errorf("order %s: nom_produit %q, want %q", s.verdicts[i].Order, got, want)
		}
	}
}

func TestProductNames(t *testing.T) {
	s := newShop(t)
	s.catalogue("1001", "PC Gamer")
	s.catalogue("2002", "1001") // a name that is another's id
	s.catalogue("3003", "pc gamer")
	for _, id := range []event.ID{"1001", "2002", "3003", "libre"} {
		s.supply(id, 100)
	}
	s.read()
	for i, c := range []struct {
		produit string
		product event.ID
		status  string
	}{
		{`"PC Gamer"`, "1001", event.StatusValid},
		{`" pc GAMER\u0020"`, "1001", event.StatusValid},
		{`"1001"`, "1001", event.StatusValid},
		{`1001`, "1001", event.StatusValid},
		{`"libre"`, "libre", event.StatusValid}, // known by supply alone
		{`"Libre"`, "Libre", event.StatusRefused},
		{`"inconnu"`, "inconnu", event.StatusRefused},
	} {
		s.order("C", fmt.Sprintf(`{"commandeId":%d,"client":"L","montant":10,"quantite":3,"produit":%s}`, i, c.produit))
		s.read()
		v := s.verdicts[len(s.verdicts)-1]
		if l := v.Lines[0]; v.Status != c.status || l.Product != c.product || l.HasPrice || l.Amount != 1000 {
			t.Errorf("%s: %s, %+v", c.produit, v.Status, l)
		}
	}
	s.Pipe(event.TopicProducts, "3003", `{"id_produit":3003,"nom_produit":"Tour"}`)
	s.PipeRaw(streams.RawRecord{Topic: event.TopicProducts, Partition: -1, Key: []byte("1001")})
	s.order("C", `{"commandeId":90,"client":"L","montant":10,"produit":"pc gamer"}`)
	s.order("C", `{"commandeId":91,"client":"L","montant":10,"produit":"TOUR"}`)
	s.order("C", `{"commandeId":92,"client":"L","montant":10,"produit":"2002"}`)
	v, _ := s.read()
	if want := "[90 REFUSE PRODUIT_INCONNU 91 VALIDE 92 VALIDE]"; fmt.Sprint(v) != want {
		t.Errorf("verdicts %v, want %s", v, want)
	}
}

func TestCatalogueMakesKnown(t *testing.T) {
	s := newShop(t)
	order := func(id int) {
		s.order("C", fmt.Sprintf(`{"commandeId":%d,"client":"L","montant":1,"produit":"p"}`, id))
	}
	order(1)
	s.catalogue("p", "Pé")
	order(2)
	s.PipeRaw(streams.RawRecord{Topic: event.TopicProducts, Partition: 0, Key: []byte("p")})
	s.PipeRaw(streams.RawRecord{Topic: event.TopicProducts, Partition: 0, Key: nil})
	order(3)
	s.supply("p", 1)
	order(4)
	s.expect([]string{"1 REFUSE PRODUIT_INCONNU", "2 REFUSE STOCK_INSUFFISANT", "3 REFUSE PRODUIT_INCONNU", "4 VALIDE"},
		[]string{"p APPROVISIONNEMENT 1 → 1+0 s1", "p RESERVATION -1 → 0+1 4"})
}

func TestClients(t *testing.T) {
	s := newShop(t)
	s.supply("p", 100)
	s.read()
	for _, c := range []struct{ key, value, want string }{
		{"K", `"client":"L"`, "K"},
		{"", `"client":"L"`, "L"},
		{"..", `"client":"L"`, "L"},
		{"K", `"client":"L","clientId":5`, "5"},
	} {
		s.supplies++
		s.order(c.key, fmt.Sprintf(`{"commandeId":"c%d","montant":1,"produit":"p",%s}`, s.supplies, c.value))
		s.read()
		if v := s.verdicts[len(s.verdicts)-1]; string(v.Customer.ID) != c.want {
			t.Errorf("key %q, %s: clientId %q, want %q", c.key, c.value, v.Customer.ID, c.want)
		}
	}
	// Incoherent records, tombstones and large ones are somebody else's business.
	s.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: 0})
	s.order("K", `{`)
	s.order("..", `{"commandeId":1,"client":"..","montant":1,"produit":"p"}`)
	s.order("K", `{"commandeId":1,"client":"`+strings.Repeat("x", 900_000)+`"}`)
	s.expect(nil, nil)
	s.counted("incoherent", 4)
}

func TestIdentityIsForgotten(t *testing.T) {
	s := newShop(t)
	s.supply("p", 10)
	order := func(amount int) {
		s.order("C", fmt.Sprintf(`{"commandeId":1,"client":"L","montant":%d,"produit":"p"}`, amount))
	}
	order(1)
	s.confirm("1")
	s.read()
	s.Advance(399 * 24 * time.Hour)
	order(2)
	s.supplyAs("s1", "p", 10)
	s.expect([]string{"1 COMMANDE_EN_CONFLIT"}, nil)
	s.Advance(25 * time.Hour)
	s.Advance(time.Minute)
	order(2)
	s.confirm("1")
	s.supplyAs("s1", "p", 10)
	s.expect([]string{"1 VALIDE"}, []string{"p RESERVATION -1 → 8+1 1", "p SORTIE -1 → 8+0 1", "p APPROVISIONNEMENT 10 → 18+0 s1"})
}

func TestOtherTopicsMayHaveOtherPartitions(t *testing.T) {
	s := newShop(t, streamstest.TopicPartitions(event.TopicSupplies, 1), streamstest.TopicPartitions(event.TopicProducts, 5),
		streamstest.TopicPartitions(event.TopicRefused, 7), streamstest.TopicPartitions(event.TopicConfirmations, 2))
	for i := range 10 {
		p := event.ID(fmt.Sprint("p", i))
		s.catalogue(p, "nom")
		s.supply(p, 2)
		s.order(fmt.Sprint("k", i), lines(fmt.Sprint("a", i), "L", string(p), 1, 1))
		s.order(fmt.Sprint("k", i+1), lines(fmt.Sprint("b", i), "L", string(p), 1, 1))
		s.confirm(event.ID(fmt.Sprint("a", i)))
		s.refusePayment(event.ID(fmt.Sprint("b", i)))
	}
	s.read()
	for i := range 10 {
		if l := s.levels[event.ID(fmt.Sprint("p", i))]; l.Available != 1 || l.Reserved != 0 {
			t.Errorf("p%d: %+v, want 1 left and none reserved", i, l)
		}
	}
}
