package audit

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/test/testenv"
)

// TestDatabase reads what package orderdb has written.
func TestDatabase(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "commandes.db")
		if _, err := OpenDatabase(t.Context(), path); err == nil {
			t.Fatal("a file that is not there was opened")
		}
		testDatabase(t, path)
	})
	t.Run("postgres", func(t *testing.T) { testDatabase(t, emptyPostgres(t)) })
}

// emptyPostgres is a database of its own on the real server.
func emptyPostgres(t *testing.T) string {
	t.Helper()
	server := testenv.Postgres(t)
	db, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	name := fmt.Sprintf("audit_%d", time.Now().UnixNano())
	if _, err := db.Exec(`CREATE DATABASE ` + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = db.Exec(`DROP DATABASE ` + name + ` WITH (FORCE)`) })
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// page is what Page tells from one number on.
func page(t *testing.T, d *SQLDatabase, after, to int64) (ids []string, last int64, rows map[string]Row, entries map[string][]orderdb.Entry) {
	t.Helper()
	rows, entries = map[string]Row{}, map[string][]orderdb.Entry{}
	id := map[int64]string{}
	if err := d.Page(t.Context(), after, to, func(number int64, r Row) {
		ids, last, rows[r.ID], id[number] = append(ids, r.ID), number, r, r.ID
	}, func(number int64, topic string, partition int32, offset int64) {
		entries[id[number]] = append(entries[id[number]], orderdb.Entry{Topic: topic, Partition: partition, Offset: offset})
	}); err != nil {
		t.Fatal(err)
	}
	return ids, last, rows, entries
}

func testDatabase(t *testing.T, path string) {
	ctx := t.Context()
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
	newest, err := d.Last(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ids, last, paged, lines := page(t, d, 0, newest)
	if !slices.Equal(ids, []string{"991", "é", "par HTTP"}) || last != newest {
		t.Errorf("page of %q up to %d of %d", ids, last, newest)
	}
	if first, _, _, _ := page(t, d, 0, newest-1); !slices.Equal(first, ids[:2]) {
		t.Errorf("page up to the last but one: %q", first)
	}
	delete(paged, "é")
	for _, e := range []map[string][]orderdb.Entry{lines, entries} {
		slices.SortFunc(e["991"], func(a, b orderdb.Entry) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Offset, b.Offset))
		})
	}
	if !reflect.DeepEqual(paged, rows) || !reflect.DeepEqual(lines["991"], entries["991"]) || len(lines["é"]) != 1 || len(lines) != 2 {
		t.Errorf("page %+v with %+v, looked up %+v with %+v", paged, lines, rows, entries)
	}
	if ids, _, _, lines := page(t, d, last, last+1); len(ids)+len(lines) > 0 {
		t.Errorf("behind the last one: %q, %v", ids, lines)
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
	numbers, n := map[string]bool{}, 0
	if err := a.Rows(t.Context(), func(column func(string) (string, bool)) error {
		number, _ := column("NUMERO")
		numbers[number] = true
		n++
		return nil
	}); err != nil || len(numbers) != 2*archivePage || n != len(numbers) {
		t.Errorf("%d of %d rows in %d, %v", len(numbers), 2*archivePage, n, err)
	}
	if _, err := db.Exec(`UPDATE factures_ecommerce SET lignes = '[]'`); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil || rows[0] == rowOfInvoice(&v) {
		t.Errorf("another row is the invoice, %v", err)
	}
}
