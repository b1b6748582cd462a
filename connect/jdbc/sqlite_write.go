package jdbc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/comptoir/comptoir/connect"
)

// write first tries to write rows together, several with a statement. If the
// database refuses one, a second transaction writes them one by one: in SQLite a
// statement that fails undoes only itself.
func (s *sqliteStore) write(ctx context.Context, w *write) error {
	if w.settings.mode != "update" {
		err := s.transaction(ctx, w, s.together)
		var bad *refused
		if !errors.As(err, &bad) {
			return err
		}
	}
	return s.transaction(ctx, w, s.oneByOne)
}

// transaction runs f and moves the offsets past the rows that f says it wrote. A
// *stopped error of f keeps what came before.
func (s *sqliteStore) transaction(ctx context.Context, w *write, f func(context.Context, *prepared, *write) (int, error)) error {
	var halt *stopped
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		halt = nil
		p := &prepared{tx: tx, mode: w.settings.mode, all: make(map[statementID]*sql.Stmt)}
		defer p.close()
		n, err := f(ctx, p, w)
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

// prepared are the statements of a transaction.
type prepared struct {
	tx   *sql.Tx
	mode string
	all  map[statementID]*sql.Stmt
}

type statementID struct {
	t      *table
	shape  string
	delete bool
	rows   int
}

// exec executes the statement for n rows of the shape of r.
func (p *prepared) exec(ctx context.Context, r *row, n int, args []any) (sql.Result, error) {
	id := statementID{r.table, r.shape(), r.delete, n}
	st := p.all[id]
	if st == nil {
		var err error
		if st, err = p.tx.PrepareContext(ctx, sqliteSQL(p.mode, r, n)); err != nil {
			return nil, err
		}
		p.all[id] = st
	}
	// A statement whose context can end costs the driver a goroutine. The lock is
	// ours, so that none waits; and with ctx the transaction ends.
	return st.ExecContext(context.WithoutCancel(ctx), args...)
}

func (p *prepared) close() {
	for _, st := range p.all {
		_ = st.Close() // the transaction's end tells of errors
	}
}

// rowsTogether is how many rows a statement writes, fewRows how many are written
// one by one: to prepare the statement costs as much.
const rowsTogether, fewRows = 16, 64

// together writes the rows of each run with as few statements as it takes.
func (s *sqliteStore) together(ctx context.Context, p *prepared, w *write) (int, error) {
	var args []any
	for _, run := range w.runs() {
		many := len(run) >= fewRows && !run[0].delete
		for len(run) > 0 {
			n := 1
			if many && len(run) >= rowsTogether {
				n = rowsTogether
			}
			args = args[:0]
			for _, r := range run[:n] {
				args = append(args, r.vals...)
			}
			if _, err := p.exec(ctx, run[0], n, args); err != nil {
				return 0, err
			}
			run = run[n:]
		}
	}
	return len(w.rows), nil
}

// runs are rows of one shape: those that follow each other, or all if they only
// insert, whose order does not matter.
func (w *write) runs() (runs [][]*row) {
	anywhere := w.settings.mode == "insert" && !slices.ContainsFunc(w.rows, func(r *row) bool { return r.delete })
	index := make(map[statementID]int)
	for _, r := range w.rows {
		if r.table == nil {
			continue
		}
		id := statementID{t: r.table, shape: r.shape(), delete: r.delete}
		i, known := index[id]
		if !known || !anywhere && i < len(runs)-1 {
			i = len(runs)
			index[id] = i
			runs = append(runs, nil)
		}
		runs[i] = append(runs[i], r)
	}
	return runs
}

// oneByOne writes rows with a statement each, and reports those that the database
// refuses.
func (s *sqliteStore) oneByOne(ctx context.Context, p *prepared, w *write) (int, error) {
	for i, r := range w.rows {
		if r.table == nil {
			continue
		}
		res, err := p.exec(ctx, r, 1, r.vals)
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

// sqliteSQL writes the statement for n rows of the shape of r, one unless it
// inserts. Parameters stand in the order of the rows' cells.
func sqliteSQL(mode string, r *row, n int) string {
	var names, sets, on []string
	for i, c := range r.cols {
		name := quote(r.table.columns[c].name)
		names = append(names, name)
		switch {
		case i < r.keys:
			on = append(on, name+" = ?"+strconv.Itoa(i+1))
		case mode == "update":
			sets = append(sets, name+" = ?"+strconv.Itoa(i+1))
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
			sets = []string{names[0] + " = ?1"}
		}
		return "UPDATE " + r.table.sql() + " SET " + strings.Join(sets, ", ") + where
	}
	// Parameters without numbers: the driver looks up the name of each that has
	// one.
	values := strings.Repeat(", (?"+strings.Repeat(", ?", len(names)-1)+")", n)
	q := "INSERT INTO " + r.table.sql() + " (" + strings.Join(names, ", ") + ") VALUES " + values[2:]
	if mode == "upsert" {
		q += " ON CONFLICT (" + strings.Join(names[:r.keys], ", ") + ") DO "
		if len(sets) == 0 {
			return q + "NOTHING"
		}
		q += "UPDATE SET " + strings.Join(sets, ", ")
	}
	return q
}
