package web

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultBodyLimit is the largest request body in bytes, 1 MiB.
const DefaultBodyLimit = 1 << 20

// ChainConfig says what stands around a listener's routes.
type ChainConfig struct {
	// Logger receives one debug line per request, and panics. Required.
	Logger *slog.Logger
	// Metrics counts requests; nil counts none.
	Metrics *Metrics
	// AllowedHosts are names a request's Host header may have besides the
	// loopback ones, without port. "*" allows every name.
	AllowedHosts []string
	// BodyLimit defaults to DefaultBodyLimit.
	BodyLimit int64
}

// Chain puts the common middleware around routes: metrics and log, panics,
// Host check, cross-origin refusal and body limit, in this order from outside.
func Chain(cfg ChainConfig, routes http.Handler) http.Handler {
	limit := cfg.BodyLimit
	if limit == 0 {
		limit = DefaultBodyLimit
	}
	h := limitBody(limit, routes)
	h = refuseCrossOrigin(h)
	h = checkHost(cfg.AllowedHosts, h)
	h = recoverPanics(cfg.Logger, h)
	return observe(cfg.Logger, cfg.Metrics, h)
}

func observe(log *slog.Logger, m *Metrics, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &Recorder{ResponseWriter: w}
		begin := time.Now()
		defer func() {
			d := time.Since(begin)
			if m != nil {
				m.observe(r, rec.Status(), d)
			}
			log.DebugContext(r.Context(), "http request", "method", r.Method, "path", r.URL.Path,
				"route", route(r), "status", rec.Status(), "duration", d, "remote", r.RemoteAddr)
		}()
		next.ServeHTTP(rec, r)
	})
}

// route is the mux's pattern without the method, "other" if none matched.
func route(r *http.Request) string {
	_, path, ok := strings.Cut(r.Pattern, " ")
	if !ok {
		path = r.Pattern
	}
	if path == "" {
		return "other"
	}
	return path
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// method bounds the label: a client may send any word.
func method(r *http.Request) string {
	if slices.Contains(methods, r.Method) {
		return r.Method
	}
	return "other"
}

func recoverPanics(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v) // net/http's own way to drop a connection
			}
			log.ErrorContext(r.Context(), "http handler panicked", "method", r.Method, "route", route(r), "panic", v, "stack", string(debug.Stack()))
			if rec, ok := w.(*Recorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
			WriteProblem(w, Problemf(http.StatusInternalServerError, CodeInternal, "the server failed; its log says why"))
		}()
		next.ServeHTTP(w, r)
	})
}

// checkHost refuses requests for a name that is not ours: a page elsewhere whose
// name was pointed at 127.0.0.1 (DNS rebinding) must not reach a listener
// without sign-in.
func checkHost(allowed []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !HostAllowed(r.Host, allowed) {
			WriteProblem(w, Problemf(http.StatusMisdirectedRequest, CodeMisdirected,
				"host %q is not served here: use localhost, or add the name to allowed_hosts", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// HostAllowed says whether host, a Host header with or without port, is a
// loopback name or address or stands in allowed ("*" allows all).
func HostAllowed(host string, allowed []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	if ip := net.ParseIP(name); ip != nil && ip.IsLoopback() {
		return true
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		return a == "*" || name != "" && strings.EqualFold(a, name)
	})
}

// refuseCrossOrigin keeps a browser's page from elsewhere from changing
// anything. What it may read, the browser's same-origin rule decides.
func refuseCrossOrigin(next http.Handler) http.Handler {
	c := http.NewCrossOriginProtection()
	c.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := "another site"
		if origin := r.Header.Get("Origin"); origin != "" {
			from = strconv.Quote(origin)
		}
		WriteProblem(w, Problemf(http.StatusForbidden, CodeForbidden,
			"a browser page from %s may not send %s requests here", from, r.Method))
	}))
	return c.Handler(next)
}

func limitBody(limit int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}
