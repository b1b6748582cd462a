package track

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

const (
	who   = `"client":"LUCAS","clientId":"CLI-991"`
	order = `{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer","couleur":"noir"}`
	bad   = `{"commandeId":991,"client":"LUCAS","montant":-1}`
	at    = `"timestamp":"2026-11-20T09:30:00.000Z"`

	verdict = `{"commandeId":991,"statut":"VALIDE",` + who + `,"montant":120.5,"devise":"EUR","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5,"reserve":true}],"date_commande":"2026-11-20T09:30:00.000Z",` + at + `}`
	refusal = `{"commandeId":991,"statut":"REFUSE","motif":"STOCK_INSUFFISANT",` + who + `,"montant":120.5,"devise":"EUR","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"reserve":false,"motif":"STOCK_INSUFFISANT"}],"date_commande":"2026-11-20T09:30:00.000Z",` + at + `}`
	invoice = `{"numero":"FA-2026-000001","type":"FACTURE","commandeId":991,` + who + `,"date":"2026-11-20","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5}],"total_ht":100.42,"tva":20.08,"taux_tva":20,"montant":120.5,"devise":"EUR","date_commande":"2026-11-20T09:30:00.000Z",` + at + `}`
)

func accusation(severity, code, value string) string {
	return `{"commandeId":991,"gravite":"` + severity + `","erreurs":[{"code":"` + code + `","champ":"montant","detail":"…"},{"code":"PRODUIT_ABSENT","champ":"produit","detail":"…"}],"commande":` + value + `,"origine":{"topic":"commandes.ecommerce","partition":0,"offset":7},` + at + `}`
}

func notification(kind string) string {
	return `{"id":"991-` + kind + `","commandeId":991,` + who + `,"type":"` + kind + `","priorite":"GENERALE","canal":"JOURNAL","sujet":"s","message":"m",` + at + `}`
}

func TestIndex(t *testing.T) {
	time1 := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	o, problems, _ := event.ParseOrder([]byte("CLI-991"), []byte(order), time1)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	content := &orderdb.Content{Digest: o.Digest, Client: "CLI-991", Value: []byte(order), At: time1}
	type change = orderdb.OrderChange
	for _, c := range []struct {
		name, topic, key, value, header string
		want                            *change // but for its entry
		level                           *orderdb.Level
		product                         *event.Product
		bad                             bool
	}{
		{name: "order", topic: event.TopicOrders, key: "CLI-991", value: order, want: &change{ID: "991", State: orderdb.Received, Content: content, Client: "CLI-991"}},
		{name: "incoherent order", topic: event.TopicOrders, key: "CLI-991", value: bad, want: &change{ID: "991"}},
		{name: "incoherent order of another header", topic: event.TopicOrders, value: bad, header: "7", want: &change{ID: "991"}},
		{name: "order without id", topic: event.TopicOrders, value: `{"client":"LUCAS"}`, bad: true},
		{name: "order without id but in the header", topic: event.TopicOrders, value: `{`, header: "7", want: &change{ID: "7"}, bad: true},
		{name: "tombstone of an order", topic: event.TopicOrders, bad: true},
		{name: "rejection", topic: event.TopicErrors, key: "CLI-991", value: accusation("rejet", "MONTANT_INVALIDE", bad), want: &change{ID: "991", State: orderdb.Rejected, Reason: "MONTANT_INVALIDE"}},
		{name: "rejection of what has no id", topic: event.TopicErrors, value: `{"gravite":"rejet","erreurs":[{"code":"JSON_INVALIDE","champ":"","detail":""}],"commande":null,"origine":{"topic":"commandes.ecommerce","partition":0,"offset":7},` + at + `}`},
		{name: "alert", topic: event.TopicErrors, key: "CLI-991", value: accusation("alerte", "MONTANT_ELEVE", order), want: &change{ID: "991", Alerts: []string{"MONTANT_ELEVE", "PRODUIT_ABSENT"}, Accused: o.Digest}},
		{name: "alert in base64", topic: event.TopicErrors, key: "CLI-991", value: strings.Replace(accusation("alerte", "MONTANT_ELEVE", "@"), `"commande":@`, `"commande_brute":"`+base64.StdEncoding.EncodeToString([]byte(order))+`"`, 1),
			want: &change{ID: "991", Alerts: []string{"MONTANT_ELEVE", "PRODUIT_ABSENT"}, Accused: o.Digest}},
		{name: "alert against what is too large", topic: event.TopicErrors, key: "CLI-991", value: strings.Replace(accusation("alerte", "MONTANT_ELEVE", "@"), `"commande":@`, `"taille":899999`, 1),
			want: &change{ID: "991", Alerts: []string{"MONTANT_ELEVE", "PRODUIT_ABSENT"}, Origin: orderdb.Entry{Topic: event.TopicOrders, Offset: 7}}},
		{name: "alert against no order", topic: event.TopicErrors, key: "CLI-991", value: accusation("alerte", "MONTANT_ELEVE", bad), want: &change{ID: "991"}},
		{name: "alert against another order", topic: event.TopicErrors, key: "CLI-991", value: accusation("alerte", "MONTANT_ELEVE", strings.Replace(order, "991", "992", 1)), want: &change{ID: "991"}},
		{name: "conflict", topic: event.TopicErrors, key: "CLI-991", value: accusation("rejet", "COMMANDE_EN_CONFLIT", order), want: &change{ID: "991", State: orderdb.InConflict, Reason: "COMMANDE_EN_CONFLIT", Content: content}},
		{name: "conflict whose order cannot be read", topic: event.TopicErrors, value: accusation("rejet", "COMMANDE_EN_CONFLIT", bad), want: &change{ID: "991"}},
		{name: "other severity", topic: event.TopicErrors, value: accusation("info", "MONTANT_ELEVE", bad), want: &change{ID: "991"}},
		{name: "accusation of nothing", topic: event.TopicErrors, value: `{"commandeId":991,"gravite":"rejet","erreurs":[],"origine":{"topic":"commandes.ecommerce","partition":0,"offset":7},` + at + `}`, bad: true},
		{name: "malformed accusation", topic: event.TopicErrors, value: `[]`, header: "991", want: &change{ID: "991"}, bad: true},
		{name: "verdict", topic: event.TopicVerdicts, value: verdict, header: "991", want: &change{ID: "991", State: orderdb.Reserved, Verdict: []byte(verdict), Client: "CLI-991"}},
		{name: "refusal", topic: event.TopicVerdicts, value: refusal, header: "991", want: &change{ID: "991", State: orderdb.StockRefused, Verdict: []byte(refusal), Client: "CLI-991", Reason: "STOCK_INSUFFISANT"}},
		{name: "malformed verdict", topic: event.TopicVerdicts, value: `{"commandeId":991}`, bad: true},
		{name: "movement", topic: event.TopicMovements, value: `{"id_produit":1597,"nom_produit":"T-shirt","mouvement":"RESERVATION","quantite":-1,"disponible":41,"reserve":3,"id_commande":991,` + at + `}`,
			want: &change{ID: "991"}, level: &orderdb.Level{Product: "1597", Name: "T-shirt", Available: 41, Reserved: 3}},
		{name: "supply", topic: event.TopicMovements, value: `{"id_produit":1597,"nom_produit":"\u0000","mouvement":"APPROVISIONNEMENT","quantite":1,"disponible":41,"reserve":3,"reference":"a",` + at + `}`,
			level: &orderdb.Level{Product: "1597", Available: 41, Reserved: 3}},
		{name: "malformed movement", topic: event.TopicMovements, value: `{"id_produit":1597,"disponible":"3"}`, bad: true},
		{name: "paid", topic: event.TopicAccepted, value: `{"id_commande":991,` + who + `,"montant":120.5,"devise":"EUR","moyen":"SIMULATION","reference":"SIM-991",` + at + `}`, want: &change{ID: "991", State: orderdb.Paid, Client: "CLI-991"}},
		{name: "payment refused", topic: event.TopicRefused, value: `{"id_commande":991,` + who + `,"montant":120.5,"devise":"EUR","motif":"PLAFOND_DEPASSE",` + at + `}`, want: &change{ID: "991", State: orderdb.PaymentRefused, Client: "CLI-991", Reason: "PLAFOND_DEPASSE"}},
		{name: "motif that no database takes", topic: event.TopicRefused, value: `{"id_commande":991,` + who + `,"montant":120.5,"devise":"EUR","motif":"\u0000",` + at + `}`, want: &change{ID: "991", State: orderdb.PaymentRefused, Client: "CLI-991"}},
		{name: "confirmed", topic: event.TopicConfirmations, value: `{"id_commande":991,` + who + `,"montant":120.5,"devise":"EUR","numero_facture":"FA-2026-000001",` + at + `}`, want: &change{ID: "991", State: orderdb.Invoiced, Client: "CLI-991", Invoice: "FA-2026-000001"}},
		{name: "invoice", topic: event.TopicInvoices, value: invoice, want: &change{ID: "991", State: orderdb.Invoiced, Client: "CLI-991", Invoice: "FA-2026-000001"}},
		{name: "credit note", topic: event.TopicInvoices, value: strings.Replace(invoice, "FACTURE", "AVOIR", 1), want: &change{ID: "991", Client: "CLI-991"}},
		{name: "confirmation", topic: event.TopicNotifications, value: notification("CONFIRMATION"), want: &change{ID: "991", State: orderdb.Notified, Client: "CLI-991"}},
		{name: "refusal notified", topic: event.TopicNotifications, value: notification("REFUS_STOCK"), want: &change{ID: "991", Client: "CLI-991"}},
		{name: "product", topic: event.TopicProducts, value: `{"id_produit":1597,"nom_produit":"T-shirt","prix":29.99}`, product: &event.Product{ID: "1597", Name: "T-shirt", Price: 2999, HasPrice: true}},
		{name: "tombstone of a product", topic: event.TopicProducts, bad: true},
		{name: "supply", topic: event.TopicSupplies, value: `{"id":1,"id_produit":1597,"quantite":3}`},
		{name: "supply with an order", topic: event.TopicSupplies, value: `{"id":1,"id_produit":1597,"quantite":3}`, header: "991", want: &change{ID: "991"}},
		{name: "replay of an order", topic: event.TopicJournal, value: `{"action":"commande.rejeu","objet":991,"par":"api","resultat":"ok"}`, want: &change{ID: "991"}},
		{name: "replay of an order, quoted", topic: event.TopicJournal, value: `{"action":"commande.rejeu","objet":"CMD-\u0031","par":"api","resultat":"ok"}`, want: &change{ID: "CMD-1"}},
		{name: "replay of an object", topic: event.TopicJournal, value: `{"action":"commande.rejeu","objet":{"a":"` + strings.Repeat("x", 200) + `"}}`, bad: true},
		{name: "action on a product", topic: event.TopicJournal, value: `{"action":"produit.maj","objet":1597,"par":"api","resultat":"ok"}`},
		{name: "malformed action", topic: event.TopicJournal, value: `{"objet":1597}`, bad: true},
		{name: "header that is no id", topic: event.TopicSupplies, value: `{}`, header: "\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &kgo.Record{Topic: c.topic, Partition: 2, Offset: 7, Key: []byte(c.key), Timestamp: time1}
			if c.value != "" {
				r.Value = []byte(c.value)
			}
			if c.header != "" {
				r.Headers = []kgo.RecordHeader{{Key: "traceparent"}, {Key: event.HeaderOrder, Value: []byte(c.header)}}
			}
			var want orderdb.Batch
			if c.want != nil {
				w := *c.want
				w.Entry = orderdb.Entry{Topic: c.topic, Partition: 2, Offset: 7, Time: time1}
				want.Orders = append(want.Orders, w)
			}
			if c.level != nil {
				want.Levels = append(want.Levels, *c.level)
			}
			if c.product != nil {
				want.Products = append(want.Products, *c.product)
			}
			var got orderdb.Batch
			if ok := Index(&got, r); ok == c.bad {
				t.Errorf("readable: %v", ok)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// TestEveryTopicIsIndexed keeps the table of topics and Index together.
func TestEveryTopicIsIndexed(t *testing.T) {
	if len(topics) != len(event.Topics)-2 {
		t.Fatalf("topics read: %q", topics)
	}
	for _, topic := range topics {
		var b orderdb.Batch
		if ok := Index(&b, &kgo.Record{Topic: topic, Value: []byte("{")}); ok != (topic == event.TopicSupplies) {
			t.Errorf("%s: a malformed record is readable: %v", topic, ok)
		}
	}
}

func TestSaneTimes(t *testing.T) {
	for _, ms := range []int64{-1 << 63, -1, 1<<63 - 1} {
		if y := sane(time.UnixMilli(ms)).Year(); y != 1970 && y != 9999 {
			t.Errorf("%d ms becomes the year %d", ms, y)
		}
	}
}

func FuzzIndex(f *testing.F) {
	for i := range topics {
		for _, v := range []string{order, bad, verdict, refusal, invoice, notification("CONFIRMATION"), accusation("rejet", "COMMANDE_EN_CONFLIT", order),
			`{"action":"commande.rejeu","objet":"991"}`, `{"id_produit":1597,"nom_produit":"T-shirt","mouvement":"RESERVATION","quantite":-1,"disponible":41,"reserve":3,"id_commande":991,` + at + `}`} {
			f.Add(uint8(i), []byte("CLI-991"), []byte(v), []byte("991"), int64(1<<40))
		}
	}
	f.Fuzz(func(t *testing.T, topic uint8, key, value, header []byte, ms int64) {
		r := &kgo.Record{Topic: topics[int(topic)%len(topics)], Key: key, Value: value, Timestamp: time.UnixMilli(ms),
			Headers: []kgo.RecordHeader{{Key: event.HeaderOrder, Value: header}}}
		var b orderdb.Batch
		Index(&b, r)
		for _, o := range b.Orders {
			// What is asked of a database must be something that it can hold.
			if !o.ID.Valid() || o.Client != "" && !o.Client.Valid() || len(o.Reason) > event.MaxIDBytes || strings.ContainsRune(o.Reason+o.Invoice, 0) {
				t.Errorf("change %+v", o)
			}
			if (o.State == orderdb.Received || o.State == orderdb.InConflict) != (o.Content != nil) {
				t.Errorf("state %v with content %v", o.State, o.Content)
			}
		}
		for _, l := range b.Levels {
			if !l.Product.Valid() || l.Name != "" && !event.ValidName(l.Name) {
				t.Errorf("level %+v", l)
			}
		}
	})
}
