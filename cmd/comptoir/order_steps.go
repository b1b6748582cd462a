package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// timelineRecord is one record of an order, as the timeline has it.
type timelineRecord struct {
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Time      time.Time       `json:"timestamp"`
	WaitMS    int64           `json:"attente_ms"`
	Value     json.RawMessage `json:"valeur"`
	Raw       []byte          `json:"valeur_brute"` // what is no strict JSON
}

// mood is how a step is marked.
type mood int

const (
	neutral mood = iota
	good
	warned
	bad
)

// step is what a record means, in plain words.
type step struct {
	name   string
	detail string
	mood   mood
}

// topicSteps are the steps' names when the value cannot be read, such as one
// that retention has removed.
var topicSteps = map[string]string{
	event.TopicOrders:        "order received",
	event.TopicErrors:        "accusation",
	event.TopicVerdicts:      "stock verdict",
	event.TopicMovements:     "stock movement",
	event.TopicAccepted:      "payment accepted",
	event.TopicRefused:       "payment refused",
	event.TopicInvoices:      "invoice issued",
	event.TopicConfirmations: "order confirmed",
	event.TopicNotifications: "customer notified",
}

// stepOf reads what a record says.
func stepOf(r *timelineRecord) step {
	s := step{name: topicSteps[r.Topic]}
	if s.name == "" {
		s.name = r.Topic
	}
	if len(r.Value) == 0 || string(r.Value) == "null" {
		if r.Raw != nil && r.Topic == event.TopicOrders {
			s.detail = "not readable as an order"
		}
		return s
	}
	switch r.Topic {
	case event.TopicOrders:
		if o, problems, _ := event.ParseOrder(nil, r.Value, r.Time); len(problems) == 0 {
			s.detail = fmt.Sprintf("%s, %s %s", o.Customer.Name, o.Amount, o.Currency)
		}
	case event.TopicErrors:
		if e, err := event.ParseErrorRecord(r.Value); err == nil {
			s.name, s.mood = "order rejected", bad
			if e.Severity == event.SeverityAlert {
				s.name, s.mood = "order flagged", warned
			}
			var codes []string
			for _, p := range e.Problems {
				codes = append(codes, strings.TrimSpace(p.Code+" "+p.Field))
			}
			s.detail = strings.Join(codes, ", ")
		}
	case event.TopicVerdicts:
		if v, err := event.ParseVerdict(r.Value); err == nil {
			s.detail, s.mood = v.Status+", "+plural(len(v.Lines), "line"), good
			if v.Status != event.StatusValid {
				s.detail, s.mood = v.Status+", "+v.Reason, bad
			}
		}
	case event.TopicMovements:
		if m, err := event.ParseMovement(r.Value); err == nil {
			switch m.Kind {
			case event.MovementReserve:
				s.name = "stock reserved"
			case event.MovementRelease:
				s.name = "stock released"
			case event.MovementExit:
				s.name = "stock shipped"
			}
			s.detail = fmt.Sprintf("%s %+d: %d available, %d reserved", m.Name, m.Quantity, m.Available, m.Reserved)
		}
	case event.TopicAccepted:
		if p, err := event.ParsePaymentAccepted(r.Value); err == nil {
			s.detail, s.mood = fmt.Sprintf("%s %s, %s", p.Amount, p.Currency, p.Reference), good
		}
	case event.TopicRefused:
		if p, err := event.ParsePaymentRefused(r.Value); err == nil {
			s.detail, s.mood = p.Reason, bad
		}
	case event.TopicInvoices:
		if f, err := event.ParseInvoice(r.Value); err == nil {
			s.detail, s.mood = fmt.Sprintf("%s, %s %s", f.Number, f.Amount, f.Currency), good
		}
	case event.TopicConfirmations:
		if c, err := event.ParseConfirmed(r.Value); err == nil {
			s.detail, s.mood = c.Invoice, good
		}
	case event.TopicNotifications:
		if n, err := event.ParseNotification(r.Value); err == nil {
			s.detail, s.mood = n.Type+" by "+n.Channel+": "+n.Subject, good
		}
	}
	return s
}
