package event

import (
	"bytes"
	"time"

	"github.com/comptoir/comptoir/streams"
)

// Names of the public topics.
const (
	TopicOrders        = "commandes.ecommerce"
	TopicErrors        = "commandes.erreurs"
	TopicVerdicts      = "stock.verifie"
	TopicMovements     = "stock-mis-a-jour"
	TopicAccepted      = "paiement-accepte"
	TopicRefused       = "paiement-refuse"
	TopicConfirmations = "commande-validee"
	TopicInvoices      = "factures.ecommerce"
	TopicNotifications = "notifications.clients"
	TopicProducts      = "catalogue.produits"
	TopicSupplies      = "stock.approvisionnements"
	TopicViews         = "produit-consulte"
	TopicCartItems     = "article-ajoute"
	TopicJournal       = "journal.actions"
)

// Spec says how a public topic is created when it is missing.
type Spec struct {
	Name      string
	Compacted bool
	// Retention is 0 for ever.
	Retention time.Duration
}

// DefaultPartitions is the partition count of a public topic that is created.
const DefaultPartitions = 3

// Topics are all public topics, in the order in which an order meets them.
var Topics = []Spec{
	{Name: TopicOrders},
	{Name: TopicErrors},
	{Name: TopicVerdicts},
	{Name: TopicMovements},
	{Name: TopicAccepted},
	{Name: TopicRefused},
	{Name: TopicInvoices},
	{Name: TopicConfirmations},
	{Name: TopicNotifications},
	{Name: TopicProducts, Compacted: true},
	{Name: TopicSupplies},
	{Name: TopicViews, Retention: 30 * 24 * time.Hour},
	{Name: TopicCartItems, Retention: 30 * 24 * time.Hour},
	{Name: TopicJournal},
}

// The typed topics. Keys are the text of an id, taken as they come: who needs a
// valid id reads it from the value. Orders and errors are raw: what is accused
// must stay byte for byte.
var (
	Orders        = streams.Topic[[]byte, []byte]{Name: TopicOrders, Key: streams.Bytes, Value: streams.Bytes}
	Errors        = streams.Topic[[]byte, []byte]{Name: TopicErrors, Key: streams.Bytes, Value: streams.Bytes}
	Verdicts      = topic(TopicVerdicts, ParseVerdict)
	Movements     = topic(TopicMovements, ParseMovement)
	Accepted      = topic(TopicAccepted, ParsePaymentAccepted)
	Refused       = topic(TopicRefused, ParsePaymentRefused)
	Confirmations = topic(TopicConfirmations, ParseConfirmed)
	Invoices      = topic(TopicInvoices, ParseInvoice)
	Notifications = topic(TopicNotifications, ParseNotification)
	Products      = topic(TopicProducts, ParseProduct)
	Supplies      = topic(TopicSupplies, ParseSupply)
)

// RefusedVerdicts is Verdicts for those who have nothing to do with valid ones,
// which most are: these are passed over unread.
var RefusedVerdicts = topic(TopicVerdicts, func(value []byte) (Verdict, error) {
	if saysValid(value) {
		return Verdict{}, streams.ErrSkip
	}
	return ParseVerdict(value)
})

// saysValid tells of a verdict as Verdict.AppendJSON begins it that it is valid.
func saysValid(value []byte) bool {
	rest, ok := bytes.CutPrefix(value, []byte(`{"commandeId":`))
	id, rest, found := bytes.Cut(rest, []byte(`,"statut":`))
	// Without a brace or bracket in front of it the field is the outermost
	// object's, and no text can hold it, since its quotes would be escaped.
	return ok && found && bytes.HasPrefix(rest, []byte(`"`+StatusValid+`"`)) && !bytes.ContainsAny(id, "{[")
}

// Key is the Serde of record keys that are ids.
var Key = streams.Serde[ID]{
	Append: func(b []byte, id ID) []byte { return append(b, id...) },
	Parse:  func(data []byte) (ID, error) { return ID(data), nil },
}

func topic[V interface{ AppendJSON([]byte) []byte }](name string, parse func([]byte) (V, error)) streams.Topic[ID, V] {
	return streams.Topic[ID, V]{Name: name, Key: Key, Value: streams.Serde[V]{
		Append: func(b []byte, v V) []byte { return v.AppendJSON(b) },
		Parse:  parse,
	}}
}

// HeaderOrder names the header that carries the order id in every record of an
// order; HeaderTrace the W3C trace context, passed on as it came.
const (
	HeaderOrder = "comptoir-order"
	HeaderTrace = "traceparent"
)

// maxTrace is the longest trace context that is passed on: far more than the
// standard allows, and little beside a record's size limit, which the records
// written for a record of any producer must not outgrow.
const maxTrace = 256

// Headers returns the headers of a record that is written for an order because
// of a record with the headers in: the order's id, and the trace context if
// there was one of a sane length. The result may be in itself, which is such
// headers already when it comes from an event of ours.
func Headers(id ID, in []streams.Header) []streams.Header {
	if len(in) > 0 && in[0].Key == HeaderOrder && string(in[0].Value) == string(id) &&
		(len(in) == 1 || len(in) == 2 && in[1].Key == HeaderTrace && len(in[1].Value) <= maxTrace) {
		return in[:len(in):len(in)]
	}
	out := make([]streams.Header, 0, 2)
	out = append(out, streams.Header{Key: HeaderOrder, Value: []byte(id)})
	for _, h := range in {
		if h.Key == HeaderTrace && len(h.Value) <= maxTrace {
			return append(out, h)
		}
	}
	return out
}

// OwnHeaders returns a copy of headers to be kept: those of a record are a part of
// what was fetched with it.
func OwnHeaders(headers []streams.Header) []streams.Header {
	own := make([]streams.Header, len(headers))
	for i, h := range headers {
		own[i] = streams.Header{Key: h.Key, Value: bytes.Clone(h.Value)}
	}
	return own
}
