package orders

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxValueBytes is the longest value an order may have.
const MaxValueBytes = 256 << 10

// TimeFormat is how times are written: RFC 3339, UTC, three decimals.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Line is one line of an order, in minor units of money.
type Line struct {
	Product  string // id; in the single-line form what the order says, id or name
	Quantity int64
	Price    int64
	Priced   bool // Price is known: given, or exact in the single-line form
}

// Order is what a coherent record says.
type Order struct {
	ID, Client, ClientID, Email, Currency string
	Amount                                int64
	SingleLine                            bool
	Lines                                 []Line
	OrderedAt                             string // as given, else the record's time
	Identity                              string // equal for equal content
}

// Judgement is the contract's word on one record: an order, or the set of codes
// for which it is incoherent.
type Judgement struct {
	Order  Order
	Codes  []string // sorted, each once; empty if coherent
	ID     string   // the order id, if one could be read even from an incoherent value
	Strict bool     // the value is strict JSON and was parsed
}

// Judge reads one record of commandes.ecommerce. A nil value is a tombstone.
func Judge(key, value []byte, recorded time.Time) Judgement {
	if len(value) > MaxValueBytes {
		return Judgement{Codes: []string{"COMMANDE_TROP_GRANDE"}}
	}
	parsed, err := strict(value)
	if err != nil {
		return Judgement{Codes: []string{"JSON_INVALIDE"}}
	}
	members, ok := parsed.(object)
	if !ok {
		return Judgement{Codes: []string{"JSON_INVALIDE"}, Strict: true}
	}
	j := judge{}
	o := j.order(members, key, recorded)
	slices.Sort(j.codes)
	return Judgement{Order: o, Codes: slices.Compact(j.codes), ID: o.ID, Strict: true}
}

type judge struct{ codes []string }

func (j *judge) found(code string) { j.codes = append(j.codes, code) }

func (j *judge) order(m object, key []byte, recorded time.Time) (o Order) {
	o.ID = j.id(m, "commandeId", true)

	client, clientOK := m["client"].(string)
	switch n := utf8.RuneCountInString(client); {
	case m["client"] == nil:
		j.found("CHAMP_MANQUANT")
	case !clientOK || n < 1 || n > 200:
		j.found("TYPE_INVALIDE")
		clientOK = false
	default:
		o.Client = client
	}
	given := j.id(m, "clientId", false)
	switch {
	case m["clientId"] != nil:
		o.ClientID = given
	case validID(string(key)):
		o.ClientID = string(key)
	case validID(client):
		o.ClientID = client
	case clientOK:
		j.found("TYPE_INVALIDE")
	}
	if email, ok := m["email"].(string); m["email"] != nil && (!ok || email == "") {
		j.found("TYPE_INVALIDE")
	} else {
		o.Email = email
	}

	amountOK := false
	if m["montant"] == nil {
		j.found("CHAMP_MANQUANT")
	} else if o.Amount, amountOK = j.money(m["montant"], 1); !amountOK {
		o.Amount = 0
	}
	o.Currency = "EUR"
	if devise, ok := m["devise"].(string); m["devise"] != nil && (!ok || devise == "") {
		j.found("TYPE_INVALIDE")
	} else if m["devise"] != nil {
		if o.Currency = devise; !slices.Contains(currencies, devise) {
			j.found("DEVISE_INCONNUE")
		}
	}

	switch {
	case m["lignes"] != nil:
		j.lines(&o, m["lignes"], amountOK)
	case m["produit"] != nil:
		j.single(&o, m)
	default:
		j.found("PRODUIT_ABSENT")
		if m["quantite"] != nil {
			j.quantity(m["quantite"])
		}
	}

	instant := ""
	o.OrderedAt = recorded.UTC().Format(TimeFormat)
	if m["timestamp"] != nil {
		text, _ := m["timestamp"].(string)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			j.found("TYPE_INVALIDE")
		}
		o.OrderedAt, instant = text, at.UTC().String()
	}

	o.Identity = fmt.Sprintf("%q %q %q %d %q %q single=%v", o.Client, given, o.Email, o.Amount, o.Currency, instant, o.SingleLine)
	for _, l := range o.Lines {
		o.Identity += fmt.Sprintf(" %q %d", l.Product, l.Quantity)
		if !o.SingleLine {
			o.Identity += fmt.Sprintf(" %d", l.Price)
		}
	}
	return o
}

func (j *judge) single(o *Order, m object) {
	o.SingleLine = true
	line := Line{Quantity: 1}
	switch product := m["produit"].(type) {
	case string:
		// A name may be longer than an id would; blank it names nothing.
		if line.Product = product; strings.TrimSpace(product) == "" || !validID(product) {
			j.found("TYPE_INVALIDE")
		}
	default:
		line.Product = j.id(m, "produit", true)
	}
	if m["quantite"] != nil {
		line.Quantity = j.quantity(m["quantite"])
	}
	if line.Quantity > 0 && o.Amount%line.Quantity == 0 {
		line.Price, line.Priced = o.Amount/line.Quantity, true
	}
	o.Lines = []Line{line}
}

func (j *judge) lines(o *Order, value any, amountOK bool) {
	list, ok := value.([]any)
	if !ok {
		j.found("TYPE_INVALIDE")
		return
	}
	if len(list) == 0 || len(list) > 500 {
		j.found("LIGNES_INCOHERENTES")
		return
	}
	sum, known := new(big.Int), amountOK
	for _, element := range list {
		m, ok := element.(object)
		if !ok {
			j.found("TYPE_INVALIDE")
			known = false
			continue
		}
		line := Line{Product: j.id(m, "id_produit", true), Priced: true}
		if m["quantite"] == nil {
			j.found("CHAMP_MANQUANT")
		} else {
			line.Quantity = j.quantity(m["quantite"])
		}
		priceOK := false
		if m["prix"] == nil {
			j.found("CHAMP_MANQUANT")
		} else {
			line.Price, priceOK = j.money(m["prix"], 0)
		}
		if name, ok := m["nom_produit"].(string); m["nom_produit"] != nil && (!ok || name == "") {
			j.found("TYPE_INVALIDE")
		}
		known = known && priceOK && line.Quantity > 0
		sum.Add(sum, new(big.Int).Mul(big.NewInt(line.Quantity), big.NewInt(line.Price)))
		o.Lines = append(o.Lines, line)
	}
	if known && sum.Cmp(big.NewInt(o.Amount)) != 0 {
		j.found("LIGNES_INCOHERENTES")
	}
}

var integer = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// id reads an id; required says whether its absence is an error.
func (j *judge) id(m object, field string, required bool) string {
	text := ""
	switch v := m[field].(type) {
	case nil:
		if required {
			j.found("CHAMP_MANQUANT")
		}
		return ""
	case string:
		text = v
	case json.Number:
		if integer.MatchString(v.String()) {
			text = v.String()
		}
	}
	if !validID(text) {
		j.found("TYPE_INVALIDE")
		return ""
	}
	return text
}

func (j *judge) quantity(value any) int64 {
	literal, ok := value.(json.Number)
	if !ok {
		j.found("TYPE_INVALIDE")
		return 0
	}
	n, err := literal.Int64()
	if err != nil || n < 1 || n > 1_000_000 {
		j.found("QUANTITE_INVALIDE")
		return 0
	}
	return n
}

func (j *judge) money(value any, least int64) (int64, bool) {
	literal, ok := value.(json.Number)
	if !ok {
		j.found("TYPE_INVALIDE")
		return 0, false
	}
	minor, ok := Minor(literal.String())
	if !ok || minor < least {
		j.found("MONTANT_INVALIDE")
		return 0, false
	}
	return minor, true
}

// Minor reads a decimal literal by its value: minor units, and false if it has
// more than two decimals or does not fit.
func Minor(literal string) (int64, bool) {
	// An exponent beyond this is zero, too fine or too large whatever the digits.
	if at := strings.IndexAny(literal, "eE"); at >= 0 && len(strings.TrimLeft(literal[at+1:], "+-0")) > 4 {
		return 0, strings.Trim(literal[:at], "-0.") == ""
	}
	value, ok := new(big.Rat).SetString(literal)
	if !ok {
		return 0, false
	}
	value.Mul(value, big.NewRat(100, 1))
	if !value.IsInt() || !value.Num().IsInt64() {
		return 0, false
	}
	return value.Num().Int64(), true
}

// Decimal writes minor units in their shortest exact form.
func Decimal(minor int64) string {
	text := new(big.Rat).SetFrac64(minor, 100).FloatString(2)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func validID(s string) bool {
	return len(s) >= 1 && len(s) <= 200 && s != "." && s != ".." && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, unicode.IsControl)
}

// currencies are the active codes of ISO 4217.
var currencies = strings.Fields(`
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG
HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK
MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR
SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW
UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG`)
