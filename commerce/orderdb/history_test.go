package orderdb

import (
	"bytes"
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

func FuzzEntries(f *testing.F) {
	f.Add(appendEntries(nil, []entry{{1, 10, 2, 3}, {1 << 40, 1001, 1<<31 - 1, 1<<63 - 1}}))
	f.Add([]byte("not a multiple of an entry"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		entries, err := parseEntries(nil, stored)
		if (err == nil) != (len(stored)%entryBytes == 0) {
			t.Fatalf("%d bytes: %v", len(stored), err)
		}
		if err == nil && !bytes.Equal(appendEntries(nil, entries), stored) {
			t.Fatalf("%x became %v", stored, entries)
		}
	})
}

func TestShorten(t *testing.T) {
	stored := appendEntries(nil, []entry{{5, 10, 1, 7}, {9, 10, 1, 8}, {6, 10, 2, 9}, {7, 20, 1, 9}})
	l := loss{topic: 10, partition: 1, from: 8}
	if !bytes.Contains(stored, l.mark()) {
		t.Error("the mark is not in the entries")
	}
	s, ok, err := l.shorten(part{1, 2}, stored, false)
	want := shortened{part{1, 2}, 7, appendEntries(nil, []entry{{5, 10, 1, 7}, {6, 10, 2, 9}, {7, 20, 1, 9}}), false}
	equal(t, "shortened", []any{s, ok, err}, []any{want, true, nil})
	if _, ok, err := (loss{topic: 10, partition: 1, from: 9}).shorten(part{}, stored, false); ok || err != nil {
		t.Errorf("nothing is lost, but %v, %v", ok, err)
	}
	one := appendEntries(nil, []entry{{5, 10, 1, 8}})
	for _, verdict := range []bool{false, true} {
		if s, ok, err := l.shorten(part{}, one, verdict); !ok || err != nil || s.gone == verdict || len(s.entries) > 0 {
			t.Errorf("verdict %v: %+v, %v, %v", verdict, s, ok, err)
		}
	}
}

// Rows as the first version wrote them: one for each record.
const firstTimeline = `INSERT INTO orders (number, id, state, evidence, rejected, digest, refused, client, at, reason, reason_of, invoice, alerts, updated, changes)
	{always} VALUES (1, 'A', 4, 4, false, NULL, false, 'CLI-1', 0, '', 0, '', '', 2000, 3), (2, 'B', 0, 0, false, NULL, false, '', 0, '', 0, '', '', 0, 1);
	INSERT INTO timeline (number, topic, partition, {offset}, time) VALUES (1, 10, 3, 4000000000, 1000), (1, 40, 0, 12, 2000), (1, 30, 11, 5, 1500), (2, 20, 0, 1, 3000);
	INSERT INTO verdicts (number, value) VALUES (1, {verdict});
	INSERT INTO positions (topic, partition, topic_id, next) VALUES ('commandes.ecommerce', 3, {id}, 4000000001);`

// dialect puts what the databases spell differently into firstTimeline.
func dialect(query, always, offset, verdict, id string) string {
	return strings.NewReplacer("{always}", always, "{offset}", offset, "{verdict}", verdict, "{id}", id).Replace(query)
}

// checkMigrated looks at what firstTimeline has become, and goes on with it.
func checkMigrated(t *testing.T, db DB) {
	t.Helper()
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	check := func(id event.ID, want ...Entry) {
		t.Helper()
		got, err := db.Timeline(t.Context(), id)
		equal(t, "timeline", []any{got, err}, []any{want, nil})
	}
	first := Entry{event.TopicOrders, 3, 4_000_000_000, at(1000)}
	rest := []Entry{{event.TopicMovements, 11, 5, at(1500)}, {event.TopicVerdicts, 0, 12, at(2000)}}
	check("A", append([]Entry{first}, rest...)...)
	check("B", Entry{event.TopicErrors, 0, 1, at(3000)})
	o, ok, err := db.Order(t.Context(), "A")
	equal(t, "order", []any{o, ok, err}, []any{Order{ID: "A", Number: 1, State: Reserved, Client: "CLI-1", Verdict: []byte("V"), Updated: at(2000), Changes: 3}, true, nil})
	if o, _, err := db.Order(t.Context(), "B"); err != nil || !o.Updated.Equal(at(3000)) {
		t.Errorf("order B of %v, %v", o.Updated, err)
	}
	p := Partition{event.TopicOrders, 3}
	if err := db.Forget(t.Context(), p, Position{[16]byte{1}, 4_000_000_000}); err != nil {
		t.Fatal(err)
	}
	check("A", rest...)
	again := change("A", event.TopicOrders, 4_000_000_000, Unknown)
	again.Entry.Partition = 3
	if err := db.Apply(t.Context(), Batch{Orders: []OrderChange{again}, From: map[Partition]Position{p: {[16]byte{1}, 4_000_000_000}},
		To: map[Partition]Position{p: {[16]byte{1}, 4_000_000_001}}}); err != nil {
		t.Fatal(err)
	}
	check("A", append(slices.Clone(rest), again.Entry)...)
}

func TestSQLiteMigrates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.db")
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{migrations("sqlite")[0], dialect(firstTimeline, "", "offset", "CAST('V' AS BLOB)", "x'01000000000000000000000000000000'"),
		`INSERT INTO meta (name, value) VALUES ('shards', '4')`, `PRAGMA application_id = 1668116596; PRAGMA user_version = 1`} {
		if _, err := raw.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), Config{URL: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	checkMigrated(t, db)
}

func TestPostgresMigrates(t *testing.T) {
	p := postgresPlace(t)
	conn := connectTo(t, p)
	if _, err := conn.Exec(t.Context(), `CREATE SCHEMA comptoir; CREATE TABLE comptoir.versions (version integer PRIMARY KEY, since timestamptz NOT NULL DEFAULT now());
		SET search_path = comptoir; INSERT INTO versions (version) VALUES (1);`+migrations("postgres")[0]+
		dialect(firstTimeline, "OVERRIDING SYSTEM VALUE", "log_offset", "'V'", `'\x01000000000000000000000000000000'`)+
		`INSERT INTO meta (name, value) VALUES ('shards', '4')`); err != nil {
		t.Fatal(err)
	}
	checkMigrated(t, p.open(t))
}
