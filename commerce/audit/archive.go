package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Archive is the table of invoices as far as it is audited. OpenArchive opens
// one.
type Archive interface {
	// Rows calls f with each row: the value of a column as text, and whether it
	// has one.
	Rows(ctx context.Context, f func(column func(name string) (string, bool)) error) error
}

// columns are what the archive must repeat of an invoice.
var columns = []string{"numero", "type", "commandeId", "client", "clientId", "email", "date", "lignes", "total_ht", "tva", "taux_tva",
	"montant", "devise", "date_commande", "timestamp"}

// rowOf is a digest of an invoice's values, the same for an event and for a row:
// a database may write the same number or array otherwise.
func rowOf(column func(name string) (string, bool)) digest {
	var s sum
	for _, name := range columns {
		text, ok := column(name)
		if s.flag(ok); ok {
			s = canonical(s, text)
		}
	}
	return s.digest()
}

// rowOfInvoice is the same of an invoice's event.
func rowOfInvoice(v *value) digest {
	s := make(sum, 0, 500)
	for _, name := range columns {
		switch m := v.get(name); {
		case !s.flag(m.kind != kindNone):
		case m.kind == kindText:
			s = canonical(s, m.text)
		case m.kind >= kindNumber:
			s = m.canonical(s)
		default:
			s.text(m.raw)
		}
	}
	return s.digest()
}

// canonical appends a text, or, if it is a JSON number, array or object, its
// content.
func canonical(s sum, text string) sum {
	if strings.IndexAny(text, " \t\r\n-0123456789[{") == 0 {
		if v, err := readJSON([]byte(text), maxDepth); err == nil && v.kind >= kindNumber {
			return v.canonical(s)
		}
	}
	s.text(text)
	return s
}

func (v *value) canonical(s sum) sum {
	s = append(s, byte(v.kind))
	switch v.kind {
	case kindNumber:
		if n, ok := money(v.text); ok {
			s.number(n)
			return s
		}
		s.text(v.text)
	case kindText, kindBool:
		s.text(v.text)
	case kindArray:
		for i := range v.kids {
			s = v.kids[i].canonical(s)
		}
		s = append(s, 0)
	case kindObject:
		sorted := make([]*value, len(v.kids))
		for i := range v.kids {
			sorted[i] = &v.kids[i]
		}
		slices.SortFunc(sorted, func(a, b *value) int { return strings.Compare(a.name, b.name) })
		for _, m := range sorted {
			s.text(m.name)
			s = m.canonical(s)
		}
		s = append(s, 0)
	}
	return s
}

// errNoArchive says that there is none to compare with now.
var errNoArchive = errors.New("no archive")

// archiveRest is how many times as long as reading the archive takes Follow
// leaves it alone.
const archiveRest = 20

// readArchive keeps all rows there are. It comes before the ends of topics are
// taken, so that the invoice of each row will be read.
func (e *engine) readArchive(ctx context.Context) error {
	if e.joined = false; e.cfg.Archive == nil || time.Since(e.scanned) < archiveRest*e.scan {
		return nil
	}
	begin, n := time.Now(), int64(0)
	e.s.drop(key{keyRow})
	err := e.cfg.Archive.Rows(ctx, func(column func(string) (string, bool)) error {
		number, _ := column("numero")
		row := rowOf(column)
		e.s.set(newKey(keyRow).id(strings.ReplaceAll(word(number), "\x00", "")).u64(uint64(n)), row[:])
		if n++; n%1000 == 0 {
			e.progress("archive", n, 0)
		}
		return e.keepUp(ctx)
	})
	if errors.Is(err, errNoArchive) {
		return nil
	}
	if err != nil {
		return err
	}
	e.s.meta.tally.checked[archiveOnce], e.s.meta.tally.checked[archiveRepeats] = n, n
	e.scanned, e.scan, e.joined = time.Now(), time.Since(begin), true
	return e.s.commit()
}

// compareArchive holds the rows that were read against the invoices.
func (e *engine) compareArchive(ctx context.Context) error {
	if !e.joined {
		return nil
	}
	e.s.told = map[string]status{}
	defer func() { e.s.told = nil }()
	if err := errors.Join(e.s.forget(key{keyIssued}), e.s.forget(key{keyRow})); err != nil {
		return err
	}
	return e.joinArchive(ctx)
}

// joinArchive goes through invoices and rows side by side, by number.
func (e *engine) joinArchive(ctx context.Context) (err error) {
	issued, err := e.s.iter(key{keyIssued})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, issued.Close()) }()
	rows, err := e.s.iter(key{keyRow})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	done, err := e.s.stand(keyRow)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	issued.First()
	rows.First()
	for issued.Valid() || rows.Valid() {
		invoice, row := numberOf(issued), numberOf(rows)
		k := append(key{keyRow}, row...)
		var st status
		switch {
		case row == nil || invoice != nil && bytes.Compare(invoice, row) < 0:
			f, err := readStepFact(issued.Value())
			if err != nil {
				return fmt.Errorf("%w: %w", errStore, err)
			}
			st.missing(&e.clock, f.at, archiveOnce, e.invoiceAt(issued), "invoice %s has no row in the archive", invoice)
			k = append(key{keyIssued}, invoice...)
			for same(issued, invoice) { // a number that was issued twice is said elsewhere
				issued.Next()
			}
		case invoice == nil || bytes.Compare(invoice, row) > 0:
			st.violate(archiveOnce, place{}, "the archive has a row %q, and there is no such invoice", row)
			for same(rows, row) {
				rows.Next()
			}
		default:
			f, err := readStepFact(issued.Value())
			if err != nil {
				return fmt.Errorf("%w: %w", errStore, err)
			}
			at, n := e.invoiceAt(issued), 0
			for ; same(rows, row); rows.Next() {
				if n++; !bytes.Equal(rows.Value(), f.row[:]) {
					st.violate(archiveRepeats, at, "the row of invoice %s does not say what the invoice says", row)
				}
			}
			if n > 1 {
				st.violate(archiveOnce, at, "invoice %s has %d rows in the archive", row, n)
			}
			for same(issued, row) { // likewise
				issued.Next()
			}
		}
		if err := e.s.put(k, &st); err != nil {
			return err
		}
		if err := e.keepUp(ctx); err != nil {
			return err
		}
	}
	return errors.Join(issued.Error(), rows.Error())
}

// numberOf is the invoice number in a key, nil at the end.
func numberOf(it *pebble.Iterator) []byte {
	if !it.Valid() {
		return nil
	}
	number, _ := readID(it.Key()[1:])
	return []byte(number)
}

func same(it *pebble.Iterator, number []byte) bool {
	n := numberOf(it)
	return n != nil && bytes.Equal(n, number)
}

func (e *engine) invoiceAt(it *pebble.Iterator) place {
	k := it.Key()
	at, _ := readPlace(k[len(k)-placeSize:], tInvoices)
	return at
}

// SQLArchive reads an archive. It changes nothing in it.
type SQLArchive struct {
	db       *sql.DB
	postgres bool
	table    string
}

// OpenArchive opens the archive at a file path or a postgres:// URL. table
// defaults to factures_ecommerce in SQLite, and to factures.ecommerce in
// PostgreSQL, where a dot separates schema and table. The caller closes it.
func OpenArchive(ctx context.Context, where, table string) (*SQLArchive, error) {
	db, postgres, err := openSQL(ctx, where)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if table == "" {
		if table = "factures_ecommerce"; postgres {
			table = "factures.ecommerce"
		}
	}
	quote := func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
	if schema, name, ok := strings.Cut(table, "."); ok && postgres {
		table = quote(schema) + "." + quote(name)
	} else {
		table = quote(table)
	}
	return &SQLArchive{db, postgres, table}, nil
}

// Close ends the connections.
func (a *SQLArchive) Close() error { return a.db.Close() }

// archivePage is how many rows are read of a SQLite archive at a time: while they
// are read it cannot make its log shorter.
const archivePage = 1000

// Rows implements Archive. A table that does not exist yet has no rows.
func (a *SQLArchive) Rows(ctx context.Context, f func(func(string) (string, bool)) error) error {
	exists := `SELECT count(*) FROM sqlite_schema WHERE '"' || name || '"' = ?`
	if a.postgres {
		exists = `SELECT count(to_regclass($1))`
	}
	var there int
	if err := a.db.QueryRowContext(ctx, exists, a.table).Scan(&there); err != nil || there == 0 {
		return wrapArchive(err)
	}
	if a.postgres {
		// As JSON, because its numbers keep their digits whatever the column's type.
		return wrapArchive(each(ctx, a.db, func(rows *sql.Rows) error {
			column, err := jsonRow(rows)
			if err != nil {
				return err
			}
			return f(column)
		}, `SELECT row_to_json(t)::text FROM `+a.table+` t`))
	}
	for after := int64(math.MinInt64); ; {
		var page []func(string) (string, bool)
		if err := each(ctx, a.db, func(rows *sql.Rows) error {
			column, err := tableRow(rows, &after)
			page = append(page, column)
			return err
		}, `SELECT rowid, * FROM `+a.table+` WHERE rowid > ? ORDER BY rowid LIMIT ?`, after, archivePage); err != nil {
			return wrapArchive(err)
		}
		for _, column := range page {
			if err := f(column); err != nil {
				return wrapArchive(err)
			}
		}
		if len(page) < archivePage {
			return nil
		}
	}
}

func wrapArchive(err error) error {
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// tableRow reads the row's id, and the other columns as text.
func tableRow(rows *sql.Rows, id *int64) (func(string) (string, bool), error) {
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	into[0] = id
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	return func(name string) (string, bool) {
		for i, n := range names {
			if i > 0 && strings.EqualFold(n, name) {
				return values[i].String, values[i].Valid
			}
		}
		return "", false
	}, nil
}

// jsonRow reads a row that is one JSON object.
func jsonRow(rows *sql.Rows) (func(string) (string, bool), error) {
	var text string
	if err := rows.Scan(&text); err != nil {
		return nil, err
	}
	v, err := readJSON([]byte(text), maxDepth)
	if err != nil {
		return nil, err
	}
	return func(name string) (string, bool) {
		for i := range v.kids {
			if m := &v.kids[i]; strings.EqualFold(m.name, name) {
				if m.kind == kindText {
					return m.text, true
				}
				return m.raw, m.kind != kindNull
			}
		}
		return "", false
	}, nil
}
