package invariants

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/comptoir/comptoir/test/orders"
)

// model is the pipeline in its plainest form: one order after the other, in
// memory. It makes the history that a faultless run leaves behind.
type model struct {
	h       *History
	now     time.Time
	stock   map[string][2]int64 // available, reserved
	names   map[string]string
	ids     map[string]string // identity of each order id
	number  int
	ends    map[string]orders.Outcome
	partial int
}

// history runs the model over a generated workload.
func history(n int) (*History, *orders.Workload) {
	w := orders.Generate(orders.Config{Seed: 5, Orders: n})
	m := &model{
		h:     &History{Topics: map[string][]Record{}, Archived: true, PaymentLimit: 10_000_00},
		now:   time.Date(2026, 12, 31, 22, 59, 0, 0, time.UTC), // a new year begins in Paris on the way
		stock: map[string][2]int64{}, names: map[string]string{}, ids: map[string]string{}, ends: map[string]orders.Outcome{},
	}
	for _, p := range w.Products {
		m.names[p.ID] = p.Name
		m.put(topicCatalogue, p.ID, nil, object("id_produit", raw(orders.ID(p.ID)), "nom_produit", p.Name))
		m.supply(p.ID, "CAT-"+p.ID, p.Stock, object("id", "CAT-"+p.ID, "id_produit", raw(orders.ID(p.ID)), "quantite", p.Stock))
	}
	done := map[string]bool{}
	for _, s := range w.Supplies {
		var row supply
		m.put(topicSupplies, string(s.Key), nil, string(s.Value))
		if json.Unmarshal(s.Value, &row) != nil {
			continue
		}
		if id, quantity, ok := quantityOf(row); ok && !done[id] {
			done[id] = true
			m.move(string(s.Key), "APPROVISIONNEMENT", quantity, nil, id)
		}
	}
	for _, r := range w.Orders {
		m.order(r)
	}
	for _, r := range m.h.Topics[topicInvoices] {
		row, err := flat(r.Value)
		if err != nil {
			panic(err)
		}
		m.h.Archive = append(m.h.Archive, row)
	}
	for _, list := range m.h.Topics {
		slices.SortStableFunc(list, func(a, b Record) int { return int(a.Partition - b.Partition) })
	}
	m.h.Positions = []Position{{"service-stock", topicOrders, 0, 12, 12}, {"connect-archive", topicInvoices, 0, 9, 9}, {"service-stock", topicRefused, 1, -1, 0}}
	return m.h, w
}

type raw string

// object writes names and values in turn; nil values are left out.
func object(pairs ...any) string {
	var members []string
	for i := 0; i < len(pairs); i += 2 {
		var text string
		switch v := pairs[i+1].(type) {
		case nil:
			continue
		case raw:
			text = string(v)
		default:
			out, err := json.Marshal(v)
			if err != nil {
				panic(err)
			}
			text = string(out)
		}
		members = append(members, fmt.Sprintf("%q:%s", pairs[i], text))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (m *model) put(topic, key string, headers []orders.Header, value string) *Record {
	hash := fnv.New32a()
	hash.Write([]byte(key))
	r := Record{Topic: topic, Partition: int32(hash.Sum32() % 3), Key: []byte(key), Value: []byte(value), Headers: headers, Time: m.now}
	for _, other := range m.h.Topics[topic] {
		if other.Partition == r.Partition {
			r.Offset = other.Offset + 2 // a marker between any two
		}
	}
	m.h.Topics[topic] = append(m.h.Topics[topic], r)
	return &m.h.Topics[topic][len(m.h.Topics[topic])-1]
}

func (m *model) event(topic, key string, headers []orders.Header, pairs ...any) {
	m.put(topic, key, headers, object(append(pairs, "timestamp", m.now.Format(orders.TimeFormat))...))
}

func (m *model) supply(product, id string, n int64, value string) {
	m.put(topicSupplies, product, nil, value)
	m.move(product, "APPROVISIONNEMENT", n, nil, id)
}

func (m *model) move(product, kind string, n int64, o *orders.Order, reference string) {
	level := m.stock[product]
	switch kind {
	case "SORTIE":
		level[1] += n
	case "APPROVISIONNEMENT":
		level[0] += n
	default:
		level[0] += n
		level[1] -= n
	}
	m.stock[product] = level
	var order, ref any
	var headers []orders.Header
	if o != nil {
		order, headers = raw(orders.ID(o.ID)), []orders.Header{{Key: "comptoir-order", Value: []byte(o.ID)}}
	} else {
		ref = reference
	}
	m.event(topicMovements, product, headers, "id_produit", raw(orders.ID(product)), "nom_produit", m.names[product], "mouvement", kind,
		"quantite", n, "disponible", level[0], "reserve", level[1], "id_commande", order, "reference", ref)
}

func (m *model) order(r orders.Record) {
	m.now = m.now.Add(7 * time.Second / 10)
	placedAt := *m.put(topicOrders, string(r.Key), r.Headers, string(r.Value))
	kept := &m.h.Topics[topicOrders][len(m.h.Topics[topicOrders])-1]
	kept.Key, kept.Value = r.Key, r.Value // nil stays nil
	j := orders.Judge(r.Key, r.Value, m.now)
	m.now = m.now.Add(time.Millisecond)
	o := j.Order
	refuse := func(severity string, codes []string) {
		var list []map[string]string
		for _, code := range codes {
			list = append(list, map[string]string{"code": code, "champ": "x", "detail": "y"})
		}
		pairs := []any{"commandeId", nil, "gravite", severity, "erreurs", list, "origine",
			map[string]any{"topic": topicOrders, "partition": placedAt.Partition, "offset": placedAt.Offset}}
		if j.ID != "" {
			pairs[1] = raw(orders.ID(j.ID))
		}
		switch {
		case len(r.Value)*4/3 > maxErrorValue:
			pairs = append(pairs, "taille", len(r.Value))
		case r.Value == nil:
			pairs = append(pairs, "commande", raw("null"))
		case j.Strict:
			pairs = append(pairs, "commande", raw(r.Value))
		default:
			pairs = append(pairs, "commande_brute", base64.StdEncoding.EncodeToString(r.Value))
		}
		m.event(topicErrors, string(r.Key), r.Headers, pairs...)
		m.h.Topics[topicErrors][len(m.h.Topics[topicErrors])-1].Key = r.Key
	}
	switch identity, taken := m.ids[j.ID]; {
	case len(j.Codes) > 0:
		refuse("rejet", j.Codes)
		return
	case taken && identity == o.Identity:
		return
	case taken:
		refuse("rejet", []string{codeConflict})
		return
	}
	m.ids[j.ID] = o.Identity
	if o.Amount > 5_000_00 {
		refuse("alerte", []string{"MONTANT_ELEVE"})
	}
	m.decide(r, o)
}

func (m *model) decide(r orders.Record, o orders.Order) {
	headers := []orders.Header{{Key: "comptoir-order", Value: []byte(o.ID)}}
	for _, h := range r.Headers {
		if h.Key == "traceparent" {
			headers = append(headers, h)
		}
	}
	var email any
	if o.Email != "" {
		email = o.Email
	}
	who := []any{"client", o.Client, "clientId", raw(orders.ID(o.ClientID)), "email", email, "montant", raw(orders.Decimal(o.Amount)), "devise", o.Currency}
	number := raw(orders.ID(o.ID))

	products, short := map[string]int64{}, map[string]string{}
	for i := range o.Lines {
		l := &o.Lines[i]
		for id, name := range m.names {
			if o.SingleLine && normal(name) == normal(l.Product) {
				l.Product = id
			}
		}
		products[l.Product] += l.Quantity
	}
	reason := ""
	for _, p := range slices.Sorted(maps.Keys(products)) {
		if level, known := m.stock[p]; !known {
			short[p], reason = "PRODUIT_INCONNU", "PRODUIT_INCONNU"
		} else if level[0] < products[p] {
			short[p] = "STOCK_INSUFFISANT"
			if reason == "" {
				reason = short[p]
			}
		}
	}
	moveAll := func(kind string, sign int64) {
		for _, p := range slices.Sorted(maps.Keys(products)) {
			if short[p] == "" {
				m.move(p, kind, sign*products[p], &o, "")
			}
		}
	}
	moveAll("RESERVATION", -1)
	status, motif := "VALIDE", any(nil)
	if reason != "" {
		status, motif = "REFUSE", reason
		moveAll("LIBERATION", 1)
	}
	lines := func(full bool) raw {
		var texts []string
		for _, l := range o.Lines {
			amount, price, why := l.Price*l.Quantity, any(nil), any(nil)
			if o.SingleLine {
				amount = o.Amount
			}
			if l.Priced {
				price = raw(orders.Decimal(l.Price))
			}
			if short[l.Product] != "" {
				why = short[l.Product]
			}
			pairs := []any{"id_produit", raw(orders.ID(l.Product)), "nom_produit", m.names[l.Product], "quantite", l.Quantity, "montant", raw(orders.Decimal(amount)), "prix", price}
			if full {
				pairs = append(pairs, "reserve", reason == "", "motif", why)
			}
			texts = append(texts, object(pairs...))
		}
		return raw("[" + strings.Join(texts, ",") + "]")
	}
	m.event(topicVerdicts, o.ClientID, headers, append([]any{"commandeId", number, "statut", status, "motif", motif, "lignes", lines(true), "date_commande", o.OrderedAt}, who...)...)
	notify := func(kind, priority, subject, message string) {
		channel := "JOURNAL"
		if o.Email != "" {
			channel = "EMAIL"
		}
		m.event(topicNotices, o.ClientID, headers, append([]any{"id", o.ID + "-" + kind, "commandeId", number, "type", kind, "priorite", priority, "canal", channel, "sujet", subject, "message", message}, who[:6]...)...)
	}
	m.now = m.now.Add(time.Millisecond)
	switch {
	case reason != "":
		m.ends[o.ID] = orders.StockRefused
		notify("REFUS_STOCK", "CRITIQUE", "Refus", "Plus de stock.")
		return
	case o.Amount > 10_000_00:
		m.ends[o.ID] = orders.PaymentRefused
		m.event(topicRefused, o.ID, headers, append([]any{"id_commande", number, "motif", "PLAFOND_DEPASSE"}, who...)...)
		moveAll("LIBERATION", 1)
		notify("REFUS_PAIEMENT", "CRITIQUE", "Refus", "Paiement refusé.")
		return
	}
	m.ends[o.ID] = orders.Invoiced
	m.event(topicAccepted, o.ID, headers, append([]any{"id_commande", number, "moyen", "SIMULATION", "reference", "SIM-" + o.ID}, who...)...)
	date := m.now.Add(time.Hour) // Paris in winter
	if date.Year() == 2027 && m.partial == 0 {
		m.partial, m.number = m.number, 0
	}
	m.number++
	invoice := fmt.Sprintf("FA-%d-%06d", date.Year(), m.number)
	divisor := int64(12000)
	net := o.Amount * 10000 / divisor
	if 2*(o.Amount*10000%divisor) >= divisor {
		net++
	}
	m.event(topicInvoices, o.ClientID, headers, append([]any{"numero", invoice, "type", "FACTURE", "commandeId", number, "date", date.Format(time.DateOnly), "lignes", lines(false),
		"total_ht", raw(orders.Decimal(net)), "tva", raw(orders.Decimal(o.Amount - net)), "taux_tva", 20, "date_commande", o.OrderedAt}, who...)...)
	m.event(topicConfirmed, o.ID, headers, append([]any{"id_commande", number, "numero_facture", invoice}, who...)...)
	moveAll("SORTIE", -1)
	notify("CONFIRMATION", "GENERALE", "Commande "+o.ID+" confirmée",
		"Bonjour "+o.Client+", votre commande "+o.ID+" est confirmée. Facture "+invoice+", "+orders.Decimal(o.Amount)+" "+o.Currency+".")
}
