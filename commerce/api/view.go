package api

import (
	"strconv"
	"strings"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// shown is the state that answers tell. An order of which only records are
// known that say nothing of its state was received at least.
func shown(s orderdb.State) orderdb.State {
	if s == orderdb.Unknown {
		return orderdb.Received
	}
	return s
}

// ours are the fields of an order's answer, and those of its value that stand
// in the answer by another name. Other fields of the value are shown as they
// came.
var ours = map[string]bool{
	"commandeId": true, "statut": true, "motif": true, "client": true, "clientId": true, "email": true,
	"montant": true, "devise": true, "lignes": true, "alertes": true, "numero_facture": true,
	"date_commande": true, "modifiee_le": true, "attente": true,
	"produit": true, "quantite": true, "timestamp": true,
}

// oursOfLine are the fields of a line in an order's answer. Other fields of the
// line as it was placed are shown as they came.
var oursOfLine = map[string]bool{
	"id_produit": true, "produit": true, "nom_produit": true, "quantite": true, "montant": true, "prix": true,
	"reserve": true, "motif": true,
}

// appendOrder appends an order as GET /commandes/{id} shows it; expired says
// that the state waited for was not reached in time. Numbers are copied as they
// are spelled, or written from exact amounts.
func appendOrder(b []byte, o *orderdb.Order, expired bool) []byte {
	b = append(b, `{"commandeId":`...)
	b = o.ID.AppendJSON(b)
	b = append(b, `,"statut":"`...)
	b = append(b, shown(o.State).String()...)
	b = append(b, '"')
	if o.Reason != "" {
		b = event.AppendString(append(b, `,"motif":`...), o.Reason)
	}
	b = appendContent(b, o)
	b = append(b, `,"alertes":[`...)
	for i, code := range o.Alerts {
		if i > 0 {
			b = append(b, ',')
		}
		b = event.AppendString(b, code)
	}
	b = append(b, ']')
	if o.Invoice != "" {
		b = event.AppendString(append(b, `,"numero_facture":`...), o.Invoice)
	}
	updated := o.Updated
	if updated.IsZero() {
		updated = o.At
	}
	b = append(b, `,"modifiee_le":"`...)
	b = event.AppendTime(b, updated)
	b = append(b, '"')
	if expired {
		b = append(b, `,"attente":"expiree"`...)
	}
	if o.Value != nil {
		b = appendOthers(b, o.Value)
	}
	return append(b, '}')
}

// appendContent appends who ordered what for how much: as the verdict has it,
// once there is one, else as the order has it, else what is known.
func appendContent(b []byte, o *orderdb.Order) []byte {
	others := otherFields(o.Value)
	if o.Verdict != nil {
		if with, ok := appendVerdict(b, o.Verdict, others); ok {
			return with
		}
	}
	if o.Value != nil {
		// The database knows the client that the record's key made.
		order, problems, _ := event.ParseOrder([]byte(o.Client), o.Value, o.At)
		if len(problems) == 0 {
			return appendPlaced(b, &order, others)
		}
	}
	if o.Client != "" {
		b = o.Client.AppendJSON(append(b, `,"clientId":`...))
	}
	return b
}

// otherFields returns the fields of each of the order's lines that are not ours,
// every one with a comma before it; nil if there are none.
func otherFields(value []byte) (lines [][]byte) {
	found := false
	event.Fields(value, func(name, spelled string) {
		if name != "lignes" || spelled[0] != '[' {
			return
		}
		event.Elements([]byte(spelled), func(line string) {
			var others []byte
			event.Fields([]byte(line), func(name, spelled string) {
				if !oursOfLine[name] {
					others = append(event.AppendString(append(others, ','), name), ':')
					others = append(others, spelled...)
					found = true
				}
			})
			lines = append(lines, others)
		})
	})
	if !found {
		return nil
	}
	return lines
}

// appendLines copies the lines of a verdict, which are the order's in its order.
func appendLines(b []byte, lines string, others [][]byte) []byte {
	i := 0
	b = append(b, '[')
	event.Elements([]byte(lines), func(line string) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, line...)
		if i < len(others) && strings.HasSuffix(line, "}") && len(line) > len("{}") {
			b = append(append(b[:len(b)-1], others[i]...), '}')
		}
		i++
	})
	return append(b, ']')
}

// appendVerdict copies the fields from a value of stock.verifie, with other
// fields of its lines.
func appendVerdict(b []byte, verdict []byte, others [][]byte) ([]byte, bool) {
	start := len(b)
	ok := event.Fields(verdict, func(name, spelled string) {
		switch name {
		case "client", "clientId", "email", "montant", "devise", "lignes", "date_commande":
			if spelled != "null" {
				b = append(b, ',', '"')
				b = append(b, name...)
				b = append(b, '"', ':')
				if name == "lignes" && others != nil {
					b = appendLines(b, spelled, others)
				} else {
					b = append(b, spelled...)
				}
			}
		}
	})
	if !ok {
		return b[:start], false
	}
	return b, true
}

// appendPlaced writes the fields of an order without verdict. The product of a
// single-line order stands in its line as it was given, since only the verdict
// says which one it is.
func appendPlaced(b []byte, o *event.Order, others [][]byte) []byte {
	b = event.AppendString(append(b, `,"client":`...), o.Customer.Name)
	b = o.Customer.ID.AppendJSON(append(b, `,"clientId":`...))
	if o.Customer.Email != "" {
		b = event.AppendString(append(b, `,"email":`...), o.Customer.Email)
	}
	b = o.Amount.AppendJSON(append(b, `,"montant":`...))
	b = event.AppendString(append(b, `,"devise":`...), o.Currency)
	b = append(b, `,"lignes":[`...)
	for i, l := range o.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		if o.SingleLine {
			b = event.ID(o.Product).AppendJSON(append(b, `{"produit":`...))
		} else {
			b = l.Product.AppendJSON(append(b, `{"id_produit":`...))
			if l.Name != "" {
				b = event.AppendString(append(b, `,"nom_produit":`...), l.Name)
			}
		}
		b = strconv.AppendInt(append(b, `,"quantite":`...), l.Quantity, 10)
		b = l.Amount.AppendJSON(append(b, `,"montant":`...))
		if l.HasPrice {
			b = l.Price.AppendJSON(append(b, `,"prix":`...))
		}
		if others != nil {
			b = append(b, others[i]...)
		}
		b = append(b, '}')
	}
	b = append(b, ']')
	return event.AppendString(append(b, `,"date_commande":`...), o.OrderedAt)
}

// appendOthers appends the fields of an order's value that are not ours.
func appendOthers(b []byte, value []byte) []byte {
	start := len(b)
	ok := event.Fields(value, func(name, spelled string) {
		if !ours[name] {
			b = event.AppendString(append(b, ','), name)
			b = append(b, ':')
			b = append(b, spelled...)
		}
	})
	if !ok {
		return b[:start]
	}
	return b
}

// appendProduct appends a product as GET /produits/{id} shows it.
func appendProduct(b []byte, p *orderdb.Product) []byte {
	b = p.ID.AppendJSON(append(b, `{"id_produit":`...))
	name := p.Name
	if name == "" {
		name = string(p.ID) // as the stages call a product without a name
	}
	b = event.AppendString(append(b, `,"nom_produit":`...), name)
	if p.HasPrice {
		b = p.Price.AppendJSON(append(b, `,"prix":`...))
	}
	b = strconv.AppendInt(append(b, `,"disponible":`...), p.Available, 10)
	b = strconv.AppendInt(append(b, `,"reserve":`...), p.Reserved, 10)
	return append(b, '}')
}
