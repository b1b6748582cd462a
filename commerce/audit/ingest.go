package audit

import (
	"fmt"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// reading turns records into facts, and judges what a record alone shows.
type reading struct {
	s          *store
	clock      clock
	zone       *time.Location
	partitions [topics]int32
	first      bool // the first round: what comes is as old as it says
	// marks are positions of groups: the time of the first record at or behind
	// one is noted.
	marks map[mark]*time.Time
	at    map[part][]mark
}

// record takes one record.
func (in *reading) record(r *Record) error {
	p := r.place()
	where := part{p.topic, p.partition}
	pos := in.s.meta.positions[where]
	if p.topic == tProducts && r.Offset > pos.next {
		in.s.meta.gaps = true // compacted
	}
	if !r.Control {
		in.s.meta.tally.records++
		in.noteMarks(r, where)
		if err := in.take(r, p); err != nil {
			return err
		}
	}
	pos.next = r.Offset + 1
	in.s.meta.positions[where] = pos
	if in.s.full() {
		return in.s.commit()
	}
	return nil
}

func (in *reading) take(r *Record, p place) error {
	var st status
	switch p.topic {
	case tOrders:
		in.order(r, p)
	case tProducts, tSupplies:
		in.stock(r, p)
		in.other(r.headerOrder(), r, p)
	case tJournal:
		in.other(journalOrder(r), r, p)
	default:
		in.event(r, p, &st)
	}
	if st.clean() {
		return nil
	}
	return in.s.put(key{keyRecord, p.topic}.place(p), &st)
}

func (in *reading) count(list ...inv) {
	for _, i := range list {
		in.s.meta.tally.checked[i]++
	}
}

// base is from when on something is awaited because of a record of others, who
// may give it any time: at the latest now, and if it is new to us not before.
func (in *reading) base(r *Record) time.Time {
	if !in.first || r.Time.After(in.clock.now) {
		return in.clock.now
	}
	return r.Time
}

// other notes a record that only the timeline of an order knows.
func (in *reading) other(id string, r *Record, p place) {
	if id == "" {
		return
	}
	f := eventFact{at: in.base(r)}
	in.s.fact(append(orderKey(id, classOther), p.topic).place(p), f.append(in.s.room()))
}

// journalOrder is the order that an action was taken on.
func journalOrder(r *Record) string {
	if v, err := readJSON(r.Value, maxDepth); err == nil && len(v.get("action").text) > 9 && v.get("action").text[:9] == "commande." {
		if id, ok := v.get("objet").id(); ok {
			return id
		}
	}
	return r.headerOrder()
}

// order takes a record of commandes.ecommerce.
func (in *reading) order(r *Record, p place) {
	in.count(oneAnswer, verdictOnce)
	j := judge(r.Key, r.Value, r.Time)
	f := placeFact{at: in.base(r), id: j.id, strict: j.strict, tombstone: r.Value == nil, must: j.must, may: j.may,
		size: int64(len(r.Value)), keySize: int64(len(r.Key)), key: keyHash(r.Key)}
	if j.strict {
		f.value = digestOf(trimmed(r.Value))
	} else {
		f.value = digestOf(r.Value)
	}
	f.headers, f.headSize = r.headerSum(), int64(r.headerSize())
	in.s.fact(newKey(keyPlace).place(p), f.append(in.s.room()))

	if j.id == "" {
		in.other(r.headerOrder(), r, p)
		return
	}
	o := orderFact{coherent: j.coherent(), at: f.at, trace: r.trace()}
	if o.coherent {
		o.identity, o.client = j.identity, j.clientID
		o.repeats = repeats(customer{j.client, j.clientID, j.email}, j.amount, j.currency, j.orderedAt, j.lines)
		if j.single {
			o.product = j.lines[0].product
		} else {
			o.products = productsHash(len(j.lines), func(i int) string { return j.lines[i].product })
		}
		for _, l := range j.lines {
			n := uint64(0)
			if l.name != "" {
				n = hash(l.name)
			}
			o.names = append(o.names, n)
		}
	}
	in.s.fact(orderKey(j.id, classRecord).place(p), o.append(in.s.room()))
}

func keyHash(k []byte) uint64 {
	if k == nil {
		return 0
	}
	return hash(string(k))
}

// repeats is what a verdict repeats of its order but the products: in the
// single-line form the order may say a name.
func repeats(c customer, amount int64, currency, ordered string, lines []line) digest {
	var s sum
	s.text(c.client)
	s.text(c.clientID)
	s.text(c.email)
	s.number(amount)
	s.text(currency)
	s.text(ordered)
	for _, l := range lines {
		s.number(l.quantity)
		s.number(l.amount)
		s.flag(l.priced)
		s.number(l.price)
	}
	return s.digest()
}

// productsHash is of the products of n lines in their order.
func productsHash(n int, product func(int) string) uint64 {
	var s sum
	for i := range n {
		s.text(product(i))
	}
	return hash(string(s))
}

// event takes a record that one of our stages wrote.
func (in *reading) event(r *Record, p place, st *status) {
	in.count(wellFormed, recordPartition)
	v, h, wrong, readable := readEvent(r)
	if wrong != "" {
		st.violate(wellFormed, p, "%s: %.200s", wrong, r.Value)
	}
	if n := in.partitions[p.topic]; r.Key != nil && n > 0 && partitionOf(r.Key, n) != p.partition {
		st.violate(recordPartition, p, "key %.200q belongs into partition %d of %d", r.Key, partitionOf(r.Key, n), n)
	}
	if !readable {
		in.other(r.headerOrder(), r, p)
		return
	}
	if p.topic == tErrors {
		in.accusation(r, p, &h, st)
		return
	}
	in.envelope(r, p, &h, st)
	f := eventFact{at: r.Time, trace: r.trace(), customer: hash(h.client, h.clientID, h.email), client: word(h.clientID), amount: h.amount,
		currency: word(h.currency), ordered: hash(h.orderedAt), word: word(h.status), reason: word(h.reason), number: word(h.number)}
	switch p.topic {
	case tVerdicts:
		in.verdict(p, &h, &f, st)
	case tMovements:
		in.movement(r, p, &h)
		f = eventFact{at: r.Time, trace: f.trace, word: f.word, amount: h.quantity}
	case tAccepted, tRefused:
		in.count(paymentOnce, paymentRepeats)
		if h.method == event.MethodSimulation && h.reference != "SIM-"+h.order {
			st.violate(paymentRepeats, p, "order %q has the reference %q", h.order, h.reference)
		}
	case tConfirmations:
		in.count(confirmationOnce, confirmationRepeats)
	case tInvoices:
		in.invoice(r, p, &v, &h, &f, st)
	case tNotifications:
		in.notification(p, &h, &f, st)
	}
	id := h.order
	if id == "" {
		in.other(r.headerOrder(), r, p)
		return
	}
	class := classOf(p.topic)
	k := orderKey(id, class)
	if class == classMovement {
		k = k.id(h.product)
	}
	in.s.fact(k.place(p), f.append(in.s.room()))
}

func classOf(topic byte) byte {
	for class, t := range classTopics {
		if t == topic && class != classAlert {
			return class
		}
	}
	return classOther
}

// envelope judges key and header of a record.
func (in *reading) envelope(r *Record, p place, h *happening, st *status) {
	in.count(recordKey)
	want := h.clientID
	switch p.topic {
	case tMovements:
		want = h.product
	case tAccepted, tRefused, tConfirmations:
		want = h.order
	}
	if string(r.Key) != want {
		st.violate(recordKey, p, "the key is %.200q, not %q", r.Key, want)
	}
	if h.order == "" {
		return
	}
	in.count(recordHeaders, traceCarried)
	if got, n := r.header(event.HeaderOrder); n != 1 || string(got) != h.order {
		st.violate(recordHeaders, p, "order %q: %s is there %s, the first one as %.200q", h.order, event.HeaderOrder, times(n), got)
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// stock takes a record of the catalogue, or a supply.
func (in *reading) stock(r *Record, p place) {
	v, err := readJSON(r.Value, maxDepth)
	if err != nil {
		return // others write here too; what is malformed is ignored
	}
	product, ok := v.get("id_produit").id()
	name := v.get("nom_produit")
	fine := name.kind == kindText && name.text != "" && len(name.text) <= event.MaxNameBytes && clean(name.text)
	if p.topic == tProducts {
		price := v.get("prix")
		if n, whole := money(price.text); !ok || !fine || price.kind != kindNone && (price.kind != kindNumber || !whole || n < 0) {
			return
		}
		in.name(product, name.text)
		in.s.set(append(append(newKey(keyName), nameFolded).id(fold(name.text)), product...), nil)
		return
	}
	id, given := v.get("id").id()
	quantity := v.get("quantite")
	n, whole := money(quantity.text)
	if !ok || !given || name.kind != kindNone && name.kind != kindText || name.text != "" && !fine ||
		quantity.kind != kindNumber || !digitsOnly(quantity.text) || whole && n == 0 {
		return
	}
	if !whole {
		fmt.Sscan(quantity.text, &n) // beyond what an amount can be; 0 if it is beyond all
		n *= 100
	}
	in.count(supplyOnce)
	if name.text != "" {
		in.name(product, name.text)
	}
	f := stepFact{at: in.base(r), quantity: n / 100}
	in.s.fact(append(newKey(keySupply).id(product).id(id), supplyAsked).place(p), f.append(in.s.room()))
}

// What is kept under keyName.
const (
	nameOf     byte = iota // a product's names
	nameFolded             // the products of a name
)

func (in *reading) name(product, name string) {
	in.s.set(append(newKey(keyName), nameOf).id(product).u64(hash(name)), nil)
}

// What is kept of a supply.
const (
	supplyAsked byte = iota
	supplyMoved
)

// movement takes a record of stock-mis-a-jour as a step of its product's ledger.
func (in *reading) movement(r *Record, p place, h *happening) {
	in.count(stockLedger, stockNegative)
	if h.product == "" {
		return
	}
	f := stepFact{at: r.Time, kind: word(h.status), quantity: h.quantity, available: h.available, reserve: h.reserve}
	in.s.fact(newKey(keyProduct).id(h.product).place(p), f.append(in.s.room()))
	if h.status == event.MovementSupply {
		if h.reference != "" {
			in.s.fact(append(newKey(keySupply).id(h.product).id(h.reference), supplyMoved).place(p), f.append(in.s.room()))
		}
		return
	}
	in.count(movementsFit)
}
