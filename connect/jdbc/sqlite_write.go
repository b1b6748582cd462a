package jdbc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/comptoir/comptoir/connect"
)

// write executes one prepared statement per row: in SQLite a statement that
// fails undoes only itself, so a refused row needs no second attempt.
func (s *sqliteStore) write(ctx context.Context, w *write) error {
	var halt *stopped
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		halt = nil
		n, err := s.rows(ctx, tx, w)
		if err != nil && !errors.As(err, &halt) {
			return err
		}
		for _, m := range w.moves(n) {
			res, err := tx.ExecContext(ctx, `UPDATE _connect_offsets SET next_offset = ? WHERE connector = ? AND topic = ? AND part = ? AND next_offset = ? AND epoch = ?`,
				m.next, w.connector, m.Topic, m.Partition, m.old, m.epoch)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n != 1 {
				return errors.Join(connect.ErrFenced, err)
			}
		}
		return nil
	})
	if err == nil && halt != nil {
		return halt
	}
	return err
}

func (s *sqliteStore) rows(ctx context.Context, tx *sql.Tx, w *write) (int, error) {
	type id struct {
		t     *table
		shape string
		del   bool
	}
	prepared := make(map[id]*sql.Stmt)
	defer func() {
		for _, st := range prepared {
			_ = st.Close() // the transaction's end tells of errors
		}
	}()
	// A statement whose context can end costs the driver a goroutine. The lock is
	// ours, so that none waits; and with ctx the transaction ends.
	unbroken := context.WithoutCancel(ctx)
	for i, r := range w.rows {
		if r.table == nil {
			continue
		}
		k := id{r.table, r.shape(), r.delete}
		st := prepared[k]
		if st == nil {
			var err error
			if st, err = tx.PrepareContext(ctx, sqliteSQL(w.settings.mode, r)); err != nil {
				return i, err
			}
			prepared[k] = st
		}
		res, err := st.ExecContext(unbroken, r.vals...)
		if err == nil && w.settings.mode == "update" && !r.delete {
			if n, e := res.RowsAffected(); e == nil && n == 0 {
				err = &refused{errors.New("there is no row with this primary key to update; set insert.mode=upsert to insert it")}
			}
		}
		if err == nil {
			continue
		}
		var bad *refused
		if !errors.As(classifySQLite(err), &bad) {
			return i, err
		}
		cause := &refused{fmt.Errorf("table %s: %w%s", r.table, err, sqliteHint(err))}
		if err := w.reject(ctx, r, cause); err != nil {
			if connect.IsRetriable(err) {
				return i, err
			}
			return i, &stopped{n: i, err: err}
		}
	}
	return len(w.rows), nil
}

func sqliteHint(err error) string {
	switch msg := err.Error(); {
	case strings.Contains(msg, "UNIQUE"):
		return "; a row with this key exists: set insert.mode=upsert to replace it"
	case strings.Contains(msg, "NOT NULL"):
		return "; give the column a default, or correct the producer"
	case strings.Contains(msg, "datatype mismatch"):
		return "; change the column's type, or the producer"
	}
	return ""
}

// sqliteSQL writes the statement for one row; parameters are numbered as the
// row's cells.
func sqliteSQL(mode string, r *row) string {
	var names, params, sets, on []string
	for i, c := range r.cols {
		name, param := quote(r.table.columns[c].name), "?"+strconv.Itoa(i+1)
		names, params = append(names, name), append(params, param)
		switch {
		case i < r.keys:
			on = append(on, name+" = "+param)
		case mode == "update":
			sets = append(sets, name+" = "+param)
		default:
			sets = append(sets, name+" = excluded."+name)
		}
	}
	where := " WHERE " + strings.Join(on, " AND ")
	switch {
	case r.delete:
		return "DELETE FROM " + r.table.sql() + where
	case mode == "update":
		if len(sets) == 0 {
			sets = []string{names[0] + " = " + params[0]}
		}
		return "UPDATE " + r.table.sql() + " SET " + strings.Join(sets, ", ") + where
	}
	q := "INSERT INTO " + r.table.sql() + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(params, ", ") + ")"
	if mode == "upsert" {
		q += " ON CONFLICT (" + strings.Join(names[:r.keys], ", ") + ") DO "
		if len(sets) == 0 {
			return q + "NOTHING"
		}
		q += "UPDATE SET " + strings.Join(sets, ", ")
	}
	return q
}
