package audit

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

// pageRows is how many orders a page has at most.
const pageRows = 5000

// Page implements Database. It goes through both tables in the order of their
// keys, which costs a fraction of looking up one order after the other.
func (d *SQLDatabase) Page(ctx context.Context, after int64, f func(int64, Row), entry func(int64, string, int32, int64)) error {
	var err error
	if d.postgres {
		err = d.pagePostgres(ctx, after, f, entry)
	} else {
		err = d.pageSQLite(ctx, after, f, entry)
	}
	if err != nil {
		return fmt.Errorf("order database: page of orders: %w", err)
	}
	return nil
}

func (d *SQLDatabase) pageSQLite(ctx context.Context, after int64, f func(int64, Row), entry func(int64, string, int32, int64)) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	topics := map[int64]string{}
	if err := each(ctx, tx, func(rows *sql.Rows) error {
		var id int64
		var name string
		err := rows.Scan(&id, &name)
		topics[id] = name
		return err
	}, d.topics); err != nil {
		return err
	}
	last := after
	if err := each(ctx, tx, func(rows *sql.Rows) error {
		r, err := scanRow(rows.Scan, &last)
		if err == nil {
			f(last, r)
		}
		return err
	}, d.page, after, pageRows); err != nil || last == after {
		return err
	}
	return each(ctx, tx, func(rows *sql.Rows) error {
		var number, topic, offset int64
		var partition int32
		err := rows.Scan(&number, &topic, &partition, &offset)
		entry(number, topics[topic], partition, offset)
		return err
	}, d.span, after, last)
}

// pagePostgres takes the numbers of the timeline as the server sends them: there
// are a dozen for each order.
func (d *SQLDatabase) pagePostgres(ctx context.Context, after int64, f func(int64, Row), entry func(int64, string, int32, int64)) error {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return err
	}
	err = conn.Raw(func(is any) error {
		c, ok := is.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("the driver is %T", is)
		}
		return pgx.BeginTxFunc(ctx, c.Conn(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			topics, name, id := map[int32]string{}, "", int32(0)
			rows, _ := tx.Query(ctx, d.topics) // ForEachRow returns the error
			if _, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error {
				topics[id] = name
				return nil
			}); err != nil {
				return err
			}
			last := after
			rows, err := tx.Query(ctx, d.page, after, pageRows)
			for err == nil && rows.Next() {
				var r Row
				if r, err = scanRow(rows.Scan, &last); err == nil {
					f(last, r)
				}
			}
			if rows.Close(); err != nil || rows.Err() != nil || last == after {
				return errors.Join(err, rows.Err())
			}
			rows, err = tx.Query(ctx, d.span, after, last)
			for err == nil && rows.Next() {
				v := rows.RawValues()
				if len(v[0]) != 8 || len(v[1]) != 4 || len(v[2]) != 4 || len(v[3]) != 8 {
					err = errors.New("the timeline's columns are not of the types they should have")
					break
				}
				u := binary.BigEndian
				entry(int64(u.Uint64(v[0])), topics[int32(u.Uint32(v[1]))], int32(u.Uint32(v[2])), int64(u.Uint64(v[3])))
			}
			rows.Close()
			return errors.Join(err, rows.Err())
		})
	})
	return errors.Join(err, conn.Close())
}

// scanRow reads an order, and its number.
func scanRow(scan func(...any) error, number *int64) (r Row, err error) {
	var state, at int64
	var said string
	var digest []byte
	if err := scan(number, &r.ID, &state, &r.Client, &r.Reason, &r.Invoice, &said, &digest, &at); err != nil {
		return Row{}, err
	}
	r.Alerts = alertsAgainst(said, hex.EncodeToString(digest))
	r.State, r.At = orderdb.State(state).String(), time.UnixMilli(at)
	return r, nil
}
