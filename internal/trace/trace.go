// Package trace shows the way of an order as OpenTelemetry spans: the request,
// the send out of the outbox, and every stage that handled one of its records.
// It owns the export and the spans' names and attributes; it must not know
// topics or what a stage does, and nothing may depend on it to work: without a
// collector the process runs as before.
//
// The trace context travels in the record header traceparent, and is passed on
// as it came. So the spans of all hops are children of the request's span, side
// by side, in the order of their start times.
//
// Spans are made by the OpenTelemetry SDK, and sent as OTLP by HTTP by a client
// of our own (see otlp.go).
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Config says where spans go.
type Config struct {
	// Endpoint is the collector's URL for OTLP by HTTP, such as
	// http://127.0.0.1:4318; /v1/traces is appended if it has no path. A user and
	// a password in it are sent as basic authentication. Empty: no tracing.
	Endpoint string
	// Service and Instance name the process in every span (service.name,
	// service.instance.id). Service defaults to "comptoir"; an empty Instance is
	// left out.
	Service, Instance string
	// Sample is the share, 0 to 1, of the traces that begin here which are
	// recorded. One that began elsewhere is recorded if its context says so.
	Sample float64
	// Registerer receives the metrics; nil means nowhere.
	Registerer prometheus.Registerer
	// Logger defaults to discarding.
	Logger *slog.Logger
}

// flushTime is how long Stop sends what is left, at most: a collector that hangs
// must not use up the time of the process's stop.
const flushTime = 5 * time.Second

// Tracer makes spans and exports them in the background. A nil Tracer is valid:
// it makes none, and lets trace contexts through. Its methods are safe for
// concurrent use, and none but Stop ever waits for the collector.
type Tracer struct {
	exporter *exporter
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// Open starts a Tracer, or returns nil if the endpoint is empty. The collector
// is not contacted: it may be down for as long as it likes.
func Open(ctx context.Context, cfg Config) (*Tracer, error) {
	if cfg.Endpoint == "" {
		return nil, nil
	}
	if !(cfg.Sample >= 0 && cfg.Sample <= 1) {
		return nil, fmt.Errorf("traces: a sample of %v is not between 0 and 1", cfg.Sample)
	}
	if cfg.Service == "" {
		cfg.Service = "comptoir"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	client, err := newOTLP(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	out, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	attributes := resource.WithAttributes(semconv.ServiceName(cfg.Service))
	if cfg.Instance != "" {
		attributes = resource.WithAttributes(semconv.ServiceName(cfg.Service), semconv.ServiceInstanceID(cfg.Instance))
	}
	res, err := resource.New(ctx, resource.WithSchemaURL(semconv.SchemaURL), resource.WithTelemetrySDK(), attributes)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	exporter := startExporter(out, newMetrics(cfg.Registerer), cfg.Logger)
	// A client chooses the length of a path.
	limits := sdktrace.NewSpanLimits()
	limits.AttributeValueLengthLimit = 1024
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(res),
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.Sample))),
		sdktrace.WithSpanProcessor(exporter),
	)
	return &Tracer{
		exporter: exporter,
		provider: provider,
		tracer:   provider.Tracer("github.com/comptoir/comptoir", trace.WithSchemaURL(semconv.SchemaURL)),
	}, nil
}

// Stop sends the spans that are left, for at most five seconds and not beyond
// ctx, and ends the export. What could not be sent is dropped: that is not an
// error. It may be called twice.
func (t *Tracer) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	// Before the provider, which would not even ask it if ctx has ended.
	if err := t.exporter.Shutdown(ctx); err != nil {
		return err
	}
	return t.provider.Shutdown(context.WithoutCancel(ctx))
}
