package streams

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Processed is a record that an App has handled, as Config.Trace is told of it.
// A record whose transaction was thrown away is told when it is handled again,
// and none is told that did not decode. After a crash between commit and call it
// is not told at all.
type Processed struct {
	Topic     string
	Partition int32
	Offset    int64
	// Group is the application's name, which is its consumer group.
	Group string
	// Headers are the record's. They must not be modified or kept after the call.
	Headers []Header
	// Start is when the work on the record began, End when the transaction that
	// holds it had committed: from then on others see what came of it.
	Start, End time.Time
}

// headerTrace carries the W3C trace context, as a line of text:
// version-trace-parent-flags, such as "00-<32 digits>-<16 digits>-01".
const headerTrace = "traceparent"

// sampled tells whether the first trace context in the headers asks for spans:
// the lowest bit of its flags. Whether the rest is well-formed is for whoever
// makes the span.
func sampled(headers []Header) bool {
	const flags = 54 // where their second digit stands
	for i := range headers {
		if h := &headers[i]; h.Key == headerTrace {
			if len(h.Value) <= flags {
				return false
			}
			switch h.Value[flags] {
			case '1', '3', '5', '7', '9', 'b', 'd', 'f':
				return true
			}
			return false
		}
	}
	return false
}

// traced is a record to tell of, and the one that has its offset once the
// transaction is committed.
type traced struct {
	Processed
	rec *kgo.Record
}

// trace notes a record of the transaction in hand.
func (x *txn) trace(p Processed, rec *kgo.Record) { x.traced = append(x.traced, traced{p, rec}) }

// tellTraced tells of the records of the transaction that has committed.
func (w *worker) tellTraced() {
	if len(w.txn.traced) == 0 {
		return
	}
	end := time.Now()
	for _, p := range w.txn.traced {
		p.Offset, p.End = p.rec.Offset, end
		w.cfg.Trace(p.Processed)
	}
}

// untrace forgets the records noted, and the memory behind them.
func (x *txn) untrace() {
	clear(x.traced)
	x.traced = x.traced[:0]
}
