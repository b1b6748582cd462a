package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/web"
)

// shop is an API on a real listener, over a SQLite order database.
type shop struct {
	t        testing.TB
	db       *shakyDB
	payloads *topics
	api      *API
	url      string
	client   *http.Client
	registry *prometheus.Registry
}

var noon = time.Date(2020, 11, 20, 12, 0, 0, 123_000_000, time.UTC)

func newShop(t testing.TB) *shop {
	db, err := orderdb.Open(t.Context(), orderdb.Config{URL: filepath.Join(t.TempDir(), "commandes.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &shop{t: t, db: &shakyDB{DB: db}, payloads: &topics{records: map[orderdb.Entry]Payload{}}}
	s.open()
	return s
}

// open starts an API over the shop's database, as another instance would.
func (s *shop) open() {
	s.registry = prometheus.NewRegistry()
	s.api = New(Config{
		DB: s.db, Payloads: s.payloads, Logger: slog.New(slog.DiscardHandler), Registerer: s.registry,
		Now: func() time.Time { return noon.Add(456 * time.Microsecond) },
	})
	mux := http.NewServeMux()
	s.api.Register(mux)
	srv := httptest.NewServer(web.Chain(web.ChainConfig{Logger: slog.New(slog.DiscardHandler)}, web.Routes(mux)))
	s.url, s.client = srv.URL, srv.Client()
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := s.api
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			s.t.Errorf("stop: %v", err)
		}
		srv.Close()
	})
}

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// send sends a request; header holds names and values in turn, and a body goes
// as JSON unless it says otherwise.
func (s *shop) send(method, path, body string, header ...string) reply {
	s.t.Helper()
	r, err := s.try(method, path, body, header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *shop) try(method, path, body string, header ...string) (reply, error) {
	var in io.Reader
	if body != "" || method == "POST" || method == "PUT" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, in)
	if err != nil {
		return reply{}, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		switch {
		case header[i] == "Host":
			req.Host = header[i+1]
		case header[i+1] == "-":
			req.Header.Del(header[i])
		default:
			req.Header.Add(header[i], header[i+1])
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, strings.TrimSuffix(string(b), "\n")}, err
}

// want sends a request and checks status and body.
func (s *shop) want(status int, want, method, path, body string, header ...string) reply {
	s.t.Helper()
	r := s.send(method, path, body, header...)
	if r.status != status || r.body != want {
		s.t.Errorf("%s %s %.300s\ngot  %d %s\nwant %d %s", method, path, body, r.status, r.body, status, want)
	}
	return r
}

// code is the code of a problem.
func (r reply) code() string {
	var p struct{ Code string }
	if r.header.Get("Content-Type") != mediaProblem || json.Unmarshal([]byte(r.body), &p) != nil {
		return "no problem: " + r.body
	}
	return p.Code
}

// order is an order's JSON.
func order(id, more string) string {
	if id != "" {
		id = `"commandeId":` + id + `,`
	}
	return `{` + id + `"client":"LUCAS","montant":120.5,"produit":"PC Gamer"` + more + `}`
}

// outbox returns what was not sent yet, by number.
func (s *shop) outbox() (all []orderdb.Message) {
	s.t.Helper()
	for shard := range s.db.Shards() {
		list, err := s.db.DB.Unsent(s.t.Context(), map[int]int{shard: 10_000})
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, list[shard]...)
	}
	slices.SortFunc(all, func(a, b orderdb.Message) int { return int(a.Number - b.Number) })
	return all
}

// track tells the database what tracking would of records.
func (s *shop) track(changes ...orderdb.OrderChange) {
	s.t.Helper()
	b := orderdb.Batch{From: map[orderdb.Partition]orderdb.Position{}, To: map[orderdb.Partition]orderdb.Position{}, Orders: changes}
	is, err := s.db.DB.Positions(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range changes {
		p := orderdb.Partition{Topic: c.Entry.Topic, Partition: c.Entry.Partition}
		b.From[p] = is[p]
		b.To[p] = orderdb.Position{Topic: is[p].Topic, Next: max(is[p].Next, b.To[p].Next, c.Entry.Offset+1)}
	}
	if err := s.db.DB.Apply(s.t.Context(), b); err != nil {
		s.t.Fatal(err)
	}
}

// record makes a change of a record that tells a state, and keeps its payload.
func (s *shop) record(id event.ID, topic string, offset int64, ms int, state orderdb.State, value string) orderdb.OrderChange {
	e := orderdb.Entry{Topic: topic, Partition: 1, Offset: offset, Time: noon.Add(time.Duration(ms) * time.Millisecond)}
	s.payloads.put(e, Payload{Key: []byte("CLI-991"), Value: []byte(value), Found: true})
	c := orderdb.OrderChange{ID: id, Entry: e, State: state}
	if topic == event.TopicOrders {
		o, problems, _ := event.ParseOrder([]byte("CLI-991"), []byte(value), e.Time)
		if len(problems) > 0 {
			s.t.Fatal(problems)
		}
		c.Content = &orderdb.Content{Digest: o.Digest, Client: o.Customer.ID, Value: []byte(value), At: e.Time}
	}
	if topic == event.TopicVerdicts {
		c.Verdict = []byte(value)
	}
	return c
}

// metric is the value of a counter or gauge, whose labels are given as they
// are written.
func (s *shop) metric(name, label string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	s.t.Fatalf("no metric %s %s", name, label)
	return 0
}

// eventually waits until ok says yes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// shakyDB is a database that can be down, and slow.
type shakyDB struct {
	orderdb.DB
	down   atomic.Bool
	broken atomic.Bool // fails otherwise
	gate   atomic.Pointer[gate]
	asked  atomic.Int64 // calls of Changes
}

// gate stops the calls of Submit.
type gate struct {
	arrived chan struct{}
	open    chan struct{}
}

// close makes the next calls of Submit wait until the gate opens.
func (d *shakyDB) close() *gate {
	g := &gate{arrived: make(chan struct{}, 100), open: make(chan struct{})}
	d.gate.Store(g)
	return g
}

func (d *shakyDB) err() error {
	switch {
	case d.down.Load():
		return fmt.Errorf("ask: %w", orderdb.ErrUnavailable)
	case d.broken.Load():
		return fmt.Errorf("secret")
	}
	return nil
}

func (d *shakyDB) Submit(ctx context.Context, s orderdb.Submission) (orderdb.Outcome, error) {
	if g := d.gate.Load(); g != nil {
		g.arrived <- struct{}{}
		select {
		case <-g.open:
		case <-ctx.Done():
			return orderdb.Outcome{}, fmt.Errorf("%w: %w", orderdb.ErrUnavailable, ctx.Err())
		}
	}
	if err := d.err(); err != nil {
		return orderdb.Outcome{}, err
	}
	return d.DB.Submit(ctx, s)
}

func (d *shakyDB) Answer(ctx context.Context, key string) (orderdb.Answered, bool, error) {
	if err := d.err(); err != nil {
		return orderdb.Answered{}, false, err
	}
	return d.DB.Answer(ctx, key)
}

func (d *shakyDB) Order(ctx context.Context, id event.ID) (orderdb.Order, bool, error) {
	if err := d.err(); err != nil {
		return orderdb.Order{}, false, err
	}
	return d.DB.Order(ctx, id)
}

func (d *shakyDB) Orders(ctx context.Context, f orderdb.Filter) ([]orderdb.Order, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.DB.Orders(ctx, f)
}

func (d *shakyDB) Timeline(ctx context.Context, id event.ID) ([]orderdb.Entry, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.DB.Timeline(ctx, id)
}

func (d *shakyDB) Changes(ctx context.Context, ids []event.ID) (map[event.ID]int64, error) {
	d.asked.Add(1)
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.DB.Changes(ctx, ids)
}

func (d *shakyDB) Product(ctx context.Context, id event.ID) (orderdb.Product, bool, error) {
	if err := d.err(); err != nil {
		return orderdb.Product{}, false, err
	}
	return d.DB.Product(ctx, id)
}

func (d *shakyDB) Products(ctx context.Context, after event.ID, limit int) ([]orderdb.Product, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.DB.Products(ctx, after, limit)
}

// topics hold the records that timelines point to.
type topics struct {
	mu      sync.Mutex
	down    bool
	records map[orderdb.Entry]Payload
}

func place0(e orderdb.Entry) orderdb.Entry {
	e.Time = time.Time{}
	return e
}

func (p *topics) put(e orderdb.Entry, payload Payload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records[place0(e)] = payload
}

func (p *topics) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *topics) Fetch(_ context.Context, entries []orderdb.Entry) ([]Payload, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return nil, fmt.Errorf("kafka is away")
	}
	out := make([]Payload, len(entries))
	for i, e := range entries {
		out[i] = p.records[place0(e)]
	}
	return out, nil
}
