package invariants

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/testenv"
)

// TestLoad writes a modelled history into a broker and a database, reads it back
// and finds nothing wrong: neither aborted records nor markers count.
func TestLoad(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()[0]
	h, w := history(150)
	write(t, brokers, h)
	cfg := Config{Brokers: brokers, Archive: sqlite(t, h.Archive)}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	commit(t, brokers, -1)
	soon, stop := context.WithTimeout(ctx, time.Second)
	if err := Settle(soon, cfg); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "service-paiement at ") {
		t.Errorf("one short of the end, Settle says %v", err)
	}
	stop()
	commit(t, brokers, 0)
	if err := Settle(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	report, err := Check(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations {
		t.Error(v)
	}
	for _, d := range report.Compare(w) {
		t.Error(d)
	}
}

// write produces every record where it stood, in transactions, with an aborted
// one between and one at the end.
func write(t *testing.T, brokers string, h *History) {
	t.Helper()
	client, err := orders.NewClient(brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("write"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := t.Context()
	transaction := func(commit kgo.TransactionEndTry, records ...*kgo.Record) {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := kclient.EndTransaction(ctx, client, commit, slices.Values(records)); err != nil {
			t.Fatal(err)
		}
	}
	// Refusals name their record by its offset, so those of orders are kept:
	// the model leaves one free between any two, for the marker.
	var rest []*kgo.Record
	for _, topic := range slices.Sorted(maps.Keys(h.Topics)) {
		for _, r := range h.Topics[topic] {
			record := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: r.Time}
			for _, header := range r.Headers {
				record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
			}
			if topic != topicOrders {
				rest = append(rest, record)
				continue
			}
			transaction(kgo.TryCommit, record)
			if record.Offset != r.Offset {
				t.Fatalf("%s was written at %d", r, record.Offset)
			}
		}
	}
	half := len(rest) / 2
	transaction(kgo.TryCommit, rest[:half]...)
	transaction(kgo.TryAbort, &kgo.Record{Topic: topicInvoices, Value: []byte("aborted")}, &kgo.Record{Topic: topicOrders, Partition: 1, Value: []byte("aborted")})
	transaction(kgo.TryCommit, rest[half:]...)
	transaction(kgo.TryAbort, &kgo.Record{Topic: topicInvoices, Partition: 2, Value: []byte("aborted")})
}

// commit lets every group stand at the ends, or beside them.
func commit(t *testing.T, brokers string, beside int64) {
	t.Helper()
	client, err := orders.NewClient(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	groups := maps.Clone(inputs)
	groups["connect-archive"] = []string{topicInvoices}
	for group, read := range groups {
		ends, err := admin.ListEndOffsets(t.Context(), read...)
		if err != nil {
			t.Fatal(err)
		}
		var offsets kadm.Offsets
		ends.Each(func(o kadm.ListedOffset) {
			offsets.AddOffset(o.Topic, o.Partition, max(0, o.Offset+beside), -1)
		})
		if err := admin.CommitAllOffsets(t.Context(), group, offsets); err != nil {
			t.Fatal(err)
		}
	}
}

// columns are those that rows have, in a fixed order.
func columns(rows []map[string]string) []string {
	all := map[string]bool{}
	for _, row := range rows {
		for name := range row {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func sqlite(t *testing.T, rows []map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if got, err := readArchive(t.Context(), Config{Archive: path}); err == nil && len(got) > 0 {
		t.Fatalf("an empty database has %d rows", len(got))
	}
	names := columns(rows)
	if _, err := db.Exec(`CREATE TABLE factures_ecommerce ("` + strings.Join(names, `" TEXT, "`) + `" TEXT)`); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		values := make([]any, len(names))
		for i, name := range names {
			if text, ok := row[name]; ok {
				values[i] = text
			}
		}
		if _, err := db.Exec(`INSERT INTO factures_ecommerce VALUES (?`+strings.Repeat(",?", len(names)-1)+`)`, values...); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestPostgresArchive: numbers, objects and text come back from a real
// PostgreSQL as they must to be compared.
func TestPostgresArchive(t *testing.T) {
	cfg := Config{Archive: testenv.Postgres(t), ArchiveTable: "verification.factures"}
	db, err := pgx.Connect(t.Context(), cfg.Archive)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.Exec(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`DROP SCHEMA IF EXISTS verification CASCADE`)
	if rows, err := readArchive(t.Context(), cfg); err != nil || len(rows) != 0 {
		t.Errorf("without a table: %v, %v", rows, err)
	}
	h, _ := history(150)
	names := columns(h.Archive)
	types := make([]string, len(names))
	for i, name := range names {
		kind := map[string]string{"lignes": "jsonb", "montant": "numeric", "tva": "numeric", "total_ht": "numeric", "taux_tva": "numeric"}[name]
		types[i] = fmt.Sprintf("%q %s", name, cmp.Or(kind, "text"))
	}
	exec(`CREATE SCHEMA verification`)
	exec(`CREATE TABLE verification.factures (` + strings.Join(types, ", ") + `)`)
	for _, row := range h.Archive {
		var into, marks []string
		var values []any
		for name, text := range row {
			into, values = append(into, fmt.Sprintf("%q", name)), append(values, text)
			marks = append(marks, fmt.Sprintf("$%d", len(values)))
		}
		exec(`INSERT INTO verification.factures (`+strings.Join(into, ",")+`) VALUES (`+strings.Join(marks, ",")+`)`, values...)
	}
	if h.Archive, err = readArchive(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, v := range h.Check().Violations {
		t.Error(v)
	}
	exec(`UPDATE verification.factures SET montant = montant + 0.01 WHERE numero = 'FA-2026-000001'`)
	if h.Archive, err = readArchive(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if got := h.Check().Violations; len(got) != 1 {
		t.Errorf("a changed row gives %v", got)
	}
	exec(`DROP SCHEMA verification CASCADE`)
}
