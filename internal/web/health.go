package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// checkTimeout bounds one readiness check: a prober gives up after a few
// seconds, and a check that hangs is a failing one.
const checkTimeout = 2 * time.Second

// Check is one condition of readiness.
type Check struct {
	// Name stands in the answer, such as "kafka".
	Name string
	// Run returns nil or a Notice if the condition holds, else what is wrong. It is
	// called concurrently and has two seconds.
	Run func(ctx context.Context) error
	// Dispensable says that the process still serves its clients while the
	// condition does not hold: it is then degraded, but not unready.
	Dispensable bool
}

// Health answers the probes of orchestrators and gateways.
type Health struct {
	checks   []Check
	draining atomic.Bool
}

// NewHealth returns probes over the given checks.
func NewHealth(checks ...Check) *Health { return &Health{checks: checks} }

// Drain makes /readyz fail from now on, so that a gateway sends no new work
// while the process stops.
func (h *Health) Drain() { h.draining.Store(true) }

// Failure is one failing check in the answer of /readyz.
type Failure struct {
	Check  string `json:"check"`
	Reason string `json:"reason"`

	dispensable bool
}

type healthBody struct {
	Status  string    `json:"status"` // "ok", "degraded" or "unavailable"
	Failing []Failure `json:"failing,omitempty"`
	Notices []Failure `json:"notices,omitempty"`
}

// Notice is what a check that holds has to say all the same. It stands in the
// answer and changes nothing else.
type Notice string

func (n Notice) Error() string { return string(n) }

// Failing runs every check and returns those that fail and those that have a
// Notice, in their order.
func (h *Health) Failing(ctx context.Context) (failing, notices []Failure) {
	if h.draining.Load() {
		return []Failure{{Check: "drain", Reason: "the process is stopping"}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	results := make([]error, len(h.checks))
	var wg sync.WaitGroup
	for i, c := range h.checks {
		wg.Go(func() { results[i] = c.Run(ctx) })
	}
	wg.Wait()
	for i, err := range results {
		var notice Notice
		switch {
		case errors.As(err, &notice):
			notices = append(notices, Failure{Check: h.checks[i].Name, Reason: err.Error()})
		case err != nil:
			failing = append(failing, Failure{h.checks[i].Name, err.Error(), h.checks[i].Dispensable})
		}
	}
	return failing, notices
}

// Register adds /livez (the process answers), /readyz and /health to mux. Both
// say which checks fail: with 503 if one of them is not dispensable.
func (h *Health) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		noStore(w)
		WriteJSON(w, http.StatusOK, healthBody{Status: "ok"})
	})
	ready := func(w http.ResponseWriter, r *http.Request) {
		noStore(w)
		failing, notices := h.Failing(r.Context())
		switch {
		case len(failing) == 0:
			WriteJSON(w, http.StatusOK, healthBody{"ok", nil, notices})
		case slices.ContainsFunc(failing, func(f Failure) bool { return !f.dispensable }):
			WriteJSON(w, http.StatusServiceUnavailable, healthBody{"unavailable", failing, notices})
		default:
			WriteJSON(w, http.StatusOK, healthBody{"degraded", failing, notices})
		}
	}
	mux.HandleFunc("GET /readyz", ready)
	mux.HandleFunc("GET /health", ready)
}

func noStore(w http.ResponseWriter) { w.Header().Set("Cache-Control", "no-store") }
