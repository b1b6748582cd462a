package jdbc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/comptoir/comptoir/connect"
	"github.com/comptoir/comptoir/internal/pgerr"
)

// write first tries all rows at once, which is the rule. If the database
// refuses one, a second transaction finds it by halving, behind savepoints, and
// keeps the rest.
func (p *postgres) write(ctx context.Context, w *write) error {
	err := p.transaction(ctx, w, func(tx pgx.Tx) (int, error) {
		return len(w.rows), p.rows(ctx, tx, w, w.rows)
	})
	var bad *refused
	if !errors.As(err, &bad) {
		return p.forget(err)
	}
	return p.forget(p.transaction(ctx, w, func(tx pgx.Tx) (int, error) {
		return p.halve(ctx, tx, w, 0, len(w.rows))
	}))
}

// transaction runs f, moves the offsets past the rows that f says it wrote, and
// commits. A *stopped error of f commits what came before.
func (p *postgres) transaction(ctx context.Context, w *write, f func(pgx.Tx) (int, error)) error {
	tx, err := p.pool.Begin(ctx)
	if err != nil {
		return classify(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing to do after a commit
	n, err := f(tx)
	var halt *stopped
	if err != nil && !errors.As(err, &halt) {
		return classify(err)
	}
	if err := moveOffsets(ctx, tx, w.connector, w.moves(n)); err != nil {
		return classify(err)
	}
	if err := tx.Commit(ctx); err != nil {
		return commitFailed(err)
	}
	if halt != nil {
		return halt
	}
	return nil
}

// commitFailed says what an error of a commit means: an answer of the server that
// it is rolled back, or nothing, as when the server ends or what stands between
// us and it answers in its place.
func commitFailed(err error) error {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch pgerr.Class(pe) {
		case "08", "57", "":
		default:
			return classify(err)
		}
	}
	return &uncertain{err}
}

const moveSQL = `UPDATE _connect_offsets o SET next_offset = u.next
	FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[]) AS u(topic, part, old, next, epoch)
	WHERE o.connector = $1 AND o.topic = u.topic AND o.part = u.part AND o.next_offset = u.old AND o.epoch = u.epoch`

func moveOffsets(ctx context.Context, tx pgx.Tx, connector string, moves []move) error {
	if len(moves) == 0 {
		return nil
	}
	var topics []string
	var parts []int32
	var olds, nexts, epochs []int64
	for _, m := range moves {
		topics, parts = append(topics, m.Topic), append(parts, m.Partition)
		olds, nexts, epochs = append(olds, m.old), append(nexts, m.next), append(epochs, m.epoch)
	}
	tag, err := tx.Exec(ctx, moveSQL, connector, topics, parts, olds, nexts, epochs)
	if err == nil && tag.RowsAffected() != int64(len(moves)) {
		return connect.ErrFenced
	}
	return err
}

// halve writes rows lo to hi and returns how many rows of the batch are dealt
// with. Rows the database refuses are reported in their order.
func (p *postgres) halve(ctx context.Context, tx pgx.Tx, w *write, lo, hi int) (int, error) {
	sp, err := tx.Begin(ctx)
	if err != nil {
		return lo, err
	}
	err = p.rows(ctx, sp, w, w.rows[lo:hi])
	if err == nil {
		return hi, sp.Commit(ctx)
	}
	var bad *refused
	if !errors.As(classify(err), &bad) {
		return lo, err
	}
	if err := sp.Rollback(ctx); err != nil {
		return lo, err
	}
	if hi-lo > 1 {
		mid := (lo + hi) / 2
		if n, err := p.halve(ctx, tx, w, lo, mid); err != nil {
			return n, err
		}
		return p.halve(ctx, tx, w, mid, hi)
	}
	cause := p.explain(ctx, tx, w.rows[lo], err)
	switch err := w.reject(ctx, w.rows[lo], cause); {
	case err == nil:
		return hi, nil
	case connect.IsRetriable(err):
		return lo, err
	default:
		return lo, &stopped{n: lo, err: err}
	}
}

// explain names the column where the server did not, and what to do.
func (p *postgres) explain(ctx context.Context, tx pgx.Tx, r *row, err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err // our own words already
	}
	name := pe.ColumnName
	for i, c := range r.cols {
		if name != "" {
			break
		}
		col := r.table.columns[c]
		text, isText := r.vals[i].(string)
		switch {
		case !isText:
		case pe.Code == "22001" && strings.Contains(pe.Message, col.typ):
			name = col.name
		case strings.HasPrefix(pe.Code, "22"):
			// Which value cannot be read as its column's type?
			sp, e := tx.Begin(ctx)
			if e != nil {
				continue
			}
			if _, e := sp.Exec(ctx, "SELECT $1::text::"+col.cast, text); e != nil {
				name = col.name
			}
			_ = sp.Rollback(ctx) // the caller's transaction tells if the connection broke
		}
	}
	msg := fmt.Sprintf("table %s", r.table)
	if name != "" {
		msg += fmt.Sprintf(" column %q", name)
	}
	msg += fmt.Sprintf(": %s (SQLSTATE %s)", pe.Message, pe.Code)
	if hint := hints[pe.Code]; hint != "" {
		msg += "; " + hint
	}
	return &refused{&explained{msg, err}}
}

type explained struct {
	msg string
	err error
}

func (e *explained) Error() string { return e.msg }
func (e *explained) Unwrap() error { return e.err }

// statement is one SQL text with arrays for its parameters.
type statement struct {
	sql  string
	args []any
	rows int
}

// rows sends the statements for rows in one round trip.
func (p *postgres) rows(ctx context.Context, tx pgx.Tx, w *write, rows []*row) error {
	statements, err := w.statements(rows)
	if err != nil || len(statements) == 0 {
		return err
	}
	var batch pgx.Batch
	for _, s := range statements {
		batch.Queue(s.sql, s.args...)
	}
	results := tx.SendBatch(ctx, &batch)
	for _, s := range statements {
		tag, err := results.Exec()
		if err == nil && s.rows >= 0 && tag.RowsAffected() != int64(s.rows) {
			err = &refused{errors.New("there is no row with this primary key to update; set insert.mode=upsert to insert it")}
		}
		if err != nil {
			_ = results.Close() // the first error is the one to tell
			return err
		}
	}
	return results.Close()
}

// statements groups rows by table and columns. With a primary key, only the
// last state of a key within the batch is written.
func (w *write) statements(rows []*row) ([]statement, error) {
	var out []statement
	for len(rows) > 0 {
		if rows[0].table == nil {
			rows = rows[1:]
			continue
		}
		// Deletions and writes alternate in the order of the records.
		n := 1
		for n < len(rows) && (rows[n].table == nil || rows[n].delete == rows[0].delete) {
			n++
		}
		var live []*row
		for _, r := range rows[:n] {
			if r.table != nil {
				live = append(live, r)
			}
		}
		if live[0].delete || w.settings.mode != "insert" {
			live = latest(live)
		}
		out = w.group(out, live)
		rows = rows[n:]
	}
	return out, nil
}

// latest merges the rows of each key, and sorts by key, so that two tasks that
// write the same keys never wait for each other.
func latest(rows []*row) []*row {
	type id struct {
		t   *table
		key string
	}
	byKey := make(map[id]int, len(rows))
	keys := make([]string, 0, len(rows))
	out := make([]*row, 0, len(rows))
	for _, r := range rows {
		k := id{r.table, r.key()}
		if i, ok := byKey[k]; ok {
			out[i] = out[i].merge(r)
			out[i].delete = r.delete
			continue
		}
		byKey[k] = len(out)
		out, keys = append(out, r), append(keys, k.key)
	}
	order := make([]int, len(out))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(keys[a], keys[b]) })
	sortedRows := make([]*row, len(out))
	for i, j := range order {
		sortedRows[i] = out[j]
	}
	return sortedRows
}

func (w *write) group(out []statement, rows []*row) []statement {
	type group struct {
		first *row
		args  [][]*string
	}
	type id struct {
		t     *table
		shape string
	}
	groups := make(map[id]*group)
	var order []*group
	for _, r := range rows {
		k := id{r.table, r.shape()}
		g := groups[k]
		if g == nil {
			g = &group{first: r, args: make([][]*string, len(r.cols))}
			groups[k] = g
			order = append(order, g)
		}
		texts := make([]string, len(r.vals)) // one allocation for all of a row
		for i, v := range r.vals {
			var text *string
			if s, ok := v.(string); ok {
				texts[i] = s
				text = &texts[i]
			}
			g.args[i] = append(g.args[i], text)
		}
	}
	for _, g := range order {
		sql := w.sql(g.first)
		total := len(g.args[0])
		for lo := 0; lo < total; lo += w.settings.batchSize {
			hi := min(lo+w.settings.batchSize, total)
			st := statement{sql: sql, rows: -1}
			for i := range g.args {
				st.args = append(st.args, g.args[i][lo:hi])
			}
			if w.settings.mode == "update" && !g.first.delete {
				st.rows = hi - lo
			}
			out = append(out, st)
		}
	}
	return out
}

// sql writes the statement for rows of the shape of r: every value travels as
// text in an array per column and is read by the column's own type.
func (w *write) sql(r *row) string {
	var names, reads, params, us, sets, on []string
	for i, c := range r.cols {
		col := &r.table.columns[c]
		u := "u.c" + strconv.Itoa(i)
		names = append(names, quote(col.name))
		reads = append(reads, u+"::"+col.cast)
		params = append(params, "$"+strconv.Itoa(i+1)+"::text[]")
		us = append(us, "c"+strconv.Itoa(i))
		if i < r.keys {
			on = append(on, "t."+quote(col.name)+" = "+u+"::"+col.cast)
		} else if w.settings.mode == "update" {
			sets = append(sets, quote(col.name)+" = "+u+"::"+col.cast)
		} else {
			sets = append(sets, quote(col.name)+" = excluded."+quote(col.name))
		}
	}
	from := " unnest(" + strings.Join(params, ", ") + ") AS u(" + strings.Join(us, ", ") + ")"
	where := " WHERE " + strings.Join(on, " AND ")
	switch {
	case r.delete:
		return "DELETE FROM " + r.table.sql() + " t USING" + from + where
	case w.settings.mode == "update" && len(sets) == 0:
		// Nothing but a key: count the rows that are there.
		return "SELECT 1 FROM " + r.table.sql() + " t," + from + where
	case w.settings.mode == "update":
		return "UPDATE " + r.table.sql() + " t SET " + strings.Join(sets, ", ") + " FROM" + from + where
	}
	sql := "INSERT INTO " + r.table.sql() + " (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(reads, ", ") + " FROM" + from
	if w.settings.mode == "upsert" {
		sql += " ON CONFLICT (" + strings.Join(names[:r.keys], ", ") + ") DO "
		if len(sets) == 0 {
			return sql + "NOTHING"
		}
		sql += "UPDATE SET " + strings.Join(sets, ", ")
	}
	return sql
}
