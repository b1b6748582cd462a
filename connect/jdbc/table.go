package jdbc

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/comptoir/comptoir/connect"
)

// class is what a column can hold, as far as binding goes.
type class uint8

const (
	classOther class = iota // what the database parses from text: uuid, enum, inet, …
	classText
	classInteger
	classNumeric
	classFloat
	classBool
	classJSON
	classBytes
	classTimestamp // without zone
	classTime      // date, time, timestamp with zone
)

// column is a column as the database has it, or as it shall be created.
type column struct {
	name  string
	typ   string // as declared, with length or scale
	cast  string // without them, so that the database refuses instead of cutting
	class class
	scale int // most decimals; -1: any
}

// table is a table the sink writes to.
type table struct {
	schema, name string
	columns      []column
	exact        map[string]int
	folded       map[string]int // lower-case name → index, -1 if ambiguous
}

func newTable(schema, name string, columns []column) *table {
	t := &table{schema: schema, name: name, columns: columns, exact: make(map[string]int), folded: make(map[string]int)}
	for i, c := range columns {
		t.exact[c.name] = i
		low := strings.ToLower(c.name)
		if _, twice := t.folded[low]; twice {
			t.folded[low] = -1
		} else {
			t.folded[low] = i
		}
	}
	return t
}

// find returns the column of a field: by its exact name, else by its name
// without regard to case (as tables made by hand have it); -1 if none.
func (t *table) find(field string) int {
	if i, ok := t.exact[field]; ok {
		return i
	}
	if i, ok := t.folded[strings.ToLower(field)]; ok {
		return i
	}
	return -1
}

func (t *table) String() string {
	if t.schema == "" {
		return t.name
	}
	return t.schema + "." + t.name
}

func quote(ident string) string { return `"` + strings.ReplaceAll(ident, `"`, `""`) + `"` }

func (t *table) sql() string {
	if t.schema == "" {
		return quote(t.name)
	}
	return quote(t.schema) + "." + quote(t.name)
}

// columnError is what is wrong between a value and its column.
type columnError struct {
	column string
	err    error
}

func (e *columnError) Error() string { return fmt.Sprintf("column %q: %v", e.column, e.err) }
func (e *columnError) Unwrap() error { return e.err }

// missing returns the cells that have no column and a value to infer it from.
func (r *row) missing(t *table) []cell {
	var out []cell
	for i, c := range r.cells {
		if t.find(c.name) < 0 && (c.value.Kind != connect.Null || i < r.keys) {
			out = append(out, c)
		}
	}
	return out
}

// bind matches the row with the table's columns.
func (r *row) bind(t *table, bind func(*column, cell) (any, error)) error {
	r.table = t
	r.cols, r.vals = make([]int, 0, len(r.cells)), make([]any, 0, len(r.cells))
	for _, c := range r.cells {
		i := t.find(c.name)
		if i < 0 {
			continue // null and never seen otherwise: there is nothing to write
		}
		for _, taken := range r.cols {
			if taken == i {
				return &columnError{t.columns[i].name, fmt.Errorf("two fields differ in case only and would share it")}
			}
		}
		if c.value.Kind == connect.Null {
			r.cols, r.vals = append(r.cols, i), append(r.vals, nil)
			continue
		}
		v, err := bind(&t.columns[i], c)
		if err != nil {
			return &columnError{t.columns[i].name, err}
		}
		r.cols, r.vals = append(r.cols, i), append(r.vals, v)
	}
	return nil
}

// key identifies the row among others of a batch.
func (r *row) key() string {
	var b strings.Builder
	for _, v := range r.vals[:r.keys] {
		s, text := v.(string)
		if !text {
			s = fmt.Sprint(v)
		}
		b.WriteString(strconv.Itoa(len(s)))
		b.WriteByte(':')
		b.WriteString(s)
	}
	return b.String()
}

// merge lays a later row of the same key over this one.
func (r *row) merge(later *row) *row {
	out := &row{rec: later.rec, table: later.table, keys: later.keys,
		cols: append([]int(nil), r.cols...), vals: append([]any(nil), r.vals...)}
next:
	for i, c := range later.cols {
		for j := range out.cols {
			if out.cols[j] == c {
				out.vals[j] = later.vals[i]
				continue next
			}
		}
		out.cols, out.vals = append(out.cols, c), append(out.vals, later.vals[i])
	}
	return out
}

// shape names the columns a row writes: rows of one shape share a statement.
func (r *row) shape() string {
	b := make([]byte, 0, 2*len(r.cols))
	for _, c := range r.cols {
		b = append(b, byte(c), byte(c>>8))
	}
	return string(b)
}
