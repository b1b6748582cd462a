// Package shipping is service-expedition, the sample stage of CONTRIBUTING: for
// each confirmed order it writes, once, that a parcel is to be prepared. It must
// not touch stock. It runs in the role "expedition" only, which is off by default.
package shipping

import (
	"encoding/json"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// App is the consumer group and the prefix of the internal topics.
const App = "service-expedition"

// Prepared is the topic written, keyed by id_commande.
var Prepared = streams.Topic[event.ID, Parcel]{Name: "expedition-preparee", Key: event.Key, Value: streams.Serde[Parcel]{
	Append: func(b []byte, p Parcel) []byte {
		data, _ := json.Marshal(p) // of texts alone: it cannot fail
		return append(b, data...)
	},
	Parse: func(data []byte) (p Parcel, err error) { return p, json.Unmarshal(data, &p) },
}}

// Parcel is an order to be shipped.
type Parcel struct {
	Order    json.RawMessage `json:"id_commande"`
	Client   string          `json:"client"`
	ClientID json.RawMessage `json:"clientId"`
	Email    string          `json:"email,omitempty"`
	Invoice  string          `json:"numero_facture"`
	At       string          `json:"timestamp"`
}

// prepare is the stage's decision.
func prepare(c event.Confirmed, now time.Time) Parcel {
	return Parcel{c.Order.AppendJSON(nil), c.Customer.Name, c.Customer.ID.AppendJSON(nil), c.Customer.Email, c.Invoice, event.FormatTime(now)}
}

// Build adds the stage to a topology. ttl is how long an order is remembered.
func Build(b *streams.Builder, ttl time.Duration) {
	out := streams.To(b, Prepared)
	done := streams.NewKeyValue(b, "expeditions", event.Key, Prepared.Value).Expire(ttl, func(p Parcel) time.Time {
		at, _ := event.ParseTime(p.At) // as prepare wrote it
		return at
	})
	streams.From(b, event.Confirmations).Process("préparation", func(c *streams.Context, r streams.Record[event.ID, event.Confirmed]) {
		if _, known := done.Get(c, r.Value.Order); known {
			c.Count("duplicate")
			return
		}
		p := prepare(r.Value, c.Now())
		done.Put(c, r.Value.Order, p)
		out.Send(c, streams.Record[event.ID, Parcel]{Key: r.Value.Order, Value: p, Headers: event.Headers(r.Value.Order, r.Headers)})
		c.Count("ok")
	}, done, out)
}
