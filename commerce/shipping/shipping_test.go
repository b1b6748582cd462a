package shipping

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

const confirmed = `{"id_commande":991,"client":"L'ÉTÉ <3 & \"co\"","clientId":"CLI-991","email":"lucas@example.org","montant":120.5,"devise":"EUR","numero_facture":"FA-2026-000001","timestamp":"2026-11-20T09:30:00.000Z"}`

func TestShipping(t *testing.T) {
	d := streamstest.New(t, App, func(b *streams.Builder) { Build(b, time.Hour) })
	d.Pipe(event.TopicConfirmations, "991", confirmed)
	d.Restart()
	d.Pipe(event.TopicConfirmations, "991", confirmed)
	got := d.Read("expedition-preparee")
	if len(got) != 1 || string(got[0].Key) != "991" || fmt.Sprintf("%s", got[0].Headers) != "[{comptoir-order 991}]" || d.Counted("duplicate") != 1 {
		t.Fatalf("%+v", got)
	}
	p, err := Prepared.Value.Parse(got[0].Value)
	want := Parcel{[]byte("991"), `L'ÉTÉ <3 & "co"`, []byte(`"CLI-991"`), "lucas@example.org", "FA-2026-000001", "2026-11-20T10:00:00.000Z"}
	if err != nil || !reflect.DeepEqual(p, want) {
		t.Errorf("%s %v", got[0].Value, err)
	}
	d.Advance(2 * time.Hour) // forgotten
	d.Pipe(event.TopicConfirmations, "991", confirmed)
	if len(d.Read("expedition-preparee")) != 1 {
		t.Error("identity does not expire")
	}
}

// FuzzParcel: what is accepted means the same after being written again.
func FuzzParcel(f *testing.F) {
	f.Add([]byte(`{"id_commande":991,"client":"LUCAS","clientId":"CLI-991","numero_facture":"FA-2026-000001","timestamp":"2026-11-20T10:00:00.000Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Prepared.Value.Parse(data)
		if err != nil {
			return
		}
		once := Prepared.Value.Append(nil, p)
		q, err := Prepared.Value.Parse(once)
		if twice := Prepared.Value.Append(nil, q); err != nil || string(once) != string(twice) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
	})
}
