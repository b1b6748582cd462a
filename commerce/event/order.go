package event

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits of an order.
const (
	MaxOrderBytes    = 256 << 10 // of the record's value
	MaxLines         = 500
	MaxQuantity      = 1_000_000 // per line
	MaxClientRunes   = 200
	DefaultCurrency  = "EUR"
	defaultQuantity  = 1
	errClientID      = "must be an id; neither the record's key nor client is one"
	errQuantity      = "must be an integer from 1 to 1000000"
	errQuantityType  = "must be an integer literal from 1 to 1000000"
	errEmptyOrNoText = "must be a string that is not empty"
)

// Order is a coherent order of commandes.ecommerce.
type Order struct {
	ID             ID       // commandeId
	Customer       Customer // client, clientId, email
	ClientGiven    bool     // clientId was given, rather than taken from the key or client
	Amount         Amount   // montant
	Currency       string   // devise, EUR by default
	Product        string   // produit as given, in the single-line form: an id or a name
	SingleLine     bool     // produit and quantite instead of lignes
	Lines          []Line   // lignes; in the single-line form one, whose Product is still empty
	OrderedAt      string   // date_commande: timestamp as it came, else the record's time
	TimestampGiven bool
	Digest         [16]byte // of the content: see digest
}

// Line is one line of an Order.
type Line struct {
	Product  ID     // id_produit
	Name     string // nom_produit, optional
	Quantity int64  // quantite
	Price    Amount // prix per piece; in the single-line form montant / quantite, if that is exact
	HasPrice bool
	Amount   Amount // quantite × prix; in the single-line form montant
}

// ParseOrder judges the value of a record of commandes.ecommerce. It is pure
// and the only place where an order is found incoherent. With no problems, o
// is the order; else only o.ID may be used, empty if it could not be read, and
// problems lists every error found, in the order of the contract's fields. A
// nil value is a tombstone. The key is the default for the client's id, and
// recordTime for the order's date. strictJSON says whether the value is strict
// JSON, so that it may stand as it is in an ErrorRecord.
func ParseOrder(key, value []byte, recordTime time.Time) (o Order, problems []Problem, strictJSON bool) {
	switch {
	case value == nil:
		return o, []Problem{{CodeInvalidJSON, "", "the record has no value (a tombstone); an order is a JSON object"}}, false
	case len(value) > MaxOrderBytes:
		return o, []Problem{{CodeOrderTooLarge, "", "the value has " + strconv.Itoa(len(value)) + " bytes; at most 262144 (256 KiB) are read"}}, false
	}
	r := newReader(value)
	if r.peek() != '{' {
		r.skip()
		if err := r.finish(); err != nil {
			return o, []Problem{{CodeInvalidJSON, "", err.Error()}}, false
		}
		return o, []Problem{{CodeInvalidJSON, "", "the value is not a JSON object"}}, true
	}
	var f orderFields
	if err := f.read(r); err != nil {
		return o, []Problem{{CodeInvalidJSON, "", err.Error()}}, false
	}
	j := judge{order: &o}
	j.judge(&f, key)
	if len(j.problems) > 0 {
		return Order{ID: o.ID}, j.problems, true
	}
	if o.OrderedAt == "" {
		o.OrderedAt = FormatTime(recordTime)
	}
	o.Digest = digest(&o)
	return o, nil, true
}

// orderFields is an order as spelled. Absent fields are kindNone or kindNull.
type orderFields struct {
	id, client, clientID, email, amount, currency token
	product, quantity, lines, timestamp           token
	list                                          lineList // of lines, if they are an array
}

func (f *orderFields) read(r *reader) *parseError {
	o := r.object()
	for o.next() {
		switch o.key {
		case "commandeId":
			f.id = o.token()
		case "client":
			f.client = o.token()
		case "clientId":
			f.clientID = o.token()
		case "email":
			f.email = o.token()
		case "montant":
			f.amount = o.token()
		case "devise":
			f.currency = o.token()
		case "produit":
			f.product = o.token()
		case "quantite":
			f.quantity = o.token()
		case "timestamp":
			f.timestamp = o.token()
		case "lignes":
			if r.peek() == '[' {
				f.lines.kind = kindArray
				f.list.read(&o)
			} else {
				f.lines = o.token()
			}
		default:
			o.skip()
		}
	}
	return r.finish()
}

func (t token) absent() bool { return t.kind <= kindNull }

// judge builds an order from its fields and collects what is wrong with them.
type judge struct {
	order    *Order
	problems []Problem
}

func (j *judge) problem(code, field, detail string) {
	j.problems = append(j.problems, Problem{code, field, detail})
}

func (j *judge) judge(f *orderFields, key []byte) {
	o := j.order
	if f.id.absent() {
		j.problem(CodeMissingField, "commandeId", "the order has no id")
	} else {
		o.ID = j.id(f.id, "commandeId")
	}
	j.customer(f, key)
	amountOK := j.amount(f.amount)

	switch o.Currency = f.currency.text; {
	case f.currency.absent():
		o.Currency = DefaultCurrency
	case f.currency.kind != kindString || f.currency.text == "":
		j.problem(CodeInvalidType, "devise", errEmptyOrNoText)
	case !KnownCurrency(f.currency.text):
		j.problem(CodeUnknownCurrency, "devise", strconv.Quote(shorten(f.currency.text))+" is no active currency code of ISO 4217 in capitals")
	}

	switch {
	case f.lines.kind == kindArray:
		o.Lines = f.list.lines
		j.lines(&f.list, amountOK)
	case !f.lines.absent():
		j.problem(CodeInvalidType, "lignes", "must be an array of lines")
	default:
		o.SingleLine = true
		j.singleLine(f, amountOK)
	}

	if f.timestamp.absent() {
		return
	}
	o.OrderedAt, o.TimestampGiven = f.timestamp.text, true
	if f.timestamp.kind != kindString {
		j.problem(CodeInvalidType, "timestamp", ErrNotTime.Error())
	} else if _, _, ok := splitTime(f.timestamp.text); !ok {
		j.problem(CodeInvalidType, "timestamp", ErrNotTime.Error())
	}
}

func (j *judge) id(t token, field string) ID {
	id := ID(t.text)
	if t.kind != kindString && t.kind != kindInteger || !id.Valid() {
		j.problem(CodeInvalidType, field, errID)
		return ""
	}
	return id
}

func (j *judge) customer(f *orderFields, key []byte) {
	c := &j.order.Customer
	c.Name = f.client.text
	nameOK := false
	switch {
	case f.client.absent():
		j.problem(CodeMissingField, "client", "the order has no client")
	case f.client.kind != kindString || c.Name == "" || tooLong(c.Name):
		j.problem(CodeInvalidType, "client", "must be a string of 1 to 200 characters")
	default:
		nameOK = true
	}
	if !f.clientID.absent() {
		c.ID = j.id(f.clientID, "clientId")
		j.order.ClientGiven = true
	} else if len(key) <= MaxIDBytes && ID(key).Valid() {
		c.ID = ID(key)
	} else if ID(c.Name).Valid() {
		c.ID = ID(c.Name)
	} else if nameOK {
		j.problem(CodeInvalidType, "clientId", errClientID)
	}
	if f.email.absent() {
		return
	}
	c.Email = f.email.text
	if f.email.kind != kindString || f.email.text == "" {
		j.problem(CodeInvalidType, "email", errEmptyOrNoText)
	}
}

func tooLong(name string) bool {
	return len(name) > MaxClientRunes && utf8.RuneCountInString(name) > MaxClientRunes
}

// amount judges montant and says whether it can be compared with the lines.
func (j *judge) amount(t token) bool {
	switch {
	case t.absent():
		j.problem(CodeMissingField, "montant", "the order has no amount")
		return false
	case !t.number():
		j.problem(CodeInvalidType, "montant", "must be a number such as 120.5")
		return false
	}
	a, err := amountOf(t.text)
	switch {
	case err != nil:
		j.problem(CodeInvalidAmount, "montant", err.Error())
	case a <= 0:
		j.problem(CodeInvalidAmount, "montant", "must be greater than 0")
	default:
		j.order.Amount = a
		return true
	}
	return false
}

func (j *judge) singleLine(f *orderFields, amountOK bool) {
	o := j.order
	if f.product.absent() {
		j.problem(CodeNoProduct, "produit", "the order has neither produit nor lignes")
	} else {
		o.Product = string(j.id(f.product, "produit"))
	}
	line := Line{Quantity: defaultQuantity, Amount: o.Amount}
	if !f.quantity.absent() {
		n, code, detail := quantity(f.quantity)
		if code != "" {
			j.problem(code, "quantite", detail)
			return
		}
		line.Quantity = n
	}
	if amountOK && int64(o.Amount)%line.Quantity == 0 {
		line.Price, line.HasPrice = o.Amount/Amount(line.Quantity), true
	}
	o.Lines = []Line{line}
}

// quantity reads an integer literal from 1 to MaxQuantity, or returns the code
// of what is wrong.
func quantity(t token) (n int64, code, detail string) {
	switch t.kind {
	case kindInteger:
		if len(t.text) < 8 {
			for i := 0; i < len(t.text); i++ {
				n = n*10 + int64(t.text[i]-'0')
			}
		}
		if n >= 1 && n <= MaxQuantity {
			return n, "", ""
		}
		return 0, CodeInvalidQuantity, errQuantity
	case kindNumber:
		if digits(t.text, 1) == len(t.text) { // only a minus sign is in its way
			return 0, CodeInvalidQuantity, errQuantity
		}
	}
	return 0, CodeInvalidType, errQuantityType
}
