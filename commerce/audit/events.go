package audit

import (
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/comptoir/comptoir/commerce/event"
)

// customer travels with every event of an order.
type customer struct{ client, clientID, email string }

// happening is an event of ours as it was read: the union of the fields of all
// topics that our stages write.
type happening struct {
	order string
	customer
	status, reason     string // statut or type or gravite; motif
	amount             int64
	currency           string
	lines              []eventLine
	orderedAt          string
	number             string // of an invoice
	date               string
	net, tax, rate     int64
	reference, method  string
	id, subject, body  string // of a notification
	priority, channel  string
	product, name      string // of a movement
	quantity           int64
	available, reserve int64
	accused            *accusation
}

type eventLine struct {
	line
	reserved bool
	reason   string
}

// accusation is what a record of commandes.erreurs says.
type accusation struct {
	codes     codes
	twice     bool   // a code stands in it twice
	form      form   // how the accused value is carried
	value     []byte // of formPlain and formBase64
	size      int64  // of formSize
	topic     string
	partition int32
	offset    int64
}

type form byte

const (
	formNone form = iota
	formPlain
	formBase64
	formSize
	formTombstone
	formSeveral // more than one of them
)

// fields reads the members of an object as our stages must write them. The first
// that is not so is remembered.
type fields struct {
	v     *value
	wrong string
}

func (f *fields) fail(name, what string) {
	if f.wrong == "" {
		f.wrong = name + " " + what
	}
}

func (f *fields) text(name string) string {
	v := f.v.get(name)
	if v.kind != kindText {
		f.fail(name, "is no text")
	}
	return v.text
}

// optional reads a text that is absent rather than empty.
func (f *fields) optional(name string) string {
	v := f.v.get(name)
	if v.kind != kindNone && (v.kind != kindText || v.text == "") {
		f.fail(name, "is no text")
	}
	return v.text
}

func (f *fields) oneOf(name string, words ...string) string {
	text := f.text(name)
	if !slices.Contains(words, text) {
		f.fail(name, fmt.Sprintf("is %.40q", text))
	}
	return text
}

func (f *fields) id(name string) string {
	id, ok := f.v.get(name).writtenID()
	if !ok {
		f.fail(name, "is no id as ids are written")
	}
	return id
}

func (f *fields) money(name string) int64 {
	v := f.v.get(name)
	n, ok := money(v.text)
	if v.kind != kindNumber || !ok || decimal(n) != v.text {
		f.fail(name, "is no amount in its shortest form")
	}
	return n
}

func (f *fields) integer(name string) int64 {
	v := f.v.get(name)
	n, ok := money(v.text)
	if v.kind != kindNumber || !ok || n%100 != 0 || decimal(n) != v.text {
		var m int64
		if _, err := fmt.Sscan(v.text, &m); v.kind == kindNumber && err == nil && fmt.Sprint(m) == v.text {
			return m // too large for an amount
		}
		f.fail(name, "is no integer")
		return 0
	}
	return n / 100
}

func (f *fields) flag(name string) bool {
	v := f.v.get(name)
	if v.kind != kindBool {
		f.fail(name, "is neither true nor false")
	}
	return v.text == "true"
}

func (f *fields) customer() customer {
	c := customer{f.text("client"), f.id("clientId"), f.optional("email")}
	if c.client == "" {
		f.fail("client", "is empty")
	}
	return c
}

// readEvent reads a record that one of our stages wrote, and says what is wrong
// with its form. What could be read of it is returned all the same; readable is
// false if that is nothing.
func readEvent(r *Record) (v value, h happening, wrong string, readable bool) {
	depth := maxDepth
	if r.Topic == event.TopicErrors {
		depth++ // an order of the greatest depth stands inside
	}
	v, err := readJSON(r.Value, depth)
	if err != nil || v.kind != kindObject {
		return v, h, "the value is not strict JSON with an object", false
	}
	f := &fields{v: &v}
	if t := f.text("timestamp"); t != stamp(r.Time) {
		f.fail("timestamp", fmt.Sprintf("is %.40q, that of the record %s", t, stamp(r.Time)))
	}
	switch r.Topic {
	case event.TopicVerdicts:
		h.order, h.customer = f.id("commandeId"), f.customer()
		h.status, h.reason = f.oneOf("statut", event.StatusValid, event.StatusRefused), f.optional("motif")
		h.total(f)
		h.readLines(f, true)
		h.orderedAt = f.text("date_commande")
	case event.TopicMovements:
		h.product, h.name = f.id("id_produit"), f.text("nom_produit")
		h.status = f.oneOf("mouvement", event.MovementSupply, event.MovementReserve, event.MovementRelease, event.MovementExit)
		h.quantity, h.available, h.reserve = f.integer("quantite"), f.integer("disponible"), f.integer("reserve")
		if h.status == event.MovementSupply {
			h.reference = f.id("reference")
		} else {
			h.order = f.id("id_commande")
		}
	case event.TopicAccepted, event.TopicRefused, event.TopicConfirmations:
		h.order, h.customer = f.id("id_commande"), f.customer()
		h.total(f)
		switch r.Topic {
		case event.TopicAccepted:
			h.method, h.reference = f.text("moyen"), f.text("reference")
		case event.TopicRefused:
			h.reason = f.oneOf("motif", event.ReasonOverLimit, event.ReasonProvider)
		default:
			h.number = f.text("numero_facture")
		}
	case event.TopicInvoices:
		h.order, h.customer = f.id("commandeId"), f.customer()
		h.status, h.number, h.date = f.text("type"), f.text("numero"), f.text("date")
		h.total(f)
		h.readLines(f, false)
		h.net, h.tax, h.rate = f.money("total_ht"), f.money("tva"), f.money("taux_tva")
		h.orderedAt = f.text("date_commande")
	case event.TopicNotifications:
		h.order, h.customer = f.id("commandeId"), f.customer()
		h.id, h.subject, h.body = f.text("id"), f.text("sujet"), f.text("message")
		h.status = f.oneOf("type", event.NotifyConfirmation, event.NotifyStockRefused, event.NotifyPaymentRefused)
		h.priority, h.channel = f.text("priorite"), f.text("canal")
	case event.TopicErrors:
		h.readAccusation(f)
	}
	return v, h, f.wrong, true
}

func (h *happening) total(f *fields) {
	h.amount, h.currency = f.money("montant"), f.text("devise")
}

func (h *happening) readLines(f *fields, verdict bool) {
	list := f.v.get("lignes")
	if list.kind != kindArray || len(list.kids) == 0 || len(list.kids) > event.MaxLines {
		f.fail("lignes", "is no array of 1 to 500 lines")
		return
	}
	h.lines = make([]eventLine, len(list.kids))
	for i := range list.kids {
		lf, l := &fields{v: &list.kids[i]}, &h.lines[i]
		l.product, l.name = lf.id("id_produit"), lf.text("nom_produit")
		l.quantity, l.amount = lf.integer("quantite"), lf.money("montant")
		if list.kids[i].get("prix").kind != kindNone {
			l.price, l.priced = lf.money("prix"), true
		}
		if verdict {
			l.reserved, l.reason = lf.flag("reserve"), lf.optional("motif")
		}
		if lf.wrong != "" {
			f.fail(fmt.Sprintf("lignes[%d].", i)+lf.wrong, "")
		}
	}
}

func (h *happening) readAccusation(f *fields) {
	a := &accusation{}
	h.accused = a
	if f.v.get("commandeId").kind != kindNone {
		h.order = f.id("commandeId")
	}
	h.status = f.oneOf("gravite", event.SeverityReject, event.SeverityAlert)
	list := f.v.get("erreurs")
	if list.kind != kindArray || len(list.kids) == 0 {
		f.fail("erreurs", "is no array of errors")
	}
	for i := range list.kids {
		pf := &fields{v: &list.kids[i]}
		code := codeOf(pf.text("code"))
		pf.text("champ")
		pf.text("detail")
		if code == 0 || pf.wrong != "" {
			f.fail("erreurs", "has one that is unknown or not whole")
		}
		a.twice = a.twice || a.codes&code&alerts != 0
		a.codes |= code
	}
	carry := func(is form) {
		if a.form != formNone {
			is = formSeveral
		}
		a.form = is
	}
	for i := range f.v.kids {
		switch m := &f.v.kids[i]; {
		case m.name == "commande" && m.kind == kindNull:
			carry(formTombstone)
		case m.name == "commande":
			carry(formPlain)
			a.value = []byte(m.raw)
		case m.name == "commande_brute":
			carry(formBase64)
			var err error
			if a.value, err = base64.StdEncoding.DecodeString(m.text); err != nil {
				f.fail("commande_brute", "is not base64")
			}
		case m.name == "taille":
			carry(formSize)
			a.size = f.integer("taille")
		}
	}
	of := &fields{v: f.v.get("origine")}
	a.topic, a.partition, a.offset = of.text("topic"), int32(of.integer("partition")), of.integer("offset")
	if of.wrong != "" {
		f.fail("origine."+of.wrong, "")
	}
}
