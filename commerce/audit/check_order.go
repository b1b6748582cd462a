package audit

import (
	"bytes"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/comptoir/comptoir/commerce/event"
)

// orderCheck judges one order from its facts, which come in the order of their
// classes: first the verdict, then what it is about, then what follows.
type orderCheck struct {
	e  *engine
	id string
	st status

	verdicts int
	verdict  eventFact
	at       place // of the verdict
	parts    map[string]partOf
	fits     bool // the verdict is about a record that is known

	coherent, incoherent   int64
	conflicts, rejected    int64     // records rejected as in conflict; rejections for other reasons
	since                  time.Time // of the first coherent record
	client                 string    // clientId of the record that counts
	mixed                  bool      // not all coherent records have the same
	trace                  uint64
	accepted, refused      happened
	confirmations, invoice happened
	notices                happened
	alerts, shown          codes  // shown: those against the content that counts
	identity               digest // of that

	moving string // the product whose movements are being read
	moves  moves

	line timeline
	held *held // what the database has, if it was read in this round
}

// partOf is what an order wants of a product.
type partOf struct {
	quantity int64
	failed   bool
	met      bool // its movements were read
}

// happened is the events of one kind: how many, and the first.
type happened struct {
	n    int
	fact eventFact
	at   place
}

func (h *happened) add(f eventFact, at place) {
	if h.n++; h.n == 1 {
		h.fact, h.at = f, at
	}
}

// check reads and judges the order whose facts begin with g, at the first of
// which the iterator stands.
func (c *orderCheck) check(it *pebble.Iterator, g []byte) error {
	for ok := it.Valid(); ok && bytes.HasPrefix(it.Key(), g) && len(it.Key()) > len(g); {
		class, rest := it.Key()[len(g)], it.Key()[len(g)+1:]
		if class == classRecord {
			var err error
			if ok, err = c.records(it, append(bytes.Clone(g), classRecord)); err != nil {
				return err
			}
			continue
		}
		if err := c.fact(class, rest, it.Value()); err != nil {
			return fmt.Errorf("%w: order %q: %w", errStore, c.id, err)
		}
		ok = it.Next()
	}
	c.settleMoves()
	c.finish()
	return it.Error()
}

func (c *orderCheck) fact(class byte, rest, data []byte) error {
	if class == classRow {
		var err error
		c.held, err = readHeld(data, c.e.clock.now)
		return err
	}
	f, err := readEventFact(data)
	if err != nil {
		return err
	}
	topic := classTopics[class]
	if class == classOther && len(rest) > 0 {
		topic, rest = rest[0], rest[1:]
	}
	product := ""
	if class == classMovement {
		product, rest = readID(rest)
	}
	at, _ := readPlace(rest, topic)
	c.line.add(c.e, at, f.at)
	switch class {
	case classVerdict:
		if c.verdicts++; c.verdicts == 1 {
			c.verdict, c.at = f, at
			c.parts = partsOf(f.parts)
		} else {
			c.st.violate(verdictOnce, at, "order %q has verdict %d, the first is %s", c.id, c.verdicts, c.at)
		}
	case classAccepted:
		c.follows(paymentRepeats, &f, at)
		c.accepted.add(f, at)
	case classRefused:
		c.follows(paymentRepeats, &f, at)
		c.refused.add(f, at)
	case classConfirmation:
		c.follows(confirmationRepeats, &f, at)
		c.confirmations.add(f, at)
	case classInvoice:
		c.follows(invoiceRepeats, &f, at)
		c.invoice.add(f, at)
	case classNotification:
		c.notice(&f, at)
	case classMovement:
		c.move(product, &f, at)
	case classAlert:
		if again := c.alerts & f.codes; again != 0 {
			c.st.violate(alertOnce, at, "order %q has %s again", c.id, again)
		}
		c.alerts |= f.codes
		return c.show(&f)
	}
	return nil
}

// show notes an alert if it is against the content that counts.
func (c *orderCheck) show(f *eventFact) error {
	if !c.fits || c.e.cfg.Database == nil {
		return nil
	}
	data, err := c.e.s.get(append(orderKey(c.id, classRecord), f.number...))
	if err != nil || data == nil {
		return err
	}
	r, err := readOrderFact(data)
	if err == nil && r.coherent && r.identity == c.identity {
		c.shown |= f.codes
	}
	return err
}

func partsOf(lines []lineFact) map[string]partOf {
	parts := make(map[string]partOf, len(lines))
	for _, l := range lines {
		p := parts[l.product]
		parts[l.product] = partOf{quantity: p.quantity + l.quantity, failed: p.failed || l.failed}
	}
	return parts
}

func (p place) String() string {
	return fmt.Sprintf("%s[%d]@%d", topicNames[p.topic], p.partition, p.offset)
}

// follows judges what an event repeats of its order.
func (c *orderCheck) follows(i inv, f *eventFact, at place) {
	c.traced(f, at)
	if c.verdicts == 0 {
		return // said by finish
	}
	v := &c.verdict
	switch {
	case f.customer != v.customer:
		c.st.violate(i, at, "order %q: client, clientId or email are not those of %s", c.id, c.at)
	case i != notificationRepeats && (f.amount != v.amount || f.currency != v.currency):
		c.st.violate(i, at, "order %q: %s %s, its verdict says %s %s", c.id, decimal(f.amount), f.currency, decimal(v.amount), v.currency)
	case i == invoiceRepeats && (f.lines != v.lines || f.ordered != v.ordered):
		c.st.violate(i, at, "order %q: lines or date_commande are not those of %s", c.id, c.at)
	}
}

// traced judges the trace of a record of the order.
func (c *orderCheck) traced(f *eventFact, at place) {
	if c.trace != 0 && f.trace != c.trace {
		c.st.violate(traceCarried, at, "order %q: traceparent is absent or of another trace", c.id)
	}
}

func (c *orderCheck) notice(f *eventFact, at place) {
	c.follows(notificationRepeats, f, at)
	want := ""
	switch {
	case c.verdicts == 0 && c.coherent > 0:
		want = f.word // that the verdict is missing, finish says
	case c.verdicts == 0:
	case c.verdict.word == event.StatusRefused:
		want = event.NotifyStockRefused
	case c.refused.n > 0:
		want = event.NotifyPaymentRefused
	case c.accepted.n > 0 || c.invoice.n > 0:
		want = event.NotifyConfirmation
	case f.word != event.NotifyStockRefused:
		want = f.word // that the payment is missing, finish says
	}
	if c.notices.n > 0 || f.word != want {
		c.st.violate(notificationOnce, at, "order %q: notification %d is %s, want one %s", c.id, c.notices.n+1, f.word, want)
	} else if want == event.NotifyConfirmation && c.invoice.n > 0 && f.body != c.invoice.fact.body {
		c.st.violate(notificationRepeats, at, "order %q: sujet or message do not say what %s says", c.id, c.invoice.at)
	}
	c.notices.add(*f, at)
}

// finish judges what should have followed and has not, and what should not.
func (c *orderCheck) finish() {
	clock, v := &c.e.clock, &c.verdict
	excess := func(i inv, h *happened, what string) {
		if h.n > 1 {
			c.st.violate(i, h.at, "order %q has %d %s", c.id, h.n, what)
		}
	}
	never := func(i inv, h *happened, why string) {
		if h.n > 0 {
			c.st.violate(i, h.at, "order %q %s", c.id, why)
		}
	}
	excess(confirmationOnce, &c.confirmations, "confirmations")
	excess(invoiceOnce, &c.invoice, "invoices")
	valid := v.word == event.StatusValid
	paid := c.accepted.n + c.refused.n
	switch {
	case c.verdicts == 0:
		if c.coherent > 0 {
			c.st.missing(clock, c.since, verdictOnce, c.at, "order %q has no verdict", c.id)
		}
		for i, h := range map[inv]*happened{confirmationOnce: &c.confirmations, invoiceOnce: &c.invoice} {
			if c.coherent == 0 {
				never(i, h, "has no verdict")
			}
		}
		if h := firstOf(&c.accepted, &c.refused); c.coherent == 0 {
			never(paymentOnce, h, "has no verdict")
		}
	case valid && paid == 0:
		c.st.missing(clock, v.at, paymentOnce, c.at, "order %q is valid and has no payment", c.id)
	case paid > 1 || !valid && paid > 0:
		c.st.violate(paymentOnce, firstOf(&c.accepted, &c.refused).at, "order %q is %s and has %d payments accepted, %d refused", c.id, v.word, c.accepted.n, c.refused.n)
	case c.accepted.n == 0:
		never(confirmationOnce, &c.confirmations, "is confirmed, and no payment was accepted")
		never(invoiceOnce, &c.invoice, "is invoiced, and no payment was accepted")
	default:
		if c.confirmations.n == 0 {
			c.st.missing(clock, c.accepted.fact.at, confirmationOnce, c.accepted.at, "order %q is paid and not confirmed", c.id)
		}
		if c.invoice.n == 0 {
			c.st.missing(clock, c.accepted.fact.at, invoiceOnce, c.accepted.at, "order %q is paid and has no invoice", c.id)
		}
	}
	if c.confirmations.n > 0 && c.invoice.n > 0 && c.confirmations.fact.number != c.invoice.fact.number {
		c.st.violate(confirmationRepeats, c.confirmations.at, "order %q is confirmed with invoice %s, which is %s", c.id, c.confirmations.fact.number, c.invoice.fact.number)
	}
	c.notified()
	c.moved()
}

// notified judges that who must be told was told.
func (c *orderCheck) notified() {
	var because *happened
	switch {
	case c.notices.n > 0:
		return
	case c.verdicts > 0 && c.verdict.word == event.StatusRefused:
		because = &happened{1, c.verdict, c.at}
	case c.refused.n > 0:
		because = &c.refused
	case c.invoice.n > 0:
		because = &c.invoice
	default:
		return
	}
	c.st.missing(&c.e.clock, because.fact.at, notificationOnce, because.at, "order %q: nobody was told", c.id)
}

func firstOf(a, b *happened) *happened {
	if a.n > 0 {
		return a
	}
	return b
}
