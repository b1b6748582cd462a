package notify

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// maxNamed is how many products a message names.
const maxNamed = 5

// confirmation tells that an order is invoiced. Other documents than invoices,
// as credit notes, notify nobody yet.
func confirmation(i *event.Invoice) (n event.Notification, ignored string, ok bool) {
	if i.Type != event.InvoiceTypeInvoice {
		return n, "ignored", false
	}
	n = message(i.Order, i.Customer, event.NotifyConfirmation, event.PriorityGeneral)
	n.Subject = "Commande " + string(i.Order) + " confirmée"
	n.Message = "Bonjour " + i.Customer.Name + ", votre commande " + string(i.Order) + " est confirmée. Facture " +
		i.Number + ", " + i.Amount.String() + " " + i.Currency + "."
	return n, "", true
}

// stockRefusal tells that the stock does not suffice; a valid verdict is
// nothing to tell.
func stockRefusal(v *event.Verdict) (n event.Notification, ignored string, ok bool) {
	if v.Status != event.StatusRefused {
		return n, "", false
	}
	n = message(v.Order, v.Customer, event.NotifyStockRefused, event.PriorityCritical)
	n.Subject = "Commande " + string(v.Order) + " refusée"
	n.Message = "Bonjour " + v.Customer.Name + ", votre commande " + string(v.Order) + " ne peut pas être honorée" + reasons(v) +
		". Aucun montant n'a été débité."
	return n, "", true
}

// reasons names the products that are missing or unknown.
func reasons(v *event.Verdict) string {
	list := func(reason, text string) string {
		var names []string
		for _, l := range v.Lines {
			if l.Reason == reason {
				names = append(names, l.Name)
			}
		}
		if len(names) == 0 {
			return ""
		}
		if more := len(names) - maxNamed; more > 0 {
			names = append(names[:maxNamed], "et "+strconv.Itoa(more)+" de plus")
		}
		return text + " (" + strings.Join(names, ", ") + ")"
	}
	missing := list(event.ReasonOutOfStock, "stock insuffisant")
	unknown := list(event.ReasonUnknownProduct, "produit inconnu")
	switch {
	case missing == "" && unknown == "":
		return ""
	case missing == "":
		return " : " + unknown
	case unknown == "":
		return " : " + missing
	}
	return " : " + missing + ", " + unknown
}

// paymentRefusal tells that the payment was refused.
func paymentRefusal(p *event.PaymentRefused) (n event.Notification, ignored string, ok bool) {
	n = message(p.Order, p.Customer, event.NotifyPaymentRefused, event.PriorityCritical)
	n.Subject = "Paiement de la commande " + string(p.Order) + " refusé"
	why := "le prestataire de paiement l'a refusé"
	if p.Reason == event.ReasonOverLimit {
		why = "le plafond de paiement est dépassé"
	}
	n.Message = "Bonjour " + p.Customer.Name + ", le paiement de votre commande " + string(p.Order) + " (" + p.Amount.String() + " " +
		p.Currency + ") n'a pas abouti : " + why + ". La commande est annulée."
	return n, "", true
}

// message is a notification without its text.
func message(order event.ID, customer event.Customer, kind, priority string) event.Notification {
	channel := event.ChannelLog
	if customer.Email != "" {
		channel = event.ChannelEmail
	}
	return event.Notification{
		ID: string(order) + "-" + kind, Order: order, Customer: customer,
		Type: kind, Priority: priority, Channel: channel,
	}
}

// timeSerde writes a time in milliseconds.
var timeSerde = streams.Serde[time.Time]{
	Append: func(b []byte, at time.Time) []byte { return binary.AppendVarint(b, at.UnixMilli()) },
	Parse: func(data []byte) (time.Time, error) {
		ms, n := binary.Varint(data)
		if n <= 0 || n != len(data) {
			return time.Time{}, errors.New("damaged time")
		}
		return time.UnixMilli(ms).UTC(), nil
	},
}
