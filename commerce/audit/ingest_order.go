package audit

import (
	"math/big"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the zone of invoices must be there on any machine

	"github.com/comptoir/comptoir/commerce/event"
)

// paris is the zone of invoice dates unless configured.
var paris = func() *time.Location {
	l, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		panic(err) // it is embedded
	}
	return l
}()

// fold makes names equal that differ in case and outer blanks alone.
func fold(name string) string { return strings.ToLower(strings.ToUpper(strings.TrimSpace(name))) }

// accusation takes a record of commandes.erreurs.
func (in *reading) accusation(r *Record, p place, h *happening, st *status) {
	in.count(errorAccuses, errorCodes)
	a := h.accused
	reject := h.status == event.SeverityReject
	if a.topic != event.TopicOrders || a.partition < 0 || a.offset < 0 {
		st.violate(errorAccuses, p, "it accuses %.200q[%d]@%d, which is no record of %s", a.topic, a.partition, a.offset, event.TopicOrders)
	} else {
		f := errorFact{id: h.order, reject: reject, codes: a.codes, twice: a.twice, form: a.form, value: digestOf(a.value),
			carried: int64(len(a.value)), size: int64(len(r.Value)), key: keyHash(r.Key)}
		if a.form == formSize {
			f.carried = a.size
		}
		f.headers = r.headerSum()
		k := newKey(keyPlace).place(place{tOrders, a.partition, a.offset})
		in.s.fact(k.place(p), f.append(in.s.room()))
	}
	if h.order == "" {
		in.other(r.headerOrder(), r, p)
		return
	}
	in.count(recordHeaders)
	if got, n := r.header(event.HeaderOrder); n != 1 || string(got) != h.order {
		st.violate(recordHeaders, p, "order %q: %s is there %s, the first one as %.200q", h.order, event.HeaderOrder, times(n), got)
	}
	f := eventFact{at: r.Time, word: word(h.status), codes: a.codes}
	if reject {
		k := orderKey(h.order, classRecord).place(place{tOrders, a.partition, a.offset})
		in.s.fact(k.place(p), f.append(in.s.room()))
		return
	}
	in.count(alertOnce)
	f.number = string(key(nil).place(place{tOrders, a.partition, a.offset}))
	in.s.fact(orderKey(h.order, classAlert).place(p), f.append(in.s.room()))
}

// verdict takes a record of stock.verifie.
func (in *reading) verdict(p place, h *happening, f *eventFact, st *status) {
	in.count(verdictRepeats, verdictConsistent, verdictOrder)
	lines := make([]line, len(h.lines))
	f.parts = make([]lineFact, len(h.lines))
	for i, l := range h.lines {
		lines[i] = l.line
		f.parts[i] = lineFact{word(l.product), hash(l.name), l.quantity, l.reason != ""}
	}
	f.repeats = repeats(h.customer, h.amount, h.currency, h.orderedAt, lines)
	f.lines = linesHash(h.lines)
	if why := consistent(h); why != "" {
		st.violate(verdictConsistent, p, "order %q: %s", h.order, why)
	}
}

// consistent says what in a verdict contradicts itself.
func consistent(h *happening) string {
	short, unknown := false, false
	reasons := make(map[string]string, len(h.lines))
	for _, l := range h.lines {
		switch l.reason {
		case "":
		case event.ReasonOutOfStock:
			short = true
		case event.ReasonUnknownProduct:
			unknown = true
		default:
			return "a line has the motif " + strconv.Quote(word(l.reason))
		}
		if l.reserved != (h.status == event.StatusValid) {
			return "not all lines are reserved, or not none, as the statut says"
		}
		if before, met := reasons[l.product]; met && before != l.reason {
			return "lines of product " + l.product + " have different motifs"
		}
		reasons[l.product] = l.reason
	}
	want := ""
	switch {
	case unknown:
		want = event.ReasonUnknownProduct
	case short:
		want = event.ReasonOutOfStock
	}
	if h.reason != want || (want != "") != (h.status == event.StatusRefused) {
		return "the statut is " + h.status + ", the motif " + strconv.Quote(word(h.reason)) + ", that of its lines " + strconv.Quote(want)
	}
	return ""
}

// linesHash is what an invoice repeats of a verdict's lines.
func linesHash(lines []eventLine) uint64 {
	var s sum
	for _, l := range lines {
		s.text(l.product)
		s.text(l.name)
		s.number(l.quantity)
		s.number(l.amount)
		s.flag(l.priced)
		s.number(l.price)
	}
	return hash(string(s))
}

// numberOfInvoice reads FA-<year>-<number> or FA-<year>-<series>-<number>.
func numberOfInvoice(s string) (year, series, n int64, ok bool) {
	s, ok = strings.CutPrefix(s, "FA-")
	if !ok || len(s) < 5 || s[4] != '-' || !digitsOnly(s[:4]) {
		return 0, 0, 0, false
	}
	number := s[5:]
	if of, rest, several := strings.Cut(number, "-"); several {
		if number = rest; !digitsOnly(of) || of[0] == '0' || len(of) > 9 {
			return 0, 0, 0, false
		}
		series, _ = strconv.ParseInt(of, 10, 64) // digits, and not too many
	}
	if !digitsOnly(number) || len(number) < 6 || number[0] == '0' && len(number) > 6 || len(number) > 18 {
		return 0, 0, 0, false
	}
	year, _ = strconv.ParseInt(s[:4], 10, 64)
	n, _ = strconv.ParseInt(number, 10, 64)
	return year, series, n, true
}

// invoice takes a record of factures.ecommerce.
func (in *reading) invoice(r *Record, p place, v *value, h *happening, f *eventFact, st *status) {
	in.count(invoiceOnce, invoiceRepeats, invoiceTax, invoiceNumbers, invoiceSequence, invoiceDates)
	f.lines = linesHash(h.lines)
	f.body = hash("Commande "+h.order+" confirmée", "Bonjour "+h.client+", votre commande "+h.order+" est confirmée. Facture "+h.number+", "+
		decimal(h.amount)+" "+h.currency+".")
	if net := netOf(h.amount, h.rate); h.net != net || h.tax != h.amount-net || h.rate < 0 {
		st.violate(invoiceTax, p, "%.40q: %s + %s = %s at %s %%, want %s + %s", h.number, decimal(h.net), decimal(h.tax), decimal(h.amount), decimal(h.rate),
			decimal(net), decimal(h.amount-net))
	}
	year, series, n, fine := numberOfInvoice(h.number)
	_, err := time.Parse(time.DateOnly, h.date)
	if !fine || err != nil || h.status != event.InvoiceTypeInvoice {
		st.violate(wellFormed, p, "numero %.40q, type %.40q, date %.40q", h.number, h.status, h.date)
		return
	}
	step := stepFact{at: r.Time, date: h.date, year: year, quantity: n, row: rowOfInvoice(v)}
	in.s.fact(newKey(keyNumber).u32(uint32(series)).u64(uint64(year)).u64(uint64(n)).place(p), step.append(in.s.room()))
	in.s.set(newKey(keyIssued).id(h.number).place(p), step.append(in.s.room()))
	in.s.fact(newKey(keySequence).u32(uint32(series)).place(p), step.append(in.s.room()))
}

// netOf is total × 100 / (100 + rate), rounded half up; all in hundredths.
func netOf(total, rate int64) int64 {
	divisor := new(big.Int).Add(big.NewInt(10_000), big.NewInt(rate))
	if divisor.Sign() <= 0 {
		return 0
	}
	twice := new(big.Int).Mul(big.NewInt(total), big.NewInt(20_000))
	twice.Add(twice, divisor)
	return twice.Div(twice, new(big.Int).Lsh(divisor, 1)).Int64()
}

// notification takes a record of notifications.clients.
func (in *reading) notification(p place, h *happening, f *eventFact, st *status) {
	in.count(notificationOnce, notificationRepeats)
	f.body = hash(h.subject, h.body)
	priority, channel := event.PriorityCritical, event.ChannelLog
	if h.status == event.NotifyConfirmation {
		priority = event.PriorityGeneral
	}
	if h.email != "" {
		channel = event.ChannelEmail
	}
	if h.priority != priority || h.channel != channel || h.id != h.order+"-"+h.status {
		st.violate(notificationRepeats, p, "order %q: %s has priorite %.40q, canal %.40q, id %.200q", h.order, h.status, h.priority, h.channel, h.id)
	}
	if !strings.Contains(h.subject, h.order) || !strings.Contains(h.body, h.order) || !strings.Contains(h.body, h.client) {
		st.violate(notificationRepeats, p, "order %q: sujet or message do not name the order, or not the client", h.order)
	}
}
