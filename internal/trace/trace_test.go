package trace

import (
	"context"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/trace/tracetest"
)

// open starts a Tracer, to be ended by the test, with a sample of 1 unless opts
// say otherwise.
func open(t testing.TB, endpoint string, opts ...func(*Config)) *Tracer {
	t.Helper()
	cfg := Config{Endpoint: endpoint, Service: "test", Instance: "one", Sample: 1}
	for _, o := range opts {
		o(&cfg)
	}
	tr, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { halt(t, tr) })
	return tr
}

func halt(t testing.TB, tr *Tracer) {
	if err := tr.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		endpoint string
		sample   float64
	}{
		{"localhost:4318", 1}, {"ftp://localhost", 1}, {"http://", 1}, {"http://a b", 1}, {"http://u:secret@a b", 1}, {"ftp://u:secret@a", 1},
		{"http://localhost", -0.1}, {"http://localhost", 1.1}, {"http://localhost", math.NaN()},
	} {
		tr, err := Open(t.Context(), Config{Endpoint: c.endpoint, Sample: c.sample})
		if err == nil {
			halt(t, tr)
			t.Errorf("%s, sample %v: opened", c.endpoint, c.sample)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the password: %v", c.endpoint, err)
		}
	}
}

func TestWithoutEndpointNothingIsTraced(t *testing.T) {
	tr, err := Open(t.Context(), Config{})
	if tr != nil || err != nil {
		t.Fatalf("%v, %v", tr, err)
	}
	var got string
	h := tr.HTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = tr.TraceParent(r) }))
	for in, want := range map[string]string{testContext: testContext, "cc" + testContext[2:] + "-more": "cc" + testContext[2:] + "-more", "x": "", "": ""} {
		serve(h, "POST", "/commandes", in)
		if got != want {
			t.Errorf("context %q passed on as %q, want %q", in, got, want)
		}
	}
	halt(t, tr)
}

func serve(h http.Handler, method, path string, contexts ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for _, c := range contexts {
		if c != "" {
			r.Header.Add("traceparent", c)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHTTP(t *testing.T) {
	for _, c := range []struct {
		name, method, path string
		contexts           []string
		sample             float64
		span               string // empty: none
		status             string
		failed             bool
		passed             string // what records carry: same, child, new or empty
	}{
		{"continues", "POST", "/commandes", []string{testContext}, 0, "POST /commandes", "201", false, "child"},
		{"reading continues too", "GET", "/commandes/991", []string{testContext}, 0, "GET /commandes/{id}", "200", false, "child"},
		{"not sampled", "POST", "/commandes", []string{testContext[:53] + "00"}, 1, "", "", false, "same"},
		{"begins", "POST", "/commandes", nil, 1, "POST /commandes", "201", false, "new"},
		{"begins, not recorded", "POST", "/commandes", nil, 0, "", "", false, "new"},
		{"ill-formed", "POST", "/commandes", []string{"00-1"}, 1, "POST /commandes", "201", false, "new"},
		{"two contexts", "POST", "/commandes", []string{testContext, testContext}, 1, "POST /commandes", "201", false, "new"},
		{"reading begins none", "GET", "/commandes/991", nil, 1, "", "", false, ""},
		{"fails", "POST", "/panne", nil, 1, "POST /panne", "503", true, "new"},
		{"drops the connection", "POST", "/coupure", nil, 1, "POST /coupure", "", true, "new"},
		{"no route", "POST", "/ailleurs", nil, 1, "POST", "404", false, ""},
		{"any word as method", "BREW", "/commandes", nil, 1, "HTTP", "405", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			col := tracetest.NewCollector(t)
			tr := open(t, col.URL(), func(cfg *Config) { cfg.Sample = c.sample })
			var passed string
			mux := http.NewServeMux()
			answer := func(status int) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					passed = tr.TraceParent(r)
					if status == 0 {
						panic(http.ErrAbortHandler)
					}
					if status != http.StatusOK {
						w.WriteHeader(status)
					}
				}
			}
			mux.Handle("POST /commandes", answer(201))
			mux.Handle("GET /commandes/{id}", answer(200))
			mux.Handle("POST /panne", answer(503))
			mux.Handle("POST /coupure", answer(0))
			func() {
				defer func() { _ = recover() }()
				serve(tr.HTTP(mux), c.method, c.path, c.contexts...)
			}()
			halt(t, tr)
			spans := col.Spans("")
			if c.span == "" {
				if len(spans) > 0 {
					t.Errorf("spans %+v, want none", spans)
				}
			} else if len(spans) != 1 || spans[0].Name != c.span || spans[0].Kind != "SERVER" || spans[0].Failed != c.failed ||
				spans[0].Attributes["http.response.status_code"] != c.status || spans[0].Attributes["url.path"] != c.path ||
				spans[0].Attributes["url.scheme"] != "http" || (spans[0].Attributes["error.type"] != "") != c.failed ||
				spans[0].Resource["service.name"] != "test" || spans[0].Resource["service.instance.id"] != "one" ||
				spans[0].End.Before(spans[0].Start) {
				t.Errorf("spans %+v, want one %s with status %s", spans, c.span, c.status)
			}
			switch c.passed {
			case "":
				if passed != "" {
					t.Errorf("records carry %q", passed)
				}
			case "same":
				if passed != c.contexts[0] {
					t.Errorf("records carry %q", passed)
				}
			case "child":
				if len(spans) != 1 || passed != "00-"+testTrace+"-"+spans[0].SpanID+"-01" || spans[0].TraceID != testTrace || spans[0].ParentID != testParent {
					t.Errorf("records carry %q, spans %+v", passed, spans)
				}
			case "new":
				sc, ok := parse(passed)
				if !ok || sc.TraceID().String() == testTrace || sc.IsSampled() != (c.sample > 0) {
					t.Errorf("records carry %q", passed)
				}
				if len(spans) == 1 && (spans[0].TraceID != sc.TraceID().String() || spans[0].SpanID != sc.SpanID().String() || spans[0].ParentID != "") {
					t.Errorf("records carry %q, spans %+v", passed, spans)
				}
			}
		})
	}
}

func TestHTTPFlushes(t *testing.T) {
	tr := open(t, tracetest.NewCollector(t).URL())
	w := serve(tr.HTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(w, "x"); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	})), "POST", "/")
	if !w.Flushed || w.Code != http.StatusOK {
		t.Errorf("flushed %v, status %d", w.Flushed, w.Code)
	}
}

func TestHops(t *testing.T) {
	col := tracetest.NewCollector(t)
	tr := open(t, col.URL())
	at := time.Date(2026, 11, 20, 10, 0, 0, 123456789, time.UTC)
	h := Hop{
		Topic: "commandes.ecommerce", Partition: 2, Offset: 17, Start: at, End: at.Add(time.Millisecond),
		Headers: []kgo.RecordHeader{{Key: "comptoir-order", Value: []byte("991")}, {Key: "traceparent", Value: []byte(testContext)}},
	}
	tr.Sent(h)
	h.Group, h.Start, h.End = "service-stock", at.Add(time.Second), at.Add(2*time.Second)
	tr.Processed(h)
	// The first context counts; without a sampled one there is no span.
	h.Headers = []kgo.RecordHeader{{Key: "traceparent", Value: []byte("x")}, {Key: "traceparent", Value: []byte(testContext)}}
	tr.Processed(h)
	h.Headers = []kgo.RecordHeader{{Key: "traceparent", Value: []byte(testContext[:53] + "00")}}
	tr.Processed(h)
	halt(t, tr)
	spans := col.Spans("")
	if len(spans) != 2 {
		t.Fatalf("spans %+v, want 2", spans)
	}
	for i, want := range []struct {
		name, kind, group string
		start, end        time.Time
	}{
		{"send", "PRODUCER", "", at, at.Add(time.Millisecond)},
		{"process", "CONSUMER", "service-stock", at.Add(time.Second), at.Add(2 * time.Second)},
	} {
		s := spans[i]
		if s.Name != want.name+" commandes.ecommerce" || s.Kind != want.kind || s.TraceID != testTrace || s.ParentID != testParent ||
			!s.Start.Equal(want.start) || !s.End.Equal(want.end) {
			t.Errorf("span %+v, want %+v", s, want)
		}
		attributes := map[string]string{
			"messaging.system": "kafka", "messaging.operation.name": want.name, "messaging.operation.type": want.name,
			"messaging.destination.name": "commandes.ecommerce", "messaging.destination.partition.id": "2", "messaging.kafka.offset": "17",
			"comptoir.order.id": "991",
		}
		if want.group != "" {
			attributes["messaging.consumer.group.name"] = want.group
		}
		if len(s.Attributes) != len(attributes) {
			t.Errorf("attributes %v, want %v", s.Attributes, attributes)
		}
		for k, v := range attributes {
			if s.Attributes[k] != v {
				t.Errorf("%s: %q, want %q", k, s.Attributes[k], v)
			}
		}
	}
}

// value reads comptoir_trace_spans_total.
func value(t testing.TB, reg *prometheus.Registry, outcome string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "comptoir_trace_spans_total" && m.GetLabel()[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no counter of %s spans", outcome)
	return 0
}
