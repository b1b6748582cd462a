package jdbc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/comptoir/comptoir/connect"
)

// cell is a value on its way to a column.
type cell struct {
	name  string
	value connect.Value
	// untyped marks text without a type of its own, as a plain key: it may go
	// into a column of any type.
	untyped bool
}

// row is what a record means for a table: cells, of which the first keys make
// the primary key.
type row struct {
	rec    *connect.Record // nil never
	table  *table          // nil: only the offset moves
	cells  []cell
	keys   int
	delete bool

	// cols and vals are the cells bound to the table, keys first.
	cols []int
	vals []any
}

var errNoObject = errors.New("a row needs a JSON object as value; set value.converter to what the producer writes")

// newRow maps a record by the settings, without looking at the database.
func (s *settings) newRow(r *connect.Record) (*row, error) {
	out := &row{rec: r, cells: make([]cell, 0, 3+len(r.Value.Fields))}
	add := func(c cell) { out.cells = append(out.cells, c) }
	number := func(n int64) connect.Value {
		return connect.Value{Kind: connect.Number, Text: strconv.FormatInt(n, 10), Type: "int64"}
	}
	switch {
	case r.Value.Kind == connect.Null && !s.deletes:
		return nil, errors.New("the value is null; set delete.enabled=true with pk.mode=record_key if that means a deletion")
	case r.Value.Kind != connect.Null && r.Value.Kind != connect.Object:
		return nil, fmt.Errorf("the value is of type %s: %w", r.Value.Kind, errNoObject)
	}
	switch s.pkMode {
	case "kafka":
		add(cell{name: s.pkFields[0], value: connect.Value{Kind: connect.String, Text: r.Topic}})
		add(cell{name: s.pkFields[1], value: number(int64(r.Partition))})
		add(cell{name: s.pkFields[2], value: number(r.Offset)})
	case "record_key":
		cells, err := s.keyCells(r)
		if err != nil {
			return nil, err
		}
		out.cells = append(out.cells, cells...)
	case "record_value":
		for _, name := range s.pkFields {
			v, ok := r.Value.Field(name)
			if !ok || v.Kind == connect.Null {
				return nil, fmt.Errorf("field %q of the primary key (pk.fields) is missing from the value", name)
			}
			add(cell{name: name, value: v})
		}
	}
	out.keys = len(out.cells)
	out.delete = r.Value.Kind == connect.Null
	for _, f := range r.Value.Fields {
		if s.whitelist != nil && !s.whitelist[f.Name] || out.isKey(f.Name) {
			continue
		}
		add(cell{name: f.Name, value: f.Value})
	}
	return out, nil
}

func (r *row) isKey(name string) bool {
	for _, c := range r.cells[:r.keys] {
		if c.name == name {
			return true
		}
	}
	return false
}

func (s *settings) keyCells(r *connect.Record) ([]cell, error) {
	if r.RawKey == nil {
		return nil, errors.New("the key is null, but pk.mode=record_key takes the primary key from it")
	}
	key, err := r.Key()
	if err != nil {
		return nil, fmt.Errorf("key: %w; set key.converter to what the producer writes", err)
	}
	if key.Kind != connect.Object {
		if len(s.pkFields) != 1 {
			return nil, fmt.Errorf("the key is of type %s, so pk.fields must give the one column it goes to (or key.converter say how to read it)", key.Kind)
		}
		return []cell{{name: s.pkFields[0], value: key, untyped: key.Kind == connect.String && key.Type == ""}}, nil
	}
	var cells []cell
	if len(s.pkFields) == 0 {
		for _, f := range key.Fields {
			cells = append(cells, cell{name: f.Name, value: f.Value})
		}
	}
	for _, name := range s.pkFields {
		v, ok := key.Field(name)
		if !ok {
			return nil, fmt.Errorf("field %q of the primary key (pk.fields) is missing from the key", name)
		}
		cells = append(cells, cell{name: name, value: v})
	}
	for _, c := range cells {
		if c.value.Kind == connect.Null {
			return nil, fmt.Errorf("field %q of the primary key is null", c.name)
		}
	}
	if len(cells) == 0 {
		return nil, errors.New("the key has no field")
	}
	return cells, nil
}

// isID reports whether a field's name says that it identifies something. Ids
// are text even where they look like numbers today: tomorrow's may not, and
// nobody calculates with them.
func isID(name string) bool {
	return strings.EqualFold(name, "id") || strings.HasPrefix(name, "id_") || strings.HasSuffix(name, "_id") ||
		strings.HasSuffix(name, "Id") || strings.HasSuffix(name, "ID")
}
