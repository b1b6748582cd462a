package stock

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

// TestOrdersOfAnOlderVersion end as others do: what they have reserved stands with
// the products.
func TestOrdersOfAnOlderVersion(t *testing.T) {
	d := streamstest.New(t, App, func(b *streams.Builder) {
		s, toIdentity, toProduct, toClient := newStage(b, Config{})
		s.clientTask(streams.From(b, event.Orders), toClient)
		s.identityTask(toIdentity)
		s.productTask(toProduct)
		s.forward(b)
		b.WallClock("as of old", time.Hour, func(c *streams.Context, _ time.Time) {
			s.identities.Scan(c, func(order event.ID, i identity) bool {
				old := identity{At: i.At, Digest: i.Digest}
				for _, p := range i.Parts {
					old.Parts = append(old.Parts, part{Product: p.Product})
					s.reservations.Put(c, held{p.Product, order}, reservation{p.Quantity, i.At})
				}
				s.identities.Put(c, order, old)
				return true
			})
		}, s.identities, s.reservations)
	}, streamstest.Partitions(1))
	s := &shop{Driver: d, books: newBooks(t)}
	s.supply("a", 10)
	s.supply("b", 10)
	s.order("C", lines("1", "L", "a", 2, 1, "b", 1, 1))
	s.order("C", lines("2", "L", "a", 3, 1))
	s.order("C", lines("3", "L", "a", 1, 1))
	s.Advance(time.Hour)
	s.read()
	s.Restart()
	s.confirm("1")
	s.expect(nil, []string{"a SORTIE -2 → 4+4 1", "b SORTIE -1 → 9+0 1"})
	s.refusePayment("2")
	s.expect(nil, []string{"a LIBERATION 3 → 7+1 2"})
	s.counted("unfit", 0)
	for range 2 {
		s.confirm("1")
		s.refusePayment("2")
		s.Restart()
	}
	s.counted("unfit", 4)

	// What an older version had still under way.
	tell := func(cmd []byte) {
		s.PipeRaw(streams.RawRecord{Topic: topicCommands, Key: []byte("a"), Value: cmd})
	}
	end := func(kind commandKind, order event.ID) {
		tell(wire.AppendText([]byte{wireVersion, byte(kind)}, order))
	}
	tell(appendCommand(nil, command{Kind: commandKeptReserve, Order: "9", Client: "gone", Quantity: 7}))
	tell(appendCommand(nil, command{Kind: commandKeptReserve, Order: "10", Client: "gone", Quantity: 1}))
	s.expect(nil, []string{"a RESERVATION -7 → 0+8 9"})
	s.counted("unfit", 6) // the answers
	s.PipeRaw(streams.RawRecord{Topic: topicRequests, Key: []byte("3"), Value: appendRequest(nil, request{Kind: requestShort, Parts: []part{{"a", 1}}})})
	end(commandKeptRelease, "3")
	s.expect(nil, []string{"a LIBERATION 1 → 1+7 3"})
	s.counted("unfit", 7)
	end(commandKeptExit, "10")
	end(commandKeptRelease, "9")
	end(commandKeptExit, "9")
	s.expect(nil, []string{"a LIBERATION 7 → 8+0 9"})
	s.counted("unfit", 9)
	s.close(map[event.ID]bool{"1": true, "2": true, "3": true})
}

// TestReservationOfAnOlderVersion may have ended.
func TestReservationOfAnOlderVersion(t *testing.T) {
	for state, want := range []int64{1: 5, 2: 0, 3: 0} {
		got, err := parseReservation([]byte{wireVersion, byte(state), 5, 7})
		if state == 0 {
			if err == nil {
				t.Error("a state of 0 is accepted")
			}
		} else if err != nil || got != (reservation{want, 7}) {
			t.Errorf("state %d: %+v, %v, want %d pieces", state, got, err, want)
		}
	}
}

// TestIdentityOfAnOlderVersion has products without quantities.
func TestIdentityOfAnOlderVersion(t *testing.T) {
	old := append(binary.AppendUvarint([]byte{wireVersion}, 7), sum[:]...)
	old = wire.AppendText(wire.AppendText(append(old, 2), "1597"), "a")
	got, err := parseIdentity(old)
	want := identity{At: 7, Digest: sum, Parts: []part{{Product: "1597"}, {Product: "a"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
