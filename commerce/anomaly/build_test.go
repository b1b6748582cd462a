package anomaly

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

func driver(t *testing.T, opts ...streamstest.Option) *streamstest.Driver {
	t.Helper()
	return streamstest.New(t, App, func(b *streams.Builder) { Build(b, Config{}) }, opts...)
}

// errorsOf reads what was written to commandes.erreurs.
func errorsOf(t *testing.T, d *streamstest.Driver) (list []event.ErrorRecord) {
	t.Helper()
	for _, r := range d.Read(event.TopicErrors) {
		e, err := event.ParseErrorRecord(r.Value)
		if err != nil {
			t.Fatalf("%s: %v", r.Value, err)
		}
		list = append(list, e)
	}
	return list
}

func codes(list []event.ErrorRecord) (out []string) {
	for _, e := range list {
		s := string(e.Order) + " " + e.Severity
		for _, p := range e.Problems {
			s += " " + p.Code
		}
		out = append(out, s)
	}
	return out
}

func TestReject(t *testing.T) {
	d := driver(t)
	const value = `{"commandeId":991, "client":"LUCAS","montant":-1,"produit":"PC Gamer","devise":"XXQ"}`
	at := d.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: -1, Key: []byte("CLI\xff"), Value: []byte(value),
		Headers: []streams.Header{{Key: "traceparent", Value: []byte("00-ab-cd-01")}, {Key: "x", Value: []byte("y")}, {Key: "comptoir-order", Value: []byte("forged")}}})
	got := d.Read(event.TopicErrors)
	if len(got) != 1 || string(got[0].Key) != "CLI\xff" || !got[0].Time.Equal(d.Now()) {
		t.Fatalf("%+v", got)
	}
	if h := fmt.Sprintf("%s", got[0].Headers); h != "[{traceparent 00-ab-cd-01} {x y} {comptoir-order 991}]" {
		t.Errorf("headers %s", h)
	}
	e, err := event.ParseErrorRecord(got[0].Value)
	if err != nil || e.Order != "991" || e.Severity != "rejet" || string(e.Value) != value || len(e.Problems) < 2 || !e.At.Equal(d.Now()) ||
		e.Origin != (event.Origin{Topic: event.TopicOrders, Partition: at.Partition, Offset: at.Offset}) {
		t.Errorf("%+v %v", e, err)
	}

	// One record for each accused record, whether it came before or not.
	d.Pipe(event.TopicOrders, "CLI-991", value)
	d.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: 1}) // a tombstone without key
	d.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: 1, Key: []byte{}, Value: []byte("not JSON")})
	d.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: 1, Value: bytes.Repeat([]byte{'x'}, 900_000)})
	records := d.Read(event.TopicErrors)
	if len(records) != 4 || records[1].Key != nil || records[2].Key == nil || len(records[2].Key) != 0 {
		t.Fatalf("%d records; null and empty keys became %v and %v", len(records), records[1].Key, records[2].Key)
	}
	for i, want := range []string{`"commandeId":991`, `"commande":null`, `"commande_brute":"bm90IEpTT04="`, `"taille":900000`} {
		if !strings.Contains(string(records[i].Value), want) {
			t.Errorf("%.300s without %s", records[i].Value, want)
		}
	}
	if d.Counted("rejected") != 5 || d.Counted("ok") != 0 {
		t.Errorf("%d rejected, %d ok", d.Counted("rejected"), d.Counted("ok"))
	}
}

// TestNothingOutgrowsABroker: whatever comes in, no record gets longer than the
// 1 MiB that brokers take, or it would stop the stage for good.
func TestNothingOutgrowsABroker(t *testing.T) {
	huge := func(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }
	order := func(n int) []byte {
		return []byte(`{"commandeId":991,"client":"LUCAS","montant":9000,"produit":"x","plus":"` + string(huge(n)) + `"}`)
	}
	var bad bytes.Buffer
	bad.WriteString(`{"commandeId":991,"client":"LUCAS","montant":1,"lignes":[0`)
	for bad.Len() < event.MaxOrderBytes-100 {
		bad.WriteString(`,0`)
	}
	bad.WriteString(`]}`)
	trace := streams.Header{Key: "traceparent", Value: []byte("00-ab-cd-01")}
	for _, c := range []struct {
		name    string
		key     []byte
		value   []byte
		headers []streams.Header
	}{
		{"huge value", nil, huge(1_000_000), nil},
		{"huge key", huge(1_000_000), []byte("{}"), nil},
		{"half and half", huge(500_000), huge(500_000), nil},
		{"huge header", nil, []byte("{}"), []streams.Header{trace, {Key: "x", Value: huge(1_000_000)}}},
		{"many headers", nil, []byte("{}"), slices.Repeat([]streams.Header{trace}, 50_000)},
		{"as long a key and headers as are kept", huge(maxCopied), huge(670_000), []streams.Header{{Key: "x", Value: huge(maxCopied - 20)}}},
		{"a huge key of a suspicious order", huge(700_000), order(event.MaxOrderBytes - 100), []streams.Header{{Key: "x", Value: huge(maxCopied)}}},
		{"a hundred thousand bad lines", nil, bad.Bytes(), nil},
	} {
		d := driver(t)
		d.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: 0, Key: c.key, Value: c.value, Headers: c.headers})
		found := false
		for _, topic := range []string{event.TopicErrors, App + "-clients-repartition", App + "-suspectes-repartition"} {
			for _, r := range d.Read(topic) {
				n := len(r.Key) + len(r.Value) + 100
				for _, h := range r.Headers {
					n += len(h.Key) + len(h.Value) + 10
				}
				if n > 1<<20 {
					t.Errorf("%s: %d bytes to %s", c.name, n, topic)
				}
				found = found || topic == event.TopicErrors
			}
		}
		if !found {
			t.Errorf("%s: nothing is accused", c.name)
		}
	}
	key, headers := bounded(huge(10), []streams.Header{trace, {Key: "x", Value: huge(maxCopied)}})
	if len(key) != 10 || len(headers) != 1 || headers[0].Key != "traceparent" {
		t.Errorf("%d bytes of key, headers %v", len(key), headers)
	}
}

func TestAlert(t *testing.T) {
	d := driver(t)
	d.Pipe(event.TopicProducts, "1001", `{"id_produit":1001,"nom_produit":"PC Gamer","prix":120.5}`)
	const seed = `{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`
	d.Pipe(event.TopicOrders, "CLI-991", seed)
	if got := errorsOf(t, d); len(got) != 0 {
		t.Fatalf("the seed order: %v", codes(got))
	}
	const value = `{"commandeId":992,"client":"LUCAS","montant":6000,"produit":" pc gamer","clientId":"CLI-992"}`
	at := d.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: 0, Value: []byte(value),
		Headers: []streams.Header{{Key: "traceparent", Value: []byte("00-ab-cd-01")}, {Key: "x", Value: []byte("y")}}})
	got := d.Read(event.TopicErrors)
	if len(got) != 1 || got[0].Key != nil || fmt.Sprintf("%s", got[0].Headers) != "[{traceparent 00-ab-cd-01} {x y} {comptoir-order 992}]" {
		t.Fatalf("%+v", got)
	}
	e, err := event.ParseErrorRecord(got[0].Value)
	if err != nil || string(e.Value) != value || e.Origin != (event.Origin{Topic: event.TopicOrders, Partition: 0, Offset: at.Offset}) {
		t.Errorf("%+v %v", e, err)
	}
	if got := codes([]event.ErrorRecord{e}); got[0] != "992 alerte MONTANT_ELEVE PRIX_INATTENDU" {
		t.Errorf("%q", got)
	}

	// Redelivered under the same and another key, and after a restart.
	d.Pipe(event.TopicOrders, "CLI-992", value)
	d.Restart()
	d.Pipe(event.TopicOrders, "other", value)
	if got := errorsOf(t, d); len(got) != 0 || d.Counted("duplicate") != 2 {
		t.Errorf("redelivered: %v, %d counted", codes(got), d.Counted("duplicate"))
	}
	// The price falls, the order comes again: only what is new.
	const again = `{"commandeId":993,"client":"LUCAS","montant":120.5,"produit":1001}`
	d.Pipe(event.TopicOrders, "CLI-993", again)
	d.Pipe(event.TopicProducts, "1001", `{"id_produit":1001,"nom_produit":"PC Gamer","prix":99}`)
	d.Pipe(event.TopicOrders, "CLI-993", again)
	if got := codes(errorsOf(t, d)); !slices.Equal(got, []string{"993 alerte PRIX_INATTENDU"}) {
		t.Errorf("%q", got)
	}
	// Other content under the same id.
	d.Pipe(event.TopicOrders, "CLI-992", strings.Replace(value, "6000", "7000", 1))
	if got := errorsOf(t, d); len(got) != 0 || d.Counted("conflict") != 1 {
		t.Errorf("conflict: %v, %d counted", codes(got), d.Counted("conflict"))
	}
	d.Advance(401 * 24 * time.Hour) // forgotten
	d.Pipe(event.TopicOrders, "CLI-992", value)
	if len(errorsOf(t, d)) != 1 {
		t.Error("alerts are remembered for ever")
	}
	d.Pipe(event.TopicProducts, "1001", `{"id_produit":1001`)
	if len(d.Dropped()) != 1 {
		t.Error("a damaged product is not reported")
	}
}

// TestLinesHaveNoNames: the name of a product is no id of a line.
func TestLinesHaveNoNames(t *testing.T) {
	d := driver(t)
	d.Pipe(event.TopicProducts, "1001", `{"id_produit":1001,"nom_produit":"PC Gamer","prix":120.5}`)
	d.Pipe(event.TopicOrders, "CLI-1", `{"commandeId":1,"client":"LUCAS","montant":1,"lignes":[{"id_produit":"PC Gamer","quantite":1,"prix":1}]}`)
	d.Pipe(event.TopicOrders, "CLI-1", `{"commandeId":2,"client":"LUCAS","montant":1,"lignes":[{"id_produit":1001,"quantite":1,"prix":1}]}`)
	if got := codes(errorsOf(t, d)); !slices.Equal(got, []string{"2 alerte PRIX_INATTENDU"}) {
		t.Errorf("%q", got)
	}
}

// TestFrequency: the 51st order of a client within a minute, and those after
// it, whatever keys and partitions the records have, and however often the
// others are sent again.
func TestFrequency(t *testing.T) {
	for _, partitions := range []int32{1, 3, 7} {
		d := driver(t, streamstest.Partitions(partitions))
		for i := range 60 {
			d.Advance(time.Second)
			for client := range 2 { // two clients in turn
				if client == 1 && i%2 == 1 {
					continue // the second at half the pace
				}
				r := streams.RawRecord{Topic: event.TopicOrders, Partition: -1,
					Value: fmt.Appendf(nil, `{"commandeId":"%d-%d","client":"LUCAS","clientId":"CLI-%d","montant":1,"produit":"x"}`, client, i, client)}
				switch i % 3 {
				case 0:
					r.Key = fmt.Appendf(nil, "CLI-%d", client)
				case 1:
					r.Key = fmt.Appendf(nil, "other-%d", i)
				default:
					r.Partition = int32(i) % partitions
				}
				d.PipeRaw(r)
				d.PipeRaw(r) // redelivered
				if i == 30 {
					d.Restart()
				}
			}
		}
		var want []string
		for i := 50; i < 60; i++ {
			want = append(want, fmt.Sprintf("0-%d alerte FREQUENCE_ELEVEE", i))
		}
		if got := codes(errorsOf(t, d)); !slices.Equal(got, want) {
			t.Errorf("%d partitions: %q", partitions, got)
		}
		if d.Counted("ok") != 2*90 {
			t.Errorf("%d partitions: %d orders are counted", partitions, d.Counted("ok"))
		}
	}
}

// TestFrequencyByRecordTime: the window is that of the records, of which one
// from the future counts as now.
func TestFrequencyByRecordTime(t *testing.T) {
	d := driver(t)
	send := func(i int, at time.Time) {
		d.PipeRaw(streams.RawRecord{Topic: event.TopicOrders, Partition: -1, Key: []byte("CLI-1"), Time: at,
			Value: fmt.Appendf(nil, `{"commandeId":%d,"client":"LUCAS","montant":1,"produit":"x"}`, i)})
	}
	old := d.Now().Add(-48 * time.Hour)
	for i := range 60 {
		send(i, old.Add(time.Duration(i)*2*time.Second)) // 30 a minute, read at once
	}
	if got := errorsOf(t, d); len(got) != 0 {
		t.Errorf("a slow client: %v", codes(got))
	}
	for i := range 51 {
		send(100+i, d.Now().Add(time.Duration(i)*24*time.Hour))
	}
	if got := codes(errorsOf(t, d)); !slices.Equal(got, []string{"150 alerte FREQUENCE_ELEVEE"}) {
		t.Errorf("from the future: %q", got)
	}
}

// BenchmarkJudge is the way of an order that nothing is wrong with.
func BenchmarkJudge(b *testing.B) {
	d := streamstest.New(b, App, func(b *streams.Builder) { Build(b, Config{}) })
	d.Pipe(event.TopicProducts, "1001", `{"id_produit":1001,"nom_produit":"PC Gamer","prix":120.5}`)
	i := 0
	for b.Loop() {
		i++
		d.Pipe(event.TopicOrders, fmt.Sprint("CLI-", i%1000), fmt.Sprintf(`{"commandeId":%d,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`, i))
	}
}
