package event

import "time"

// Reasons of a PaymentRefused.
const (
	ReasonOverLimit = "PLAFOND_DEPASSE"
	ReasonProvider  = "REFUS_PRESTATAIRE"
)

// MethodSimulation is the Method of payments that the simulator captured.
const MethodSimulation = "SIMULATION"

// PaymentAccepted says that an order's payment was captured, in
// paiement-accepte.
type PaymentAccepted struct {
	Order     ID        // id_commande
	Customer  Customer  // client, clientId, email
	Amount    Amount    // montant
	Currency  string    // devise
	Method    string    // moyen
	Reference string    // reference: the provider's name for the payment
	At        time.Time // timestamp
}

// PaymentRefused says that an order's payment was refused, in
// paiement-refuse.
type PaymentRefused struct {
	Order    ID        // id_commande
	Customer Customer  // client, clientId, email
	Amount   Amount    // montant
	Currency string    // devise
	Reason   string    // motif
	At       time.Time // timestamp
}

// appendOrderHead appends what the events keyed by order begin with.
func appendOrderHead(b []byte, order ID, customer *Customer, amount Amount, currency string) []byte {
	b = append(b, `{"id_commande":`...)
	b = order.AppendJSON(b)
	b = customer.appendFields(b)
	b = append(b, `,"montant":`...)
	b = amount.AppendJSON(b)
	b = append(b, `,"devise":`...)
	return appendString(b, currency)
}

// AppendJSON appends p as the value of a record of paiement-accepte.
func (p PaymentAccepted) AppendJSON(b []byte) []byte {
	b = appendOrderHead(b, p.Order, &p.Customer, p.Amount, p.Currency)
	b = append(b, `,"moyen":`...)
	b = appendString(b, p.Method)
	b = append(b, `,"reference":`...)
	b = appendString(b, p.Reference)
	return appendTimestamp(b, p.At)
}

// ParsePaymentAccepted reads the value of a record of paiement-accepte.
func ParsePaymentAccepted(value []byte) (PaymentAccepted, error) {
	r := newReader(value)
	l := like(r)
	if p := l.accepted(); l.done(r) {
		return p, nil
	}
	return readAccepted(r)
}

func readAccepted(r *reader) (p PaymentAccepted, err error) {
	o := r.object()
	for o.next() {
		switch o.key {
		case "id_commande":
			p.Order = o.id()
		case "client":
			p.Customer.Name = o.name()
		case "clientId":
			p.Customer.ID = o.id()
		case "email":
			p.Customer.Email = o.email()
		case "montant":
			p.Amount = o.amount()
		case "devise":
			p.Currency = o.text()
		case "moyen":
			p.Method = o.text()
		case "reference":
			p.Reference = o.text()
		case "timestamp":
			p.At = o.time()
		default:
			o.skip()
		}
	}
	o.require("id_commande", "client", "clientId", "montant", "devise", "moyen", "reference", "timestamp")
	return p, r.end("paiement-accepte")
}

// AppendJSON appends p as the value of a record of paiement-refuse.
func (p PaymentRefused) AppendJSON(b []byte) []byte {
	b = appendOrderHead(b, p.Order, &p.Customer, p.Amount, p.Currency)
	b = append(b, `,"motif":`...)
	b = appendString(b, p.Reason)
	return appendTimestamp(b, p.At)
}

// ParsePaymentRefused reads the value of a record of paiement-refuse.
func ParsePaymentRefused(value []byte) (p PaymentRefused, err error) {
	r := newReader(value)
	o := r.object()
	for o.next() {
		switch o.key {
		case "id_commande":
			p.Order = o.id()
		case "client":
			p.Customer.Name = o.name()
		case "clientId":
			p.Customer.ID = o.id()
		case "email":
			p.Customer.Email = o.email()
		case "montant":
			p.Amount = o.amount()
		case "devise":
			p.Currency = o.text()
		case "motif":
			p.Reason = o.text()
		case "timestamp":
			p.At = o.time()
		default:
			o.skip()
		}
	}
	o.require("id_commande", "client", "clientId", "montant", "devise", "motif", "timestamp")
	return p, r.end("paiement-refuse")
}
