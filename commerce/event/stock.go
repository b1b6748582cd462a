package event

import (
	"strconv"
	"time"
)

// Statuses of a Verdict.
const (
	StatusValid   = "VALIDE"
	StatusRefused = "REFUSE"
)

// Reasons why a Verdict or one of its lines refuses.
const (
	ReasonOutOfStock     = "STOCK_INSUFFISANT"
	ReasonUnknownProduct = "PRODUIT_INCONNU"
)

// Kinds of Movement.
const (
	MovementSupply  = "APPROVISIONNEMENT"
	MovementReserve = "RESERVATION"
	MovementRelease = "LIBERATION"
	MovementExit    = "SORTIE"
)

// Verdict is the stock service's answer to a whole order, in stock.verifie.
type Verdict struct {
	Order     ID            // commandeId
	Status    string        // statut: StatusValid or StatusRefused
	Reason    string        // motif, optional
	Customer  Customer      // client, clientId, email
	Amount    Amount        // montant
	Currency  string        // devise
	Lines     []VerdictLine // lignes, in the order's order
	OrderedAt string        // date_commande, as it came
	At        time.Time     // timestamp
}

// VerdictLine is one line of a Verdict.
type VerdictLine struct {
	Product  ID     // id_produit
	Name     string // nom_produit
	Quantity int64  // quantite
	Amount   Amount // montant: of the line
	Price    Amount // prix: per piece, absent unless HasPrice
	HasPrice bool
	Reserved bool   // reserve
	Reason   string // motif, optional
}

// Movement is one change of one product's stock and the level after it, in
// stock-mis-a-jour.
type Movement struct {
	Product   ID        // id_produit
	Name      string    // nom_produit
	Kind      string    // mouvement: one of the Movement constants
	Quantity  int64     // quantite, signed
	Available int64     // disponible: after the movement
	Reserved  int64     // reserve: after the movement
	Order     ID        // id_commande, optional
	Reference ID        // reference, optional: the id of the supply
	At        time.Time // timestamp
}

// AppendJSON appends v as the value of a record of stock.verifie.
func (v Verdict) AppendJSON(b []byte) []byte {
	b = append(b, `{"commandeId":`...)
	b = v.Order.AppendJSON(b)
	b = append(b, `,"statut":`...)
	b = appendString(b, v.Status)
	b = appendOptional(b, `,"motif":`, v.Reason)
	b = v.Customer.appendFields(b)
	b = append(b, `,"montant":`...)
	b = v.Amount.AppendJSON(b)
	b = append(b, `,"devise":`...)
	b = appendString(b, v.Currency)
	b = append(b, `,"lignes":[`...)
	for i := range v.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		b = v.Lines[i].appendJSON(b)
	}
	b = append(b, `],"date_commande":`...)
	b = appendString(b, v.OrderedAt)
	return appendTimestamp(b, v.At)
}

func (l *VerdictLine) appendJSON(b []byte) []byte {
	b = appendLine(b, l.Product, l.Name, l.Quantity, l.Amount, l.Price, l.HasPrice)
	b = append(b, `,"reserve":`...)
	b = strconv.AppendBool(b, l.Reserved)
	b = appendOptional(b, `,"motif":`, l.Reason)
	return append(b, '}')
}

// appendLine appends what the lines of verdicts and invoices have in common,
// without the closing brace.
func appendLine(b []byte, product ID, name string, quantity int64, amount, price Amount, hasPrice bool) []byte {
	b = append(b, `{"id_produit":`...)
	b = product.AppendJSON(b)
	b = append(b, `,"nom_produit":`...)
	b = appendString(b, name)
	b = append(b, `,"quantite":`...)
	b = strconv.AppendInt(b, quantity, 10)
	b = append(b, `,"montant":`...)
	b = amount.AppendJSON(b)
	if hasPrice {
		b = append(b, `,"prix":`...)
		b = price.AppendJSON(b)
	}
	return b
}

// ParseVerdict reads the value of a record of stock.verifie.
func ParseVerdict(value []byte) (Verdict, error) {
	r := newReader(value)
	l := like(r)
	if v := l.verdict(); l.done(r) {
		return v, nil
	}
	return readVerdict(r)
}

func readVerdict(r *reader) (v Verdict, err error) {
	o := r.object()
	for o.next() {
		switch o.key {
		case "commandeId":
			v.Order = o.id()
		case "statut":
			v.Status = o.text()
		case "motif":
			v.Reason = o.optionalText()
		case "client":
			v.Customer.Name = o.name()
		case "clientId":
			v.Customer.ID = o.id()
		case "email":
			v.Customer.Email = o.email()
		case "montant":
			v.Amount = o.amount()
		case "devise":
			v.Currency = o.text()
		case "lignes":
			a := o.array()
			for a.next() {
				v.Lines = append(v.Lines, parseVerdictLine(r))
			}
		case "date_commande":
			v.OrderedAt = o.text()
		case "timestamp":
			v.At = o.time()
		default:
			o.skip()
		}
	}
	o.require("commandeId", "statut", "client", "clientId", "montant", "devise", "lignes", "date_commande", "timestamp")
	return v, r.end("stock.verifie")
}

func parseVerdictLine(r *reader) (l VerdictLine) {
	o := r.object()
	for o.next() {
		switch o.key {
		case "id_produit":
			l.Product = o.id()
		case "nom_produit":
			l.Name = o.text()
		case "quantite":
			l.Quantity = o.integer()
		case "montant":
			l.Amount = o.amount()
		case "prix":
			l.Price, l.HasPrice = o.optionalAmount()
		case "reserve":
			l.Reserved = o.boolean()
		case "motif":
			l.Reason = o.optionalText()
		default:
			o.skip()
		}
	}
	o.require("id_produit", "nom_produit", "quantite", "montant", "reserve")
	return l
}

// AppendJSON appends m as the value of a record of stock-mis-a-jour.
func (m Movement) AppendJSON(b []byte) []byte {
	b = append(b, `{"id_produit":`...)
	b = m.Product.AppendJSON(b)
	b = append(b, `,"nom_produit":`...)
	b = appendString(b, m.Name)
	b = append(b, `,"mouvement":`...)
	b = appendString(b, m.Kind)
	b = append(b, `,"quantite":`...)
	b = strconv.AppendInt(b, m.Quantity, 10)
	b = append(b, `,"disponible":`...)
	b = strconv.AppendInt(b, m.Available, 10)
	b = append(b, `,"reserve":`...)
	b = strconv.AppendInt(b, m.Reserved, 10)
	b = appendOptionalID(b, `,"id_commande":`, m.Order)
	b = appendOptionalID(b, `,"reference":`, m.Reference)
	return appendTimestamp(b, m.At)
}

// ParseMovement reads the value of a record of stock-mis-a-jour.
func ParseMovement(value []byte) (Movement, error) {
	r := newReader(value)
	l := like(r)
	if m := l.movement(); l.done(r) {
		return m, nil
	}
	return readMovement(r)
}

func readMovement(r *reader) (m Movement, err error) {
	o := r.object()
	for o.next() {
		switch o.key {
		case "id_produit":
			m.Product = o.id()
		case "nom_produit":
			m.Name = o.text()
		case "mouvement":
			m.Kind = o.text()
		case "quantite":
			m.Quantity = o.integer()
		case "disponible":
			m.Available = o.integer()
		case "reserve":
			m.Reserved = o.integer()
		case "id_commande":
			m.Order = o.optionalID()
		case "reference":
			m.Reference = o.optionalID()
		case "timestamp":
			m.At = o.time()
		default:
			o.skip()
		}
	}
	o.require("id_produit", "nom_produit", "mouvement", "quantite", "disponible", "reserve", "timestamp")
	return m, r.end("stock-mis-a-jour")
}
