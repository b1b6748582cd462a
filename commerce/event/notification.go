package event

import "time"

// Types of a Notification.
const (
	NotifyConfirmation   = "CONFIRMATION"
	NotifyStockRefused   = "REFUS_STOCK"
	NotifyPaymentRefused = "REFUS_PAIEMENT"
)

// Priorities of a Notification.
const (
	PriorityCritical = "CRITIQUE"
	PriorityGeneral  = "GENERALE"
)

// Channels of a Notification.
const (
	ChannelEmail = "EMAIL"   // the order has an e-mail address
	ChannelLog   = "JOURNAL" // it has none
)

// Notification is a message for the customer, in notifications.clients.
type Notification struct {
	ID       string    // id: 991-CONFIRMATION
	Order    ID        // commandeId
	Customer Customer  // client, clientId, email
	Type     string    // type: one of the Notify constants
	Priority string    // priorite: one of the Priority constants
	Channel  string    // canal: one of the Channel constants
	Subject  string    // sujet
	Message  string    // message
	At       time.Time // timestamp
}

// AppendJSON appends n as the value of a record of notifications.clients.
func (n Notification) AppendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, n.ID)
	b = append(b, `,"commandeId":`...)
	b = n.Order.AppendJSON(b)
	b = n.Customer.appendFields(b)
	b = append(b, `,"type":`...)
	b = appendString(b, n.Type)
	b = append(b, `,"priorite":`...)
	b = appendString(b, n.Priority)
	b = append(b, `,"canal":`...)
	b = appendString(b, n.Channel)
	b = append(b, `,"sujet":`...)
	b = appendString(b, n.Subject)
	b = append(b, `,"message":`...)
	b = appendString(b, n.Message)
	return appendTimestamp(b, n.At)
}

// ParseNotification reads the value of a record of notifications.clients.
func ParseNotification(value []byte) (n Notification, err error) {
	r := newReader(value)
	o := r.object()
	for o.next() {
		switch o.key {
		case "id":
			n.ID = o.text()
		case "commandeId":
			n.Order = o.id()
		case "client":
			n.Customer.Name = o.name()
		case "clientId":
			n.Customer.ID = o.id()
		case "email":
			n.Customer.Email = o.email()
		case "type":
			n.Type = o.text()
		case "priorite":
			n.Priority = o.text()
		case "canal":
			n.Channel = o.text()
		case "sujet":
			n.Subject = o.text()
		case "message":
			n.Message = o.text()
		case "timestamp":
			n.At = o.time()
		default:
			o.skip()
		}
	}
	o.require("id", "commandeId", "client", "clientId", "type", "priorite", "canal", "sujet", "message", "timestamp")
	return n, r.end("notifications.clients")
}
