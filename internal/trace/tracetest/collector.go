// Package tracetest is a collector for tests: it takes spans by OTLP/HTTP, and
// tells which came. It must not know who sends them.
package tracetest

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as the collector got it.
type Span struct {
	// TraceID, SpanID and ParentID are lower-case hexadecimal; ParentID is empty
	// for the first span of a trace.
	TraceID, SpanID, ParentID string
	Name                      string
	// Kind is SERVER, PRODUCER, CONSUMER and so on.
	Kind       string
	Start, End time.Time
	// Failed tells whether its status is an error.
	Failed bool
	// Attributes and Resource are the span's and its process's attributes, values
	// as text.
	Attributes, Resource map[string]string
}

// Collector collects spans. Its methods are safe for concurrent use.
type Collector struct {
	tb  testing.TB
	srv *httptest.Server

	mu      sync.Mutex
	spans   []Span
	changed chan struct{} // closed when spans come
	answer  int
}

// maxBody bounds a request, in bytes.
const maxBody = 64 << 20

// NewCollector starts a collector on a loopback port, which ends with the test.
func NewCollector(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{tb: tb, changed: make(chan struct{}), answer: http.StatusOK}
	c.srv = httptest.NewServer(http.HandlerFunc(c.serve))
	tb.Cleanup(c.srv.Close)
	return c
}

// URL is the collector's, without a path.
func (c *Collector) URL() string { return c.srv.URL }

// Answer makes the collector answer every request with a status, 200 again for
// taking spans.
func (c *Collector) Answer(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = status
}

// Spans returns the spans of a trace that came so far, in the order of their
// start; of all traces if the id is empty.
func (c *Collector) Spans(traceID string) []Span {
	spans, _ := c.look(traceID)
	return spans
}

// Wait returns the spans of a trace as soon as enough is true of them, and fails
// the test if it is not within a minute.
func (c *Collector) Wait(traceID string, enough func([]Span) bool) []Span {
	c.tb.Helper()
	limit := time.After(time.Minute)
	for {
		spans, changed := c.look(traceID)
		if enough(spans) {
			return spans
		}
		select {
		case <-changed:
		case <-limit:
			c.tb.Fatalf("trace %s: not the spans that the test waits for: %+v", traceID, spans)
		}
	}
}

func (c *Collector) look(traceID string) ([]Span, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Span
	for _, s := range c.spans {
		if traceID == "" || s.TraceID == traceID {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return out, c.changed
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.tb.Errorf("collector got %s %s of type %q", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return // the sender gave up
	}
	// TracesData has the encoding of the request's own message.
	var data tracepb.TracesData
	if err := proto.Unmarshal(body, &data); err != nil {
		c.tb.Errorf("collector got what is not OTLP: %v", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answer != http.StatusOK {
		w.WriteHeader(c.answer)
		return
	}
	for _, rs := range data.ResourceSpans {
		resource := attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				c.spans = append(c.spans, convert(s, resource))
			}
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func convert(s *tracepb.Span, resource map[string]string) Span {
	return Span{
		TraceID: hex.EncodeToString(s.TraceId), SpanID: hex.EncodeToString(s.SpanId), ParentID: hex.EncodeToString(s.ParentSpanId),
		Name: s.Name, Kind: s.Kind.String()[len("SPAN_KIND_"):],
		Start: time.Unix(0, int64(s.StartTimeUnixNano)).UTC(), End: time.Unix(0, int64(s.EndTimeUnixNano)).UTC(),
		Failed:     s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
		Attributes: attributes(s.Attributes), Resource: resource,
	}
}

func attributes(kvs []*commonpb.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range kvs {
		switch v := kv.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			m[kv.Key] = strconv.FormatInt(v.IntValue, 10)
		default:
			m[kv.Key] = kv.GetValue().String()
		}
	}
	return m
}
