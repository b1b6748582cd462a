package trace

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// exporter queues spans that ended and sends them in batches from a goroutine of
// its own. Whoever ends a span never waits: when the queue is full the span is
// dropped and counted. What the collector does not take for now is kept and sent
// again, while the queue fills behind it.
type exporter struct {
	out     *otlptrace.Exporter
	metrics *metrics
	log     *slog.Logger

	queue    chan sdktrace.ReadOnlySpan
	quit     chan struct{} // closed by Shutdown
	done     chan struct{} // closed when the goroutine has ended
	stopOnce sync.Once
	// ctx is that of requests; its end cuts the last ones short.
	ctx    context.Context
	cancel context.CancelFunc

	lost atomic.Int64 // dropped since the last line in the log

	// What follows belongs to the goroutine.
	failing bool
	saidAt  time.Time
}

const (
	// queueSize bounds the spans that wait; one takes about 2 kB.
	queueSize = 8192
	// batchSize and batchTime bound what is sent at once: so many spans, or those
	// of so much time.
	batchSize = 1024
	batchTime = time.Second
	// sayEvery is how often the log repeats that spans are lost.
	sayEvery = time.Minute
)

// retryFirst and retryMost bound the pause before spans are sent again, which
// doubles. Variables for the tests.
var (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

var _ sdktrace.SpanProcessor = (*exporter)(nil)

func startExporter(out *otlptrace.Exporter, m *metrics, log *slog.Logger) *exporter {
	e := &exporter{
		out: out, metrics: m, log: log,
		queue: make(chan sdktrace.ReadOnlySpan, queueSize), quit: make(chan struct{}), done: make(chan struct{}),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	go e.run()
	return e
}

// OnStart does nothing.
func (e *exporter) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues a span, or drops it.
func (e *exporter) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	select {
	case <-e.quit:
		e.drop(1)
		return
	default:
	}
	select {
	case e.queue <- s:
	default:
		e.drop(1)
	}
}

// ForceFlush does nothing: nobody asks for it.
func (e *exporter) ForceFlush(context.Context) error { return nil }

// Shutdown sends what is queued, until ctx ends, and joins the goroutine.
func (e *exporter) Shutdown(ctx context.Context) error {
	e.stopOnce.Do(func() {
		close(e.quit)
		stop := context.AfterFunc(ctx, e.cancel)
		<-e.done
		stop()
		e.cancel()
	})
	return nil
}

func (e *exporter) run() {
	defer close(e.done)
	batch := make([]sdktrace.ReadOnlySpan, 0, batchSize)
	for {
		var more bool
		batch, more = e.collect(batch[:0])
		for pause := retryFirst; more && !e.send(batch); pause = min(2*pause, retryMost) {
			more = e.wait(pause)
		}
		if !more {
			break
		}
		clear(batch)
	}
	e.flush(batch)
	_ = e.out.Shutdown(context.Background()) // closes idle connections
}

// collect waits for a first span and then for those that belong into its batch.
// more is false if there is an end of waiting.
func (e *exporter) collect(batch []sdktrace.ReadOnlySpan) (_ []sdktrace.ReadOnlySpan, more bool) {
	select {
	case <-e.quit:
		return batch, false
	case s := <-e.queue:
		batch = append(batch, s)
	}
	full := time.NewTimer(batchTime)
	defer full.Stop()
	for len(batch) < batchSize {
		select {
		case <-e.quit:
			return batch, false
		case <-full.C:
			return batch, true
		case s := <-e.queue:
			batch = append(batch, s)
		}
	}
	return batch, true
}

// flush sends what is left, beginning with batch, once: at the first failure the
// rest is dropped.
func (e *exporter) flush(batch []sdktrace.ReadOnlySpan) {
	for taken := true; ; {
		for len(batch) < batchSize && len(e.queue) > 0 {
			batch = append(batch, <-e.queue)
		}
		if len(batch) == 0 {
			return
		}
		if taken = taken && e.send(batch); !taken {
			e.drop(len(batch))
		}
		batch = batch[:0]
	}
}

// send sends a batch, and tells whether it is dealt with: taken, or refused for
// good and dropped.
func (e *exporter) send(batch []sdktrace.ReadOnlySpan) bool {
	ctx, cancel := context.WithTimeout(e.ctx, exportTimeout)
	defer cancel()
	err := e.out.ExportSpans(ctx, batch)
	refused := errors.Is(err, errRefused)
	switch {
	case err == nil:
		e.metrics.exported.Add(float64(len(batch)))
	case refused:
		e.drop(len(batch))
	}
	e.say(err)
	return err == nil || refused
}

// say logs that the export fails, that it goes on failing, and that it works
// again: a collector that is down is a line now and then.
func (e *exporter) say(err error) {
	now := time.Now()
	switch {
	case err == nil && e.failing:
		e.log.Info("spans are exported again", "dropped", e.lost.Swap(0))
	case err != nil && (!e.failing || now.Sub(e.saidAt) >= sayEvery):
		e.log.Warn("spans cannot be exported: they wait, and are dropped when too many do", "err", err, "dropped", e.lost.Swap(0))
		e.saidAt = now
	case err == nil && e.lost.Load() > 0 && now.Sub(e.saidAt) >= sayEvery:
		e.log.Warn("spans dropped: more than the collector takes; a lower sampling share helps", "dropped", e.lost.Swap(0))
		e.saidAt = now
	}
	e.failing = err != nil
}

// wait pauses, and is false if it was ended by Shutdown.
func (e *exporter) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-e.quit:
		return false
	case <-t.C:
		return true
	}
}

func (e *exporter) drop(n int) {
	e.metrics.dropped.Add(float64(n))
	e.lost.Add(int64(n))
}
