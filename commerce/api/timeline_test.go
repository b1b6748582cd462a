package api

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

func TestTimeline(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("991", ""))
	s.want(200, `{"commandeId":991,"evenements":[]}`, "GET", "/commandes/991/evenements", "")
	value := "{ \"commandeId\":991,\n\"client\":\"LUCAS\",\"montant\":120.50,\"produit\":\"PC Gamer\"}"
	raw := s.record("991", event.TopicErrors, 4, 3, orderdb.Unknown, "")
	s.payloads.put(raw.Entry, Payload{Key: []byte("\xff"), Value: []byte(`{"a":1,"a":2}`), Found: true})
	gone := s.record("991", event.TopicVerdicts, 5, 9, orderdb.Reserved, "")
	s.payloads.put(gone.Entry, Payload{})
	tombstone := s.record("991", event.TopicAccepted, 6, 9, orderdb.Paid, "")
	s.payloads.put(tombstone.Entry, Payload{Found: true})
	s.track(s.record("991", event.TopicOrders, 7, 1, orderdb.Received, value), raw, gone, tombstone)
	index := func(topic, offset, ms, waited string, more string) string {
		return `{"topic":"` + topic + `","partition":1,"offset":` + offset + more + `,"timestamp":"2020-11-20T12:00:00.` + ms + `Z","attente_ms":` + waited
	}
	s.want(200, `{"commandeId":991,"evenements":[`+
		index("commandes.ecommerce", "7", "124", "0", `,"cle":"CLI-991"`)+`,"valeur":`+value+`},`+
		index("commandes.erreurs", "4", "126", "2", `,"cle_brute":"/w=="`)+`,"valeur_brute":"eyJhIjoxLCJhIjoyfQ=="},`+
		index("stock.verifie", "5", "132", "6", `,"cle":null`)+`,"valeur":null,"absente":true},`+
		index("paiement-accepte", "6", "132", "0", `,"cle":null`)+`,"valeur":null}]}`,
		"GET", "/commandes/991/evenements", "")
	s.payloads.setDown(true)
	s.want(200, `{"commandeId":991,"evenements":[`+
		index("commandes.ecommerce", "7", "124", "0", ``)+`},`+index("commandes.erreurs", "4", "126", "2", ``)+`},`+
		index("stock.verifie", "5", "132", "6", ``)+`},`+index("paiement-accepte", "6", "132", "0", ``)+`}],"avertissement":"`+warnNoPayloads+`"}`,
		"GET", "/commandes/991/evenements", "")
}

func TestOmittedPayload(t *testing.T) {
	s := newShop(t)
	c := s.record("1", event.TopicRefused, 0, 0, orderdb.PaymentRefused, ``)
	s.payloads.put(c.Entry, Payload{Found: true, Omitted: true})
	s.track(c)
	const head = `{"topic":"paiement-refuse","partition":1,"offset":0,"timestamp":"2020-11-20T12:00:00.123Z","attente_ms":0`
	s.want(200, `{"commandeId":1,"evenements":[`+head+`}],"avertissement":"`+warnOmitted+`"}`, "GET", "/commandes/1/evenements", "")
	if e := s.listen(t, "/commandes/1/evenements").want("evenement", ""); e.data != head+`,"avertissement":"`+warnOmitted+`"}` {
		t.Errorf("%s", e.data)
	}
}

// A stream that breaks between two records of a partition whose times do not
// rise with their offsets goes on with the other.
func TestStreamOutOfTime(t *testing.T) {
	s := newShop(t)
	s.track(
		s.record("1", event.TopicErrors, 3, 9, orderdb.Unknown, `{"n":3}`),
		s.record("1", event.TopicErrors, 5, 1, orderdb.Rejected, `{"n":5}`))
	for last := ""; ; {
		l := s.listen(t, "/commandes/1/evenements", "Last-Event-ID", last)
		if last != "" {
			l.want("evenement", `{"n":5}`)
			break
		}
		last = l.want("evenement", `{"n":3}`).id
		l.end()
	}
}

// Long timelines are written piece by piece; no record may be lost between two.
func TestLongTimeline(t *testing.T) {
	s := newShop(t)
	var all []orderdb.OrderChange
	for i := range 2*payloadBatch + 1 {
		all = append(all, s.record("1", event.TopicMovements, int64(i), i, orderdb.Unknown, fmt.Sprintf(`{"n":%d}`, i)))
	}
	s.track(all...)
	r := s.send("GET", "/commandes/1/evenements", "")
	last := 0
	for i := range all {
		at := strings.Index(r.body, fmt.Sprintf(`"valeur":{"n":%d}}`, i))
		if at <= last {
			t.Fatalf("record %d stands at %d, the one before at %d", i, at, last)
		}
		last = at
	}
	if strings.Count(r.body, "attente_ms") != len(all) || !strings.HasSuffix(r.body, "]}") {
		t.Errorf("%d records; ends in %s", strings.Count(r.body, "attente_ms"), r.body[len(r.body)-50:])
	}
}

// listener reads an event stream.
type listener struct {
	t     *testing.T
	lines *bufio.Scanner
	end   context.CancelFunc
}

// sse is an event; a comment has only data.
type sse struct{ name, id, data string }

func (s *shop) listen(t *testing.T, path string, header ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %s", resp.StatusCode, resp.Header)
	}
	return &listener{t, bufio.NewScanner(resp.Body), cancel}
}

// next returns the next event, and false at the end of the stream.
func (l *listener) next() (e sse, ok bool) {
	for l.lines.Scan() {
		switch line := l.lines.Text(); {
		case line == "" && e != sse{}:
			return e, true
		case line == "", strings.HasPrefix(line, "retry: "):
		default:
			name, value, _ := strings.Cut(line, ":")
			switch value = strings.TrimPrefix(value, " "); name {
			case "":
				e.data = ":"
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			default:
				l.t.Fatalf("line %q", line)
			}
		}
	}
	return e, false
}

// want checks the next event.
func (l *listener) want(name, part string) sse {
	l.t.Helper()
	e, ok := l.next()
	if !ok || e.name != name || !strings.Contains(e.data, part) {
		l.t.Fatalf("got %+v, %v, want %s with %s (%v)", e, ok, name, part, l.lines.Err())
	}
	return e
}

func (l *listener) wantEnd() {
	l.t.Helper()
	if e, ok := l.next(); ok || l.lines.Err() != nil {
		l.t.Errorf("after the end: %+v, %v", e, l.lines.Err())
	}
}

func TestStream(t *testing.T) {
	s := newShop(t)
	s.api.times.linger = time.Hour // here the notification ends it
	s.send("POST", "/commandes", order("991", ""))
	// An order whose last record is old would end at once.
	later := int(time.Since(noon).Milliseconds())
	l := s.listen(t, "/commandes/991/evenements")
	value := "{\"commandeId\":991,\r\n\"client\":\"LUCAS\",\n\"montant\":120.5,\"produit\":\"PC Gamer\"}"
	s.track(s.record("991", event.TopicOrders, 0, later, orderdb.Received, value))
	first := l.want("evenement", `"valeur":{"commandeId":991,  "client":"LUCAS", "montant":120.5,"produit":"PC Gamer"}}`)
	if !strings.HasPrefix(first.data, `{"topic":"commandes.ecommerce","partition":1,"offset":0,"cle":"CLI-991","timestamp":"`) {
		t.Errorf("%s", first.data)
	}
	s.payloads.setDown(true)
	s.track(s.record("991", event.TopicVerdicts, 0, later+8, orderdb.Reserved, `{"v":1}`))
	l.want("evenement", `"attente_ms":8,"avertissement":`)
	s.payloads.setDown(false)
	s.track(s.record("991", event.TopicInvoices, 0, later+9, orderdb.Invoiced, `{"f":1}`))
	mid := l.want("evenement", `"valeur":{"f":1}}`)

	// Resumed in the middle, with what came meanwhile, which is earlier in time.
	l.end()
	eventually(t, "the stream ends", func() bool { return s.metric("comptoir_api_streams", "") == 0 })
	s.track(s.record("991", event.TopicAccepted, 0, later+8, orderdb.Paid, `{"p":1}`))
	l = s.listen(t, "/commandes/991/evenements", "Last-Event-ID", mid.id)
	l.want("evenement", `"valeur":{"p":1}}`)
	s.track(s.record("991", event.TopicNotifications, 0, later+12, orderdb.Notified, `{"n":1}`))
	l.want("evenement", `{"n":1}`)
	fin := l.want("fin", "")
	if fin.data != `{"commandeId":991,"statut":"NOTIFIEE"}` {
		t.Errorf("%s", fin.data)
	}
	l.wantEnd()

	// From the first event on, and after all of them.
	l = s.listen(t, "/commandes/991/evenements", "Last-Event-ID", first.id)
	for _, part := range []string{`{"v":1}`, `{"p":1}`, `{"f":1}`, `{"n":1}`} {
		l.want("evenement", part)
	}
	l.want("fin", "NOTIFIEE")
	l = s.listen(t, "/commandes/991/evenements", "Last-Event-ID", fin.id)
	l.want("fin", "NOTIFIEE")
	l.wantEnd()
}

// Without a customer's notification a stream ends some time after the state is
// final, and at once for an order that is long over.
func TestStreamEnds(t *testing.T) {
	s := newShop(t)
	s.api.times.linger = time.Hour
	c := s.record("1", event.TopicRefused, 0, 0, orderdb.PaymentRefused, `{}`)
	c.Reason = "PLAFOND_DEPASSE"
	s.track(c)
	l := s.listen(t, "/commandes/1/evenements")
	l.want("evenement", "paiement-refuse")
	if e := l.want("fin", ""); e.data != `{"commandeId":1,"statut":"PAIEMENT_REFUSE","motif":"PLAFOND_DEPASSE"}` {
		t.Errorf("%s", e.data)
	}
	for _, tc := range []struct {
		state    orderdb.State
		age      time.Duration // of the last change
		quiet    time.Duration // since we saw the last change
		notified bool
		left     time.Duration
	}{
		{orderdb.StockRefused, 0, 0, false, 2 * time.Second},
		{orderdb.StockRefused, -time.Hour, 0, false, 2 * time.Second},
		{orderdb.StockRefused, time.Second, 0, false, time.Second},
		{orderdb.StockRefused, 0, 0, true, 250 * time.Millisecond},
		{orderdb.Notified, 0, time.Second, true, -750 * time.Millisecond},
		{orderdb.Notified, time.Minute, 0, false, -58 * time.Second},
		{orderdb.Rejected, 0, 0, false, 0},
		{orderdb.InConflict, 0, 0, false, 0},
	} {
		now := time.Now()
		st := streaming{api: newAPIForTimes(), order: orderdb.Order{State: tc.state, Updated: now.Add(-tc.age)}, notified: tc.notified, final: now, changed: now.Add(-tc.quiet)}
		if left, final := st.left(now); left != tc.left || !final {
			t.Errorf("%+v: %v left, final %v", tc, left, final)
		}
	}
}

func newAPIForTimes() *API {
	return &API{times: times{linger: 2 * time.Second, quiet: 250 * time.Millisecond}}
}

func TestStreamHeartbeatAndStop(t *testing.T) {
	s := newShop(t)
	s.api.times.heartbeat = 5 * time.Millisecond
	s.send("POST", "/commandes", order("1", ""))
	l := s.listen(t, "/commandes/1/evenements")
	l.want("", ":")
	// The database goes and comes: the stream stays.
	s.db.down.Store(true)
	l.want("", ":")
	s.track(s.record("1", event.TopicAccepted, 0, 0, orderdb.Paid, `{}`))
	s.db.down.Store(false)
	for {
		e, ok := l.next()
		if !ok {
			t.Fatal("the stream ended with the database")
		}
		if e.name == "evenement" {
			break
		}
	}
	if err := s.api.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for ok := true; ok; {
		_, ok = l.next()
	}
	if l.lines.Err() != nil {
		t.Error(l.lines.Err())
	}
	if r := s.send("GET", "/commandes/1/evenements", "", "Accept", "text/event-stream"); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("after the stop: %d %s", r.status, r.body)
	}
}

func TestStreamLimit(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("1", ""))
	s.api.streams.Store(maxStreams)
	if r := s.send("GET", "/commandes/1/evenements", "", "Accept", "text/event-stream"); r.status != 503 || r.code() != "INDISPONIBLE" || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.api.streams.Store(0)
	s.listen(t, "/commandes/1/evenements")
}

func TestPrefersEvents(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                    false,
		"*/*":                                 false,
		"application/json":                    false,
		"text/event-stream":                   true,
		"TEXT/Event-Stream":                   true,
		";;":                                  false,
		"text/html, text/event-stream;q=0.5":  true,
		"text/event-stream;q=0":               false,
		"text/event-stream; charset=utf-8":    true,
		"application/json, text/event-stream": true,
		"application/json, text/event-stream;q=0.5":                false,
		"text/event-stream;q=0.5, application/json":                false,
		"text/event-stream;q=0.5, application/json;q=0.4":          true,
		"text/event-stream;q=0.5, */*":                             false,
		"text/event-stream;q=0.5, application/json;q=0.1, */*":     true,
		"*/*, application/*;q=0.2, text/event-stream;q=0.5":        true,
		"text/event-stream;q=nonsense, application/json;q=0.5, a;": true,
	} {
		if got := prefersEvents(&http.Request{Header: http.Header{"Accept": {accept}}}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "0.1.0", "0.0.5_2.1.7", "13.2147483647.9223372036854775807", "0.1.0_0.1.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		if err != nil {
			return
		}
		again, err := parseCursor(string(c.append(nil)))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(c) {
			t.Errorf("%q: %v is read back as %v, %v", s, c, again, err)
		}
	})
}

func TestByOffset(t *testing.T) {
	at := func(topic string, offset int64) orderdb.Entry { return orderdb.Entry{Topic: topic, Offset: offset} }
	entries := []orderdb.Entry{at(event.TopicOrders, 5), at(event.TopicErrors, 1), at(event.TopicOrders, 3), at(event.TopicOrders, 4)}
	fresh := []int{0, 1, 2, 3}
	if byOffset(entries, fresh); fmt.Sprint(fresh) != "[2 1 3 0]" {
		t.Errorf("%v", fresh)
	}
}

// The database is asked only while somebody waits.
func TestWatcherSleeps(t *testing.T) {
	s := newShop(t)
	s.send("POST", "/commandes", order("1", ""))
	s.send("GET", "/commandes/1?attendre=PAYEE&delai=60ms", "")
	if s.db.asked.Load() == 0 {
		t.Error("a request waited, but nobody looked for changes")
	}
	s.api.watcher.ended.Wait() // or the test never ends
	s.api.Nudge()
	if s.api.watcher.running || len(s.api.watcher.subs) != 0 {
		t.Error("the watcher runs for nobody")
	}
}
