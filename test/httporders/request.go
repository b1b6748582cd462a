package httporders

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/comptoir/comptoir/test/orders"
)

// Request is one order to place, and what it is.
type Request struct {
	Kind string // what makes it interesting, for messages
	Body []byte
	Key  string // Idempotency-Key
	// Trace is the header traceparent, empty for none.
	Trace string
	// ID is the order's id, empty if it has none: the API gives it one.
	ID string
	// Client is the client's id, empty if the order is incoherent.
	Client string
	// Identity is equal for equal content.
	Identity string
	// Codes are why it is incoherent, sorted; empty if it is not.
	Codes []string
}

// Requests makes a request of each of the workload's orders. A record key is
// unknown by HTTP: it becomes the clientId where the order gives none, as far as
// that leaves it as coherent as it is. The Idempotency-Keys begin with prefix.
func Requests(w *orders.Workload, prefix string) (list []Request) {
	for i, r := range w.Orders {
		q := New(r.Kind, withClient(r.Key, r.Value), fmt.Sprintf("%s-%d", prefix, i))
		for _, h := range r.Headers {
			if h.Key == "traceparent" {
				q.Trace = string(h.Value)
			}
		}
		list = append(list, q)
	}
	return list
}

// New makes a request of a body.
func New(kind string, body []byte, key string) Request {
	j := judge(body)
	q := Request{Kind: kind, Body: body, Key: key, ID: j.ID, Codes: j.Codes}
	if len(j.Codes) == 0 {
		q.Client, q.Identity = j.Order.ClientID, j.Order.Identity
	}
	return q
}

// judge is the contract's word on a body. One that has no id is judged as if it
// had one, which is left out of the judgement.
func judge(body []byte) orders.Judgement {
	j := orders.Judge(nil, body, time.Time{})
	if members := membersOf(body); j.Strict && members != nil && absent(members["commandeId"]) {
		members["commandeId"] = json.RawMessage(`"CMD-0"`)
		j = orders.Judge(nil, encode(members), time.Time{})
		j.ID, j.Order.ID = "", ""
	}
	return j
}

// withClient gives a body the record key as clientId if it has none.
func withClient(key, value []byte) []byte {
	members := membersOf(value)
	if _, given := members["clientId"]; key == nil || len(members) == 0 || given {
		return value
	}
	with := fmt.Appendf(nil, `{"clientId":%s,`, orders.ID(string(key)))
	with = append(with, value[bytes.IndexByte(value, '{')+1:]...)
	if len(judge(with).Codes) != len(judge(value).Codes) {
		return value
	}
	return with
}

// membersOf are the members of a JSON object, nil if body is none.
func membersOf(body []byte) (members map[string]json.RawMessage) {
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	return members
}

func absent(literal json.RawMessage) bool { return literal == nil || string(literal) == "null" }

func encode(members map[string]json.RawMessage) []byte {
	body, err := json.Marshal(members)
	if err != nil {
		panic(err) // what was decoded is encoded again
	}
	return body
}
