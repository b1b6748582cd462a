package trace

import (
	"context"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Hop is one record on its way: sent, or handled by a consumer group. Its fields
// are those of streams.Processed, so that one converts into the other.
type Hop struct {
	Topic     string
	Partition int32
	Offset    int64
	// Group is the consumer group that handled the record; empty if it was sent.
	Group string
	// Headers are the record's, with its trace context. They are not kept.
	Headers []kgo.RecordHeader
	// Start is when the work on the record began, End when it was done: its
	// transaction committed.
	Start, End time.Time
}

// headerOrder and attributeOrder name the record header and the span attribute
// with the order's id.
const (
	headerOrder    = "comptoir-order"
	attributeOrder = attribute.Key("comptoir.order.id")
)

// Sent makes a producer span, "send <topic>", of a record that was written, if
// its trace context is sampled.
func (t *Tracer) Sent(h Hop) {
	if t != nil {
		t.hop(&h, "send", semconv.MessagingOperationTypeSend, trace.SpanKindProducer)
	}
}

// Processed makes a consumer span, "process <topic>", of a record that a
// consumer group has handled, if its trace context is sampled.
func (t *Tracer) Processed(h Hop) {
	if t != nil {
		t.hop(&h, "process", semconv.MessagingOperationTypeProcess, trace.SpanKindConsumer)
	}
}

func (t *Tracer) hop(h *Hop, operation string, kind attribute.KeyValue, span trace.SpanKind) {
	var order []byte
	var parent trace.SpanContext
	traced := false
	for i := range h.Headers {
		switch r := &h.Headers[i]; r.Key {
		case HeaderTrace:
			if !traced {
				traced = true // the first one counts, as in the stages
				parent, _ = parse(r.Value)
			}
		case headerOrder:
			order = r.Value
		}
	}
	if !parent.IsSampled() {
		return
	}
	attributes := make([]attribute.KeyValue, 0, 8)
	attributes = append(attributes,
		semconv.MessagingSystemKafka,
		semconv.MessagingOperationName(operation), kind,
		semconv.MessagingDestinationName(h.Topic),
		semconv.MessagingDestinationPartitionID(strconv.Itoa(int(h.Partition))),
		semconv.MessagingKafkaOffset(int(h.Offset)))
	if h.Group != "" {
		attributes = append(attributes, semconv.MessagingConsumerGroupName(h.Group))
	}
	if order != nil {
		attributes = append(attributes, attributeOrder.String(string(order)))
	}
	_, s := t.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), operation+" "+h.Topic,
		trace.WithSpanKind(span), trace.WithTimestamp(h.Start), trace.WithAttributes(attributes...))
	s.End(trace.WithTimestamp(h.End))
}
