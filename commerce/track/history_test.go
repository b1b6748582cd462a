package track

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

var sample = map[string]string{
	event.TopicOrders:        strings.Replace(order, "991", "%s", 1),
	event.TopicErrors:        strings.ReplaceAll(accusation("rejet", "COMMANDE_EN_CONFLIT", order), `"commandeId":991`, `"commandeId":%s`),
	event.TopicVerdicts:      strings.Replace(verdict, "991", "%s", 1),
	event.TopicMovements:     `{"id_produit":1597,"nom_produit":"T-shirt","mouvement":"RESERVATION","quantite":-1,"disponible":41,"reserve":3,"id_commande":%s,` + at + `}`,
	event.TopicAccepted:      `{"id_commande":%s,` + who + `,"montant":120.5,"devise":"EUR","moyen":"SIMULATION","reference":"SIM-991",` + at + `}`,
	event.TopicRefused:       `{"id_commande":%s,` + who + `,"montant":120.5,"devise":"EUR","motif":"PLAFOND_DEPASSE",` + at + `}`,
	event.TopicInvoices:      strings.Replace(invoice, `"commandeId":991`, `"commandeId":%s`, 1),
	event.TopicConfirmations: `{"id_commande":%s,` + who + `,"montant":120.5,"devise":"EUR","numero_facture":"FA-2026-000001",` + at + `}`,
	event.TopicNotifications: strings.Replace(notification("CONFIRMATION"), `"commandeId":991`, `"commandeId":%s`, 1),
	event.TopicJournal:       `{"action":"commande.rejeu","objet":%s,"par":"api","resultat":"ok",` + at + `}`,
}

// record is a record of a topic about an order; about none if id is empty.
func record(topic string, partition int32, id string) *kgo.Record {
	r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte("CLI-991"), Timestamp: time.Now().Truncate(time.Millisecond)}
	if id == "" {
		r.Value = []byte(`{"id_produit":1597,"nom_produit":"T-shirt","prix":29.99}`)
		return r
	}
	literal := id
	if !strings.ContainsAny(id, "0123456789") {
		literal = `"` + id + `"`
	}
	if v, ok := sample[topic]; ok {
		// An accused order holds the id a second time.
		r.Value = []byte(strings.ReplaceAll(v, "%s", literal))
	} else {
		r.Value = []byte(`{}`)
	}
	return r
}

// history writes n random records about some orders: with the id in the value,
// in the header, in both or in neither; readable or not; in transactions that
// are committed or aborted, or in none.
func (c *cluster) history(rng *rand.Rand, n, partitions, orders int) {
	c.tb.Helper()
	var open []*kgo.Record
	for i := range n {
		id := fmt.Sprint(rng.IntN(orders))
		if rng.IntN(4) == 0 {
			id = ""
		}
		r := record(topics[rng.IntN(len(topics))], int32(rng.IntN(partitions)), id)
		if id != "" && (rng.IntN(2) == 0 || sample[r.Topic] == "") {
			r.Headers = []kgo.RecordHeader{{Key: event.HeaderOrder, Value: []byte(id)}}
			if rng.IntN(4) == 0 {
				r.Value = []byte("unreadable")
			}
		}
		open = append(open, r)
		if rng.IntN(20) == 0 || i == n-1 {
			if rng.IntN(3) == 0 {
				c.send(open...)
			} else {
				c.transact("test", rng.IntN(3) > 0, open...)
			}
			open = nil
		}
	}
}

// scan reads all topics and returns what an order's timeline must be, found
// without the code under test: by the header, else by the id in the value.
func (c *cluster) scan() map[event.ID][]string {
	c.tb.Helper()
	cl, err := c.kafka.New(kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		c.tb.Fatal(err)
	}
	defer cl.Close()
	ends, err := c.adm.ListEndOffsets(context.Background(), topics...)
	if err != nil {
		c.tb.Fatal(err)
	}
	left := make(map[string]int64)
	for topic, parts := range ends {
		for p, e := range parts {
			if e.Offset > 0 {
				left[fmt.Sprint(topic, "/", p)] = e.Offset
			}
		}
	}
	out := make(map[event.ID][]string)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			c.tb.Fatalf("scan: not read %v", left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if key := fmt.Sprint(r.Topic, "/", r.Partition); r.Offset+1 >= left[key] {
				delete(left, key)
			}
			if id := scannedID(r); id != "" && !r.Attrs.IsControl() {
				out[id] = append(out[id], where(r.Topic, r.Partition, r.Offset))
			}
		})
	}
	for id := range out {
		slices.Sort(out[id])
	}
	return out
}

func scannedID(r *kgo.Record) event.ID {
	for _, h := range r.Headers {
		if h.Key == event.HeaderOrder {
			return event.ID(h.Value)
		}
	}
	var v struct{ CommandeID, IDCommande, Objet json.RawMessage }
	var fields map[string]json.RawMessage
	if json.Unmarshal(r.Value, &fields) != nil {
		return ""
	}
	v.CommandeID, v.IDCommande, v.Objet = fields["commandeId"], fields["id_commande"], fields["objet"]
	for _, raw := range []json.RawMessage{v.CommandeID, v.IDCommande, v.Objet} {
		if raw != nil {
			return event.ID(strings.Trim(string(raw), `"`))
		}
	}
	return ""
}

func TestTimelinesAreWhatAScanFinds(t *testing.T) {
	c := newCluster(t, 3)
	db := newMemory()
	rng := rand.New(rand.NewPCG(4, uint64(time.Now().UnixNano())))
	c.history(rng, 300, 3, 20)
	_, stop := c.start(db)
	c.history(rng, 300, 3, 20)
	eventually(t, "lag 0", c.lag)
	if err := sameTimelines(db.timelines(), c.scan()); err != nil {
		t.Fatal(err)
	}
	stop()
	c.history(rng, 300, 3, 20)
	c.start(db)
	eventually(t, "lag 0 after a restart", c.lag)
	if err := sameTimelines(db.timelines(), c.scan()); err != nil {
		t.Fatal(err)
	}
	if p := (orderdb.Level{Product: "1597", Name: "T-shirt", Available: 41, Reserved: 3}); db.levels["1597"] != p {
		t.Errorf("level %+v", db.levels["1597"])
	}
	if p := db.products["1597"]; p.Name != "T-shirt" || p.Price != 2999 {
		t.Errorf("product %+v", p)
	}
}
