package audit

import (
	"context"
	"encoding/binary"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/wire"
)

// Database is the order database as far as it is audited. OpenDatabase opens
// one.
type Database interface {
	// Positions returns how far tracking has read.
	Positions(ctx context.Context) (map[orderdb.Partition]int64, error)
	// Last is the number of the newest order, 0 if there is none.
	Last(ctx context.Context) (int64, error)
	// Page calls f with the next orders whose number is above after and at most
	// to, in their order, none at the end, and then entry with each element of
	// their timelines by number, all as of one moment.
	Page(ctx context.Context, after, to int64, f func(number int64, r Row), entry func(number int64, topic string, partition int32, offset int64)) error
	// Rows calls f with each of the orders that is there, and entry with each
	// element of their timelines, all as of one moment.
	Rows(ctx context.Context, ids []string, f func(Row), entry func(id, topic string, partition int32, offset int64)) error
	// Level returns what is available and reserved of a product.
	Level(ctx context.Context, product string) (available, reserved int64, ok bool, err error)
	// Pending counts the messages in the outbox, and says when the oldest was
	// accepted.
	Pending(ctx context.Context) (n int64, oldest time.Time, err error)
}

// Row is an order as the database has it.
type Row struct {
	ID, State, Client, Reason, Invoice string
	// Alerts are the codes against the content that is shown.
	Alerts []string
	// At is when the order was placed or accepted.
	At time.Time
}

// rowsAtOnce is how many orders are compared at a time.
const rowsAtOnce = 500

// timeline is the records of an order as a sum that does not depend on their
// order.
type timeline struct {
	sum    uint64
	n      int64
	behind bool      // there are some that tracking has not read
	newest time.Time // of those
}

func (t *timeline) add(e *engine, p place, at time.Time) {
	if e.stored == nil {
		return
	}
	t.sum += p.mix()
	t.n++
	if p.offset >= e.stored[part{p.topic, p.partition}] {
		t.behind, t.newest = true, later(t.newest, at)
	}
}

// join adds what another one has.
func (t *timeline) join(o *timeline) {
	t.sum, t.n, t.behind, t.newest = t.sum+o.sum, t.n+o.n, t.behind || o.behind, later(t.newest, o.newest)
}

// mix spreads a place over 64 bits.
func (p place) mix() uint64 {
	x := uint64(p.offset)*0x9e3779b97f4a7c15 ^ uint64(p.partition)<<40 ^ uint64(p.topic)<<56
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// newest notes up to which order the database is read in this round. It comes
// before the ends of topics are taken: the records of those that come later are
// for the next round.
func (e *engine) newest(ctx context.Context) (err error) {
	if e.cfg.Database != nil {
		e.newestRow, err = e.cfg.Database.Last(ctx)
	}
	return err
}

// readRows keeps what the database has of the orders that are new in it, for this
// round, page by page: looking up each when it is judged would take far longer.
// So those of which no topic knows are met too.
func (e *engine) readRows(ctx context.Context) error {
	if e.stored = nil; e.cfg.Database == nil {
		return nil
	}
	// First how far tracking has read: what it reads meanwhile it may have.
	if err := e.storedUpTo(ctx); err != nil {
		return err
	}
	after, done := e.s.meta.rows, int64(0)
	if !e.s.meta.judged {
		after = 0 // what a round that failed has read is old
	}
	for {
		var (
			page []held
			at   = map[int64]int{}
		)
		if err := e.cfg.Database.Page(ctx, after, e.newestRow, func(number int64, r Row) {
			at[number] = len(page)
			page = append(page, held{row: r, there: true})
			after = number
		}, func(number int64, topic string, partition int32, offset int64) {
			if i, ok := at[number]; ok {
				page[i].add(e, topic, partition, offset)
			}
		}); err != nil {
			return err
		}
		if len(page) == 0 {
			return e.s.commit()
		}
		for i := range page {
			e.s.fact(orderKey(page[i].row.ID, classRow), page[i].append(e.s.room(), e.clock.now))
			if err := e.keepUp(ctx); err != nil {
				return err
			}
		}
		e.s.meta.rows = after
		done += int64(len(page))
		e.progress("database", done, 0)
	}
}

// storedUpTo notes how far tracking has read.
func (e *engine) storedUpTo(ctx context.Context) error {
	positions, err := e.cfg.Database.Positions(ctx)
	e.stored = map[part]int64{}
	for p, next := range positions {
		e.stored[part{topicIndex(p.Topic), p.Partition}] = next
	}
	return err
}

// held is what the database has of an order.
type held struct {
	row    Row
	there  bool
	sum    uint64
	n      int64
	beyond bool // its timeline has records that were not read yet
}

func (h *held) add(e *engine, topic string, partition int32, offset int64) {
	p := place{topicIndex(topic), partition, offset}
	if b, known := e.bounds[part{p.topic, p.partition}]; known && offset >= b.end {
		h.beyond = true
		return
	}
	h.sum += p.mix()
	h.n++
}

func (h *held) append(b []byte, round time.Time) []byte {
	b = binary.AppendVarint(b, round.UnixNano())
	for _, t := range []string{h.row.State, h.row.Client, h.row.Reason, h.row.Invoice, strings.Join(h.row.Alerts, "\n")} {
		b = wire.AppendText(b, t)
	}
	b = binary.AppendVarint(b, h.row.At.UnixMilli())
	b = binary.BigEndian.AppendUint64(b, h.sum)
	return wire.AppendFlag(binary.AppendVarint(b, h.n), h.beyond)
}

// readHeld returns nil if it was read in another round.
func readHeld(data []byte, round time.Time) (*held, error) {
	d := wire.Decode("row of an order", data)
	if d.Varint() != round.UnixNano() {
		return nil, nil
	}
	h := &held{there: true}
	alerts := ""
	for _, t := range []*string{&h.row.State, &h.row.Client, &h.row.Reason, &h.row.Invoice, &alerts} {
		*t = d.Text(maxBytes)
	}
	if alerts != "" {
		h.row.Alerts = strings.Split(alerts, "\n")
	}
	h.row.At, h.sum, h.n, h.beyond = d.Millis(), u64(d), d.Varint(), d.Flag()
	return h, d.End()
}

// compareRows holds the orders that were judged against the database, and sets
// their judgements.
func (e *engine) compareRows(ctx context.Context) error {
	batch := e.batch
	e.batch = e.batch[:0]
	if e.cfg.Database != nil && len(batch) > 0 {
		ids, rows := make([]string, len(batch)), make(map[string]*held, len(batch))
		for i, c := range batch {
			ids[i], rows[c.id] = c.id, &held{}
		}
		if err := e.cfg.Database.Rows(ctx, ids, func(r Row) {
			if h := rows[r.ID]; h != nil {
				h.row, h.there = r, true
			}
		}, func(id, topic string, partition int32, offset int64) {
			if h := rows[id]; h != nil {
				h.add(e, topic, partition, offset)
			}
		}); err != nil {
			return err
		}
		for _, c := range batch {
			c.compareRow(rows[c.id])
		}
	}
	for _, c := range batch {
		if err := e.s.put(newKey(keyOrder).id(c.id), &c.st); err != nil {
			return err
		}
	}
	return nil
}

// compareRow holds the order against what the database has of it.
func (c *orderCheck) compareRow(h *held) {
	e := c.e
	e.s.meta.tally.checked[databaseOrder]++
	e.s.meta.tally.checked[databaseTimeline]++
	differ := func(i inv, format string, args ...any) {
		if c.line.behind {
			c.st.missing(&e.clock, c.line.newest, i, c.at, format, args...)
		} else {
			c.st.violate(i, c.at, format, args...)
		}
	}
	if h.beyond { // it has moved on since the topics were read
		c.st.inFlight++
		c.st.until = e.clock.now.Add(e.clock.limit)
		return
	}
	switch {
	case !h.there && c.line.n > 0:
		differ(databaseOrder, "order %q is not in the database", c.id)
		return
	case c.line.n == 0:
		// Accepted by HTTP: the outbox has it, or had it a moment ago.
		c.st.missing(&e.clock, h.row.At, databaseOrder, c.at, "order %q is in the database (%s) and in no topic", c.id, h.row.State)
		return
	case h.n != c.line.n || h.sum != c.line.sum:
		differ(databaseTimeline, "order %q: its timeline has %d records, or others than the %d there are", c.id, h.n, c.line.n)
	}
	state, reason := c.state()
	if state != h.row.State {
		if h.row.State == stateReceived && c.verdicts == 0 && c.coherent == c.conflicts {
			// What HTTP has accepted under this id is not in Kafka yet.
			c.st.missing(&e.clock, h.row.At, databaseOrder, c.at, "order %q is %s in the database, its records say %q", c.id, h.row.State, state)
			return
		}
		differ(databaseOrder, "order %q is %q in the database, its records say %q", c.id, h.row.State, state)
		return
	}
	number := c.invoice.fact.number
	if number == "" {
		number = c.confirmations.fact.number
	}
	var told codes
	for _, name := range h.row.Alerts {
		told |= codeOf(name)
	}
	switch {
	case h.row.Invoice != number:
		differ(databaseOrder, "order %q has the invoice %q in the database, its records say %q", c.id, h.row.Invoice, number)
	case reason != "" && h.row.Reason != reason:
		differ(databaseOrder, "order %q has the motif %q in the database, its records say %q", c.id, h.row.Reason, reason)
	case c.fits && told != c.shown:
		differ(databaseOrder, "order %q has the alerts %q in the database, its records say %q", c.id, told, c.shown)
	case c.fits && !c.mixed && h.row.Client != c.client:
		differ(databaseOrder, "order %q is of client %q in the database, its records say %q", c.id, h.row.Client, c.client)
	}
}

const stateReceived = "RECUE"

// state is the highest rank among the order's records, and the motif of a
// refusal.
func (c *orderCheck) state() (state, reason string) {
	switch {
	case c.refused.n > 0:
		return "PAIEMENT_REFUSE", c.refused.fact.reason
	case c.verdicts > 0 && c.verdict.word == event.StatusRefused:
		return "STOCK_REFUSE", c.verdict.reason
	case c.notices.n > 0 && c.notices.fact.word == event.NotifyConfirmation:
		return "NOTIFIEE", ""
	case c.invoice.n > 0 || c.confirmations.n > 0:
		return "FACTUREE", ""
	case c.accepted.n > 0:
		return "PAYEE", ""
	case c.verdicts > 0 && c.verdict.word == event.StatusValid:
		return "RESERVEE", ""
	case c.coherent > c.conflicts:
		return stateReceived, ""
	case c.coherent > 0:
		return "EN_CONFLIT", ""
	case c.rejected > 0:
		return "REJETEE", ""
	}
	return "", ""
}

// compareStock holds a product's last movement against the database.
func (e *engine) compareStock(ctx context.Context, g []byte, last *step) error {
	if e.cfg.Database == nil {
		return nil
	}
	e.s.meta.tally.checked[databaseStock]++
	product, _ := readID(g[1:])
	available, reserved, ok, err := e.cfg.Database.Level(ctx, product)
	if err != nil {
		return err
	}
	var st status
	if !ok || available != last.available || reserved != last.reserve {
		positions, err := e.cfg.Database.Positions(ctx)
		if err != nil {
			return err
		}
		p := part{last.at.topic, last.at.partition}
		next := positions[orderdb.Partition{Topic: topicNames[p.topic], Partition: p.partition}]
		format, args := "product %q: the database has %d and %d reserved, the last movement leaves %d and %d", []any{product, available, reserved, last.available, last.reserve}
		switch {
		case next > e.bounds[p].end: // it has moved on since the topics were read
			st.inFlight, st.until = 1, e.clock.now.Add(e.clock.limit)
		case last.at.offset >= next:
			st.missing(&e.clock, last.at0(), databaseStock, last.at, format, args...)
		default:
			st.violate(databaseStock, last.at, format, args...)
		}
	}
	return e.s.put(append(key{keyRest, keyProduct}, g...), &st)
}
