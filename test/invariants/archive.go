package invariants

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// readArchive reads all rows of the archive table as text. A table that is not
// there yet has no rows.
func readArchive(ctx context.Context, cfg Config) ([]map[string]string, error) {
	read := readSQLite
	if strings.HasPrefix(cfg.Archive, "postgres://") || strings.HasPrefix(cfg.Archive, "postgresql://") {
		read = readPostgres
	}
	rows, err := read(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	return rows, nil
}

func readSQLite(ctx context.Context, cfg Config) (rows []map[string]string, err error) {
	db, err := sql.Open("sqlite", "file:"+cfg.Archive+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	table := cmp.Or(cfg.ArchiveTable, "factures_ecommerce")
	var there int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name = ?`, table).Scan(&there); err != nil || there == 0 {
		return nil, err
	}
	result, err := db.QueryContext(ctx, `SELECT * FROM "`+table+`"`)
	if err != nil {
		return nil, err
	}
	defer result.Close()
	columns, err := result.Columns()
	if err != nil {
		return nil, err
	}
	for result.Next() {
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := result.Scan(into...); err != nil {
			return nil, err
		}
		row := map[string]string{}
		for i, v := range values {
			if v.Valid {
				row[columns[i]] = v.String
			}
		}
		rows = append(rows, row)
	}
	return rows, result.Err()
}

func readPostgres(ctx context.Context, cfg Config) (rows []map[string]string, err error) {
	db, err := pgx.Connect(ctx, cfg.Archive)
	if err != nil {
		return nil, err
	}
	defer db.Close(context.WithoutCancel(ctx))
	table := pgx.Identifier{"factures", "ecommerce"}
	if cfg.ArchiveTable != "" {
		table = pgx.Identifier(strings.Split(cfg.ArchiveTable, "."))
	}
	var there bool
	if err := db.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, table.Sanitize()).Scan(&there); err != nil || !there {
		return nil, err
	}
	// As JSON, because its numbers keep their digits whatever the column's type.
	result, err := db.Query(ctx, `SELECT row_to_json(t)::text FROM `+table.Sanitize()+` t`)
	if err != nil {
		return nil, err
	}
	texts, err := pgx.CollectRows(result, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		row, err := flat([]byte(text))
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// flat reads a JSON object as column to text: strings as they are, everything
// else as its JSON; null is left out.
func flat(value []byte) (map[string]string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil {
		return nil, err
	}
	row := map[string]string{}
	for name, raw := range members {
		var text string
		switch {
		case bytes.Equal(raw, []byte("null")):
		case json.Unmarshal(raw, &text) == nil:
			row[name] = text
		default:
			row[name] = string(raw)
		}
	}
	return row, nil
}
