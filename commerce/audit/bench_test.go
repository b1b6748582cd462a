package audit

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/comptoir/comptoir/commerce/event"
)

// mill makes a long history as it is read, so that it takes no memory: n orders
// of one piece each, all paid.
type mill struct{ n int }

const millProducts = 1000

func (m mill) ends() map[string]int {
	return map[string]int{
		event.TopicOrders: m.n, event.TopicVerdicts: m.n, event.TopicAccepted: m.n, event.TopicInvoices: m.n, event.TopicConfirmations: m.n,
		event.TopicNotifications: m.n, event.TopicMovements: 2*m.n + millProducts, event.TopicSupplies: millProducts, event.TopicProducts: millProducts,
	}
}

func (m mill) bounds(context.Context) (map[part]bound, error) {
	bounds := map[part]bound{}
	for topic, n := range m.ends() {
		bounds[part{topicIndex(topic), 0}] = bound{end: int64(n)}
	}
	return bounds, nil
}

func (m mill) lags(context.Context) ([]lag, error) { return nil, nil }
func (m mill) close()                              {}

func (m mill) read(_ context.Context, from map[part]int64, _ map[part]bound, f func(*Record) error, _ func()) error {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	stamp := at.Format(written)
	for topic, n := range m.ends() {
		first, news := from[part{topicIndex(topic), 0}]
		if !news {
			continue
		}
		for i := int(first); i < n; i++ {
			r := &Record{Topic: topic, Offset: int64(i), Time: at}
			id, product := fmt.Sprintf("CMD-%d", i), 1000+i%millProducts
			client := fmt.Sprintf("CLI-%d", i%20_000)
			customer := fmt.Sprintf(`"client":"LUCAS","clientId":"%s"`, client)
			const money = `"montant":120.5,"devise":"EUR"`
			line := fmt.Sprintf(`{"id_produit":%d,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5`, product)
			number := fmt.Sprintf("FA-2026-%06d", i+1)
			key, value := client, ""
			switch topic {
			case event.TopicOrders:
				value = fmt.Sprintf(`{"commandeId":"%s","client":"LUCAS","montant":120.5,"produit":%d}`, id, product)
			case event.TopicVerdicts:
				value = fmt.Sprintf(`{"commandeId":"%s","statut":"VALIDE",%s,%s,"lignes":[%s,"reserve":true}],"date_commande":"%s","timestamp":"%s"}`, id, customer, money, line, stamp, stamp)
			case event.TopicAccepted:
				key, value = id, fmt.Sprintf(`{"id_commande":"%s",%s,%s,"moyen":"SIMULATION","reference":"SIM-%s","timestamp":"%s"}`, id, customer, money, id, stamp)
			case event.TopicConfirmations:
				key, value = id, fmt.Sprintf(`{"id_commande":"%s",%s,%s,"numero_facture":"%s","timestamp":"%s"}`, id, customer, money, number, stamp)
			case event.TopicInvoices:
				value = fmt.Sprintf(`{"numero":"%s","type":"FACTURE","commandeId":"%s",%s,"date":"2026-03-01","lignes":[%s}],"total_ht":100.42,"tva":20.08,"taux_tva":20,%s,"date_commande":"%s","timestamp":"%s"}`,
					number, id, customer, line, money, stamp, stamp)
			case event.TopicNotifications:
				value = fmt.Sprintf(`{"id":"%s-CONFIRMATION","commandeId":"%s",%s,"type":"CONFIRMATION","priorite":"GENERALE","canal":"JOURNAL","sujet":"Commande %s confirmée","message":"Bonjour LUCAS, votre commande %s est confirmée. Facture %s, 120.5 EUR.","timestamp":"%s"}`,
					id, id, customer, id, id, number, stamp)
			case event.TopicSupplies:
				key, id = fmt.Sprint(product), ""
				value = fmt.Sprintf(`{"id":"LIV-1","id_produit":%d,"quantite":1000000}`, product)
			case event.TopicProducts:
				key, id = fmt.Sprint(product), ""
				value = fmt.Sprintf(`{"id_produit":%d,"nom_produit":"PC Gamer","prix":120.5}`, product)
			case event.TopicMovements:
				key, id, value = m.movement(i, stamp)
			}
			r.Key, r.Value = []byte(key), []byte(value)
			if id != "" && topic != event.TopicOrders {
				r.Headers = []Header{{event.HeaderOrder, []byte(id)}}
			}
			if err := f(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// movement is the i'th: first the supplies, then a reservation and an exit for
// each order.
func (m mill) movement(i int, stamp string) (key, id, value string) {
	kind, n, left, reserved, about := "APPROVISIONNEMENT", 1_000_000, 1_000_000, 0, `"reference":"LIV-1"`
	product := 1000 + i%millProducts
	if i >= millProducts {
		order := (i - millProducts) / 2
		product, id = 1000+order%millProducts, fmt.Sprintf("CMD-%d", order)
		kind, n, left, reserved = "RESERVATION", -1, 1_000_000-order/millProducts-1, 1
		if (i-millProducts)%2 == 1 {
			kind, reserved = "SORTIE", 0
		}
		about = fmt.Sprintf(`"id_commande":"%s"`, id)
	}
	return fmt.Sprint(product), id, fmt.Sprintf(`{"id_produit":%d,"nom_produit":"PC Gamer","mouvement":"%s","quantite":%d,"disponible":%d,"reserve":%d,%s,"timestamp":"%s"}`,
		product, kind, n, left, reserved, about, stamp)
}

// BenchmarkAudit is one round over b.N thousand orders, without Kafka: the time
// of making the records is in it.
func BenchmarkAudit(b *testing.B) {
	var peak uint64
	dir := b.TempDir()
	cfg := Config{Progress: func(Progress) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.Sys-m.HeapReleased)
	}}
	begin, cpu := time.Now(), processorTime()
	b.Setenv("TMPDIR", dir) // as without --dir: nothing is kept
	disk := int64(0)
	was := cfg.Progress
	cfg.Progress = func(p Progress) {
		was(p)
		disk = max(disk, sizeOf(dir))
	}
	r, err := run(b.Context(), cfg, mill{1000 * b.N})
	if err != nil {
		b.Fatal(err)
	}
	for _, i := range r.Invariants {
		for _, v := range i.First {
			b.Fatalf("%s: %s", i.ID, v)
		}
	}
	b.ReportMetric(float64(r.Records)/time.Since(begin).Seconds(), "records/s")
	b.ReportMetric(float64(peak)/(1<<20), "MiB")
	b.ReportMetric(float64(disk)/float64(1000*b.N), "disk-B/order")
	b.ReportMetric(float64((processorTime()-cpu).Microseconds())/float64(1000*b.N), "cpu-µs/order")
}

// BenchmarkFollow is what following costs beside a history, by the orders that a
// round finds: few while all keep up, many after a backlog. The time of making the
// records is in it.
func BenchmarkFollow(b *testing.B) {
	for _, round := range []int{500, 100_000} {
		for _, history := range []int{0, 100_000, 400_000} {
			b.Run(fmt.Sprintf("round=%d/history=%d", round, history), func(b *testing.B) {
				cfg := Config{Dir: b.TempDir(), Memory: FollowerMemory}
				cfg.defaults()
				s, err := openStore(cfg.Dir, cfg.Memory, true)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = s.close() }()
				follow := func(n int) {
					e := newEngine(cfg, mill{n}, s)
					if err := e.round(b.Context()); err != nil {
						b.Fatal(err)
					}
					r, err := e.report()
					if err != nil || r.Violations > 0 {
						b.Fatal(err, r)
					}
				}
				n := 0
				follow(n)
				for n < history {
					n += 100_000
					follow(n)
				}
				before, cpu := s.db.Metrics(), processorTime()
				b.ResetTimer()
				for b.Loop() {
					n += round
					follow(n)
				}
				b.StopTimer()
				used, after, orders := processorTime()-cpu, s.db.Metrics(), float64(n-history)
				b.ReportMetric(float64(used.Microseconds())/orders, "cpu-µs/order")
				b.ReportMetric(float64(b.Elapsed().Microseconds())/orders, "µs/order")
				merged := func(m *pebble.Metrics) (n uint64) {
					for _, l := range m.Levels {
						n += l.TableBytesCompacted
					}
					return n
				}
				b.ReportMetric(float64(merged(after)-merged(before))/orders, "merged-B/order")
			})
		}
	}
}

func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if i, err := d.Info(); err == nil { // it may be gone by now
				n += i.Size()
			}
		}
		return nil
	})
	return n
}
