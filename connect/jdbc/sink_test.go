package jdbc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/comptoir/comptoir/connect"
)

// onEach runs a test on every database there is.
func onEach(t *testing.T, f func(t *testing.T, d *database)) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) { f(t, d) })
	}
}

func values(from int64, lines ...string) []*connect.Record {
	var out []*connect.Record
	for i, l := range lines {
		out = append(out, record(from+int64(i), fmt.Sprint("k", i), l))
	}
	return out
}

func mustPut(t *testing.T, b *bench, batch []*connect.Record) {
	t.Helper()
	if err := b.Put(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// An invoice without e-mail may come first, and an id may be a number or text:
// all of it is archived, to the last digit.
func TestArchivesInvoicesWhole(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, nil)
		b.assign(t, assignment("A", 0))
		mustPut(t, b, values(0,
			`{"numero":"FA-1","commandeId":991,"email":null,"montant":120.50,"lignes":[{"quantite":1}],"paye":true}`,
			`{"numero":"FA-2","commandeId":"CMD-0190","email":"a@x.fr","montant":92233720368547758.07,"lignes":[],"paye":false}`))
		mustPut(t, b, values(2, `{"numero":"FA-3","commandeId":993,"note":"l'été","montant":0.3}`))
		d.want(t, `SELECT numero, "commandeId", email, montant, note FROM `+d.table+` ORDER BY numero`,
			"FA-1|991|-|120.50|-\nFA-2|CMD-0190|a@x.fr|92233720368547758.07|-\nFA-3|993|-|0.3|l'été")
		d.want(t, `SELECT count(*) FROM `+d.table+` WHERE paye`, "1")
		d.want(t, `SELECT topic, part, topic_id, next_offset, epoch FROM _connect_offsets`, "factures.ecommerce|0|A|3|1")
	})
}

func TestRedeliveryWritesOnce(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, nil)
		b.assign(t, assignment("A", 0))
		batch := values(0, `{"n":"1"}`, `{"n":"2"}`, `{"n":"3"}`)
		mustPut(t, b, batch[:2])
		mustPut(t, b, batch)
		// The task dies before Kafka knows; its successor is given all again.
		next := d.sink(t, nil)
		if at := next.assign(t, assignment("A", 0)); at != 3 {
			t.Errorf("the successor begins at %d, want 3", at)
		}
		mustPut(t, next, append(batch, values(3, `{"n":"4"}`)...))
		d.want(t, `SELECT n FROM `+d.table+` ORDER BY n`, "1\n2\n3\n4")
	})
}

func TestZombieIsFenced(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		zombie, heir := d.sink(t, nil), d.sink(t, nil)
		zombie.assign(t, assignment("A", 0))
		mustPut(t, zombie, values(0, `{"n":"1"}`))
		heir.assign(t, assignment("A", 0))
		if err := zombie.Put(t.Context(), values(1, `{"n":"zombie"}`)); !errors.Is(err, connect.ErrFenced) {
			t.Errorf("the zombie's put says %v, want fenced", err)
		}
		mustPut(t, heir, values(1, `{"n":"2"}`))
		if err := zombie.Put(t.Context(), values(1, `{"n":"zombie"}`, `{"n":"zombie"}`)); !errors.Is(err, connect.ErrFenced) {
			t.Errorf("the zombie's second put says %v, want fenced", err)
		}
		d.want(t, `SELECT n FROM `+d.table+` ORDER BY n`, "1\n2")
	})
}

func TestRecreatedTopicIsAnother(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, nil)
		b.assign(t, assignment("A", 5))
		mustPut(t, b, values(5, `{"n":"1"}`))
		if at := b.assign(t, assignment("A", 0)); at != 6 {
			t.Errorf("the same topic goes on at %d, want 6", at)
		}
		if at := b.assign(t, assignment("B", 4)); at != 0 {
			t.Errorf("the new topic begins at %d, want 0", at)
		}
		mustPut(t, b, values(0, `{"n":"2"}`))
		d.want(t, `SELECT n FROM `+d.table+` ORDER BY n`, "1\n2")
	})
}

func TestUnknownOutcomeIsReadAgain(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		for _, committed := range []bool{true, false} {
			b := d.sink(t, nil)
			at := b.assign(t, assignment("A", 0))
			batch := values(at, fmt.Sprintf(`{"n":"%d"}`, at))
			if committed {
				// The database has it; the sink is told nothing.
				before := b.parts[batch[0].TopicPartition]
				mustPut(t, b, batch)
				b.parts[batch[0].TopicPartition] = before
			}
			b.doubt[batch[0].TopicPartition] = true
			mustPut(t, b, append(batch, values(at+1, fmt.Sprintf(`{"n":"%d"}`, at+1))...))
			if len(b.doubt) != 0 {
				t.Error("the doubt stays")
			}
		}
		d.want(t, `SELECT n FROM `+d.table+` ORDER BY n`, "0\n1\n2\n3")
	})
}

func TestUpsertAndDelete(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, map[string]string{"insert.mode": "upsert", "pk.mode": "record_key", "pk.fields": "cle", "delete.enabled": "true"})
		b.assign(t, assignment("A", 0))
		at := int64(0)
		send := func(pairs ...string) {
			t.Helper()
			var batch []*connect.Record
			for i := 0; i < len(pairs); i += 2 {
				batch = append(batch, record(at, pairs[i], pairs[i+1]))
				at++
			}
			mustPut(t, b, batch)
		}
		query := `SELECT cle, a, b FROM ` + d.table + ` ORDER BY cle`
		send("x", `{"a":"1","b":"1"}`, "y", `{"a":"1"}`, "x", `{"a":"2"}`)
		d.want(t, query, "x|2|1\ny|1|-") // what is absent stays
		send("y", `{"a":null,"b":"3"}`, "x", `null`, "z", `{"a":"9"}`)
		d.want(t, query, "y|-|3\nz|9|-") // null is written
		send("z", `null`, "z", `{"b":"1"}`, "y", `null`)
		d.want(t, query, "z|-|1")
		d.want(t, `SELECT next_offset FROM _connect_offsets`, "9")
	})
}

func TestUpdateRefusesWhatIsNotThere(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		up := d.sink(t, map[string]string{"insert.mode": "upsert", "pk.mode": "record_value", "pk.fields": "k"})
		up.assign(t, assignment("A", 0))
		mustPut(t, up, values(0, `{"k":"1","v":"old"}`, `{"k":"2","v":"old"}`))
		b := d.sink(t, map[string]string{"insert.mode": "update", "pk.mode": "record_value", "pk.fields": "k"})
		b.tolerate = true
		b.assign(t, assignment("A", 0))
		mustPut(t, b, values(2, `{"k":"1","v":"new"}`, `{"k":"9","v":"lost?"}`, `{"k":"2","v":"new"}`))
		d.want(t, `SELECT k, v FROM `+d.table+` ORDER BY k`, "1|new\n2|new")
		if len(b.reported) != 1 || !strings.HasPrefix(b.reported[0], "3: ") || !strings.Contains(b.reported[0], "there is no row with this primary key") {
			t.Errorf("reported %q", b.reported)
		}
	})
}

// badRows are refused by the mapping (a number in place of a boolean) and by
// the database (a duplicate key).
var badRows = []string{`{"k":"1","ok":true}`, `{"k":"2","ok":1}`, `{"k":"3","ok":true}`, `{"k":"1","ok":false}`, `{"k":"5","ok":true}`, `[]`, `{"k":"7","ok":true}`}

func TestRefusedRowsAreLeftOut(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, map[string]string{"pk.mode": "record_value", "pk.fields": "k"})
		b.tolerate = true
		b.assign(t, assignment("A", 0))
		mustPut(t, b, values(0, badRows...))
		d.want(t, `SELECT k FROM `+d.table+` ORDER BY k`, "1\n3\n5\n7")
		d.want(t, `SELECT next_offset FROM _connect_offsets`, "7")
		if got := strings.Join(b.reported, "\n"); len(b.reported) != 3 || !strings.Contains(got, `1: table `+d.table+`: column "ok": is of type boolean, the value is a JSON number`) &&
			!strings.Contains(got, `1: table `+d.table+`: column "ok": is of type BOOLEAN, the value is a JSON number`) || !strings.Contains(got, "insert.mode=upsert") || !strings.Contains(got, "5: the value is of type array") {
			t.Errorf("reported %s", got)
		}
	})
}

func TestRefusedRowKeepsWhatCameBefore(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, map[string]string{"pk.mode": "record_value", "pk.fields": "k"})
		b.assign(t, assignment("A", 0))
		if err := b.Put(t.Context(), values(0, badRows...)); !errors.Is(err, errReported) {
			t.Fatalf("put says %v", err)
		}
		d.want(t, `SELECT k FROM `+d.table, "1")
		d.want(t, `SELECT next_offset FROM _connect_offsets`, "1")
		if err := b.Put(t.Context(), values(2, badRows[2], badRows[3], badRows[4])); !errors.Is(err, errReported) {
			t.Fatalf("put says %v", err)
		}
		d.want(t, `SELECT k FROM `+d.table+` ORDER BY k`, "1\n3")
		d.want(t, `SELECT next_offset FROM _connect_offsets`, "3")
	})
}

func TestSkippedRecordsMoveTheOffset(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, nil)
		b.assign(t, assignment("A", 0))
		batch := values(0, `{"n":"1"}`, `{"n":"2"}`)
		batch[1].Skip = true
		mustPut(t, b, batch)
		d.want(t, `SELECT n FROM `+d.table, "1")
		d.want(t, `SELECT next_offset FROM _connect_offsets`, "2")
	})
}

func TestMissingTableAndColumn(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, map[string]string{"auto.create": "false", "table.name.format": "factures"})
		b.assign(t, assignment("A", 0))
		if err := b.Put(t.Context(), values(0, `{"n":"1"}`)); !connect.IsRetriable(err) || !strings.Contains(err.Error(), "table factures does not exist; create it, or set auto.create=true") {
			t.Fatalf("put says %v", err)
		}
		if err := d.exec(`CREATE TABLE factures (N varchar(20), montant integer)`); err != nil {
			t.Fatal(err)
		}
		mustPut(t, b, values(0, `{"n":"1","montant":100}`, `{"n":"2","montant":1e2,"unknown":null}`)) // N is found without regard to case
		if err := b.Put(t.Context(), values(2, `{"n":"3","extra":1}`)); !errors.Is(err, errReported) {
			t.Fatalf("put says %v", err)
		}
		if got := strings.Join(b.reported, "\n"); !strings.Contains(got, `has no column "extra"; add it`) {
			t.Errorf("reported %s", got)
		}
		d.want(t, `SELECT n, montant FROM factures ORDER BY n`, "1|100\n2|100")
	})
}

func TestOffsetsCanBeChanged(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, nil)
		a := assignment("A", 7)
		b.assign(t, a)
		other := connect.TopicPartition{Topic: "other", Partition: 1}
		if err := b.SetOffsets(t.Context(), map[connect.TopicPartition]int64{a.TopicPartition: -1, other: 3}); err != nil {
			t.Fatal(err)
		}
		got, err := b.Offsets(t.Context())
		if err != nil || len(got) != 1 || got[other] != 3 {
			t.Errorf("offsets %v, %v", got, err)
		}
	})
}

func TestHostileNames(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, nil)
		b.tolerate = true
		b.assign(t, assignment("A", 0))
		long := strings.Repeat("é", 40)
		mustPut(t, b, values(0, `{"a\"; DROP TABLE x; --":"1","n":"0"}`, `{"":"1","n":"1"}`, `{"`+long+`":"1","n":"2"}`, `{"n":"3","z":"a\u0000b"}`, `{"n":"4","?1":"$1"}`))
		d.want(t, `SELECT count(*) FROM `+d.table+` WHERE n IN ('0','4') AND ("?1" = '$1' OR "a""; DROP TABLE x; --" = '1')`, "2")
	})
}

// TestBindsToRealColumns: tables made by hand keep their types.
func TestBindsToRealColumns(t *testing.T) {
	for _, d := range postgresDatabase(t) {
		b := d.sink(t, map[string]string{"auto.create": "false", "table.name.format": "f"})
		b.tolerate = true
		if err := d.exec(`CREATE TYPE etat AS ENUM ('RECUE','PAYEE'); CREATE DOMAIN prix AS numeric(10,2) CHECK (VALUE >= 0);
			CREATE TABLE f (id bigserial PRIMARY KEY, n int, u uuid, j jsonb, tz timestamptz, ts timestamp, d date, s varchar(3), c char(4), e etat, p prix, m numeric(10,2), x text DEFAULT 'seul')`); err != nil {
			t.Fatal(err)
		}
		b.assign(t, assignment("A", 0))
		mustPut(t, b, values(0,
			`{"n":1,"u":"ca9cb9a0-0000-0000-0000-000000000001","j":"{\"a\":1}","tz":"2026-11-20T10:00:00.123Z","ts":"2026-11-20T12:00:00+02:00","d":"2026-11-20","s":"abc","c":"wxyz","e":"PAYEE","p":1.5,"m":120.50}`,
			`{"n":2,"u":"not a uuid"}`, `{"n":3,"s":"abcd"}`, `{"n":4,"m":1.005}`, `{"n":5,"p":-1}`, `{"n":6,"e":"ODD"}`, `{"n":7}`, `{"n":99999999999}`, `{"n":"9"}`))
		d.want(t, `SELECT n, u, j, tz AT TIME ZONE 'UTC', ts, d, s, c, e, p, m, x FROM f ORDER BY n`,
			`1|ca9cb9a0-0000-0000-0000-000000000001|{"a": 1}|2026-11-20 10:00:00.123|2026-11-20 10:00:00|2026-11-20|abc|wxyz|PAYEE|1.50|120.50|seul`+"\n"+
				`7|-|-|-|-|-|-|-|-|-|-|seul`)
		want := []string{
			`3: table f: column "m": is of type numeric(10,2) and would round 1.005`, `8: table f: column "n": is of type integer, the value is a JSON string`,
			`1: table f column "u": invalid input syntax for type uuid: "not a uuid" (SQLSTATE 22P02)`,
			`2: table f column "s": value too long for type character varying(3) (SQLSTATE 22001); the text is too long`,
			`4: table f`, `5: table f column "e"`, `7: table f column "n": value "99999999999" is out of range for type integer (SQLSTATE 22003)`,
		}
		if len(b.reported) != len(want) {
			t.Fatalf("reported %s", strings.Join(b.reported, "\n"))
		}
		for i, part := range want {
			if !strings.Contains(b.reported[i], part) {
				t.Errorf("reported %s\nwant %s", b.reported[i], part)
			}
		}
	}
}

// TestManyRows writes more rows than go into one statement, of two shapes, with
// keys that come again, and one that the database refuses if tolerated.
func TestManyRows(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		b := d.sink(t, map[string]string{"insert.mode": "upsert", "pk.mode": "record_value", "pk.fields": "k"})
		b.assign(t, assignment("A", 0))
		var lines []string
		for i := range 300 {
			more := ""
			if i/100 == 1 {
				more = `,"b":"2"`
			}
			lines = append(lines, fmt.Sprintf(`{"k":"%d","a":"%d"%s}`, i%150, i, more))
		}
		mustPut(t, b, values(0, lines...))
		d.want(t, `SELECT count(*), count(b), min(length(a)), max(length(a)) FROM `+d.table, "150|100|3|3")
		d.want(t, `SELECT a, b FROM `+d.table+` WHERE k = '149'`, "299|2")
		d.want(t, `SELECT a, b FROM `+d.table+` WHERE k = '100'`, "250|2")

		in := d.sink(t, map[string]string{"pk.mode": "record_value", "pk.fields": "k"})
		in.tolerate = true
		in.assign(t, assignment("A", 0))
		lines = nil
		for i := range 100 {
			lines = append(lines, fmt.Sprintf(`{"k":"%d","a":"new"}`, 1000+i))
		}
		lines[50] = `{"k":"7","a":"new"}`
		mustPut(t, in, values(300, lines...))
		d.want(t, `SELECT count(*) FROM `+d.table+` WHERE a = 'new'`, "99")
		if len(in.reported) != 1 || !strings.HasPrefix(in.reported[0], "350: ") {
			t.Errorf("reported %q", in.reported)
		}
	})
}
