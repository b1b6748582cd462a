package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		WriteJSON(w, http.StatusOK, map[string]string{"id": r.PathValue("id")})
	})
	mux.HandleFunc("POST /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		b, err := Body(r)
		if err != nil {
			WriteProblem(w, err)
			return
		}
		WriteJSON(w, http.StatusCreated, len(b))
	})
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("secret") })
	mux.HandleFunc("GET /fail", func(w http.ResponseWriter, r *http.Request) {
		WriteProblem(w, fmt.Errorf("query: %w", errors.New("secret")))
	})
	mux.HandleFunc("GET /busy", func(w http.ResponseWriter, r *http.Request) {
		p := Problemf(http.StatusServiceUnavailable, CodeUnavailable, "later")
		p.RetryAfter = 5
		p.More = map[string]any{"erreurs": []string{"x"}}
		WriteProblem(w, fmt.Errorf("wrapped: %w", p))
	})
	return Routes(mux)
}

func TestChain(t *testing.T) {
	for _, tc := range []struct {
		name, method, path, body string
		host                     string
		header                   map[string]string
		status                   int
		code                     string // of the problem
		detail                   string // of the problem, if it matters
		want                     map[string]string
	}{
		{name: "ok", path: "/items/7", status: 200},
		{name: "json", method: "POST", path: "/items/7", body: "{}", header: map[string]string{"Content-Type": "application/json; charset=utf-8"}, status: 201},
		{name: "other media type", method: "POST", path: "/items/7", body: "{}", header: map[string]string{"Content-Type": "text/plain"}, status: 415, code: CodeMediaType},
		{name: "no media type", method: "POST", path: "/items/7", body: "{}", status: 415, code: CodeMediaType},
		{name: "limit", method: "POST", path: "/items/7", body: strings.Repeat("x", 100), header: map[string]string{"Content-Type": "application/json"}, status: 201},
		{name: "over the limit", method: "POST", path: "/items/7", body: strings.Repeat("x", 101), header: map[string]string{"Content-Type": "application/json"}, status: 413, code: CodeTooLarge},
		{name: "no route", path: "/nothing", status: 404, code: CodeNotFound},
		{name: "twice a slash", path: "//items/7", status: 404, code: CodeNotFound},
		{name: "a slash in the middle", path: "/items//7", status: 404, code: CodeNotFound},
		{name: "only slashes", path: "///", status: 404, code: CodeNotFound},
		{name: "dot", path: "/items/.", status: 404, code: CodeNotFound},
		{name: "dots", path: "/nothing/../items/7", status: 404, code: CodeNotFound},
		{name: "slash at the end", path: "/items/7/", status: 404, code: CodeNotFound},
		{name: "escaped dots", path: "/items/%2E%2E", status: 200},
		{name: "no method", method: "DELETE", path: "/items/7", status: 405, code: CodeMethod, want: map[string]string{"Allow": "GET, HEAD, POST"}},
		{name: "panic", path: "/panic", status: 500, code: CodeInternal},
		{name: "internal error", path: "/fail", status: 500, code: CodeInternal},
		{name: "problem", path: "/busy", status: 503, code: CodeUnavailable, want: map[string]string{"Retry-After": "5"}},
		{name: "foreign host", path: "/items/7", host: "evil.example:8080", status: 421, code: CodeMisdirected},
		{name: "allowed host", path: "/items/7", host: "Shop.Example:443", status: 200},
		{name: "loopback", path: "/items/7", host: "[::1]:8080", status: 200},
		{name: "cross-site read", path: "/items/7", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 200},
		{name: "cross-site write", method: "POST", path: "/items/7", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403, code: CodeForbidden, detail: "a browser page from another site may not send POST requests here"},
		{name: "foreign origin", method: "POST", path: "/items/7", header: map[string]string{"Origin": "https://evil.example"}, status: 403, code: CodeForbidden, detail: `a browser page from "https://evil.example" may not send POST requests here`},
		{name: "own origin", method: "POST", path: "/items/7", body: "{}", header: map[string]string{"Origin": "http://localhost:8080", "Content-Type": "application/json"}, status: 201},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := Chain(ChainConfig{Logger: discard(), AllowedHosts: []string{"shop.example"}, BodyLimit: 100}, testRoutes())
			if tc.method == "" {
				tc.method = "GET"
			}
			r := httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body))
			r.Host = "localhost:8080"
			if tc.host != "" {
				r.Host = tc.host
			}
			for k, v := range tc.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tc.status, w.Body)
			}
			for k, v := range tc.want {
				if got := w.Header().Get(k); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the answer tells what happened inside: %s", w.Body)
			}
			if tc.code == "" {
				return
			}
			if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("content type %q", ct)
			}
			var p struct {
				Type, Title, Code, Detail string
				Status                    int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if p.Code != tc.code || p.Status != tc.status || p.Type != "about:blank" || p.Title == "" || p.Detail == "" {
				t.Errorf("problem %+v, want code %s", p, tc.code)
			}
			if tc.detail != "" && p.Detail != tc.detail {
				t.Errorf("detail %q, want %q", p.Detail, tc.detail)
			}
		})
	}
}

func TestHostAllowed(t *testing.T) {
	for _, tc := range []struct {
		host    string
		allowed []string
		want    bool
	}{
		{"localhost", nil, true}, {"LOCALHOST:1", nil, true}, {"api.localhost:80", nil, true}, {"localhost.", nil, true},
		{"127.0.0.1", nil, true}, {"127.9.8.7:80", nil, true}, {"[::1]", nil, true}, {"[::1]:80", nil, true}, {"::1", nil, true},
		{"192.168.0.1", nil, false}, {"0.0.0.0", nil, false}, {"", nil, false}, {"localhost.evil.example", nil, false},
		{"127.0.0.1.evil.example", nil, false}, {"notlocalhost", nil, false},
		{"a.example:1", []string{"A.example"}, true}, {"b.example", []string{"a.example"}, false},
		{"any.example", []string{"*"}, true}, {"", []string{""}, false},
	} {
		if got := HostAllowed(tc.host, tc.allowed); got != tc.want {
			t.Errorf("HostAllowed(%q, %q) = %v, want %v", tc.host, tc.allowed, got, tc.want)
		}
	}
}

func TestPanicAfterTheAnswerBeganBreaksTheConnection(t *testing.T) {
	var log bytes.Buffer
	srv := httptest.NewServer(Chain(ChainConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
		panic("boom")
	})))
	res, err := http.Get(srv.URL)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	srv.Close()
	if err == nil {
		t.Error("the client took half an answer for a whole one")
	}
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), "web_test.go") {
		t.Errorf("the panic and its stack are not logged: %s", log.String())
	}
}

func TestMetricsAndLog(t *testing.T) {
	reg := prometheus.NewRegistry()
	var log bytes.Buffer
	h := Chain(ChainConfig{
		Logger:  slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: NewMetrics(reg),
	}, testRoutes())
	for _, r := range []struct{ method, path string }{
		{"GET", "/items/1"}, {"GET", "/items/2"}, {"GET", "/nothing"}, {"GET", "/panic"}, {"BREW", "/items/1"},
	} {
		req := httptest.NewRequest(r.method, r.path, nil)
		req.Host = "localhost"
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
	w := httptest.NewRecorder()
	MetricsHandler(reg, discard()).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`comptoir_http_requests_total{code="200",method="GET",route="/items/{id}"} 2`,
		`comptoir_http_requests_total{code="404",method="GET",route="other"} 1`,
		`comptoir_http_requests_total{code="405",method="other",route="other"} 1`,
		`comptoir_http_requests_total{code="500",method="GET",route="/panic"} 1`,
		`comptoir_http_request_duration_seconds_count{method="GET",route="/items/{id}"} 2`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("/metrics has no %s:\n%s", want, w.Body)
		}
	}
	if !strings.Contains(log.String(), `msg="http request" method=GET path=/items/1 route=/items/{id} status=200`) {
		t.Errorf("log: %s", log.String())
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestHealth(t *testing.T) {
	var mu sync.Mutex
	var kafka, connect error
	h := NewHealth(
		Check{Name: "kafka", Run: func(context.Context) error { mu.Lock(); defer mu.Unlock(); return kafka }},
		Check{Name: "connect", Run: func(context.Context) error { mu.Lock(); defer mu.Unlock(); return connect }, Dispensable: true},
	)
	mux := http.NewServeMux()
	h.Register(mux)
	check := func(path string, status int, body string) {
		t.Helper()
		if s, b := get(t, mux, path); s != status || b != body {
			t.Errorf("%s: %d %s, want %d %s", path, s, b, status, body)
		}
	}
	fail := func(k, c error) {
		mu.Lock()
		defer mu.Unlock()
		kafka, connect = k, c
	}
	check("/readyz", 200, `{"status":"ok"}`)
	fail(errors.New("no answer from 127.0.0.1:9092"), nil)
	for _, p := range []string{"/readyz", "/health"} {
		check(p, 503, `{"status":"unavailable","failing":[{"check":"kafka","reason":"no answer from 127.0.0.1:9092"}]}`)
	}
	fail(nil, errors.New("away"))
	for _, p := range []string{"/readyz", "/health"} {
		check(p, 200, `{"status":"degraded","failing":[{"check":"connect","reason":"away"}]}`)
	}
	fail(errors.New("no answer"), errors.New("away"))
	check("/readyz", 503, `{"status":"unavailable","failing":[{"check":"kafka","reason":"no answer"},{"check":"connect","reason":"away"}]}`)
	fail(nil, Notice("an old story"))
	check("/readyz", 200, `{"status":"ok","notices":[{"check":"connect","reason":"an old story"}]}`)
	fail(errors.New("no answer"), Notice("an old story"))
	check("/readyz", 503, `{"status":"unavailable","failing":[{"check":"kafka","reason":"no answer"}],"notices":[{"check":"connect","reason":"an old story"}]}`)
	fail(nil, nil)
	check("/health", 200, `{"status":"ok"}`)
	h.Drain()
	check("/readyz", 503, `{"status":"unavailable","failing":[{"check":"drain","reason":"the process is stopping"}]}`)
	check("/livez", 200, `{"status":"ok"}`)
}

func TestHangingCheckFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth(Check{Name: "slow", Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		begin := time.Now()
		if f, _ := h.Failing(t.Context()); len(f) != 1 || f[0].Check != "slow" {
			t.Errorf("failing: %v", f)
		}
		if d := time.Since(begin); d != checkTimeout {
			t.Errorf("took %v", d)
		}
	})
}

func TestServer(t *testing.T) {
	inside, finish := make(chan struct{}), make(chan struct{})
	streamEnded := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-finish
		io.WriteString(w, "done")
	})
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		if err := Stream(w); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
		close(streamEnded)
	})
	s := NewServer(ServerConfig{Listener: listenTest(t), Logger: discard(), Handler: Chain(ChainConfig{Logger: discard()}, Routes(mux))})
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop before Start: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	cancel() // the context of Start is not the server's life

	if _, err := Listen(t.Context(), s.Addr(), "--http"); err == nil || !strings.Contains(err.Error(), "--http") || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("port in use: %v", err)
	}

	answer := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + s.Addr() + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answer <- string(b)
	}()
	res, err := http.Get("http://" + s.Addr() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-inside
	stopped := make(chan error, 1)
	stopCtx, cancelStop := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancelStop()
	go func() { stopped <- s.Stop(stopCtx) }()
	<-streamEnded // its context ended
	close(finish)
	if got := <-answer; got != "done" {
		t.Errorf("the request in progress got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
	if err := s.Stop(stopCtx); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		c.Close()
		t.Error("still listening")
	}
}

func TestServerStopCutsOffAtTheDeadline(t *testing.T) {
	inside, free := make(chan struct{}), make(chan struct{})
	s := NewServer(ServerConfig{Listener: listenTest(t), Logger: discard(), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-free
	})})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		res, err := http.Get("http://" + s.Addr())
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the cut-off request succeeded")
	}
	close(free)
}

func listenTest(t *testing.T) net.Listener {
	t.Helper()
	ln, err := Listen(t.Context(), "127.0.0.1:0", "--http")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}
