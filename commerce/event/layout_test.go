package event

import (
	"bytes"
	"reflect"
	"testing"
)

// layouts are the events that are read by their layout first.
var layouts = map[string]struct {
	quick func(*layout) any
	any   func(*reader) (any, error)
}{
	"stock.verifie":      {func(l *layout) any { return l.verdict() }, func(r *reader) (any, error) { return readVerdict(r) }},
	"stock-mis-a-jour":   {func(l *layout) any { return l.movement() }, func(r *reader) (any, error) { return readMovement(r) }},
	"paiement-accepte":   {func(l *layout) any { return l.accepted() }, func(r *reader) (any, error) { return readAccepted(r) }},
	"commande-validee":   {func(l *layout) any { return l.confirmed() }, func(r *reader) (any, error) { return readConfirmed(r) }},
	"factures.ecommerce": {func(l *layout) any { return l.invoice() }, func(r *reader) (any, error) { return readInvoice(r) }},
}

// alike reads data both ways, and tells whether its layout is the one of topic.
// What is accepted by it must be read alike by the reader.
func alike(t *testing.T, topic string, data []byte) bool {
	t.Helper()
	both := layouts[topic]
	r := newReader(data)
	l := like(r)
	got := both.quick(&l)
	if !l.done(r) {
		return false
	}
	want, err := both.any(newReader(data))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %s\nread by its layout: %+v\nby the reader: %+v, %v", topic, data, got, want, err)
	}
	return true
}

// TestLayoutIsWhatWeWrite: else all would be read the slow way, and nobody see it.
func TestLayoutIsWhatWeWrite(t *testing.T) {
	seen := 0
	for _, c := range codecs {
		if layouts[c.topic].quick == nil {
			continue
		}
		seen++
		for _, e := range c.examples {
			// Those of this customer hold escapes.
			value := e.event.AppendJSON(nil)
			if ok := alike(t, c.topic, value); ok == bytes.Contains(value, []byte("\\")) {
				t.Errorf("%s: %s deviates from its layout", c.topic, e.json)
			}
		}
	}
	if seen != len(layouts) {
		t.Errorf("%d layouts have examples, want %d", seen, len(layouts))
	}
}

// TestLayoutDeviates cuts and changes an event of ours everywhere: what still
// passes for its layout is read as by the reader.
func TestLayoutDeviates(t *testing.T) {
	for _, c := range codecs {
		if layouts[c.topic].quick == nil {
			continue
		}
		for _, e := range c.examples {
			for i := range e.json {
				alike(t, c.topic, []byte(e.json[:i]))
				for _, b := range []string{"", "0", "-", ".", "e", `"`, `\`, " ", ",", "}", "]", "\x01", "\xff", "é", "null"} {
					alike(t, c.topic, []byte(e.json[:i]+b+e.json[i:]))
					alike(t, c.topic, []byte(e.json[:i]+b+e.json[i+1:]))
				}
			}
		}
	}
}

func FuzzLayout(f *testing.F) {
	for _, c := range codecs {
		if layouts[c.topic].quick != nil {
			for _, e := range c.examples {
				f.Add([]byte(e.json))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for topic := range layouts {
			alike(t, topic, data)
		}
	})
}
