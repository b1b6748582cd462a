package audit

import (
	"context"
	"database/sql"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// TestDatabase reads what package orderdb has written.
func TestDatabase(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "commandes.db")
	if _, err := OpenDatabase(ctx, path); err == nil {
		t.Fatal("a file that is not there was opened")
	}
	db, err := orderdb.Open(ctx, orderdb.Config{URL: path})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	at := time.UnixMilli(1_790_000_000_000)
	content := func(n byte) *orderdb.Content {
		return &orderdb.Content{Digest: [16]byte{n}, Client: "CLI-1", Value: []byte("{}"), At: at}
	}
	entry := func(topic string, offset int64) orderdb.Entry {
		return orderdb.Entry{Topic: topic, Partition: 1, Offset: offset, Time: at}
	}
	orders := orderdb.Partition{Topic: event.TopicOrders, Partition: 1}
	if err := db.Apply(ctx, orderdb.Batch{
		From: map[orderdb.Partition]orderdb.Position{orders: {}},
		To:   map[orderdb.Partition]orderdb.Position{orders: {Topic: [16]byte{1}, Next: 9}},
		Orders: []orderdb.OrderChange{
			{ID: "991", Entry: entry(event.TopicOrders, 7), State: orderdb.Received, Content: content(1), Client: "CLI-1"},
			{ID: "991", Entry: entry(event.TopicErrors, 1), Alerts: []string{event.CodeHighAmount}, Accused: [16]byte{1}},
			{ID: "991", Entry: entry(event.TopicErrors, 2), Alerts: []string{event.CodeHighFrequency}, Accused: [16]byte{2}},
			{ID: "991", Entry: entry(event.TopicVerdicts, 3), State: orderdb.StockRefused, Reason: event.ReasonOutOfStock, Verdict: []byte("{}")},
			{ID: "é", Entry: entry(event.TopicOrders, 8), State: orderdb.Received, Content: content(3), Client: "CLI-1"},
		},
		Levels: []orderdb.Level{{Product: "1001", Name: "PC Gamer", Available: 41, Reserved: 3}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Submit(ctx, orderdb.Submission{At: at, Order: &orderdb.NewOrder{ID: "par HTTP", Client: "CLI-2", Value: []byte("{}")},
		Messages: []orderdb.Message{{Topic: event.TopicOrders, Key: []byte("CLI-2"), Value: []byte("{}"), At: at}}}); err != nil {
		t.Fatal(err)
	}

	d, err := OpenDatabase(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if p, err := d.Positions(ctx); err != nil || !reflect.DeepEqual(p, map[orderdb.Partition]int64{orders: 9}) {
		t.Errorf("positions %v, %v", p, err)
	}
	var listed []string
	if err := d.List(ctx, 0, func(_ int64, id string) error { listed = append(listed, id); return nil }); err != nil || !slices.Equal(listed, []string{"991", "é", "par HTTP"}) {
		t.Errorf("listed %q, %v", listed, err)
	}
	rows, entries := map[string]Row{}, map[string][]orderdb.Entry{}
	if err := d.Rows(ctx, []string{"991", "par HTTP", "personne"}, func(r Row) { rows[r.ID] = r }, func(id, topic string, partition int32, offset int64) {
		entries[id] = append(entries[id], orderdb.Entry{Topic: topic, Partition: partition, Offset: offset})
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]Row{
		"991":      {ID: "991", State: "STOCK_REFUSE", Client: "CLI-1", Reason: event.ReasonOutOfStock, Alerts: []string{event.CodeHighAmount}, At: at},
		"par HTTP": {ID: "par HTTP", State: "RECUE", Client: "CLI-2", At: at},
	}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("rows %+v, want %+v", rows, want)
	}
	if len(entries["991"]) != 4 || len(entries) != 1 {
		t.Errorf("timelines %v", entries)
	}
	if a, r, ok, err := d.Level(ctx, "1001"); a != 41 || r != 3 || !ok || err != nil {
		t.Errorf("level %d, %d, %v, %v", a, r, ok, err)
	}
	if _, _, ok, err := d.Level(ctx, "1"); ok || err != nil {
		t.Errorf("level of nothing: %v, %v", ok, err)
	}
	if n, oldest, err := d.Pending(ctx); n != 1 || !oldest.Equal(at) || err != nil {
		t.Errorf("pending %d since %s, %v", n, oldest, err)
	}
}

// TestArchive reads a table as a connector makes it.
func TestArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE autre (x)`); err != nil {
		t.Fatal(err)
	}
	a, err := OpenArchive(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var rows []digest
	read := func() error {
		rows = nil
		return a.Rows(context.Background(), func(column func(string) (string, bool)) error {
			rows = append(rows, rowOf(column))
			return nil
		})
	}
	if err := read(); err != nil || len(rows) != 0 {
		t.Fatalf("without a table: %d rows, %v", len(rows), err)
	}
	if _, err := db.Exec(`CREATE TABLE factures_ecommerce (numero TEXT, montant NUMERIC, "COMMANDEID" TEXT, lignes TEXT, email TEXT);
		INSERT INTO factures_ecommerce VALUES ('FA-2026-000001', 120.50, '991', '[{"quantite": 1.0, "id_produit":7}]', NULL)`); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	v, err := readJSON([]byte(`{"numero":"FA-2026-000001","montant":120.5,"commandeId":991,"lignes":[{"id_produit":7,"quantite":1}]}`), maxDepth)
	if err != nil {
		t.Fatal(err)
	}
	if want := rowOfInvoice(&v); rows[0] != want {
		t.Error("the row is not the invoice")
	}
	// Several pages, of which one ends where the table does.
	if _, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO factures_ecommerce (numero) SELECT i FROM n`, 2*archivePage); err != nil {
		t.Fatal(err)
	}
	numbers := map[string]bool{}
	if err := a.Rows(t.Context(), func(column func(string) (string, bool)) error {
		number, _ := column("NUMERO")
		numbers[number] = true
		return nil
	}); err != nil || len(numbers) != 2*archivePage {
		t.Errorf("%d of %d rows, %v", len(numbers), 2*archivePage, err)
	}
	if _, err := db.Exec(`UPDATE factures_ecommerce SET lignes = '[]'`); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil || rows[0] == rowOfInvoice(&v) {
		t.Errorf("another row is the invoice, %v", err)
	}
}
