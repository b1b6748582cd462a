package realservers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/httporders"
	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

// TestHTTPTimeline: orders come by HTTP and by Kafka at the same time, some of
// them both ways, and what the API tells of each is what the topics hold.
func TestHTTPTimeline(t *testing.T) {
	t.Parallel()
	s, p := open(t, orders.Config{Seed: 27, Orders: program.Orders(t, 2_000)})
	requests := httporders.Requests(s.w, "chemin")
	third := len(requests) / 3
	load := s.post(requests[third:], func(int, int) string { return p.Endpoints.HTTP })
	s.send(0, 2*third)
	s.answers(load)
	s.sent(p)
	program.Verify(t, s.cfg)
	h := s.history()
	s.tracked(h)
	s.timelines(p, h, program.Sample(200))
}

// timelines: for n random orders, the API lists the records that a scan of all
// topics finds, and tells the state that they imply.
func (s *site) timelines(p *program.Process, h *invariants.History, n int) {
	s.t.Helper()
	scanned := scan(h)
	ids := slices.Sorted(maps.Keys(scanned))
	if len(ids) == 0 {
		s.t.Fatal("the scan finds no order")
	}
	rng := rand.New(rand.NewPCG(5, uint64(n)))
	rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	ids = ids[:min(n, len(ids))]
	wrong, states := 0, map[string]int{}
	for _, id := range ids {
		problems := compare(p, id, scanned[id])
		for _, problem := range problems {
			if wrong++; wrong <= 20 {
				s.t.Errorf("order %q: %s", id, problem)
			}
		}
		states[implied(scanned[id]).State]++
	}
	s.t.Logf("timelines and states of %d orders compared: %v; %d differences", len(ids), states, wrong)
}

// said is what a record says of an order, whatever its topic.
type said struct {
	Order    json.RawMessage `json:"commandeId"`
	Paid     json.RawMessage `json:"id_commande"`
	Severity string          `json:"gravite"`
	Errors   []fault         `json:"erreurs"`
	Origin   place           `json:"origine"`
	Status   string          `json:"statut"`
	Reason   string          `json:"motif"`
	Number   string          `json:"numero"`
	Type     string          `json:"type"`
}

type fault struct {
	Code string `json:"code"`
}

// place is where a record stands.
type place struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// scan gives every record to the order that its value names, else to the one in
// its header.
func scan(h *invariants.History) map[string][]invariants.Record {
	found := map[string][]invariants.Record{}
	for topic, records := range h.Topics {
		for _, r := range records {
			id := ""
			var is said
			if topic == orders.OrdersTopic {
				id = orders.Judge(r.Key, r.Value, r.Time).ID
			} else if json.Unmarshal(r.Value, &is) == nil {
				id = text(is.Order) + text(is.Paid)
			}
			for _, header := range r.Headers {
				if id == "" && header.Key == "comptoir-order" {
					id = string(header.Value)
				}
			}
			if id != "" {
				found[id] = append(found[id], r)
			}
		}
	}
	return found
}

// text is an id written as a number or as text, empty if there is none.
func text(literal json.RawMessage) (id string) {
	if len(literal) == 0 || string(literal) == "null" {
		return ""
	}
	if json.Unmarshal(literal, &id) != nil {
		id = string(literal)
	}
	return id
}

// outcome is what an order's records imply.
type outcome struct {
	State, Reason, Invoice string
	Alerts                 []string
	Verdict                []byte
}

var ranks = []string{"", "REJETEE", "EN_CONFLIT", "RECUE", "RESERVEE", "PAYEE", "FACTUREE", "NOTIFIEE", "STOCK_REFUSE", "PAIEMENT_REFUSE"}

func implied(records []invariants.Record) (o outcome) {
	lost := map[place]bool{} // records that another order came before
	for _, r := range records {
		var is said
		_ = json.Unmarshal(r.Value, &is)
		if r.Topic == "commandes.erreurs" && slices.ContainsFunc(is.Errors, func(e fault) bool { return e.Code == "COMMANDE_EN_CONFLIT" }) {
			lost[is.Origin] = true
		}
	}
	for _, r := range records {
		var is said
		_ = json.Unmarshal(r.Value, &is) // what is no JSON says nothing
		state, reason := "", is.Reason
		switch {
		case r.Topic == orders.OrdersTopic && len(orders.Judge(r.Key, r.Value, r.Time).Codes) == 0:
			state = "RECUE"
		case r.Topic == "stock.verifie":
			if o.Verdict = r.Value; is.Status == "VALIDE" {
				state = "RESERVEE"
			} else {
				state = "STOCK_REFUSE"
			}
		case r.Topic == "paiement-accepte":
			state = "PAYEE"
		case r.Topic == "paiement-refuse":
			state = "PAIEMENT_REFUSE"
		case r.Topic == "commande-validee":
			state = "FACTUREE"
		case r.Topic == "factures.ecommerce":
			state, o.Invoice = "FACTUREE", is.Number
		case r.Topic == "notifications.clients" && is.Type == "CONFIRMATION":
			state = "NOTIFIEE"
		case r.Topic == "commandes.erreurs" && is.Severity == "alerte":
			if lost[is.Origin] {
				break
			}
			for _, e := range is.Errors {
				o.Alerts = append(o.Alerts, e.Code)
			}
		case r.Topic == "commandes.erreurs":
			if reason = is.Errors[0].Code; reason == "COMMANDE_EN_CONFLIT" {
				state = "EN_CONFLIT"
			} else {
				state = "REJETEE"
			}
		}
		if slices.Index(ranks, state) > slices.Index(ranks, o.State) {
			o.State, o.Reason = state, reason
		}
	}
	slices.Sort(o.Alerts)
	o.Alerts = slices.Compact(o.Alerts)
	return o
}

// compare says in what the API's answers differ from what a scan found.
func compare(p *program.Process, id string, records []invariants.Record) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var order map[string]json.RawMessage
	var timeline struct {
		ID     json.RawMessage `json:"commandeId"`
		Events []event         `json:"evenements"`
		Lacks  string          `json:"avertissement"`
	}
	path := p.Endpoints.HTTP + "/commandes/" + url.PathEscape(id)
	for route, into := range map[string]any{path: &order, path + "/evenements": &timeline} {
		status, body, err := p.Get(route)
		if err == nil && status != 200 {
			err = fmt.Errorf("%s", body)
		}
		if err == nil {
			err = json.Unmarshal([]byte(body), into)
		}
		if err != nil {
			return []string{fmt.Sprintf("GET %s answers %d: %v", route, status, err)}
		}
	}
	want := implied(records)
	is := func(field, value string) {
		if got := text(order[field]); got != value {
			problem("%s is %q, want %q", field, got, value)
		}
	}
	is("commandeId", id)
	is("statut", want.State)
	is("motif", want.Reason)
	is("numero_facture", want.Invoice)
	var alerts []string
	if err := json.Unmarshal(order["alertes"], &alerts); err != nil {
		problem("alertes: %v", err)
	}
	if slices.Sort(alerts); !slices.Equal(alerts, want.Alerts) {
		problem("alertes are %q, want %q", alerts, want.Alerts)
	}
	var verdict map[string]json.RawMessage
	if want.Verdict != nil && json.Unmarshal(want.Verdict, &verdict) == nil {
		for _, field := range []string{"client", "clientId", "email", "montant", "devise", "lignes", "date_commande"} {
			if !bytes.Equal(order[field], verdict[field]) {
				problem("%s is %s, the verdict says %s", field, order[field], verdict[field])
			}
		}
	}
	if text(timeline.ID) != id || timeline.Lacks != "" {
		problem("timeline of %q with warning %q", text(timeline.ID), timeline.Lacks)
	}
	return append(problems, compareEvents(timeline.Events, records)...)
}

// event is an entry of a timeline.
type event struct {
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Key       *string         `json:"cle"`
	RawKey    []byte          `json:"cle_brute"`
	Time      time.Time       `json:"timestamp"`
	Waited    int64           `json:"attente_ms"`
	Value     json.RawMessage `json:"valeur"`
	RawValue  []byte          `json:"valeur_brute"`
}

func (e event) String() string { return fmt.Sprintf("%s[%d]@%d", e.Topic, e.Partition, e.Offset) }

func compareEvents(events []event, records []invariants.Record) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	left := map[string]invariants.Record{}
	for _, r := range records {
		left[r.String()] = r
	}
	for i, e := range events {
		r, ok := left[e.String()]
		if !ok {
			problem("the timeline has %s, which the scan has not, or has once", e)
			continue
		}
		delete(left, e.String())
		key := e.RawKey
		if e.Key != nil {
			key = []byte(*e.Key)
		}
		value := []byte(e.Value)
		if e.RawValue != nil {
			value = e.RawValue
		}
		waited := int64(0)
		if i > 0 {
			waited = max(0, e.Time.Sub(events[i-1].Time).Milliseconds())
		}
		switch {
		case !e.Time.Equal(r.Time):
			problem("%s is of %v, the record of %v", e, e.Time, r.Time)
		case !bytes.Equal(key, r.Key), (key == nil) != (r.Key == nil):
			problem("%s has key %q, the record %q", e, key, r.Key)
		case !bytes.Equal(value, bytes.TrimSpace(r.Value)) && !(r.Value == nil && string(value) == "null"):
			problem("%s has value %.200s, the record %.200s", e, value, r.Value)
		case e.Waited != waited:
			problem("%s waited %d ms, want %d", e, e.Waited, waited)
		}
	}
	for place := range left {
		problem("the timeline lacks %s", place)
	}
	if !slices.IsSortedFunc(events, func(a, b event) int { return cmp.Compare(a.Time.UnixMilli(), b.Time.UnixMilli()) }) {
		problem("the timeline is not in the order of time: %v", events)
	}
	return problems
}
