package invariants

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/comptoir/comptoir/test/orders"
)

// id is an id as the contract writes it: as a number exactly if it looks like
// one of at most 15 digits.
type id string

var plainNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})$`)

func (i *id) UnmarshalJSON(raw []byte) error {
	text := string(raw)
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		if plainNumber.MatchString(text) {
			return fmt.Errorf("id %q is written as a string", text)
		}
	} else if !plainNumber.MatchString(text) {
		return fmt.Errorf("id %s is written as a number", text)
	}
	*i = id(text)
	return nil
}

// money is minor units, written in their shortest exact form.
type money int64

func (m *money) UnmarshalJSON(raw []byte) error {
	minor, ok := orders.Minor(string(raw))
	if !ok || orders.Decimal(minor) != string(raw) {
		return fmt.Errorf("%s is not the shortest exact form of an amount", raw)
	}
	*m = money(minor)
	return nil
}

// customer travels with every event of an order.
type customer struct {
	Client   string `json:"client"`
	ClientID id     `json:"clientId"`
	Email    string `json:"email"`
}

type line struct {
	Product  id     `json:"id_produit"`
	Name     string `json:"nom_produit"`
	Quantity int64  `json:"quantite"`
	Amount   money  `json:"montant"`
	Price    *money `json:"prix"`
	Reserved bool   `json:"reserve"`
	Reason   string `json:"motif"`
}

type verdict struct {
	Order id `json:"commandeId"`
	customer
	Status    string `json:"statut"`
	Reason    string `json:"motif"`
	Amount    money  `json:"montant"`
	Currency  string `json:"devise"`
	Lines     []line `json:"lignes"`
	OrderedAt string `json:"date_commande"`
}

type movement struct {
	Product   id              `json:"id_produit"`
	Name      string          `json:"nom_produit"`
	Kind      string          `json:"mouvement"`
	Quantity  int64           `json:"quantite"`
	Available int64           `json:"disponible"`
	Reserved  int64           `json:"reserve"`
	Order     *id             `json:"id_commande"`
	Reference json.RawMessage `json:"reference"`
}

// payment is paiement-accepte, paiement-refuse and, with Number, commande-validee.
type payment struct {
	Order id `json:"id_commande"`
	customer
	Amount    money  `json:"montant"`
	Currency  string `json:"devise"`
	Means     string `json:"moyen"`
	Reference string `json:"reference"`
	Reason    string `json:"motif"`
	Number    string `json:"numero_facture"`
}

type invoice struct {
	Number string `json:"numero"`
	Type   string `json:"type"`
	Order  id     `json:"commandeId"`
	customer
	Date      string `json:"date"`
	Lines     []line `json:"lignes"`
	Net       money  `json:"total_ht"`
	Tax       money  `json:"tva"`
	Rate      money  `json:"taux_tva"`
	Amount    money  `json:"montant"`
	Currency  string `json:"devise"`
	OrderedAt string `json:"date_commande"`
}

type notice struct {
	ID    string `json:"id"`
	Order id     `json:"commandeId"`
	customer
	Type     string `json:"type"`
	Priority string `json:"priorite"`
	Channel  string `json:"canal"`
	Subject  string `json:"sujet"`
	Message  string `json:"message"`
}

type refusal struct {
	Order    *id    `json:"commandeId"`
	Severity string `json:"gravite"`
	Errors   []struct {
		Code  string `json:"code"`
		Field string `json:"champ"`
	} `json:"erreurs"`
	Value  json.RawMessage `json:"commande"`
	Raw    *[]byte         `json:"commande_brute"` // base64
	Size   *int            `json:"taille"`
	Origin struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
	} `json:"origine"`
}

type supply struct {
	ID       json.RawMessage `json:"id"`
	Product  json.RawMessage `json:"id_produit"`
	Name     string          `json:"nom_produit"`
	Quantity json.RawMessage `json:"quantite"`
}

// event is a record and what it says.
type event[T any] struct {
	Record
	is T
}

// decode reads a topic's values. What cannot be read is a violation and left
// out, and so is a timestamp that is not the record's own.
func decode[T any](c *checker, topic string) (events []event[T]) {
	for _, r := range c.h.Topics[topic] {
		e := event[T]{Record: r}
		if err := json.Unmarshal(r.Value, &e.is); err != nil {
			c.violation("events are well-formed", "%s: %v: %.200s", r, err, r.Value)
			continue
		}
		var stamp struct{ Timestamp string }
		if err := json.Unmarshal(r.Value, &stamp); err != nil || stamp.Timestamp != r.Time.Format(orders.TimeFormat) {
			c.violation("timestamp is the record's", "%s says %q, its record %s", r, stamp.Timestamp, r.Time.Format(orders.TimeFormat))
		}
		events = append(events, e)
	}
	return events
}

// looseID reads an id that others wrote, number or string.
func looseID(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return text, !bytes.Equal(raw, []byte("null"))
	}
	text = string(raw)
	return text, regexp.MustCompile(`^(0|[1-9][0-9]*)$`).MatchString(text)
}
