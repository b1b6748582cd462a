package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/comptoir/comptoir/commerce/event"
)

// codes is a set of the contract's codes.
type codes uint32

const (
	codeJSON codes = 1 << iota
	codeTooLarge
	codeMissing
	codeType
	codeAmount
	codeQuantity
	codeCurrency
	codeNoProduct
	codeLines
	codeConflict
	alertAmount
	alertFrequency
	alertPrice

	alerts = alertAmount | alertFrequency | alertPrice
)

var codeNames = []string{
	event.CodeInvalidJSON, event.CodeOrderTooLarge, event.CodeMissingField, event.CodeInvalidType, event.CodeInvalidAmount,
	event.CodeInvalidQuantity, event.CodeUnknownCurrency, event.CodeNoProduct, event.CodeIncoherentLines, event.CodeOrderConflict,
	event.CodeHighAmount, event.CodeHighFrequency, event.CodeUnexpectedPrice,
}

func codeOf(name string) codes {
	for i, n := range codeNames {
		if n == name {
			return 1 << i
		}
	}
	return 0
}

func (c codes) String() string {
	var names []string
	for i, n := range codeNames {
		if c&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// digest is a content in 16 bytes.
type digest [16]byte

// sum gathers what a digest is of. Texts go in with their lengths, so that no
// two contents look alike.
type sum []byte

func (s *sum) text(t string) {
	*s = binary.AppendUvarint(*s, uint64(len(t)))
	*s = append(*s, t...)
}

func (s *sum) number(n int64) { *s = binary.AppendVarint(*s, n) }

// flag returns what it was given.
func (s *sum) flag(set bool) bool {
	if set {
		*s = append(*s, 1)
	} else {
		*s = append(*s, 0)
	}
	return set
}

func (s sum) digest() (d digest) {
	all := sha256.Sum256(s)
	copy(d[:], all[:])
	return d
}

// line is a line of an order or of an event about it.
type line struct {
	product, name string
	quantity      int64
	amount, price int64
	priced        bool
}

// order is what a coherent record says.
type order struct {
	client, clientID, email, currency string
	amount                            int64
	single                            bool // produit and quantite; its line's product is what produit says
	lines                             []line
	orderedAt                         string
	identity                          digest // equal for equal content
}

// judgement is the auditor's own word on a record of commandes.ecommerce.
type judgement struct {
	order
	id     string // if one could be read, even from an incoherent value
	strict bool   // the value was parsed and is strict JSON
	// must are the codes for which it is incoherent; may are those that the
	// contract leaves room for beside them. Both are 0 if it is coherent.
	must, may codes
}

func (j *judgement) coherent() bool { return j.must|j.may == 0 }

// judge reads a record of commandes.ecommerce. A nil value is a tombstone.
func judge(key, data []byte, at time.Time) (j judgement) {
	if len(data) > event.MaxOrderBytes {
		j.must = codeTooLarge
		return j
	}
	v, err := readJSON(data, maxDepth)
	if err != nil {
		j.must = codeJSON
		return j
	}
	j.strict = true
	if v.kind != kindObject {
		j.must = codeJSON
		return j
	}
	j.read(&v, key, at)
	return j
}

func (j *judgement) read(v *value, key []byte, at time.Time) {
	j.id = j.idOf(v.get("commandeId"), codeMissing)
	given := j.customer(v, key)
	whole := j.total(v)

	j.currency = event.DefaultCurrency
	switch c := v.get("devise"); {
	case c.kind == kindNone:
	case c.kind != kindText || c.text == "":
		j.must |= codeType
	case !event.KnownCurrency(c.text):
		j.must |= codeCurrency
	default:
		j.currency = c.text
	}

	if lines := v.get("lignes"); lines.kind == kindArray {
		j.several(lines.kids, whole)
	} else if lines.kind != kindNone {
		j.must |= codeType
	} else {
		j.one(v)
	}

	instantOf := ""
	j.orderedAt = stamp(at)
	if t := v.get("timestamp"); t.kind != kindNone {
		seconds, fraction, ok := instant(t.text)
		if t.kind != kindText || !ok {
			j.must |= codeType
		}
		j.orderedAt, instantOf = t.text, strconv.FormatInt(seconds, 10)+"."+fraction
	}
	if j.coherent() {
		j.identity = j.identify(given, instantOf)
	}
}

// stamp writes a record's time, bounded to what RFC 3339 can write.
func stamp(at time.Time) string {
	if at = at.UTC(); at.Year() < 0 {
		at = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	} else if at.Year() > 9999 {
		at = time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)
	}
	return at.Format(written)
}

func (j *judgement) idOf(v *value, missing codes) string {
	if v.kind == kindNone {
		j.must |= missing
		return ""
	}
	id, ok := v.id()
	if !ok {
		j.must |= codeType
		return ""
	}
	return id
}

// customer reads who ordered, and returns the clientId if it was given.
func (j *judgement) customer(v *value, key []byte) (given string) {
	client, named := v.get("client"), false
	switch n := utf8.RuneCountInString(client.text); {
	case client.kind == kindNone:
		j.must |= codeMissing
	case client.kind != kindText || n < 1 || n > event.MaxClientRunes:
		j.must |= codeType
	default:
		j.client, named = client.text, true
	}
	switch id := v.get("clientId"); {
	case id.kind != kindNone:
		given = j.idOf(id, 0)
		j.clientID = given
	case validID(string(key)):
		j.clientID = string(key)
	case validID(client.text) && client.kind == kindText:
		j.clientID = client.text
	case named:
		j.must |= codeType
	}
	if email := v.get("email"); email.kind != kindNone {
		if j.email = email.text; email.kind != kindText || email.text == "" {
			j.must |= codeType
		}
	}
	return given
}

// total reads montant and says whether lines can be compared with it.
func (j *judgement) total(v *value) bool {
	m := v.get("montant")
	switch {
	case m.kind == kindNone:
		j.must |= codeMissing
	case m.kind != kindNumber:
		j.must |= codeType
	default:
		if n, ok := money(m.text); ok && n > 0 {
			j.amount = n
			return true
		}
		j.must |= codeAmount
	}
	return false
}

func (j *judgement) quantity(v *value) int64 {
	integer := digitsOnly(strings.TrimPrefix(v.text, "-"))
	switch n, err := strconv.ParseInt(v.text, 10, 64); {
	case v.kind != kindNumber:
		j.must |= codeType
	case !integer:
		// A number that is no integer: of the wrong type, or no valid quantity.
		j.may |= codeType | codeQuantity
	case err != nil || n < 1 || n > event.MaxQuantity || v.text[0] == '-':
		j.must |= codeQuantity
	default:
		return n
	}
	return 0
}

func (j *judgement) one(v *value) {
	j.single = true
	l := line{quantity: 1, amount: j.amount}
	l.product = j.idOf(v.get("produit"), codeNoProduct)
	if q := v.get("quantite"); q.kind != kindNone {
		l.quantity = j.quantity(q)
	}
	if l.quantity > 0 && j.amount%l.quantity == 0 {
		l.price, l.priced = j.amount/l.quantity, true
	}
	j.lines = []line{l}
}

func (j *judgement) several(list []value, whole bool) {
	if len(list) == 0 {
		j.must |= codeLines
		return
	}
	sum, fits, fine := int64(0), true, true
	list, tooMany := list[:min(len(list), event.MaxLines)], len(list) > event.MaxLines
	j.lines = make([]line, len(list))
	for i := range list {
		var of judgement
		l := &j.lines[i]
		if list[i].kind == kindObject {
			of.line(&list[i], l)
		} else {
			of.must = codeType
		}
		j.must, j.may, fine = j.must|of.must, j.may|of.may, fine && of.coherent()
		if l.quantity > 0 && l.price > (math.MaxInt64-sum)/l.quantity {
			fits = false
			continue
		}
		l.amount = l.quantity * l.price
		sum += l.amount
	}
	switch {
	case tooMany:
		j.must |= codeLines
	case !whole || !fine:
	case !fits || sum != j.amount:
		j.must |= codeLines
	}
}

func (j *judgement) line(v *value, l *line) {
	l.product = j.idOf(v.get("id_produit"), codeMissing)
	if name := v.get("nom_produit"); name.kind != kindNone {
		if l.name = name.text; name.kind != kindText || name.text == "" {
			j.must |= codeType
		}
	}
	if q := v.get("quantite"); q.kind == kindNone {
		j.must |= codeMissing
	} else {
		l.quantity = j.quantity(q)
	}
	switch p := v.get("prix"); {
	case p.kind == kindNone:
		j.must |= codeMissing
	case p.kind != kindNumber:
		j.must |= codeType
	default:
		n, ok := money(p.text)
		if !ok || n < 0 {
			j.must |= codeAmount
			return
		}
		l.price, l.priced = n, true
	}
}

// identify is the content by which a redelivery is told from a conflict.
func (o *order) identify(given, instantOf string) digest {
	var s sum
	s.text(o.client)
	s.text(given)
	s.text(o.email)
	s.number(o.amount)
	s.text(o.currency)
	s.text(instantOf)
	s.flag(o.single)
	for _, l := range o.lines {
		s.text(l.product)
		s.number(l.quantity)
		if !o.single {
			s.number(l.price)
		}
	}
	return s.digest()
}
