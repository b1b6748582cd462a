// Package api owns the HTTP routes of orders, products and stock: what a
// request means, which answer it gets, and the OpenAPI document that says so.
//
// It decides nothing about an order that package event does not say, keeps
// nothing that is not in the order database, and must not speak Kafka: what is
// sent goes through the database's outbox, and the payloads of a timeline come
// from whoever implements Payloads.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

const (
	readLimit  = 5 * time.Second  // for what one read asks of database and Kafka
	writeLimit = 10 * time.Second // for a write
)

// Payloads reads records by where they stand.
type Payloads interface {
	// Fetch returns one Payload for each entry, in their order. An error means
	// that Kafka did not answer; the index is then shown without payloads.
	Fetch(ctx context.Context, entries []orderdb.Entry) ([]Payload, error)
}

// Payload is what a record holds.
type Payload struct {
	Key, Value []byte
	// Found is false if retention or compaction has removed the record.
	Found bool
	// Omitted says that the record is there, but too large to be held beside the
	// others.
	Omitted bool
}

// Config says what an API stands on.
type Config struct {
	// DB is the order database. Required.
	DB orderdb.DB
	// Payloads reads the records of timelines. Required.
	Payloads Payloads
	// Logger is required.
	Logger *slog.Logger
	// Registerer takes the metrics. Required.
	Registerer prometheus.Registerer
	// Now is the moment of acceptance. Defaults to time.Now.
	Now func() time.Time
	// TraceParent returns the trace context that a request's messages carry,
	// empty for none. By default, and where it returns none, it is the request's
	// own header, if valid.
	TraceParent func(*http.Request) string
}

// API serves the routes. It is safe for concurrent use.
type API struct {
	cfg     Config
	metrics *metrics
	watcher *watcher
	flights flights
	times   times
	streams atomic.Int64 // open event streams

	mu       sync.Mutex // guards stopped against begin
	stopped  bool
	stopping chan struct{}
	open     sync.WaitGroup // requests that may last: waits and streams
}

// times are the API's clocks; tests shorten them.
type times struct {
	flight    time.Duration // how long a request waits for the first one with its key
	heartbeat time.Duration // between two comments of a quiet stream
	linger    time.Duration // from an order's final state to the end of its stream
	quiet     time.Duration // after the customer's notification: other records are on their way
}

// New returns an API that serves what Register adds to a mux.
func New(cfg Config) *API {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &API{
		cfg:      cfg,
		metrics:  newMetrics(cfg.Registerer),
		watcher:  newWatcher(cfg.DB, cfg.Logger),
		flights:  flights{of: map[string]*flight{}},
		times:    times{flight: 10 * time.Second, heartbeat: 15 * time.Second, linger: 2 * time.Second, quiet: 250 * time.Millisecond},
		stopping: make(chan struct{}),
	}
	return a
}

// handler answers a request, or returns why it cannot: see fail.
type handler func(w http.ResponseWriter, r *http.Request) error

// routes are all routes by pattern of http.ServeMux.
func (a *API) routes() map[string]handler {
	return map[string]handler{
		"POST /commandes":                     a.postOrder,
		"GET /commandes":                      a.listOrders,
		"GET /commandes/{id}":                 a.getOrder,
		"GET /commandes/{id}/evenements":      a.getTimeline,
		"GET /produits":                       a.listProducts,
		"GET /produits/{id}":                  a.getProduct,
		"PUT /produits/{id}":                  a.putProduct,
		"POST /stock/{id}/approvisionnements": a.postSupply,
		"GET /openapi.yaml":                   a.getDocument,
	}
}

// Register adds the routes to mux. They expect to stand behind web.Chain.
func (a *API) Register(mux *http.ServeMux) {
	for pattern, h := range a.routes() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			if err := h(w, r); err != nil {
				a.fail(w, r, err)
			}
		})
	}
}

// Nudge says that orders may have changed: who waits for one is answered a
// little sooner than by polling alone.
func (a *API) Nudge() { a.watcher.nudge() }

// Stop ends streams and answers those who wait with what there is, until ctx
// ends. Requests that come later are answered, but do not wait. It may be
// called twice.
func (a *API) Stop(ctx context.Context) error {
	a.mu.Lock()
	if !a.stopped {
		a.stopped = true
		close(a.stopping)
	}
	a.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.open.Wait()
		a.watcher.stop()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin counts a request that may last, unless we are stopping; end it with
// a.open.Done.
func (a *API) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return false
	}
	a.open.Add(1)
	return true
}

func (a *API) getDocument(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	send(w, http.StatusOK, "application/yaml", document)
	return nil
}
