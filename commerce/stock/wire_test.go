package stock

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire/wiretest"
	"github.com/comptoir/comptoir/streams"
)

var (
	long     = event.ID(strings.Repeat("é", maxID/2))
	longName = strings.Repeat("n", maxName)
	sum      = [16]byte{0, 1, 255}

	someRequests = []request{
		{Kind: requestRefused}, {Kind: requestConfirmed}, {Kind: requestShort}, {Kind: requestShort, Parts: []part{{"1597", 1}, {long, maxPart}}},
		{Kind: requestOrder, Client: "CLI-991", Partition: 2, Seq: 300, Digest: sum, Parts: []part{{"1597", 1}, {long, maxPart}}},
		{Kind: requestOrder, Client: long, Partition: math.MaxInt32, Seq: math.MaxInt64, Parts: []part{{"a", 1}}},
	}
	someCommands = []command{
		{Kind: commandReserve, Order: "991", Client: "CLI-991", Partition: 2, Seq: 300, Part: event.MaxLines - 1, Quantity: maxPart},
		{Kind: commandRelease, Order: long, Quantity: maxPart}, {Kind: commandExit, Order: "991", Quantity: 1},
		{Kind: commandKeptReserve, Order: "991", Client: "CLI-991", Seq: 300, Born: 1763632800000, Quantity: 1},
		{Kind: commandRelease, Order: long}, {Kind: commandExit, Order: "991"},
		{Kind: commandSupply, Supply: "s", Quantity: math.MaxInt64, Name: longName}, {Kind: commandSupply, Supply: "s", Quantity: 1},
		{Kind: commandList, Name: "PC"}, {Kind: commandUnlist},
	}
	someAnswers = []answer{
		{Kind: answerReserved, Seq: 300, Part: 3, Name: "PC"}, {Kind: answerShort, Name: longName}, {Kind: answerUnknown, Seq: math.MaxInt64},
		{Kind: answerAgain, Seq: 1}, {Kind: answerConflict, Seq: 2},
	}
	somePending = []*pending{
		mustPending(&pending{Offset: 5, At: 1763632800000, Key: []byte("CLI-991"), Product: "1001", Headers: []streams.Header{{Key: "traceparent", Value: []byte("00-x")}, {Key: "nul"}, {Value: []byte{}}},
			Value: []byte(`{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`)}),
		mustPending(&pending{Offset: 1 << 40, At: -1, Key: []byte{},
			Value: []byte(`{"commandeId":"a","client":"L","montant":3,"lignes":[{"id_produit":1,"quantite":1,"prix":1},{"id_produit":2,"quantite":2,"prix":1}]}`)}),
		mustPending(&pending{Value: []byte(`{"commandeId":"a","client":"L","montant":3,"lignes":[{"id_produit":1,"quantite":3,"prix":1}]}`)}),
	}
	someGathered   = []gathered{{}, {Silent: true}, {Outcomes: []outcome{{answerReserved, 1, "PC"}, {answerUnknown, 0, ""}, {answerShort, 499, longName}}}}
	someIdentities = []identity{{At: 1763632800000, Digest: sum, Parts: []part{{"1597", 1}, {long, maxPart}}}, {Digest: sum}, {Parts: []part{{"a", 0}}}}
	someLevels     = []level{{}, {true, true, longName, math.MaxInt64 - 1, 1}, {Catalogued: true, Name: "x", Reserved: 3}, {Supplied: true, Available: 1}}
	someHeld       = []held{{"a", "b"}, {long, long}, {"1", "11"}, {"11", "1"}}
)

func mustPending(p *pending) *pending {
	product := p.Product
	if problems := p.parse(func(string) event.ID { return product }); problems != nil {
		panic(problems)
	}
	p.events = event.Headers(p.order.ID, p.Headers)
	return p
}

// keyRoundTrip checks that keys come back as they were, and that no part of one
// is taken for the whole. A key has no version, and may begin as another does.
func keyRoundTrip[T any](t *testing.T, s streams.Serde[T], keys ...T) {
	t.Helper()
	for _, k := range keys {
		data := s.Append([]byte("before"), k)[len("before"):]
		got, err := s.Parse(data)
		if err != nil || !reflect.DeepEqual(got, k) {
			t.Errorf("%+v came back as %+v, %v", k, got, err)
		}
		if more, err := s.Parse(append(bytes.Clone(data), 0)); err == nil && reflect.DeepEqual(more, k) {
			t.Errorf("%+v: a byte too many passes unseen", k)
		}
		for n := range data {
			if part, err := s.Parse(data[:n]); err == nil && reflect.DeepEqual(part, k) {
				t.Errorf("%+v: the first %d of %d bytes pass for the whole", k, n, len(data))
			}
		}
	}
}

func TestRoundTrips(t *testing.T) {
	wiretest.RoundTrip(t, requestSerde, someRequests...)
	wiretest.RoundTrip(t, commandSerde, someCommands...)
	wiretest.RoundTrip(t, answerSerde, someAnswers...)
	wiretest.RoundTrip(t, pendingSerde, somePending...)
	wiretest.RoundTrip(t, gatheredSerde, someGathered...)
	wiretest.RoundTrip(t, identitySerde, someIdentities...)
	wiretest.RoundTrip(t, levelSerde, someLevels...)
	keyRoundTrip(t, heldSerde, someHeld...)
	wiretest.RoundTrip(t, reservationSerde, reservation{1, 2}, reservation{maxPart, math.MaxInt64}, reservation{})
	keyRoundTrip(t, placeSerde, place{"a", 0}, place{long, math.MaxInt64})
	keyRoundTrip(t, suppliedSerde, supplied{"a", "b"})
	wiretest.RoundTrip(t, timeSerde, time.UnixMilli(1763632800123).UTC())
	for _, p := range somePending {
		wiretest.RoundTrip(t, queueSerde, queue{Head: 3, Tail: 3, First: p}, queue{Head: 3, Tail: math.MaxInt64, First: p, Got: someGathered[2]},
			queue{Head: 3, Tail: 4, First: p, Apart: true})
	}
}

func TestDecodersRefuse(t *testing.T) {
	for _, c := range []struct {
		name string
		err  func() error
	}{
		{"another version", func() error { _, err := parseRequest([]byte{2, 2}); return err }},
		{"an unknown request", func() error { _, err := parseRequest([]byte{wireVersion, 9}); return err }},
		{"an unknown command", func() error { _, err := parseCommand([]byte{wireVersion, 0}); return err }},
		{"an unknown answer", func() error { _, err := parseAnswer([]byte{wireVersion, 6, 0}); return err }},
		{"an id that is too long", func() error {
			_, err := parseCommand(appendCommand(nil, command{Kind: commandExit, Order: long + "x"}))
			return err
		}},
		{"a name that is too long", func() error {
			_, err := parseCommand(appendCommand(nil, command{Kind: commandList, Name: longName + "x"}))
			return err
		}},
		{"an empty id", func() error { _, err := parseCommand(appendCommand(nil, command{Kind: commandExit})); return err }},
		{"a negative quantity", func() error {
			_, err := parseCommand(appendCommand(nil, command{Kind: commandSupply, Supply: "s", Quantity: -1}))
			return err
		}},
		{"a level over the brim", func() error {
			_, err := parseLevel(appendLevel(nil, level{Available: math.MaxInt64, Reserved: 1}))
			return err
		}},
		{"a part out of range", func() error {
			_, err := parseAnswer(appendAnswer(nil, answer{Kind: answerShort, Part: event.MaxLines}))
			return err
		}},
		{"a queued order that is incoherent", func() error {
			_, err := parsePending(appendPending(nil, &pending{Value: []byte(`{}`)}))
			return err
		}},
	} {
		if c.err() == nil {
			t.Errorf("%s is accepted", c.name)
		}
	}
}

func fuzz[T any](f *testing.F, s streams.Serde[T], seeds []T) {
	for _, v := range seeds {
		f.Add(s.Append(nil, v))
	}
	f.Fuzz(func(t *testing.T, data []byte) { wiretest.Fuzz(t, s, data) })
}

func FuzzRequest(f *testing.F) { fuzz(f, requestSerde, someRequests) }
func FuzzCommand(f *testing.F) {
	f.Add([]byte{wireVersion, byte(commandKeptRelease), 1, 'a'})
	fuzz(f, commandSerde, someCommands)
}
func FuzzAnswer(f *testing.F)   { fuzz(f, answerSerde, someAnswers) }
func FuzzPending(f *testing.F)  { fuzz(f, pendingSerde, somePending) }
func FuzzGathered(f *testing.F) { fuzz(f, gatheredSerde, someGathered) }
func FuzzIdentity(f *testing.F) { fuzz(f, identitySerde, someIdentities) }
func FuzzLevel(f *testing.F)    { fuzz(f, levelSerde, someLevels) }
func FuzzHeld(f *testing.F)     { fuzz(f, heldSerde, someHeld) }
func FuzzPlace(f *testing.F)    { fuzz(f, placeSerde, []place{{"a", 1}}) }
func FuzzReservation(f *testing.F) {
	fuzz(f, reservationSerde, []reservation{{1, 2}})
}
func FuzzQueue(f *testing.F) {
	fuzz(f, queueSerde, []queue{{Head: 1, Tail: 2, First: somePending[0]}, {First: somePending[1], Got: someGathered[2]}, {First: somePending[1], Apart: true}})
}
func FuzzSupplied(f *testing.F) { fuzz(f, suppliedSerde, []supplied{{"a", "b"}}) }
func FuzzTime(f *testing.F)     { fuzz(f, timeSerde, []time.Time{time.UnixMilli(1763632800123)}) }
