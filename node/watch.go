package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// watchEvery is how often the cluster is asked whether it is there.
const watchEvery = time.Second

// watch asks the cluster for a sign of life, and tells readiness, the log and a
// metric: the clients heal by themselves and say little of it.
type watch struct {
	cl      *kgo.Client
	brokers []string
	log     *slog.Logger
	up      prometheus.Gauge
	cancel  context.CancelFunc
	done    chan struct{}

	mu  sync.Mutex
	err error
}

func newWatch(cl *kgo.Client, brokers []string, log *slog.Logger, reg prometheus.Registerer) *watch {
	w := &watch{cl: cl, brokers: brokers, log: log, done: make(chan struct{}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{Name: "comptoir_kafka_up", Help: "1 while the Kafka cluster answers, else 0."})}
	reg.MustRegister(w.up)
	w.up.Set(1)
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go w.run(ctx)
	return w
}

func (w *watch) run(ctx context.Context) {
	defer close(w.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var lost time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := w.cl.Ping(pctx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && lost.IsZero():
			lost = time.Now()
			w.up.Set(0)
			w.log.Error("kafka does not answer: the work waits and goes on by itself when it is back", "brokers", w.brokers, "err", err)
		case err == nil && !lost.IsZero():
			w.up.Set(1)
			w.log.Info("kafka is back", "brokers", w.brokers, "after", time.Since(lost).Round(time.Second).String())
			lost = time.Time{}
		}
		if err != nil {
			err = fmt.Errorf("no answer from %v: %w", w.brokers, err)
		}
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
}

// check is nil while the cluster answers.
func (w *watch) check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *watch) stop() {
	w.cancel()
	<-w.done
}
