package jdbc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/connect"
)

// maxIdent is PostgreSQL's limit; it cuts longer names without an error.
const maxIdent = 63

func identOK(name string) error {
	switch {
	case name == "":
		return errors.New("an empty name cannot be a column's or table's")
	case len(name) > maxIdent:
		return fmt.Errorf("the name %q is longer than PostgreSQL's %d bytes", clip(name), maxIdent)
	case strings.ContainsRune(name, 0):
		return errors.New("a name holds the character U+0000")
	}
	return nil
}

// describe reads a table's columns. What precedes the first dot is the schema.
func (p *postgres) describe(ctx context.Context, name string) (*table, error) {
	schema, bare, dotted := strings.Cut(name, ".")
	if !dotted {
		schema, bare = "", name
	} else if err := identOK(schema); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if err := identOK(bare); err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	t := newTable(schema, bare, nil)
	const sql = `SELECT a.attname, format_type(a.atttypid, a.atttypmod), format_type(b.oid, -1), b.typname, b.typtype::text,
			CASE WHEN b.typname = 'numeric' AND a.atttypmod >= 4 THEN (((a.atttypmod - 4) & 2047) # 1024) - 1024 ELSE -1 END
		FROM pg_attribute a JOIN pg_type d ON d.oid = a.atttypid
			JOIN pg_type b ON b.oid = CASE WHEN d.typtype = 'd' THEN d.typbasetype ELSE d.oid END
		WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`
	rows, err := p.pool.Query(ctx, sql, t.sql())
	if err != nil {
		return nil, classify(err)
	}
	var columns []column
	var c column
	var typname, typtype string
	_, err = pgx.ForEachRow(rows, []any{&c.name, &c.typ, &c.cast, &typname, &typtype, &c.scale}, func() error {
		c.class = pgClass(typname, typtype)
		columns = append(columns, c)
		return nil
	})
	if err != nil {
		return nil, classify(err)
	}
	return newTable(schema, bare, columns), nil
}

func pgClass(typname, typtype string) class {
	if typtype != "b" {
		return classOther
	}
	switch typname {
	case "text", "varchar", "bpchar", "citext", "name":
		return classText
	case "int2", "int4", "int8":
		return classInteger
	case "numeric":
		return classNumeric
	case "float4", "float8":
		return classFloat
	case "bool":
		return classBool
	case "json", "jsonb":
		return classJSON
	case "bytea":
		return classBytes
	case "timestamp":
		return classTimestamp
	case "timestamptz", "date", "time", "timetz":
		return classTime
	}
	return classOther
}

// pgType infers a column from the first value seen.
func pgType(c cell) string {
	switch c.value.Type {
	case "int8", "int16":
		return "smallint"
	case "int32":
		return "integer"
	case "int64":
		return "bigint"
	case "float", "float32":
		return "real"
	case "double", "float64":
		return "double precision"
	case "date":
		return "date"
	case "time":
		return "time"
	case "timestamp":
		return "timestamptz"
	}
	switch c.value.Kind {
	case connect.Number:
		if isID(c.name) && c.value.Type == "" {
			return "text"
		}
		return "numeric"
	case connect.Bool:
		return "boolean"
	case connect.Object, connect.Array:
		return "jsonb"
	case connect.Bytes:
		return "bytea"
	}
	return "text"
}

func pgColumns(cells []cell) ([]string, error) {
	var out []string
	for _, c := range cells {
		if err := identOK(c.name); err != nil {
			return nil, &refused{fmt.Errorf("field %q: %w", clip(c.name), err)}
		}
		out = append(out, quote(c.name)+" "+pgType(c))
	}
	return out, nil
}

func (p *postgres) create(ctx context.Context, t *table, cells []cell, keys int) error {
	columns, err := pgColumns(cells)
	if err != nil {
		return err
	}
	for i := range keys {
		columns[i] += " NOT NULL"
	}
	if keys > 0 {
		names := make([]string, keys)
		for i := range keys {
			names[i] = quote(cells[i].name)
		}
		columns = append(columns, "PRIMARY KEY ("+strings.Join(names, ", ")+")")
	}
	var statements []string
	if t.schema != "" {
		// CREATE SCHEMA IF NOT EXISTS needs a right that one who may use an
		// existing schema may not have.
		var there bool
		if err := p.pool.QueryRow(ctx, `SELECT to_regnamespace($1) IS NOT NULL`, quote(t.schema)).Scan(&there); err != nil {
			return classify(err)
		}
		if !there {
			statements = append(statements, "CREATE SCHEMA IF NOT EXISTS "+quote(t.schema))
		}
	}
	return p.ddl(ctx, append(statements, "CREATE TABLE IF NOT EXISTS "+t.sql()+" ("+strings.Join(columns, ", ")+")")...)
}

func (p *postgres) addColumns(ctx context.Context, t *table, cells []cell) error {
	columns, err := pgColumns(cells)
	if err != nil {
		return err
	}
	for i := range columns {
		columns[i] = "ADD COLUMN IF NOT EXISTS " + columns[i]
	}
	return p.ddl(ctx, "ALTER TABLE "+t.sql()+" "+strings.Join(columns, ", "))
}

func (p *postgres) bind(c *column, in cell) (any, error) {
	text, err := bindText(c, in)
	if err != nil {
		return nil, err
	}
	if strings.ContainsRune(text, 0) {
		return nil, errors.New(hints["22021"])
	}
	return text, nil
}
