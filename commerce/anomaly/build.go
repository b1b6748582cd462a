// This file connects the decisions to topics and stores.
//
// What one order says by itself is decided where its record stands. How many
// orders a client sends is counted in the task of its clientId, which for most
// records is the same one; only a record with another key, or none, goes there
// through the internal topic "clients". A suspicious order, which is rare, goes
// on to the task of its id through "suspectes", which remembers the alerts of
// an order, so that a redelivery raises none again.
//
// A redelivery is not counted as another order of its client as long as the
// client's window holds the first. Whether a suspicious order is in conflict
// with an earlier one is noticed only if that was suspicious, too: to know more,
// every order would have to be remembered here as well as in service-stock.

package anomaly

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// App is the consumer group and the prefix of the internal topics.
const App = "detection-anomalies"

// Config sets the stage up.
type Config struct {
	// Thresholds say from where on an order is suspicious. nil defaults to
	// DefaultThresholds.
	Thresholds *Thresholds
	// IdentityTTL is how long an order's alerts are remembered. Defaults to
	// event.IdentityTTL.
	IdentityTTL time.Duration
}

// stage is what the operators share.
type stage struct {
	limits    Thresholds
	products  *streams.GlobalTable[*catalogue]
	clients   *streams.KeyValue[event.ID, activity]
	alerted   *streams.KeyValue[event.ID, alerted]
	elsewhere *streams.Output[event.ID, suspect]
	suspects  *streams.Output[event.ID, suspect]
	errors    *streams.Output[[]byte, []byte]
}

// Build adds the stage to a topology.
func Build(b *streams.Builder, cfg Config) {
	s := &stage{limits: DefaultThresholds()}
	if cfg.Thresholds != nil {
		s.limits = *cfg.Thresholds
	}
	if cfg.IdentityTTL == 0 {
		cfg.IdentityTTL = event.IdentityTTL
	}
	like := streams.PartitionsOf(event.Orders.Name)
	s.products = streams.NewGlobalTable(b, "catalogue", event.Products, newCatalogue, (*catalogue).apply)
	// A client's window is kept a while longer than it can matter, so that
	// records read late, with old times, still meet theirs.
	s.clients = streams.NewKeyValue(b, "frequences", event.Key, activitySerde).
		Expire(s.limits.Window+time.Hour, func(a activity) time.Time { return a.at })
	s.alerted = streams.NewKeyValue(b, "alertes", event.Key, alertedSerde).
		Expire(cfg.IdentityTTL, func(a alerted) time.Time { return a.at }).
		Cold(func(alerted) bool { return true })
	s.errors = streams.To(b, event.Errors)

	orders := streams.From(b, event.Orders).Unhurried()
	var clients, suspects streams.Stream[event.ID, suspect]
	s.elsewhere, clients = streams.Repartition(b, "clients", event.Key, suspectSerde, like)
	s.suspects, suspects = streams.Repartition(b, "suspectes", event.Key, suspectSerde, like)
	orders.Process("jugement", s.judge, s.products, s.clients, s.errors, s.elsewhere, s.suspects)
	clients.Process("fréquence", func(c *streams.Context, r streams.Record[event.ID, suspect]) {
		s.frequency(c, r.Value, r.Headers)
	}, s.clients, s.suspects)
	suspects.Process("alerte", s.alert, s.alerted, s.errors)
}

// judge decides what a record says by itself.
func (s *stage) judge(c *streams.Context, r streams.Record[[]byte, []byte]) {
	o, problems, strict := event.ParseOrder(r.Key, r.Value, r.Time)
	r.Key, r.Headers = bounded(r.Key, r.Headers)
	origin := event.Origin{Topic: c.Topic(), Partition: c.Partition(), Offset: c.Offset()}
	if len(problems) > 0 {
		s.accuse(c, event.ErrorRecord{
			Order: o.ID, Severity: event.SeverityReject, Problems: problems, Value: r.Value, Strict: strict, Origin: origin,
		}, r.Key, r.Headers)
		c.Count("rejected")
		return
	}
	su := suspect{
		order: o.ID, client: o.Customer.ID, digest: o.Digest, at: r.Time,
		key: r.Key, value: r.Value, origin: origin, alerts: Alerts(o, s.prices(c, o.SingleLine), s.limits),
	}
	if streams.PartitionFor(c, s.elsewhere, []byte(su.client)) == c.Partition() {
		s.frequency(c, su, r.Headers)
	} else {
		s.elsewhere.Send(c, streams.Record[event.ID, suspect]{Key: su.client, Value: su, Headers: r.Headers})
	}
	c.Count("ok")
}

// maxCopied bounds the key and the headers that are copied, in bytes: with them
// and a value of event.MaxErrorRecord a record must not become longer than
// brokers take, or it would stop the stage.
const maxCopied = 50_000

// bounded returns the key, nil if it is out of all proportion, and the headers,
// in that case only those that we know.
func bounded(key []byte, headers []streams.Header) ([]byte, []streams.Header) {
	if len(key) > maxCopied {
		key = nil
	}
	n := 0
	for _, h := range headers {
		n += len(h.Key) + len(h.Value) + 10 // at most, for their lengths
	}
	if n > maxCopied {
		headers = slices.DeleteFunc(slices.Clone(headers), func(h streams.Header) bool {
			return h.Key != event.HeaderTrace || len(h.Value) > maxTrace
		})
		headers = headers[:min(len(headers), 1)]
	}
	return key, headers
}

// maxTrace is the longest trace context that is kept then, in bytes. Today's
// have 55.
const maxTrace = 256

// prices looks the price of an order's line up in the catalogue. Only the
// single-line form may name its product instead of giving the id.
func (s *stage) prices(c *streams.Context, names bool) func(event.Line) (event.Amount, bool) {
	return func(l event.Line) (price event.Amount, ok bool) {
		s.products.View(c, func(t *catalogue) { price, ok = t.price(l.Product, names) })
		return price, ok
	}
}

// frequency counts the order among its client's, in the client's task, and
// sends it on if anything is suspicious.
func (s *stage) frequency(c *streams.Context, su suspect, headers []streams.Header) {
	a, _ := s.clients.Get(c, su.client)
	a, over, again := a.add(su.order, su.at, s.limits)
	if !again {
		a.at = c.Now()
		s.clients.Put(c, su.client, a)
	}
	if over {
		su.alerts = append(su.alerts, FrequencyAlert(s.limits))
	}
	if len(su.alerts) > 0 {
		s.suspects.Send(c, streams.Record[event.ID, suspect]{Key: su.order, Value: su, Headers: headers})
	}
}

// alert writes the alerts of an order that it has not had yet.
func (s *stage) alert(c *streams.Context, r streams.Record[event.ID, suspect]) {
	su := &r.Value
	known, ok := s.alerted.Get(c, su.order)
	if ok && known.digest != su.digest {
		c.Count("conflict")
		return
	}
	codes, fresh := known.add(su.alerts)
	if len(fresh) == 0 {
		c.Count("duplicate")
		return
	}
	s.alerted.Put(c, su.order, alerted{at: c.Now(), digest: su.digest, codes: codes})
	s.accuse(c, event.ErrorRecord{
		Order: su.order, Severity: event.SeverityAlert, Problems: fresh, Value: su.value, Strict: true, Origin: su.origin,
	}, su.key, r.Headers)
	c.Count("alert")
}

// accuse writes a record of commandes.erreurs: with the accused record's key,
// raw, and its headers, among which the order's id is now certain.
func (s *stage) accuse(c *streams.Context, e event.ErrorRecord, key []byte, headers []streams.Header) {
	e.At = c.Now()
	if e.Order != "" {
		headers = append(slices.DeleteFunc(slices.Clone(headers), func(h streams.Header) bool { return h.Key == event.HeaderOrder }),
			streams.Header{Key: event.HeaderOrder, Value: []byte(e.Order)})
	}
	s.errors.Send(c, streams.Record[[]byte, []byte]{Key: key, Value: e.AppendJSON(nil), Headers: headers})
}

// activity is what is remembered of a client.
type activity struct {
	at     time.Time // ms; of the last change
	recent Recent
	orders []uint32 // hashes of the latest orders' ids, as many as recent has times
}

// add counts an order and returns the changed activity; a is left as it is.
// again says that the order is counted already.
func (a activity) add(order event.ID, at time.Time, limits Thresholds) (next activity, over, again bool) {
	h := fnv.New32a()
	h.Write([]byte(order))
	id := h.Sum32()
	if slices.Contains(a.orders, id) {
		return a, false, true
	}
	next.recent.times = slices.Clone(a.recent.times)
	over = next.recent.Add(at, limits.Window, limits.Orders)
	// In the order of arrival, which is that of the times but for latecomers.
	next.orders = append(slices.Clone(a.orders), id)
	next.orders = next.orders[max(0, len(next.orders)-len(next.recent.times)):]
	return next, over, false
}

// alerted is what is remembered of a suspicious order.
type alerted struct {
	at     time.Time // ms; of the last alert
	digest [16]byte
	codes  byte // bits of alertCodes
}

// alertCodes gives each alert a bit. The order must not change: it is stored.
var alertCodes = []string{event.CodeHighAmount, event.CodeHighFrequency, event.CodeUnexpectedPrice}

// add returns the codes with those of the alerts added, and the alerts whose
// codes are new, each code once.
func (a alerted) add(alerts []event.Problem) (codes byte, fresh []event.Problem) {
	codes = a.codes
	for _, p := range alerts {
		bit := byte(1) << max(0, slices.Index(alertCodes, p.Code))
		if codes&bit == 0 {
			codes |= bit
			fresh = append(fresh, p)
		}
	}
	return codes, fresh
}
