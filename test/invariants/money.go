package invariants

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/comptoir/comptoir/test/orders"
)

// checkPayments: a valid order is paid or refused, once, for its amount; only
// what is paid is confirmed and invoiced. It settles each order's outcome.
func (c *checker) checkPayments() {
	accepted := c.byOrder(decode[payment](c, topicAccepted))
	refused := c.byOrder(decode[payment](c, topicRefused))
	confirmed := c.byOrder(decode[payment](c, topicConfirmed))
	invoices := map[string][]event[invoice]{}
	for _, e := range decode[invoice](c, topicInvoices) {
		o := c.stray(e.Record, string(e.is.Order))
		if o != nil {
			invoices[o.id] = append(invoices[o.id], e)
		}
	}
	for _, o := range c.sorted() {
		if o.verdict == nil {
			continue
		}
		yes, no, done, bills := accepted[o.id], refused[o.id], confirmed[o.id], invoices[o.id]
		valid := o.verdict.is.Status == "VALIDE"
		switch {
		case valid && len(yes)+len(no) != 1, !valid && len(yes)+len(no) != 0:
			c.violation("one payment per valid order", "order %q: %s, %d accepted, %d refused", o.id, o.verdict.is.Status, len(yes), len(no))
		}
		if len(done) != len(yes) || len(done) > 1 {
			c.violation("one confirmation per paid order", "order %q: %d payments, %d confirmations", o.id, len(yes), len(done))
		}
		if len(bills) != len(yes) || len(bills) > 1 {
			c.violation("one invoice per paid order", "order %q: %d payments, %d invoices", o.id, len(yes), len(bills))
		}
		for _, p := range slices.Concat(yes, no, done) {
			if p.is.Amount != o.verdict.is.Amount || p.is.Currency != o.verdict.is.Currency {
				c.violation("amounts are exact", "%s has %s %s, order %q %s %s", p, orders.Decimal(int64(p.is.Amount)), p.is.Currency,
					o.id, orders.Decimal(int64(o.verdict.is.Amount)), o.verdict.is.Currency)
			}
		}
		for _, p := range yes {
			if p.is.Means == "SIMULATION" && p.is.Reference != "SIM-"+o.id {
				c.violation("events are well-formed", "%s has reference %q", p, p.is.Reference)
			}
		}
		over := int64(o.verdict.is.Amount) > c.h.PaymentLimit
		if over && len(yes) > 0 || !over && len(no) > 0 && no[0].is.Reason == "PLAFOND_DEPASSE" {
			c.violation("payments keep the limit", "order %q of %s: %d accepted, %d refused", o.id, orders.Decimal(int64(o.verdict.is.Amount)), len(yes), len(no))
		}
		if len(done) == 1 && len(bills) == 1 && done[0].is.Number != bills[0].is.Number {
			c.violation("confirmation and invoice agree", "order %q: %q and %q", o.id, done[0].is.Number, bills[0].is.Number)
		}
		var end orders.Outcome
		switch {
		case !valid:
			end = orders.StockRefused
		case len(no) > 0:
			end, o.refused = orders.PaymentRefused, &no[0]
		case len(bills) > 0:
			end, o.paid, o.invoice = orders.Invoiced, nil, &bills[0]
			if len(yes) > 0 {
				o.paid = &yes[0]
			}
		default:
			continue // on its way: said above
		}
		c.report.Outcomes[o.id] = end
		c.checkMovements(o, end)
	}
}

// byOrder groups payments by their order, and checks what all have in common.
func (c *checker) byOrder(events []event[payment]) map[string][]event[payment] {
	grouped := map[string][]event[payment]{}
	for _, e := range events {
		if o := c.stray(e.Record, string(e.is.Order)); o != nil {
			c.checkEnvelope(o, e.Record, e.is.customer, e.is.Order)
			grouped[o.id] = append(grouped[o.id], e)
		}
	}
	return grouped
}

// stray finds the order of an event; one that has no verdict is a violation.
func (c *checker) stray(r Record, id string) *order {
	o := c.orders[id]
	if o == nil || o.verdict == nil {
		c.violation("events belong to a verdict", "%s: order %q has none", r, id)
		return nil
	}
	return o
}

var number = regexp.MustCompile(`^FA-([0-9]{4})-(?:([1-9][0-9]*)-)?([0-9]{6}|[1-9][0-9]{6,})$`)

// paris is the time zone of invoices: the last Sundays of March and October at
// 01:00 UTC change between UTC+1 and UTC+2. Worked out here, because a machine
// may have no time zone database.
func paris(at time.Time) time.Time {
	change := func(month time.Month) time.Time {
		last := time.Date(at.UTC().Year(), month, 31, 1, 0, 0, 0, time.UTC)
		return last.AddDate(0, 0, -int(last.Weekday()))
	}
	offset := 3600
	if !at.Before(change(time.March)) && at.Before(change(time.October)) {
		offset = 7200
	}
	return at.In(time.FixedZone("Europe/Paris", offset))
}

// checkInvoices: amounts, tax and lines are the order's; each series of numbers
// runs from 000001 without gap or double, in the order of issue.
func (c *checker) checkInvoices() {
	type series struct{ year, name string }
	type issued struct {
		n int64
		e event[invoice]
	}
	all := map[series][]issued{}
	for _, e := range decode[invoice](&checker{h: c.h}, topicInvoices) {
		c.report.Invoices++
		if o := c.orders[string(e.is.Order)]; o != nil && o.verdict != nil {
			c.checkInvoice(o, e)
		}
		m := number.FindStringSubmatch(e.is.Number)
		if m == nil || e.is.Type != "FACTURE" {
			c.violation("events are well-formed", "%s has number %q, type %q", e, e.is.Number, e.is.Type)
			continue
		}
		if !strings.HasPrefix(e.is.Date, m[1]+"-") {
			c.violation("invoice dates", "%s: number %s, date %s", e, e.is.Number, e.is.Date)
		}
		n, _ := strconv.ParseInt(m[3], 10, 64) // the pattern leaves digits only
		s := series{m[1], m[2]}
		if before := all[s]; len(before) > 0 {
			if last := before[len(before)-1]; last.e.Partition == e.Partition && last.n >= n {
				c.violation("invoice numbers in topic order", "%s is %s, before it %s is %s", e, e.is.Number, last.e, last.e.is.Number)
			}
		}
		all[s] = append(all[s], issued{n, e})
	}
	latest := map[string]string{} // per series name, over the years
	for _, s := range slices.SortedFunc(maps.Keys(all), func(a, b series) int {
		return cmp.Or(cmp.Compare(a.year, b.year), cmp.Compare(a.name, b.name))
	}) {
		list := all[s]
		slices.SortStableFunc(list, func(a, b issued) int { return cmp.Compare(a.n, b.n) })
		want := int64(1)
		for _, i := range list {
			if i.n != want {
				c.violation("invoice numbers without gap or double", "%s is %s where number %d comes", i.e, i.e.is.Number, want)
			}
			want = i.n + 1
			date := max(latest[s.name], paris(i.e.Time).Format(time.DateOnly))
			if i.e.is.Date != date {
				c.violation("invoice dates", "%s: %s has date %s, want %s", i.e, i.e.is.Number, i.e.is.Date, date)
			}
			latest[s.name] = max(latest[s.name], i.e.is.Date)
		}
	}
}

func (c *checker) checkInvoice(o *order, e event[invoice]) {
	v := o.verdict.is
	c.checkEnvelope(o, e.Record, e.is.customer, e.is.ClientID)
	gross, rate := int64(e.is.Amount), int64(e.is.Rate)
	divisor := 10_000 + rate
	net := (2*gross*10_000 + divisor) / (2 * divisor) // half up
	switch {
	case e.is.Amount != v.Amount, e.is.Currency != v.Currency, e.is.OrderedAt != v.OrderedAt:
		c.violation("amounts are exact", "%s: %s %s of %s, order %q is %s %s of %s", e, orders.Decimal(gross), e.is.Currency, e.is.OrderedAt,
			o.id, orders.Decimal(int64(v.Amount)), v.Currency, v.OrderedAt)
	case int64(e.is.Net) != net, e.is.Net+e.is.Tax != e.is.Amount, rate <= 0:
		c.violation("tax is exact", "%s: %s + %s = %s at %s %%, want %s before tax", e, orders.Decimal(int64(e.is.Net)), orders.Decimal(int64(e.is.Tax)),
			orders.Decimal(gross), orders.Decimal(rate), orders.Decimal(net))
	}
	same := func(a, b line) bool {
		return a.Product == b.Product && a.Name == b.Name && a.Quantity == b.Quantity && a.Amount == b.Amount &&
			(a.Price == nil) == (b.Price == nil) && (a.Price == nil || *a.Price == *b.Price)
	}
	if !slices.EqualFunc(e.is.Lines, v.Lines, same) {
		c.violation("invoices repeat the order's lines", "%s of order %q", e, o.id)
	}
}

// checkNotices: one message per outcome.
func (c *checker) checkNotices() {
	sent := map[string]int{}
	for _, e := range decode[notice](c, topicNotices) {
		o := c.stray(e.Record, string(e.is.Order))
		if o == nil {
			continue
		}
		c.checkEnvelope(o, e.Record, e.is.customer, e.is.ClientID)
		sent[o.id]++
		kind, priority, channel := "", "CRITIQUE", "JOURNAL"
		switch c.report.Outcomes[o.id] {
		case orders.Invoiced:
			kind, priority = "CONFIRMATION", "GENERALE"
		case orders.StockRefused:
			kind = "REFUS_STOCK"
		case orders.PaymentRefused:
			kind = "REFUS_PAIEMENT"
		}
		if e.is.Email != "" {
			channel = "EMAIL"
		}
		if e.is.Type != kind || e.is.ID != o.id+"-"+kind || e.is.Priority != priority || e.is.Channel != channel {
			c.violation("notifications fit the outcome", "%s of order %q: %s, id %q, %s, %s; want %s, %s, %s", e, o.id, e.is.Type, e.is.ID, e.is.Priority, e.is.Channel, kind, priority, channel)
		}
		if o.invoice != nil && kind == "CONFIRMATION" {
			want := "Bonjour " + e.is.Client + ", votre commande " + o.id + " est confirmée. Facture " + o.invoice.is.Number + ", " +
				orders.Decimal(int64(o.invoice.is.Amount)) + " " + o.invoice.is.Currency + "."
			if e.is.Message != want || e.is.Subject != "Commande "+o.id+" confirmée" {
				c.violation("notifications fit the outcome", "%s says %q, want %q", e, e.is.Message, want)
			}
		} else if e.is.Message == "" || e.is.Subject == "" {
			c.violation("notifications fit the outcome", "%s says nothing", e)
		}
	}
	for _, o := range c.sorted() {
		if n := sent[o.id]; n != 1 && o.verdict != nil {
			c.violation("one notification per order", "order %q has %d", o.id, n)
		}
	}
}

// checkArchive: the table holds exactly the invoices, each value as it was.
func (c *checker) checkArchive() {
	if !c.h.Archived {
		return
	}
	rows := map[string][]map[string]string{}
	for _, row := range c.h.Archive {
		rows[row["numero"]] = append(rows[row["numero"]], row)
	}
	for _, r := range c.h.Topics[topicInvoices] {
		want, err := flat(r.Value)
		if err != nil {
			continue // said by decode
		}
		got := rows[want["numero"]]
		delete(rows, want["numero"])
		if len(got) != 1 {
			c.violation("the archive holds every invoice once", "%s of %s has %d rows", want["numero"], r, len(got))
			continue
		}
		for column, value := range want {
			if !sameValue(got[0][column], value) {
				c.violation("archived rows are the invoices", "%s: %s is %q, archived as %q", want["numero"], column, value, got[0][column])
			}
		}
	}
	for n := range rows {
		c.violation("the archive holds nothing else", "row %q is no invoice", n)
	}
}

// sameValue compares text, then JSON by its content: a database may write the
// same number or object otherwise.
func sameValue(a, b string) bool {
	return a == b || a != "" && b != "" && canonical(a) != "" && canonical(a) == canonical(b)
}

func canonical(text string) string {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return ""
	}
	out, err := json.Marshal(plain(v))
	if err != nil {
		return ""
	}
	return string(out)
}

// plain replaces every amount by its minor units, so that 120.5 equals 120.50.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if minor, ok := orders.Minor(v.String()); ok {
			return "#" + strconv.FormatInt(minor, 10)
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = plain(v[name])
		}
	}
	return v
}
