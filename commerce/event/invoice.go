package event

import "time"

// InvoiceTypeInvoice is the Type of an ordinary invoice.
const InvoiceTypeInvoice = "FACTURE"

// Confirmed says that stock and payment of an order are both fine, in
// commande-validee.
type Confirmed struct {
	Order    ID        // id_commande
	Customer Customer  // client, clientId, email
	Amount   Amount    // montant
	Currency string    // devise
	Invoice  string    // numero_facture
	At       time.Time // timestamp
}

// Invoice is an invoice as issued, in factures.ecommerce.
type Invoice struct {
	Number    string        // numero: FA-2026-000001
	Type      string        // type: InvoiceTypeInvoice
	Order     ID            // commandeId
	Customer  Customer      // client, clientId, email
	Date      string        // date: the day of issue, 2026-11-20
	Lines     []InvoiceLine // lignes
	Net       Amount        // total_ht
	VAT       Amount        // tva
	VATRate   Percent       // taux_tva
	Amount    Amount        // montant: Net + VAT
	Currency  string        // devise
	OrderedAt string        // date_commande, as it came
	At        time.Time     // timestamp
}

// InvoiceLine is one line of an Invoice.
type InvoiceLine struct {
	Product  ID     // id_produit
	Name     string // nom_produit
	Quantity int64  // quantite
	Amount   Amount // montant: of the line
	Price    Amount // prix: per piece, absent unless HasPrice
	HasPrice bool
}

// AppendJSON appends c as the value of a record of commande-validee.
func (c Confirmed) AppendJSON(b []byte) []byte {
	b = appendOrderHead(b, c.Order, &c.Customer, c.Amount, c.Currency)
	b = append(b, `,"numero_facture":`...)
	b = appendString(b, c.Invoice)
	return appendTimestamp(b, c.At)
}

// ParseConfirmed reads the value of a record of commande-validee.
func ParseConfirmed(value []byte) (Confirmed, error) {
	r := newReader(value)
	l := like(r)
	if c := l.confirmed(); l.done(r) {
		return c, nil
	}
	return readConfirmed(r)
}

func readConfirmed(r *reader) (c Confirmed, err error) {
	o := r.object()
	for o.next() {
		switch o.key {
		case "id_commande":
			c.Order = o.id()
		case "client":
			c.Customer.Name = o.name()
		case "clientId":
			c.Customer.ID = o.id()
		case "email":
			c.Customer.Email = o.email()
		case "montant":
			c.Amount = o.amount()
		case "devise":
			c.Currency = o.text()
		case "numero_facture":
			c.Invoice = o.text()
		case "timestamp":
			c.At = o.time()
		default:
			o.skip()
		}
	}
	o.require("id_commande", "client", "clientId", "montant", "devise", "numero_facture", "timestamp")
	return c, r.end("commande-validee")
}

// AppendJSON appends f as the value of a record of factures.ecommerce.
func (f Invoice) AppendJSON(b []byte) []byte {
	b = append(b, `{"numero":`...)
	b = appendString(b, f.Number)
	b = append(b, `,"type":`...)
	b = appendString(b, f.Type)
	b = append(b, `,"commandeId":`...)
	b = f.Order.AppendJSON(b)
	b = f.Customer.appendFields(b)
	b = append(b, `,"date":`...)
	b = appendString(b, f.Date)
	b = append(b, `,"lignes":[`...)
	for i := range f.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		l := &f.Lines[i]
		b = appendLine(b, l.Product, l.Name, l.Quantity, l.Amount, l.Price, l.HasPrice)
		b = append(b, '}')
	}
	b = append(b, `],"total_ht":`...)
	b = f.Net.AppendJSON(b)
	b = append(b, `,"tva":`...)
	b = f.VAT.AppendJSON(b)
	b = append(b, `,"taux_tva":`...)
	b = f.VATRate.AppendJSON(b)
	b = append(b, `,"montant":`...)
	b = f.Amount.AppendJSON(b)
	b = append(b, `,"devise":`...)
	b = appendString(b, f.Currency)
	b = append(b, `,"date_commande":`...)
	b = appendString(b, f.OrderedAt)
	return appendTimestamp(b, f.At)
}

// ParseInvoice reads the value of a record of factures.ecommerce.
func ParseInvoice(value []byte) (Invoice, error) {
	r := newReader(value)
	l := like(r)
	if f := l.invoice(); l.done(r) {
		return f, nil
	}
	return readInvoice(r)
}

func readInvoice(r *reader) (f Invoice, err error) {
	o := r.object()
	for o.next() {
		switch o.key {
		case "numero":
			f.Number = o.text()
		case "type":
			f.Type = o.text()
		case "commandeId":
			f.Order = o.id()
		case "client":
			f.Customer.Name = o.name()
		case "clientId":
			f.Customer.ID = o.id()
		case "email":
			f.Customer.Email = o.email()
		case "date":
			f.Date = o.text()
		case "lignes":
			a := o.array()
			for a.next() {
				f.Lines = append(f.Lines, parseInvoiceLine(r))
			}
		case "total_ht":
			f.Net = o.amount()
		case "tva":
			f.VAT = o.amount()
		case "taux_tva":
			f.VATRate = Percent(o.amount())
		case "montant":
			f.Amount = o.amount()
		case "devise":
			f.Currency = o.text()
		case "date_commande":
			f.OrderedAt = o.text()
		case "timestamp":
			f.At = o.time()
		default:
			o.skip()
		}
	}
	o.require("numero", "type", "commandeId", "client", "clientId", "date", "lignes", "total_ht", "tva", "taux_tva",
		"montant", "devise", "date_commande", "timestamp")
	return f, r.end("factures.ecommerce")
}

func parseInvoiceLine(r *reader) (l InvoiceLine) {
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
		default:
			o.skip()
		}
	}
	o.require("id_produit", "nom_produit", "quantite", "montant")
	return l
}
