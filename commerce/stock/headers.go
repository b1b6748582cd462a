package stock

import (
	"bytes"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
)

// maxTrace is the longest traceparent passed on. Version 00 has 55 bytes.
const maxTrace = 256

// traceOnly returns what internal messages carry of a record's headers: its
// traceparent, if it has one.
func traceOnly(headers []streams.Header) []streams.Header {
	for i, h := range headers {
		if h.Key == event.HeaderTrace && len(h.Value) <= maxTrace {
			return headers[i : i+1 : i+1]
		}
	}
	return nil
}

// accusedHeaders returns the headers of an error record: those of the accused
// record, with the order's id.
func accusedHeaders(order event.ID, from []streams.Header) []streams.Header {
	out := make([]streams.Header, 0, len(from)+1)
	for _, h := range from {
		if h.Key != event.HeaderOrder {
			out = append(out, h)
		}
	}
	return append(out, streams.Header{Key: event.HeaderOrder, Value: []byte(order)})
}

// keptHeaders returns a copy of the headers that an order in a queue is kept
// with: a bounded part of them, so that no record can make the state's changelog
// refuse it. Headers that come after the bound is reached are left out.
func keptHeaders(headers []streams.Header) []streams.Header {
	var kept []streams.Header
	size := 0
	for _, h := range headers {
		if size += len(h.Key) + len(h.Value) + 8; size > maxKept {
			break
		}
		kept = append(kept, streams.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	return kept
}
