package orderdb

import (
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/commerce/event"
)

// eachRow reads a query's rows to their end.
func eachRow(rows pgx.Rows, err error, scan func() error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Columns of orders but number and id, and how they come as arrays.
const (
	orderColumns = `state, evidence, rejected, digest, refused, client, at, reason, reason_of, invoice, alerts, updated, changes`
	orderArrays  = `$2::smallint[], $3::smallint[], $4::boolean[], $5::bytea[], $6::boolean[], $7::text[], $8::bigint[], $9::text[],
		$10::smallint[], $11::text[], $12::text[], $13::bigint[], $14::bigint[]`
)

// orderArgs are the arrays of records. first is what stands before them.
func orderArgs(first any, records []*record) []any {
	n := len(records)
	var (
		state, evidence, reasonOf       = make([]int16, n), make([]int16, n), make([]int16, n)
		rejected, refused               = make([]bool, n), make([]bool, n)
		digest                          = make([][]byte, n)
		client, reason, invoice, alerts = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		at, updated, changes            = make([]int64, n), make([]int64, n), make([]int64, n)
	)
	for i, r := range records {
		state[i], evidence[i], reasonOf[i] = int16(r.state()), int16(r.evidence), int16(r.reasonOf)
		rejected[i], refused[i] = r.rejected, r.refused
		if r.chosen {
			digest[i] = r.digest[:]
		}
		client[i], reason[i], invoice[i], alerts[i] = string(r.client), r.reason, r.invoice, encodeAlerts(r.alerts)
		at[i], updated[i], changes[i] = r.at, r.updated, r.changes
	}
	return []any{first, state, evidence, rejected, digest, refused, client, at, reason, reasonOf, invoice, alerts, updated, changes}
}

// insertOrders inserts those of the orders that are new and gives them their
// numbers. It returns the ids that others have, sorted.
func insertOrders(ctx context.Context, tx pgx.Tx, fresh map[event.ID]*record) (known []string, err error) {
	if len(fresh) == 0 {
		return nil, nil
	}
	ids := make([]string, 0, len(fresh))
	records := make([]*record, 0, len(fresh))
	for _, id := range slices.Sorted(maps.Keys(fresh)) {
		ids = append(ids, string(id))
		records = append(records, fresh[id])
	}
	rows, err := tx.Query(ctx, `INSERT INTO orders (id, `+orderColumns+`) SELECT * FROM unnest($1::text[], `+orderArrays+`)
		ON CONFLICT (id) DO NOTHING RETURNING id, number`, orderArgs(ids, records)...)
	err = eachRow(rows, err, func() error {
		var id event.ID
		var number int64
		if err := rows.Scan(&id, &number); err != nil {
			return err
		}
		fresh[id].number = number
		return nil
	})
	for i, r := range records {
		if r.number == 0 {
			known = append(known, ids[i])
		}
	}
	return known, err
}

// lockOrders reads and locks orders that exist.
func lockOrders(ctx context.Context, tx pgx.Tx, ids []string) (records []*record, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `SELECT number, id, `+orderColumns+` FROM orders WHERE id = ANY($1) ORDER BY id FOR UPDATE`, ids)
	return records, eachRow(rows, err, func() error {
		r := &record{stored: true}
		var digest []byte
		var alerts string
		err := rows.Scan(&r.number, &r.id, &r.savedState, &r.evidence, &r.rejected, &digest, &r.refused, &r.client, &r.at, &r.reason, &r.reasonOf,
			&r.invoice, &alerts, &r.updated, &r.changes)
		if err != nil {
			return err
		}
		r.chosen = digest != nil
		copy(r.digest[:], digest)
		r.alerts, err = decodeAlerts(alerts)
		records = append(records, r)
		return err
	})
}

// queueOrders writes orders, and what belongs to them.
func queueOrders(batch *pgx.Batch, touched []*record) {
	var (
		updates                     []*record
		numbers                     []int64
		contentOf, contentAt        []int64
		contentDigest, contentValue [][]byte
		contentClient               []string
		contentRefused              []bool
		partOf, part, partLast      []int64
		partEntries, partVerdict    [][]byte
	)
	for _, r := range touched {
		if r.stored {
			updates, numbers = append(updates, r), append(numbers, r.number)
		}
		for i := range r.contents {
			if k := &r.contents[i]; k.changed {
				contentOf, contentDigest, contentClient = append(contentOf, r.number), append(contentDigest, k.digest[:]), append(contentClient, string(k.client))
				contentAt, contentRefused, contentValue = append(contentAt, k.at), append(contentRefused, k.refused), append(contentValue, k.value)
			}
		}
		if len(r.entries) > 0 {
			partOf, part, partLast = append(partOf, r.number), append(part, r.changes), append(partLast, lastOf(r.entries))
			partEntries, partVerdict = append(partEntries, appendEntries(nil, r.entries)), append(partVerdict, r.verdict)
		}
	}
	if len(updates) > 0 {
		batch.Queue(`UPDATE orders o SET (`+orderColumns+`) = (u.state, u.evidence, u.rejected, u.digest, u.refused, u.client, u.at, u.reason,
			u.reason_of, u.invoice, u.alerts, u.updated, u.changes) FROM unnest($1::bigint[], `+orderArrays+`) AS u (number, `+orderColumns+`)
			WHERE o.number = u.number`, orderArgs(numbers, updates)...)
	}
	if len(contentOf) > 0 {
		batch.Queue(`INSERT INTO contents (number, digest, client, at, refused, value)
			SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::boolean[], $6::bytea[])
			ON CONFLICT (number, digest) DO UPDATE SET refused = excluded.refused, value = coalesce(contents.value, excluded.value)`,
			contentOf, contentDigest, contentClient, contentAt, contentRefused, contentValue)
	}
	if len(partOf) > 0 {
		batch.Queue(`INSERT INTO history (number, part, last, entries, verdict)
			SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])`, partOf, part, partLast, partEntries, partVerdict)
	}
}

// lockProducts reads and locks products; unknown ones are made, empty.
func lockProducts(ctx context.Context, tx pgx.Tx, ids []event.ID) (map[event.ID]*productRow, error) {
	products := make(map[event.ID]*productRow, len(ids))
	if len(ids) == 0 {
		return products, nil
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO products (id, catalogued, name, available, reserved)
		SELECT id, false, '', 0, 0 FROM unnest($1::text[]) AS id ON CONFLICT DO NOTHING`, names); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT id, catalogued, name, price, available, reserved FROM products WHERE id = ANY($1) ORDER BY id FOR UPDATE`, names)
	return products, eachRow(rows, err, func() error {
		p := new(productRow)
		var price sql.NullInt64
		err := rows.Scan(&p.ID, &p.catalogued, &p.Name, &price, &p.Available, &p.Reserved)
		p.Price, p.HasPrice = event.Amount(price.Int64), price.Valid
		products[p.ID] = p
		return err
	})
}

// queueProducts writes products that lockProducts has locked. One may stand
// there several times.
func queueProducts(batch *pgx.Batch, changed []*productRow) {
	var (
		ids, names          []string
		catalogued          []bool
		prices              []sql.NullInt64
		available, reserved []int64
	)
	done := make(map[event.ID]bool)
	for _, p := range changed {
		if done[p.ID] {
			continue
		}
		done[p.ID] = true
		ids, names, catalogued = append(ids, string(p.ID)), append(names, p.Name), append(catalogued, p.catalogued)
		prices = append(prices, sql.NullInt64{Int64: int64(p.Price), Valid: p.HasPrice})
		available, reserved = append(available, p.Available), append(reserved, p.Reserved)
	}
	if len(ids) > 0 {
		batch.Queue(`UPDATE products p SET (catalogued, name, price, available, reserved) = (u.catalogued, u.name, u.price, u.available, u.reserved)
			FROM unnest($1::text[], $2::boolean[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
			AS u (id, catalogued, name, price, available, reserved) WHERE p.id = u.id`, ids, catalogued, names, prices, available, reserved)
	}
}

// queueLevels writes levels, which are sorted: nothing of the products needs to
// be read for that.
func queueLevels(batch *pgx.Batch, levels []Level) {
	if len(levels) == 0 {
		return
	}
	n := len(levels)
	ids, names := make([]string, n), make([]string, n)
	available, reserved := make([]int64, n), make([]int64, n)
	for i, l := range levels {
		ids[i], names[i], available[i], reserved[i] = string(l.Product), l.Name, l.Available, l.Reserved
	}
	batch.Queue(`INSERT INTO products AS p (id, catalogued, name, available, reserved)
		SELECT id, false, name, available, reserved FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS u (id, name, available, reserved)
		ON CONFLICT (id) DO UPDATE SET name = CASE WHEN p.name = '' THEN excluded.name ELSE p.name END,
		available = excluded.available, reserved = excluded.reserved`, ids, names, available, reserved)
}
