package httpprovider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/payment"
)

// answer is a provider's answer.
type answer struct {
	accepted  bool
	reference string
	reason    string
}

func (a answer) outcome(order event.ID) payment.Outcome {
	if a.accepted {
		if a.reference == "" {
			a.reference = string(order) // the name by which the provider was asked
		}
		return payment.Outcome{Accepted: true, Method: Method, Reference: a.reference}
	}
	if a.reason != event.ReasonOverLimit {
		a.reason = event.ReasonProvider
	}
	return payment.Outcome{Reason: a.reason}
}

// parseAnswer reads {"statut":"ACCEPTE|REFUSE","reference"?,"motif"?} strictly:
// UTF-8, exact names, none twice, null as absent, nothing after. Other fields
// are ignored.
func parseAnswer(body []byte) (a answer, err error) {
	if !utf8.Valid(body) {
		return a, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return a, errors.New("it is not a JSON object")
	}
	seen := map[string]bool{}
	var status string
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return a, err
		}
		name := t.(string) // the decoder allows no other name
		if seen[name] {
			return a, fmt.Errorf("%q is there twice", name)
		}
		seen[name] = true
		switch name {
		case "statut":
			status, err = text(dec)
		case "reference":
			a.reference, err = reference(dec)
		case "motif":
			a.reason, err = text(dec)
		default:
			var skipped json.RawMessage
			err = dec.Decode(&skipped)
		}
		if err != nil {
			return a, fmt.Errorf("%q: %w", name, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return a, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return a, errors.New("something follows the object")
	}
	switch status {
	case "ACCEPTE":
		a.accepted = true
	case "REFUSE":
	default:
		return a, fmt.Errorf("statut %q is neither ACCEPTE nor REFUSE", status)
	}
	return a, nil
}

// text reads a string, "" for null.
func text(dec *json.Decoder) (string, error) {
	var s *string
	if err := dec.Decode(&s); err != nil || s == nil {
		return "", err
	}
	return *s, nil
}

// reference reads a text that can be passed on as it is.
func reference(dec *json.Decoder) (string, error) {
	s, err := text(dec)
	if err != nil || s == "" {
		return "", err
	}
	// The decoder puts U+FFFD in the place of a lone surrogate.
	if !event.ID(s).Valid() || strings.ContainsRune(s, utf8.RuneError) {
		return "", errors.New("must be a text of 1 to 200 bytes without control characters")
	}
	return s, nil
}
