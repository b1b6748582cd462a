package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// timeline is what the API sends of order 991, one event after another: id and
// data, the last one its end.
var timeline = func() (events [][2]string) {
	const customer = `"client":"LUCAS","clientId":"CLI-991"`
	for i, r := range []struct {
		topic, value string
		ms, wait     int
	}{
		{event.TopicOrders, `{"commandeId":991,` + customer + `,"montant":120.5,"produit":"PC Gamer"}`, 0, 0},
		{event.TopicErrors, `{"commandeId":991,"gravite":"alerte","erreurs":[{"code":"PRIX_INATTENDU","champ":"lignes[0].prix","detail":"x"}],"commande":{},"origine":{"topic":"commandes.ecommerce","partition":0,"offset":0},"timestamp":"2026-11-20T09:30:00.001Z"}`, 2, 2},
		{event.TopicMovements, `{"id_produit":1001,"nom_produit":"PC Gamer","mouvement":"RESERVATION","quantite":-1,"disponible":999,"reserve":1,"id_commande":991,"timestamp":"2026-11-20T09:30:00.005Z"}`, 5, 3},
		{event.TopicVerdicts, `{"commandeId":991,"statut":"VALIDE",` + customer + `,"montant":120.5,"devise":"EUR","lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"reserve":true}],"date_commande":"2026-11-20T09:30:00.000Z","timestamp":"2026-11-20T09:30:00.005Z"}`, 5, 0},
		{event.TopicAccepted, `{"id_commande":991,` + customer + `,"montant":120.5,"devise":"EUR","moyen":"SIMULATION","reference":"SIM-991","timestamp":"2026-11-20T09:30:00.012Z"}`, 12, 7},
		{event.TopicInvoices, `{"numero":"FA-2026-000001","type":"FACTURE","commandeId":991,` + customer + `,"date":"2026-11-20","lignes":[],"total_ht":100.42,"tva":20.08,"taux_tva":20,"montant":120.5,"devise":"EUR","date_commande":"2026-11-20T09:30:00.000Z","timestamp":"2026-11-20T09:30:00.020Z"}`, 20, 8},
		{event.TopicConfirmations, `{"id_commande":991,` + customer + `,"montant":120.5,"devise":"EUR","numero_facture":"FA-2026-000001","timestamp":"2026-11-20T09:30:00.020Z"}`, 20, 0},
		{event.TopicNotifications, `{"id":"991-CONFIRMATION","commandeId":991,` + customer + `,"type":"CONFIRMATION","priorite":"GENERALE","canal":"JOURNAL","sujet":"Commande 991 confirmée","message":"Bonjour","timestamp":"2026-11-20T09:30:12.500Z"}`, 12_500, 12_480},
	} {
		at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC).Add(time.Duration(r.ms) * time.Millisecond)
		events = append(events, [2]string{fmt.Sprintf("%d.0.%d", i, i), fmt.Sprintf(`{"topic":%q,"partition":0,"offset":%d,"cle":"CLI-991","timestamp":%q,"attente_ms":%d,"valeur":%s}`,
			r.topic, i, at.Format("2006-01-02T15:04:05.000Z"), r.wait, r.value)})
	}
	return append(events, [2]string{"end", `{"commandeId":991,"statut":"NOTIFIEE"}`})
}()

const timelineLines = `order received           +0 ms       0 ms  commandes.ecommerce 0/0         LUCAS, 120.5 EUR
order flagged            +2 ms       2 ms  commandes.erreurs 0/1           PRIX_INATTENDU lignes[0].prix
stock reserved           +5 ms       3 ms  stock-mis-a-jour 0/2            PC Gamer -1: 999 available, 1 reserved
stock verdict            +5 ms       0 ms  stock.verifie 0/3               VALIDE, 1 line
payment accepted        +12 ms       7 ms  paiement-accepte 0/4            120.5 EUR, SIM-991
invoice issued          +20 ms       8 ms  factures.ecommerce 0/5          FA-2026-000001, 120.5 EUR
order confirmed         +20 ms       0 ms  commande-validee 0/6            FA-2026-000001
customer notified      +12.5 s     12.5 s  notifications.clients 0/7       CONFIRMATION by JOURNAL: Commande 991 confirmée
order 991 ended as NOTIFIEE, 12.5 s after it was received
`

// feed plays event streams: each connection gets at most so many events
// behind its Last-Event-ID, and is then cut; after the last number all.
func feed(f *fakeAPI, t *testing.T, cuts ...int) {
	f.stream = func(w http.ResponseWriter, _ *http.Request, last string) {
		from := 1 + slices.IndexFunc(timeline, func(e [2]string) bool { return e[0] == last })
		if last == "" {
			from = 0
		} else if from == 0 {
			t.Errorf("Last-Event-ID %q is none that was sent", last)
		}
		to, cut := len(timeline), len(cuts) > 0
		if cut {
			to, cuts = min(from+cuts[0], to), cuts[1:]
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "retry: 1000\r\n\r\n: alive\n\n")
		for i := from; i < to; i++ {
			name := "evenement"
			if i == len(timeline)-1 {
				name = "fin"
			}
			fmt.Fprintf(w, "event: %s\nid: %s\ndata: %s\n\n", name, timeline[i][0], timeline[i][1])
		}
		if cut {
			fmt.Fprintf(w, "event: evenement\nid: none\ndata: {\"topic\":\"half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
}

func TestOrderFollow(t *testing.T) {
	f, s := startAPI(t)
	feed(f, t)
	if out := s.ok("", "order", "follow", "991"); out != timelineLines {
		t.Errorf("follow:\n%s", out)
	}
	var objects []string
	for _, e := range timeline {
		objects = append(objects, e[1]+"\n")
	}
	if out := s.ok("", "order", "follow", "991", "-o", "json"); out != strings.Join(objects, "") {
		t.Errorf("follow -o json:\n%s", out)
	}
	if out := s.ok("", "order", "follow", "991", "-o", "yaml"); strings.Count(out, "---\n") != len(timeline) || !strings.HasSuffix(out, "---\ncommandeId: 991\nstatut: NOTIFIEE\n") {
		t.Errorf("follow -o yaml:\n%s", out)
	}
}

// A stream that breaks goes on where it was: nothing is lost, nothing is shown
// twice, not even by a server that begins anew.
func TestOrderFollowResumes(t *testing.T) {
	f, s := startAPI(t)
	feed(f, t, 3, 0, 2, 4)
	if out := s.ok("", "order", "follow", "991"); out != timelineLines {
		t.Errorf("follow:\n%s", out)
	}
	if len(f.calls) != 4 && len(f.calls) != 5 {
		t.Errorf("%d streams", len(f.calls))
	}
	if f.lasts[0] != "" || slices.Contains(f.lasts[1:], "") {
		t.Errorf("streams were resumed behind %q", f.lasts)
	}
	feed(f, t, 5)
	resuming := f.stream
	f.stream = func(w http.ResponseWriter, r *http.Request, _ string) { resuming(w, r, "") }
	if out := s.ok("", "order", "follow", "991"); out != timelineLines {
		t.Errorf("follow a server without memory:\n%s", out)
	}
	// A server that is away for a moment.
	feed(f, t, 3)
	resuming, n := f.stream, 0
	f.stream = func(w http.ResponseWriter, r *http.Request, last string) {
		if n++; n == 2 {
			unavailable(f, w, r)
			return
		}
		resuming(w, r, last)
	}
	if out := s.ok("", "order", "follow", "991"); out != timelineLines || n != 3 {
		t.Errorf("follow after 503:\n%s", out)
	}
}

func TestOrderFollowFails(t *testing.T) {
	f, s := startAPI(t)
	s.fails(exitNotFound, []string{"no order 992 is known"}, "", "order", "follow", "992")
	s.fails(exitFailure, []string{"no order API", "--api"}, "", "order", "follow", "992", "--api", "127.0.0.1:1")
	s.fails(exitUsage, []string{"--timeout"}, "", "order", "follow", "992", "--timeout", "-1s")
	s.ok("", place("992")...)
	s.fails(exitFailure, []string{"no event stream"}, "", "order", "follow", "992")

	// One that stands still ends with the time, or an interrupt.
	ctx, cancel := context.WithCancel(t.Context())
	f.stream = func(w http.ResponseWriter, r *http.Request, _ string) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: evenement\nid: 1\ndata: %s\n\n", timeline[0][1])
		w.(http.Flusher).Flush()
		if r.URL.Path == "/commandes/993/evenements" {
			cancel()
		}
		<-r.Context().Done()
	}
	s.fails(exitPartial, []string{"after 300ms order 992 is still on its way, last seen: order received"}, "", "order", "follow", "992", "--timeout", "300ms")
	if r := s.runContext(ctx, "", "order", "follow", "993"); r.code != exitPartial || !strings.Contains(r.err, "interrupted: order 993") {
		t.Errorf("interrupted: %+v", r)
	}
	f.stream = func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: evenement\ndata: nonsense\n\n")
	}
	s.fails(exitFailure, []string{"does not answer as the order API does"}, "", "order", "follow", "992")
}

// On a terminal there is a head, and colours unless they are not wanted.
func TestTimelineOnATerminal(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var out bytes.Buffer
		v := &lineView{out: &out, terminal: true, width: 72, colour: colour}
		for _, e := range timeline[:4] {
			r := &timelineRecord{}
			if err := json.Unmarshal([]byte(e[1]), r); err != nil {
				t.Fatal(err)
			}
			if err := v.record(r, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.end(&order{ID: "991", State: "STOCK_REFUSE", Reason: "PRODUIT_INCONNU"}, nil); err != nil {
			t.Fatal(err)
		}
		want := `STEP                     SINCE       WAIT  RECORD
order received           +0 ms       0 ms  commandes.ecommerce 0/0
order flagged            +2 ms       2 ms  commandes.erreurs 0/1
stock reserved           +5 ms       3 ms  stock-mis-a-jour 0/2
stock verdict            +5 ms       0 ms  stock.verifie 0/3
order 991 ended as STOCK_REFUSE (PRODUIT_INCONNU), 5 ms after it was re…
`
		got := out.String()
		if colour != strings.Contains(got, "\x1b[32mstock verdict") {
			t.Errorf("colour %v: %q", colour, got)
		}
		plain := strings.NewReplacer("\x1b[0m", "", "\x1b[2m", "", "\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "").Replace(got)
		var lines []string
		for l := range strings.Lines(plain) {
			if l = strings.TrimSuffix(l, "\n"); len([]rune(l)) > 72 {
				t.Errorf("%d columns: %s", len([]rune(l)), l)
			}
			l, _, _ = strings.Cut(l, "  WHAT IT")
			lines = append(lines, l)
		}
		for i, w := range strings.Split(strings.TrimSuffix(want, "\n"), "\n") {
			if i >= len(lines) || !strings.HasPrefix(lines[i], w) {
				t.Errorf("line %d of\n%s\nwant %s", i, plain, w)
			}
		}
	}
}

// What comes from a client must not move the cursor.
func TestTimelineIsCleaned(t *testing.T) {
	var out bytes.Buffer
	v := &lineView{out: &out}
	if err := v.record(&timelineRecord{Topic: "x\x1b[2Jy\n"}, nil); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.ContainsAny(got[:len(got)-1], "\x1b\n") {
		t.Errorf("%q", got)
	}
}

// Steps that the timeline above has not, and values that are gone.
func TestSteps(t *testing.T) {
	for _, tc := range []struct {
		topic, value, name, detail string
		mood                       mood
	}{
		{event.TopicErrors, `{"gravite":"rejet","erreurs":[{"code":"JSON_INVALIDE","champ":"","detail":"x"}],"commande":null,"origine":{"topic":"c","partition":0,"offset":0},"timestamp":"2026-11-20T09:30:00Z"}`, "order rejected", "JSON_INVALIDE", bad},
		{event.TopicMovements, `{"id_produit":1,"nom_produit":"A","mouvement":"LIBERATION","quantite":2,"disponible":3,"reserve":0,"timestamp":"2026-11-20T09:30:00Z"}`, "stock released", "A +2: 3 available, 0 reserved", neutral},
		{event.TopicMovements, `{"id_produit":1,"nom_produit":"A","mouvement":"SORTIE","quantite":-2,"disponible":3,"reserve":0,"timestamp":"2026-11-20T09:30:00Z"}`, "stock shipped", "A -2: 3 available, 0 reserved", neutral},
		{event.TopicVerdicts, `{"commandeId":1,"statut":"REFUSE","motif":"PRODUIT_INCONNU","client":"a","clientId":"a","montant":1,"devise":"EUR","lignes":[],"date_commande":"2026-11-20T09:30:00Z","timestamp":"2026-11-20T09:30:00Z"}`, "stock verdict", "REFUSE, PRODUIT_INCONNU", bad},
		{event.TopicRefused, `{"id_commande":1,"client":"a","clientId":"a","montant":1,"devise":"EUR","motif":"PLAFOND_DEPASSE","timestamp":"2026-11-20T09:30:00Z"}`, "payment refused", "PLAFOND_DEPASSE", bad},
		{event.TopicOrders, `null`, "order received", "", neutral},
		{event.TopicInvoices, ``, "invoice issued", "", neutral},
		{event.TopicInvoices, `{"autre":1}`, "invoice issued", "", neutral},
		{"another.topic", `{}`, "another.topic", "", neutral},
	} {
		if got := stepOf(&timelineRecord{Topic: tc.topic, Value: json.RawMessage(tc.value)}); got != (step{tc.name, tc.detail, tc.mood}) {
			t.Errorf("%s %s: %+v", tc.topic, tc.value, got)
		}
	}
	if got := stepOf(&timelineRecord{Topic: event.TopicOrders, Raw: []byte("{")}); got.detail != "not readable as an order" {
		t.Errorf("%+v", got)
	}
}

func TestShortly(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 ms", 9999 * time.Millisecond: "9999 ms", 12500 * time.Millisecond: "12.5 s", 3*time.Minute + 400*time.Millisecond: "3m0s"} {
		if got := shortly(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestServerEvents(t *testing.T) {
	r := newEventReader(strings.NewReader("retry: 5\n\n: hello\n\nid: 1\n\nevent: a\r\ndata: {\"x\":\r\ndata:1}\r\n\r\ndata\n\nid: 2\nnone\nevent:b\n\nid: 3\ndata: cut"))
	for _, want := range []serverEvent{{"a", "1", []byte("{\"x\":\n1}")}, {"", "1", []byte{}}, {"b", "2", nil}} {
		got, err := r.next()
		if err != nil || got.name != want.name || got.id != want.id || !bytes.Equal(got.data, want.data) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if ev, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("half an event is read as %+v, %v", ev, err)
	}
	line := strings.Repeat("x", maxEvent/2) + "\n"
	for _, text := range []string{"data: " + line + line, "data: " + line + "data: " + line} {
		if _, err := newEventReader(strings.NewReader(text + "\n")).next(); !errors.Is(err, errEventTooLong) {
			t.Errorf("an event without end: %v", err)
		}
	}
}

// Nothing makes the reader panic or read more than its limit; what it reads of
// events that are written in the plain form is what was written.
func FuzzServerEvents(f *testing.F) {
	f.Add([]byte("event: a\ndata: b\nid: c\n\n"))
	f.Add([]byte("data\r\n\r\n:\n\nid\x00\n"))
	f.Add([]byte("\n")) // data of empty lines
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := newEventReader(bytes.NewReader(b)); ; {
			ev, err := r.next()
			if err != nil {
				break
			}
			if len(ev.data) > len(b) || strings.ContainsAny(ev.name+ev.id, "\n") {
				t.Fatalf("%q is read as %+v", b, ev)
			}
		}
		data := bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r"), nil), []byte("\n"), []byte("\ndata: "))
		ev, err := newEventReader(strings.NewReader("event: x\ndata: " + string(data) + "\n\n")).next()
		if want := bytes.ReplaceAll(b, []byte("\r"), nil); err != nil || !bytes.Equal(ev.data, want) {
			t.Fatalf("%q comes back as %q, %v", want, ev.data, err)
		}
	})
}
