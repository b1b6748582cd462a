package api

import (
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// Actions that these routes write to journal.actions.
const (
	actionSupply  = "stock.approvisionnement"
	actionProduct = "produit.maj"
)

// action is a change that somebody made by these routes.
type action struct {
	what          string
	on            event.ID
	before, after []byte // JSON; nil for none
	at            time.Time
}

// message is the record of journal.actions that tells of it. It goes with the
// change itself, so its result is always "ok".
func (d *action) message(headers []orderdb.Header) orderdb.Message {
	b := event.AppendString([]byte(`{"action":`), d.what)
	b = d.on.AppendJSON(append(b, `,"objet":`...))
	b = append(b, `,"par":"api"`...)
	if d.before != nil {
		b = append(append(b, `,"avant":`...), d.before...)
	}
	if d.after != nil {
		b = append(append(b, `,"apres":`...), d.after...)
	}
	b = append(b, `,"resultat":"ok","timestamp":"`...)
	b = event.AppendTime(b, d.at)
	b = append(b, '"', '}')
	return orderdb.Message{Topic: event.TopicJournal, Key: []byte(d.on), Value: b, Headers: headers, At: d.at}
}
