package payment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/commerce/event"
)

const (
	// maxHeld is how many payments the Workers hold at once, those included
	// that wait to be asked for again. Others stay with their tasks, pending.
	maxHeld = 10_000
	// firstWait and lastWait bound the time between two tries of a payment.
	firstWait = 100 * time.Millisecond
	lastWait  = 30 * time.Second
	// settleWait is how long a result may take to its task. After that the
	// payment is forgotten, and handed over anew if it is still pending.
	settleWait = time.Minute
	// warnEvery is the shortest time between two warnings of a provider that
	// gives no outcome: one that loses a part of its answers is one story.
	warnEvery = time.Minute
)

// WorkersConfig sets Workers up. Provider and Results are required.
type WorkersConfig struct {
	Provider Provider
	// Results writes a record to a partition of ResultsTopic and returns nil
	// once it is durable. It is called concurrently; duplicates do no harm.
	Results func(ctx context.Context, partition int32, key, value []byte) error
	// Concurrency is how many calls run at once. Defaults to 16.
	Concurrency int
	// Logger defaults to discarding.
	Logger *slog.Logger
	// Registerer receives the metrics; nil means nowhere.
	Registerer prometheus.Registerer
}

// Workers call a provider, outside of any transaction, until the outcome of
// each payment is known, and send it back to the task that asked. Each payment
// has a goroutine of its own, which mostly waits. Its methods are safe for
// concurrent use.
type Workers struct {
	cfg     WorkersConfig
	id      string
	log     *slog.Logger
	metrics *metrics
	calls   chan struct{} // holds a token for each call at work

	mu      sync.Mutex
	ctx     context.Context // of the running workers, nil otherwise
	cancel  context.CancelFunc
	held    map[event.ID]*held
	failing error     // why the last call gave no outcome, nil if it gave one
	since   time.Time // of the first such call in a row
	warned  time.Time
	wg      sync.WaitGroup
}

// held is a payment in the hands of the Workers.
type held struct {
	partition int32
	request   Request
	settled   chan struct{}
}

// NewWorkers checks the configuration.
func NewWorkers(cfg WorkersConfig) (*Workers, error) {
	if cfg.Provider == nil || cfg.Results == nil {
		return nil, errors.New("payment workers: Provider and Results are required")
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 16
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	return &Workers{
		cfg: cfg, id: uuid.NewString(), log: cfg.Logger, metrics: newMetrics(cfg.Registerer),
		calls: make(chan struct{}, cfg.Concurrency), held: map[event.ID]*held{},
	}, nil
}

// Start makes the Workers accept payments. It starts them once: after Stop they
// stay stopped.
func (w *Workers) Start(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx != nil {
		return errors.New("payment workers: started twice")
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return nil
}

// Stop cuts the calls at work short and returns when all have ended, or ctx
// has. What is cut short is still pending in its task, and asked for at the
// next start. Stop may be called more than once.
func (w *Workers) Stop(ctx context.Context) error {
	w.mu.Lock()
	if w.cancel != nil {
		w.cancel()
	}
	w.mu.Unlock()
	done := make(chan struct{})
	go func() {
		w.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop payment workers: %w", ctx.Err())
	}
}

// Health returns nil while the provider answers, else what the last call met.
func (w *Workers) Health() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failing
}

// life names these Workers, as opposed to those of another process or start.
func (w *Workers) life() string { return w.id }

// Offer hands over a payment that is pending and committed in the task of a
// partition. fresh says that it has certainly not been sent yet; otherwise the
// provider is asked first. Offer returns at once: false means that the Workers
// can hold no more now. A payment that they hold already is left alone.
func (w *Workers) Offer(partition int32, r Request, fresh bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil || w.ctx.Err() != nil {
		return false
	}
	if w.held[r.Order] != nil {
		return true
	}
	if len(w.held) >= maxHeld {
		return false
	}
	h := &held{partition: partition, request: r, settled: make(chan struct{})}
	w.held[r.Order] = h
	w.metrics.held.Set(float64(len(w.held)))
	ctx := w.ctx
	w.wg.Go(func() { w.work(ctx, h, fresh) })
	return true
}

// Settled tells that the result of a payment has reached its task.
func (w *Workers) Settled(order event.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.held[order]; h != nil {
		close(h.settled)
		w.forget(h)
	}
}

// forget lets go of a payment; the caller holds the lock.
func (w *Workers) forget(h *held) {
	if w.held[h.request.Order] == h {
		delete(w.held, h.request.Order)
		w.metrics.held.Set(float64(len(w.held)))
	}
}

// work brings one payment to its end.
func (w *Workers) work(ctx context.Context, h *held, fresh bool) {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.forget(h)
	}()
	o, ok := w.outcome(ctx, h, fresh)
	if !ok || !w.report(ctx, h, o) {
		return
	}
	h.wait(ctx, settleWait)
}

// outcome calls the provider until it knows, or the work is over.
func (w *Workers) outcome(ctx context.Context, h *held, send bool) (Outcome, bool) {
	for pause := firstWait; ; pause = min(2*pause, lastWait) {
		o, err := w.call(ctx, h.request, send)
		if err == nil {
			return o, true
		}
		switch {
		case ctx.Err() != nil:
			return o, false
		case !send && errors.Is(err, ErrNoPayment):
			// It has not been sent, or has not arrived, or was not kept.
			send = true
			if pause == firstWait {
				continue
			}
		default:
			// It may have arrived, whatever became of the answer.
			send = false
		}
		if !h.wait(ctx, pause) {
			return o, false
		}
	}
}

// call makes one call, waiting for its turn.
func (w *Workers) call(ctx context.Context, r Request, send bool) (o Outcome, err error) {
	select {
	case w.calls <- struct{}{}:
		defer func() { <-w.calls }()
	case <-ctx.Done():
		return o, ctx.Err()
	}
	kind := callAsk
	if send {
		kind = callPay
		o, err = w.cfg.Provider.Pay(ctx, r)
	} else {
		o, err = w.cfg.Provider.Ask(ctx, r.Order)
	}
	if ctx.Err() == nil {
		w.metrics.count(kind, o, err)
		w.note(r.Order, err)
	}
	return o, err
}

// note follows whether the provider answers, and logs when that changes.
func (w *Workers) note(order event.ID, err error) {
	if errors.Is(err, ErrNoPayment) {
		err = nil // an answer
	}
	now := time.Now()
	w.mu.Lock()
	before, since := w.failing, w.since
	w.failing = err
	if err != nil && before == nil {
		w.since = now
	}
	warn := err != nil && now.Sub(w.warned) >= warnEvery
	if warn {
		w.warned = now
	}
	w.mu.Unlock()
	switch {
	case warn:
		w.log.Warn("payment provider gives no outcome, it is asked until it does: check its URL and state if this lasts", "err", err, "order_id", string(order))
	case err != nil:
		w.log.Debug("payment provider gives no outcome", "err", err, "order_id", string(order))
	case before != nil && now.Sub(since) >= warnEvery:
		w.log.Info("payment provider answers again", "after", now.Sub(since))
	}
}

// report writes the result until it is durable, or the work is over.
func (w *Workers) report(ctx context.Context, h *held, o Outcome) bool {
	key, value := []byte(h.request.Order), outcomeSerde.Append(nil, o)
	for pause := firstWait; ; pause = min(2*pause, lastWait) {
		err := w.cfg.Results(ctx, h.partition, key, value)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			w.log.Warn("payment result not written yet", "err", err, "topic", ResultsTopic, "partition", h.partition)
		}
		if !h.wait(ctx, pause) {
			return false
		}
	}
}

// wait returns true when the time has passed, and false at once when the
// payment is settled, perhaps by a result of another instance, or ctx is done.
func (h *held) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.settled:
	case <-ctx.Done():
	}
	return false
}
