package audit

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

// pageRows is how many orders a page has at most.
const pageRows = 5000

// Last implements Database.
func (d *SQLDatabase) Last(ctx context.Context) (number int64, err error) {
	if err = d.db.QueryRowContext(ctx, d.last).Scan(&number); err != nil {
		return 0, fmt.Errorf("order database: newest order: %w", err)
	}
	return number, nil
}

// Page implements Database. It goes through both tables in the order of their
// keys, which costs a fraction of looking up one order after the other.
func (d *SQLDatabase) Page(ctx context.Context, after, to int64, f func(int64, Row), entry func(int64, string, int32, int64)) error {
	if err := d.readPage(ctx, after, to, f, entry); err != nil {
		return fmt.Errorf("order database: page of orders: %w", err)
	}
	return nil
}

func (d *SQLDatabase) readPage(ctx context.Context, after, to int64, f func(int64, Row), entry func(int64, string, int32, int64)) error {
	tx, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	topics, err := d.topicNames(ctx, tx)
	if err != nil {
		return err
	}
	last := after
	if err := each(ctx, tx, func(rows *sql.Rows) error {
		r, err := scanRow(rows.Scan, &last)
		if err == nil {
			f(last, r)
		}
		return err
	}, d.page, after, to, pageRows); err != nil || last == after {
		return err
	}
	return each(ctx, tx, func(rows *sql.Rows) error {
		var number int64
		var part []byte
		if err := rows.Scan(&number, &part); err != nil {
			return err
		}
		return eachEntry(part, func(topic uint32, partition int32, offset int64) { entry(number, topics[topic], partition, offset) })
	}, d.span, after, last)
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
