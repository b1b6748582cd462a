package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// openLoop calls send for 0 to n-1 at its planned time, or as soon after it as
// the calls before have returned. The plan does not wait for them: what stalls
// is seen in the time from the planned moment on, of every order behind it too.
func openLoop(ctx context.Context, begin time.Time, n int, rate float64, send func(i int, planned time.Time)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		planned := begin.Add(time.Duration(math.Round(float64(i) / rate * float64(time.Second))))
		if wait := time.Until(planned); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		send(i, planned)
	}
	return nil
}

// sender sends orders one way.
type sender interface {
	// send hands an order over; answered, which may be nil, is called when it was
	// accepted.
	send(ctx context.Context, key, value []byte, answered func())
	// wait waits until every order was accepted, and returns the first error.
	wait(ctx context.Context) error
	// err is the first error so far, if there is one.
	err() error
	close()
}

// failed keeps the first error.
type failed struct{ first atomic.Pointer[error] }

func (f *failed) note(err error) {
	if err != nil {
		f.first.CompareAndSwap(nil, &err)
	}
}

func (f *failed) err() error {
	if p := f.first.Load(); p != nil {
		return *p
	}
	return nil
}

// kafkaSender produces as any client does: idempotent, acknowledged by all.
type kafkaSender struct {
	failed
	cl    *kgo.Client
	topic string
}

func newKafkaSender(t Target, linger time.Duration) (*kafkaSender, error) {
	cl, err := t.Kafka.New(kgo.ProducerLinger(linger))
	if err != nil {
		return nil, err
	}
	return &kafkaSender{cl: cl, topic: t.in()}, nil
}

func (s *kafkaSender) send(ctx context.Context, key, value []byte, answered func()) {
	s.cl.Produce(ctx, &kgo.Record{Topic: s.topic, Key: key, Value: value}, func(_ *kgo.Record, err error) {
		s.note(err)
		if err == nil && answered != nil {
			answered()
		}
	})
}

func (s *kafkaSender) wait(ctx context.Context) error {
	if err := s.cl.Flush(ctx); err != nil {
		return err
	}
	return s.err()
}

func (s *kafkaSender) close() { s.cl.Close() }

const (
	// httpConns bounds the connections; a request without one waits, which counts.
	httpConns = 256
	// httpRetry is the pause before a request that had no answer, or 503, is sent
	// again: the API may be about to be started again. It doubles up to
	// httpMaxRetry, since many wait at the same time.
	httpRetry    = 20 * time.Millisecond
	httpMaxRetry = 320 * time.Millisecond
)

// httpSender posts orders to the order API, each in a goroutine of its own.
type httpSender struct {
	failed
	url     string
	client  *http.Client
	running sync.WaitGroup
	slots   chan struct{} // bounds the requests under way, if not nil
}

// newHTTPSender sends to an API. With closed above 0 it sends so many at a time
// and no more; otherwise as many as are given.
func newHTTPSender(api string, closed int) *httpSender {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost, t.MaxConnsPerHost = httpConns, httpConns, httpConns
	s := &httpSender{url: api + "/commandes", client: &http.Client{Transport: t}}
	if closed > 0 {
		s.slots = make(chan struct{}, closed)
	}
	return s
}

func (s *httpSender) send(ctx context.Context, _, value []byte, answered func()) {
	if s.slots != nil {
		s.slots <- struct{}{}
	}
	s.running.Go(func() {
		if s.slots != nil {
			defer func() { <-s.slots }()
		}
		for pause := httpRetry; ; pause = min(2*pause, httpMaxRetry) {
			again, err := s.post(ctx, value)
			switch {
			case err == nil:
				if answered != nil {
					answered()
				}
				return
			case !again || ctx.Err() != nil:
				s.note(err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
}

// post sends one order. An error says whether the same may go well later: the
// order's id makes sure that it is taken once.
func (s *httpSender) post(ctx context.Context, value []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(value))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case err != nil:
		return true, err
	case resp.StatusCode == http.StatusServiceUnavailable:
		return true, errors.New("the order API is not available")
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		return false, fmt.Errorf("order refused by %s: %s %.300s", s.url, resp.Status, body)
	}
	return false, nil
}

func (s *httpSender) wait(context.Context) error {
	s.running.Wait() // every request ends with its context
	return s.err()
}

func (s *httpSender) close() { s.client.CloseIdleConnections() }
