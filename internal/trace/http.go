package trace

import (
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/comptoir/comptoir/internal/web"
)

// HTTP makes a server span of each request that next serves: of those with a
// sampled trace context, and, as the first span of a new trace, of those without
// context that may change something. Reading begins none, or the probes of an
// orchestrator would be most of what is recorded.
//
// It must stand outside of whatever reads the request's Pattern, since the mux
// below writes it into the request that it is given. A nil Tracer returns next.
func (t *Tracer) HTTP(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parent, ok := incoming(r)
		if ok && !parent.IsSampled() || !ok && reads(r.Method) {
			next.ServeHTTP(w, r)
			return
		}
		t.serve(next, w, r, parent)
	})
}

func (t *Tracer) serve(next http.Handler, w http.ResponseWriter, r *http.Request, parent trace.SpanContext) {
	ctx := r.Context()
	if parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	name, attributes := describe(r)
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...))
	r = r.WithContext(ctx)
	rec := &web.Recorder{ResponseWriter: w}
	answered := false
	defer func() {
		if _, route, ok := strings.Cut(r.Pattern, " "); ok {
			span.SetName(name + " " + route)
			span.SetAttributes(semconv.HTTPRoute(route))
		}
		switch {
		case !answered:
			// A panic: net/http drops the connection.
			span.SetAttributes(semconv.ErrorTypeKey.String("aborted"))
			span.SetStatus(codes.Error, "")
		case rec.Status() >= 500:
			span.SetAttributes(semconv.HTTPResponseStatusCode(rec.Status()), semconv.ErrorTypeKey.Int(rec.Status()))
			span.SetStatus(codes.Error, "")
		default:
			span.SetAttributes(semconv.HTTPResponseStatusCode(rec.Status()))
		}
		span.End()
	}()
	next.ServeHTTP(rec, r)
	answered = true
}

// TraceParent returns the trace context that the records of a request carry:
// that of the request's span or, if it has none, the one that came with the
// request, unchanged; "" if there is neither, or what came is not well-formed.
func (t *Tracer) TraceParent(r *http.Request) string {
	if t != nil {
		if sc := trace.SpanContextFromContext(r.Context()); sc.IsValid() {
			return format(sc)
		}
	}
	if _, ok := incoming(r); ok {
		return r.Header[http.CanonicalHeaderKey(HeaderTrace)][0]
	}
	return ""
}

// incoming reads the request's trace context. More than one is none.
func incoming(r *http.Request) (trace.SpanContext, bool) {
	values := r.Header[http.CanonicalHeaderKey(HeaderTrace)]
	if len(values) != 1 {
		return trace.SpanContext{}, false
	}
	return parse(values[0])
}

func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// describe returns the span's name as long as the route is not known, and the
// attributes that are known from the start. A client may send any word as the
// method: names stay few.
func describe(r *http.Request) (name string, attributes []attribute.KeyValue) {
	name, method := r.Method, r.Method
	if !slices.Contains(methods, method) {
		name, method = "HTTP", "_OTHER"
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return name, []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(method), semconv.URLPath(r.URL.Path), semconv.URLScheme(scheme),
	}
}
