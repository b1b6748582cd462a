package demo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// State is how far an order has come, in words.
type State string

// The states in which an order of the demo may end.
const (
	Confirmed      State = "confirmed"
	StockRefused   State = "stock refused"
	PaymentRefused State = "payment refused"
	Rejected       State = "rejected"
)

// endings is the order in which the summary speaks of them.
var endings = []struct {
	state State
	means string
}{
	{Confirmed, "confirmed: reserved, paid, invoiced, customer notified"},
	{StockRefused, "refused by stock, customer notified"},
	{PaymentRefused, "refused by payment, pieces released, customer notified"},
	{Rejected, "rejected as incoherent into commandes.erreurs"},
}

// promise is how an order must end.
type promise struct {
	state  State
	reason string   // motif of a refusal, code of a rejection
	alerts []string // codes of alerts that must be raised; others may be
}

// order is one order of the script.
type order struct {
	id     event.ID
	key    string // of the record: the client's id
	client string // as shown
	amount string // as shown
	shows  string // what the order is there to show
	value  []byte
	twice  bool // the same record is sent again at the end
	http   bool // sent to the order API, if there is one
	want   promise
}

// followed is the index of the order whose timeline is shown.
const followed = 2

var (
	goesThrough = promise{state: Confirmed}
	highAmount  = []string{event.CodeHighAmount}
)

// template is an order before a run has given it its id, which stands for {id}.
// Half of them can go to the order API: those that it would accept. A client's
// orders all go the same way, so that they stay in order.
var template = []struct {
	key, client, amount, shows, value string
	twice, http                       bool
	want                              promise
}{
	{key: "CLI-101", http: true, client: "Lucas Martin", amount: "120.5", shows: "a product by its name",
		value: `{"commandeId":"{id}","client":"Lucas Martin","montant":120.5,"produit":"PC Gamer"}`, want: goesThrough},
	{key: "CLI-102", client: "Camille Bernard", amount: "59.98", shows: "two pieces of a product by its id",
		value: `{"commandeId":"{id}","client":"Camille Bernard","montant":59.98,"produit":1597,"quantite":2}`, want: goesThrough},
	{key: "CLI-103", http: true, client: "Inès Dubois", amount: "428.8", shows: "two lines and an e-mail address",
		value: `{"commandeId":"{id}","client":"Inès Dubois","email":"ines.dubois@example.org","montant":428.8,"lignes":[` +
			`{"id_produit":1101,"nom_produit":"Machine à café expresso","quantite":1,"prix":349},` +
			`{"id_produit":1102,"nom_produit":"Bouilloire en inox","quantite":2,"prix":39.9}]}`, want: goesThrough},
	{key: "CLI-104", http: true, client: "Hugo Thomas", amount: "24.99", shows: "a name in another case, with blanks",
		value: `{"commandeId":"{id}","client":"Hugo Thomas","montant":24.99,"produit":" souris SANS fil "}`, want: goesThrough},
	{key: "CLI-105", client: "Manon Robert", amount: "-50", shows: "a negative amount",
		value: `{"commandeId":"{id}","client":"Manon Robert","montant":-50,"produit":"Casque de vélo"}`,
		want:  promise{state: Rejected, reason: event.CodeInvalidAmount}},
	{key: "CLI-106", client: "Léa Richard", amount: "219", shows: "a product id written as text",
		value: `{"commandeId":"{id}","client":"Léa Richard","montant":219.00,"produit":"1302"}`, want: goesThrough},
	{key: "CLI-107", client: "Nathan Petit", amount: "79.95", shows: "sent twice: the second copy changes nothing", twice: true,
		value: `{"commandeId":"{id}","client":"Nathan Petit","email":"nathan.petit@example.org","montant":79.95,"produit":"Casque audio Bluetooth"}`,
		want:  goesThrough},
	{key: "CLI-108", http: true, client: "Grossiste Durand", amount: "29990000", shows: "a million T-shirts: more than there are",
		value: `{"commandeId":"{id}","client":"Grossiste Durand","montant":29990000,"produit":1597,"quantite":1000000}`,
		want:  promise{state: StockRefused, reason: event.ReasonOutOfStock, alerts: highAmount}},
	{key: "CLI-109", http: true, client: "Jules Moreau", amount: "5697", shows: "over 5,000: flagged, and goes on",
		value: `{"commandeId":"{id}","client":"Jules Moreau","montant":5697,"produit":"Vélo électrique","quantite":3}`,
		want:  promise{state: Confirmed, alerts: highAmount}},
	{key: "CLI-110", client: "Sarah Laurent", amount: "100", shows: "an amount that is not the sum of its lines",
		value: `{"commandeId":"{id}","client":"Sarah Laurent","montant":100,"lignes":[{"id_produit":1401,"quantite":3,"prix":8.2}]}`,
		want:  promise{state: Rejected, reason: event.CodeIncoherentLines}},
	{key: "CLI-111", http: true, client: "Adam Simon", amount: "11394", shows: "over 10,000: the simulated bank refuses",
		value: `{"commandeId":"{id}","client":"Adam Simon","montant":11394,"produit":1201,"quantite":6}`,
		want:  promise{state: PaymentRefused, reason: event.ReasonOverLimit, alerts: highAmount}},
	{key: "CLI-112", http: true, client: "Emma Michel", amount: "999", shows: "a product that nobody sells",
		value: `{"commandeId":"{id}","client":"Emma Michel","montant":999,"produit":"Machine à remonter le temps"}`,
		want:  promise{state: StockRefused, reason: event.ReasonUnknownProduct}},
	{key: "CLI-113", client: "Chloé Lefebvre", amount: "32.5", shows: "two lines of one product",
		value: `{"commandeId":"{id}","client":"Chloé Lefebvre","montant":32.5,"lignes":[` +
			`{"id_produit":1402,"quantite":3,"prix":6.5},{"id_produit":1402,"quantite":2,"prix":6.5}]}`, want: goesThrough},
	{key: "CLI-101", http: true, client: "Lucas Martin", amount: "89.9", shows: "a second order of the first client",
		value: `{"commandeId":"{id}","client":"Lucas Martin","montant":89.9,"produit":1002}`, want: goesThrough},
	{key: "CLI-114", client: "(none)", amount: "45.5", shows: "no client",
		value: `{"commandeId":"{id}","montant":45.5,"produit":"Webcam HD"}`,
		want:  promise{state: Rejected, reason: event.CodeMissingField}},
	{key: "CLI-115", client: "Librairie Roux", amount: "820459", shows: "all or nothing: a bookcase, and 100,000 novels",
		value: `{"commandeId":"{id}","client":"Librairie Roux","montant":820459,"lignes":[` +
			`{"id_produit":1303,"quantite":1,"prix":459},{"id_produit":1401,"quantite":100000,"prix":8.2}]}`,
		want: promise{state: StockRefused, reason: event.ReasonOutOfStock, alerts: highAmount}},
	{key: "CLI-116", client: "Théo Fournier", amount: "34.9", shows: "broken JSON",
		value: `{"commandeId":"{id}","client":"Théo Fournier","montant":34.9,"produit":`,
		want:  promise{state: Rejected, reason: event.CodeInvalidJSON}},
	{key: "CLI-117", http: true, client: "Zoé Girard", amount: "129", shows: "paid in Swiss francs",
		value: `{"commandeId":"{id}","client":"Zoé Girard","montant":129,"devise":"CHF","produit":"Tente 2 places"}`, want: goesThrough},
	{key: "CLI-118", client: "Agence Bonnet", amount: "10950", shows: "fifty armchairs: over the bank's limit too",
		value: `{"commandeId":"{id}","client":"Agence Bonnet","montant":10950,"lignes":[{"id_produit":1302,"quantite":50,"prix":219}]}`,
		want:  promise{state: PaymentRefused, reason: event.ReasonOverLimit, alerts: highAmount}},
	{key: "CLI-119", http: true, client: "Louise Lambert", amount: "149.8", shows: "two pullovers",
		value: `{"commandeId":"{id}","client":"Louise Lambert","montant":149.8,"produit":"Pull en laine mérinos","quantite":2}`, want: goesThrough},
}

// series names the orders of a run that starts now. Two runs of one data
// directory never start in the same millisecond.
func series(now time.Time) string {
	return "DEMO-" + strings.ToUpper(strconv.FormatInt(now.UnixMilli(), 36))
}

// script returns the orders of a series. With api half of them are for the
// order API, else all are for Kafka.
func script(series string, api bool) []order {
	orders := make([]order, len(template))
	for i, t := range template {
		id := event.ID(fmt.Sprintf("%s-%02d", series, i+1))
		orders[i] = order{id: id, key: t.key, client: t.client, amount: t.amount, shows: t.shows, twice: t.twice, http: api && t.http, want: t.want}
		if orders[i].http {
			orders[i].value = withClient(id, i)
		} else {
			orders[i].value = withID(id, i)
		}
	}
	return orders
}

// withID is the i-th order as a Kafka producer sends it, whose record key names
// the client.
func withID(id event.ID, i int) []byte {
	return []byte(strings.ReplaceAll(template[i].value, "{id}", string(id)))
}

// withClient is the i-th order as it goes by HTTP, where it names the client
// itself.
func withClient(id event.ID, i int) []byte {
	return append([]byte(`{"clientId":"`+template[i].key+`",`), withID(id, i)[1:]...)
}

// Order is an order of the demo, for who sends it to the order API.
type Order struct {
	ID event.ID
	// Value is the request's body.
	Value []byte
	// Coherent says that it is to be accepted; the others are to be refused.
	Coherent bool
}

// Orders returns n orders: those of the script again and again. The same seed
// gives the same orders, another one other ids.
func Orders(seed int64, n int) []Order {
	orders := make([]Order, n)
	for k := range orders {
		i := k % len(template)
		id := event.ID(fmt.Sprintf("SEND-%s-%d", strings.ToUpper(strconv.FormatInt(seed, 36)), k+1))
		orders[k] = Order{ID: id, Value: withClient(id, i), Coherent: template[i].want.state != Rejected}
	}
	return orders
}
