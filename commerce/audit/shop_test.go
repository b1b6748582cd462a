package audit

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// shop is a model of the pipeline that writes correct histories, as CONTRACTS
// has them. It is a source, and the database and archive beside it.
type shop struct {
	rng     *rand.Rand
	clock   time.Time
	records []*Record // in the order in which they came to be
	cut     int       // how many of them are shown; all if below 0
	next    map[part]int64

	products map[string]*stocked
	supplied map[string]bool
	numbers  int64
	last     string // date of the last invoice
	taken    map[string]string
	waiting  []lag

	about   map[*Record]string  // orders of records
	rows    []map[string]string // of the archive
	pending int64               // messages in the outbox
	oldest  time.Time
	edit    map[string]func(*Row)    // faults of the database
	entries map[string]func(*[]part) // entries of a timeline: topic and offset
	level   map[string]int64         // what is added to a level
}

type stocked struct {
	name                string
	available, reserved int64
	price               int64
}

const partitionsOfTest = 3

func newShop(seed uint64) *shop {
	s := &shop{
		rng: rand.New(rand.NewPCG(seed, 1)), clock: time.Date(2025, 12, 31, 22, 30, 0, 0, time.UTC), cut: -1, next: map[part]int64{},
		products: map[string]*stocked{}, supplied: map[string]bool{}, taken: map[string]string{}, edit: map[string]func(*Row){},
		entries: map[string]func(*[]part){}, level: map[string]int64{}, about: map[*Record]string{},
	}
	for i := range 6 {
		id := strconv.Itoa(1000 + i)
		if i%2 == 1 {
			id = fmt.Sprintf("REF-%d", i)
		}
		price := int64(1250 + 775*i)
		s.products[id] = &stocked{name: fmt.Sprintf("Produit « %d »", i), price: price}
		s.write(event.TopicProducts, id, nil, fmt.Sprintf(`{"id_produit":%s,"nom_produit":%s,"prix":%s}`, idJSON(id), quote(s.products[id].name), decimal(price)))
		s.supply(id, fmt.Sprintf("LIV-%d", i), int64(40+10*i))
	}
	s.supply("1000", "LIV-0", 40) // again: ignored
	s.write(event.TopicSupplies, "1000", nil, `{"id":"LIV-X","id_produit":1000,"quantite":-5}`)
	return s
}

func idJSON(id string) string {
	if digitsOnly(id) && len(id) <= 15 && (id[0] != '0' || id == "0") {
		return id
	}
	return quote(id)
}

func quote(s string) string {
	b := event.AppendString(nil, s)
	return string(b)
}

// write appends a record. A third of them is followed by a transaction marker.
func (s *shop) write(topic, key string, headers []Header, value string) *Record {
	s.clock = s.clock.Add(time.Duration(s.rng.IntN(4000)) * time.Millisecond)
	r := &Record{Topic: topic, Headers: headers, Value: []byte(value), Time: s.clock}
	if key != "" {
		r.Key = []byte(key)
		r.Partition = partitionOf(r.Key, partitionsOfTest)
	}
	s.add(r)
	if s.rng.IntN(3) == 0 {
		s.add(&Record{Topic: topic, Partition: r.Partition, Control: true, Time: s.clock})
	}
	return r
}

func (s *shop) add(r *Record) {
	p := part{topicIndex(r.Topic), r.Partition}
	r.Offset = s.next[p]
	s.next[p]++
	s.records = append(s.records, r)
}

// event appends a record of ours about an order: fields, then its timestamp.
func (s *shop) event(topic, key, order, trace string, fields ...string) *Record {
	var headers []Header
	if order != "" {
		headers = append(headers, Header{event.HeaderOrder, []byte(order)})
	}
	if trace != "" {
		headers = append(headers, Header{event.HeaderTrace, []byte(trace)})
	}
	r := s.write(topic, key, headers, "")
	r.Value = fmt.Appendf(nil, `{%s,"timestamp":"%s"}`, strings.Join(fields, ","), r.Time.Format(written))
	return r
}

func (s *shop) supply(product, id string, n int64) {
	s.write(event.TopicSupplies, product, nil, fmt.Sprintf(`{"id":%s,"id_produit":%s,"quantite":%d}`, idJSON(id), idJSON(product), n))
	if !s.supplied[product+"/"+id] {
		s.supplied[product+"/"+id] = true
		s.move(product, event.MovementSupply, n, n, 0, "", "", `"reference":`+idJSON(id))
	}
}

func (s *shop) move(product, kind string, n, available, reserved int64, order, trace, more string) {
	p := s.products[product]
	p.available += available
	p.reserved += reserved
	s.event(event.TopicMovements, product, order, trace, `"id_produit":`+idJSON(product), `"nom_produit":`+quote(p.name), `"mouvement":"`+kind+`"`,
		fmt.Sprintf(`"quantite":%d,"disponible":%d,"reserve":%d`, n, p.available, p.reserved), more)
}

// wish is an order to be placed.
type wish struct {
	id, key, client, email string
	lines                  []line // in the single-line form one, without price
	single                 bool
	trace                  string
	spelled                string // of the amount, if otherwise
	currency               string
}

func (w *wish) amount(s *shop) (total int64) {
	for _, l := range w.lines {
		total += l.quantity * l.price
	}
	return total
}

func (w *wish) value(s *shop) string {
	amount := decimal(w.amount(s))
	if w.spelled != "" {
		amount = fmt.Sprintf("%de-2", w.amount(s))
	}
	members := []string{`"commandeId":` + idJSON(w.id), `"client":` + quote(w.client), `"montant":` + amount}
	if w.email != "" {
		members = append(members, `"email":`+quote(w.email))
	}
	if w.currency != "" {
		members = append(members, `"devise":`+quote(w.currency))
	}
	if w.single {
		members = append(members, `"produit":`+quote(w.lines[0].name), fmt.Sprintf(`"quantite":%d`, w.lines[0].quantity))
	} else {
		var list []string
		for _, l := range w.lines {
			list = append(list, fmt.Sprintf(`{"id_produit":%s,"quantite":%d,"prix":%s}`, idJSON(l.product), l.quantity, decimal(l.price)))
		}
		members = append(members, `"lignes":[`+strings.Join(list, ",")+`]`)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// place writes an order's record and all that follows.
func (s *shop) place(w *wish) {
	var headers []Header
	if w.trace != "" {
		headers = []Header{{"boutique", []byte("essai")}, {event.HeaderTrace, []byte(w.trace)}}
	}
	value := w.value(s)
	r := s.write(event.TopicOrders, w.key, headers, value)
	content := regexp.MustCompile(`"montant":[^,]*`).ReplaceAllString(value, "") + decimal(w.amount(s))
	if s.taken[w.id] == content {
		return // a redelivery
	}
	if s.taken[w.id] != "" {
		s.reject(r, w.id, "commande", value, "COMMANDE_EN_CONFLIT")
		return
	}
	s.taken[w.id] = content
	if w.amount(s) > 500000 {
		s.accuse(r, "alerte", w.id, "commande", value, "MONTANT_ELEVE")
	}
	s.answer(w, r)
}

func (s *shop) reject(r *Record, id, form, value string, codes ...string) {
	s.accuse(r, "rejet", id, form, value, codes...)
}

func (s *shop) accuse(r *Record, severity, id, form, value string, codes ...string) {
	if form == "commande_brute" {
		value = quote(base64.StdEncoding.EncodeToString([]byte(value)))
	}
	var list []string
	for _, c := range codes {
		list = append(list, fmt.Sprintf(`{"code":%q,"champ":"montant","detail":"…"}`, c))
	}
	fields := []string{`"gravite":"` + severity + `"`, `"erreurs":[` + strings.Join(list, ",") + `]`, fmt.Sprintf("%q:%s", form, value),
		fmt.Sprintf(`"origine":{"topic":%q,"partition":%d,"offset":%d}`, r.Topic, r.Partition, r.Offset)}
	if id != "" {
		fields = append(fields, `"commandeId":`+idJSON(id))
	}
	e := s.event(event.TopicErrors, string(r.Key), id, "", fields...)
	e.Headers = append(e.Headers, r.Headers...)
}

// answer writes verdict, movements and what follows.
func (s *shop) answer(w *wish, r *Record) {
	customer := fmt.Sprintf(`"client":%s,"clientId":%s`, quote(w.client), idJSON(w.key))
	if w.email != "" {
		customer += `,"email":` + quote(w.email)
	}
	currency := w.currency
	if currency == "" {
		currency = "EUR"
	}
	money := fmt.Sprintf(`"montant":%s,"devise":%s`, decimal(w.amount(s)), quote(currency))
	wanted, reasons, reserved := map[string]int64{}, map[string]string{}, []string{}
	for _, l := range w.lines {
		wanted[l.product] += l.quantity
	}
	for _, l := range w.lines {
		if reasons[l.product] != "" || slices.Contains(reserved, l.product) {
			continue
		}
		switch p := s.products[l.product]; {
		case p == nil:
			reasons[l.product] = event.ReasonUnknownProduct
		case p.available < wanted[l.product]:
			reasons[l.product] = event.ReasonOutOfStock
		default:
			n := wanted[l.product]
			s.move(l.product, event.MovementReserve, -n, -n, n, w.id, w.trace, `"id_commande":`+idJSON(w.id))
			reserved = append(reserved, l.product)
		}
	}
	status, reason := event.StatusValid, ""
	for _, why := range reasons {
		if status = event.StatusRefused; reason != event.ReasonUnknownProduct {
			reason = why
		}
	}
	var lines, plain []string
	for _, l := range w.lines {
		name := l.product
		if p := s.products[l.product]; p != nil {
			name = p.name
		}
		text := fmt.Sprintf(`"id_produit":%s,"nom_produit":%s,"quantite":%d,"montant":%s,"prix":%s`,
			idJSON(l.product), quote(name), l.quantity, decimal(l.quantity*l.price), decimal(l.price))
		plain = append(plain, "{"+text+"}")
		text += fmt.Sprintf(`,"reserve":%v`, status == event.StatusValid)
		if reasons[l.product] != "" {
			text += `,"motif":"` + reasons[l.product] + `"`
		}
		lines = append(lines, "{"+text+"}")
	}
	head := []string{`"commandeId":` + idJSON(w.id), `"statut":"` + status + `"`}
	if reason != "" {
		head = append(head, `"motif":"`+reason+`"`)
	}
	date := `"date_commande":"` + r.Time.Format(written) + `"`
	s.event(event.TopicVerdicts, w.key, w.id, w.trace, append(head, customer, money, `"lignes":[`+strings.Join(lines, ",")+`]`, date)...)
	notice := func(kind, priority, subject, message string) {
		channel := "JOURNAL"
		if w.email != "" {
			channel = "EMAIL"
		}
		s.event(event.TopicNotifications, w.key, w.id, w.trace, `"id":`+quote(w.id+"-"+kind), `"commandeId":`+idJSON(w.id), customer,
			fmt.Sprintf(`"type":%q,"priorite":%q,"canal":%q`, kind, priority, channel), `"sujet":`+quote(subject), `"message":`+quote(message))
	}
	release := func(products []string) {
		for _, p := range products {
			n := wanted[p]
			s.move(p, event.MovementRelease, n, n, -n, w.id, w.trace, `"id_commande":`+idJSON(w.id))
		}
	}
	order := `"id_commande":` + idJSON(w.id)
	switch {
	case status == event.StatusRefused:
		release(reserved)
		notice("REFUS_STOCK", "CRITIQUE", "Commande "+w.id+" refusée", "Bonjour "+w.client+", votre commande "+w.id+" ne peut pas être honorée.")
		return
	case w.amount(s) > 1_000_000:
		s.event(event.TopicRefused, w.id, w.id, w.trace, order, customer, money, `"motif":"PLAFOND_DEPASSE"`)
		release(reserved)
		notice("REFUS_PAIEMENT", "CRITIQUE", "Paiement de la commande "+w.id+" refusé", "Bonjour "+w.client+", le paiement de votre commande "+w.id+" n'a pas abouti.")
		return
	}
	s.event(event.TopicAccepted, w.id, w.id, w.trace, order, customer, money, `"moyen":"SIMULATION"`, `"reference":`+quote("SIM-"+w.id))
	local := s.clock.In(paris)
	// The day of the invoice is that of its record, which comes a little later.
	year, day := local.Year(), local.Format(time.DateOnly)
	if next := s.clock.Add(4 * time.Second).In(paris); next.Year() != year || next.Format(time.DateOnly) != day {
		s.clock = s.clock.Add(4 * time.Second)
		year, day = next.Year(), next.Format(time.DateOnly)
	}
	if s.last != "" && s.last[:4] != strconv.Itoa(year) {
		s.numbers = 0
	}
	s.last = day
	s.numbers++
	number := fmt.Sprintf("FA-%04d-%06d", year, s.numbers)
	gross := w.amount(s)
	net := (gross*100*2 + 120) / 240
	i := s.event(event.TopicInvoices, w.key, w.id, w.trace, `"numero":"`+number+`","type":"FACTURE"`, `"commandeId":`+idJSON(w.id), customer, `"date":"`+day+`"`,
		`"lignes":[`+strings.Join(plain, ",")+`]`, `"total_ht":`+decimal(net), `"tva":`+decimal(gross-net), `"taux_tva":20`, money, date)
	s.rows = append(s.rows, archived(i.Value))
	s.event(event.TopicConfirmations, w.id, w.id, w.trace, order, customer, money, `"numero_facture":"`+number+`"`)
	for _, p := range reserved {
		n := wanted[p]
		s.move(p, event.MovementExit, -n, 0, -n, w.id, w.trace, order)
	}
	notice("CONFIRMATION", "GENERALE", "Commande "+w.id+" confirmée", "Bonjour "+w.client+", votre commande "+w.id+" est confirmée. Facture "+number+", "+decimal(gross)+" "+currency+".")
}

// archived is an invoice as a database would keep it: ids as text, numbers with
// all decimals.
func archived(invoice []byte) map[string]string {
	v, err := readJSON(invoice, maxDepth)
	if err != nil {
		panic(err)
	}
	row := map[string]string{}
	for _, m := range v.kids {
		switch {
		case m.kind == kindText:
			row[m.name] = m.text
		case m.name == "lignes":
			row[m.name] = strings.ReplaceAll(m.raw, ",", ", ")
		case m.name == "montant" && !strings.Contains(m.raw, "."):
			row[m.name] = m.raw + ".00"
		default:
			row[m.name] = m.raw
		}
	}
	row["ajoutee"] = "colonne de plus"
	return row
}

// history is a shop after n orders of all kinds.
func history(seed uint64, n int) *shop {
	s := newShop(seed)
	ids := make([]string, 0, len(s.products))
	for id := range s.products {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var done []*wish
	for i := range n {
		product := func() line {
			id := ids[s.rng.IntN(len(ids))]
			return line{product: id, name: s.products[id].name, quantity: int64(1 + s.rng.IntN(3)), price: s.products[id].price}
		}
		w := &wish{id: strconv.Itoa(990 + i), key: fmt.Sprintf("CLI-%d", s.rng.IntN(8)), client: "Zoé \"Z\" O’Neil", lines: []line{product()}}
		if i%3 == 0 {
			w.id = fmt.Sprintf("commande n° %d", i)
		}
		if s.rng.IntN(2) == 0 {
			w.email = "zoe@exemple.fr"
		}
		if s.rng.IntN(3) == 0 {
			w.trace = fmt.Sprintf("00-%032x-%016x-01", i+1, i+1)
		}
		if s.rng.IntN(4) == 0 {
			w.currency = "USD"
		}
		switch i % 12 {
		case 0, 1, 2: // the single-line form, by name
			w.single = true
			w.lines[0].name = strings.ToUpper(w.lines[0].name)
		case 3, 4, 5:
			w.lines = append(w.lines, product(), product())
		case 6:
			w.lines = append(w.lines, line{product: "INCONNU", quantity: 1, price: 990})
		case 7:
			w.lines[0].price, w.lines[0].quantity = 1_200_000, 1 // above what is paid
		case 8:
			w.lines = append(w.lines, line{product: ids[0], quantity: 100_000, price: 10})
		case 9:
			w.spelled = "e"
		case 10: // incoherent, and twice
			bad := fmt.Sprintf(`{"commandeId":%s,"client":"Zoé","montant":-5,"devise":"XXY","lignes":[{"id_produit":1,"quantite":0}]}`, idJSON(w.id))
			for range 2 {
				r := s.write(event.TopicOrders, w.key, nil, " "+bad+"\n")
				s.reject(r, w.id, "commande", bad, "CHAMP_MANQUANT", "QUANTITE_INVALIDE", "DEVISE_INCONNUE", "MONTANT_INVALIDE")
			}
			continue
		case 11: // no JSON, no key; a tombstone
			s.reject(s.write(event.TopicOrders, "", nil, `{"commandeId":`), "", "commande_brute", `{"commandeId":`, "JSON_INVALIDE")
			r := s.write(event.TopicOrders, w.key, nil, "")
			r.Value = nil
			s.reject(r, "", "commande", "null", "JSON_INVALIDE")
			s.reject(s.write(event.TopicOrders, w.key, nil, " null"), "", "commande", "null", "JSON_INVALIDE")
			continue
		}
		s.place(w)
		done = append(done, w)
		if len(done) > 3 && s.rng.IntN(4) == 0 { // again, and then with other content
			old := *done[s.rng.IntN(len(done))]
			s.place(&old)
			old.client = "Quelqu’un d’autre"
			s.place(&old)
		}
		s.supply(ids[s.rng.IntN(len(ids))], fmt.Sprintf("LIV-%d-%d", i, n), 6)
	}
	return s
}

func (s *shop) shown() []*Record {
	if s.cut < 0 {
		return s.records
	}
	return s.records[:min(s.cut, len(s.records))]
}

// bounds, read, lags and close make it a source.

func (s *shop) bounds(context.Context) (map[part]bound, error) {
	bounds := map[part]bound{}
	for t := tOrders; t < topics; t++ {
		for p := range int32(partitionsOfTest) {
			bounds[part{t, p}] = bound{}
		}
	}
	for _, r := range s.shown() {
		p := part{topicIndex(r.Topic), r.Partition}
		bounds[p] = bound{end: max(bounds[p].end, r.Offset+1)}
	}
	return bounds, nil
}

func (s *shop) read(_ context.Context, from map[part]int64, to map[part]bound, f func(*Record) error, _ func()) error {
	for t := tOrders; t < topics; t++ {
		for p := range int32(partitionsOfTest) {
			where := part{t, p}
			at, ok := from[where]
			if !ok {
				continue
			}
			list := slices.DeleteFunc(slices.Clone(s.shown()), func(r *Record) bool {
				return topicIndex(r.Topic) != t || r.Partition != p || r.Offset < at || r.Offset >= to[where].end
			})
			slices.SortStableFunc(list, func(a, b *Record) int { return int(a.Offset - b.Offset) })
			for _, r := range list {
				if err := f(r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *shop) lags(context.Context) ([]lag, error) { return s.waiting, nil }
func (s *shop) close()                              {}

// model is the database and the archive of a shop's history.
type model struct{ *shop }

func (m model) Positions(context.Context) (map[orderdb.Partition]int64, error) {
	bounds, _ := m.bounds(context.Background())
	out := map[orderdb.Partition]int64{}
	for p, b := range bounds {
		out[orderdb.Partition{Topic: topicNames[p.topic], Partition: p.partition}] = b.end
	}
	return out, nil
}

// orderOf is the order that a record is about.
func orderOf(r *Record) string {
	v, err := readJSON(r.Value, maxDepth)
	if err != nil {
		return ""
	}
	for _, name := range []string{"commandeId", "id_commande"} {
		if id, ok := v.get(name).id(); ok {
			return id
		}
	}
	return ""
}

// order is orderOf, which does not change once an audit began.
func (s *shop) order(r *Record) string {
	id, known := s.about[r]
	if !known && !r.Control {
		id = orderOf(r)
		s.about[r] = id
	}
	return id
}

func (m model) list(after int64, f func(int64, string) error) error {
	seen, n := map[string]bool{}, int64(0)
	for _, r := range m.shown() {
		if id := m.order(r); id != "" && !seen[id] {
			seen[id] = true
			if n++; n > after {
				if err := f(n, id); err != nil {
					return err
				}
			}
		}
	}
	for id := range m.edit {
		if n++; !seen[id] && n > after {
			if err := f(n, id); err != nil {
				return err
			}
		}
	}
	return nil
}

var ranks = []string{"", "REJETEE", "EN_CONFLIT", "RECUE", "RESERVEE", "PAYEE", "FACTUREE", "NOTIFIEE", "STOCK_REFUSE", "PAIEMENT_REFUSE"}

// Rows folds the records of each order, as tracking does.
func (m model) Rows(_ context.Context, ids []string, f func(Row), entry func(string, string, int32, int64)) error {
	rows, alerts, places := map[string]*Row{}, map[string][]string{}, map[string][]part{}
	for _, r := range m.shown() {
		id := m.order(r)
		if id == "" || !slices.Contains(ids, id) {
			continue
		}
		places[id] = append(places[id], part{topicIndex(r.Topic), r.Partition<<16 | int32(r.Offset)})
		row := rows[id]
		if row == nil {
			row = &Row{ID: id, At: r.Time}
			rows[id] = row
		}
		v, _ := readJSON(r.Value, maxDepth)
		state, text := "", func(name string) string { return v.get(name).text }
		switch r.Topic {
		case event.TopicOrders:
			if text("montant") != "-5" {
				state = "RECUE"
				if row.Client == "" {
					row.Client = string(r.Key)
				}
			}
		case event.TopicErrors:
			code := v.get("erreurs").kids[0].get("code").text
			switch {
			case text("gravite") == "alerte":
				alerts[id] = append(alerts[id], code)
			case code != "COMMANDE_EN_CONFLIT":
				state = "REJETEE"
			}
		case event.TopicVerdicts:
			if state = "RESERVEE"; text("statut") == "REFUSE" {
				state, row.Reason = "STOCK_REFUSE", text("motif")
			}
		case event.TopicAccepted:
			state = "PAYEE"
		case event.TopicRefused:
			state, row.Reason = "PAIEMENT_REFUSE", text("motif")
		case event.TopicInvoices, event.TopicConfirmations:
			state, row.Invoice = "FACTUREE", text("numero")+text("numero_facture")
		case event.TopicNotifications:
			if text("type") == "CONFIRMATION" {
				state = "NOTIFIEE"
			}
		}
		if slices.Index(ranks, state) > slices.Index(ranks, row.State) {
			row.State = state
		}
	}
	for _, id := range ids {
		row, entries := rows[id], places[id]
		if change := m.edit[id]; change != nil {
			if row == nil {
				row = &Row{ID: id, State: "RECUE", At: m.clock}
			}
			if change(row); row.ID == "" {
				continue
			}
		}
		if change := m.entries[id]; change != nil {
			change(&entries)
		}
		if row == nil {
			continue
		}
		row.Alerts = append(row.Alerts, alerts[id]...)
		f(*row)
		for _, e := range entries {
			entry(id, topicNames[e.topic], e.partition>>16, int64(e.partition&0xffff))
		}
	}
	return nil
}

func (m model) Last(context.Context) (n int64, err error) {
	err = m.list(0, func(number int64, _ string) error { n = number; return nil })
	return n, err
}

func (m model) Page(ctx context.Context, after, to int64, f func(int64, Row), entry func(int64, string, int32, int64)) error {
	var ids []string
	number := map[string]int64{}
	if err := m.list(after, func(n int64, id string) error {
		if n <= to {
			ids = append(ids, id)
			number[id] = n
		}
		return nil
	}); err != nil {
		return err
	}
	for _, id := range ids[:min(len(ids), 20)] {
		if err := m.Rows(ctx, []string{id}, func(r Row) { f(number[id], r) }, func(id, topic string, partition int32, offset int64) {
			entry(number[id], topic, partition, offset)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (m model) Level(_ context.Context, product string) (available, reserved int64, ok bool, err error) {
	for _, r := range m.shown() {
		v, err := readJSON(r.Value, maxDepth)
		if r.Control || r.Topic != event.TopicMovements || err != nil || v.get("id_produit").text != product {
			continue
		}
		available, _ = strconv.ParseInt(v.get("disponible").text, 10, 64)
		reserved, _ = strconv.ParseInt(v.get("reserve").text, 10, 64)
		ok = true
	}
	return available + m.level[product], reserved, ok, nil
}

func (m model) Pending(context.Context) (int64, time.Time, error) { return m.pending, m.oldest, nil }

type table struct{ *shop }

// counted counts how often it was read.
type counted struct {
	table
	n int
}

func (c *counted) Rows(ctx context.Context, f func(func(string) (string, bool)) error) error {
	c.n++
	return c.table.Rows(ctx, f)
}

func (t table) Rows(_ context.Context, f func(func(string) (string, bool)) error) error {
	shown := map[string]bool{}
	for _, r := range t.shown() {
		if v, err := readJSON(r.Value, maxDepth); err == nil && r.Topic == event.TopicInvoices {
			shown[v.get("numero").text] = true
		}
	}
	for _, row := range t.rows {
		if t.cut >= 0 && !shown[row["numero"]] {
			continue
		}
		if err := f(func(name string) (string, bool) { v, ok := row[name]; return v, ok }); err != nil {
			return err
		}
	}
	return nil
}
