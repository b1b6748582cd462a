package payment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/commerce/event"
)

var errLost = errors.New("answer lost")

// TestLostAnswersAreAskedFor: no failure refuses or repeats a payment.
func TestLostAnswersAreAskedFor(t *testing.T) {
	for _, c := range []struct {
		name       string
		fresh      bool
		lose       func(order event.ID, pay bool, n int) error
		pays, asks int
	}{
		{"prompt", true, nil, 1, 0},
		{"answer of the sending lost", true, func(_ event.ID, pay bool, _ int) error {
			if pay {
				return errLost
			}
			return nil
		}, 1, 1},
		{"asked many times", true, func(_ event.ID, pay bool, n int) error {
			if pay || n < 20 {
				return errLost
			}
			return nil
		}, 1, 20},
		{"not fresh, unknown to the provider", false, nil, 1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &books{lose: c.lose}
			w, results := startWorkers(t, p)
			w.Offer(2, Request{"991", 120_50, "EUR"}, c.fresh)
			r := <-results
			o, err := outcomeSerde.Parse(r.value)
			if err != nil || !o.Accepted || o.Reference != "ref-991" || string(r.key) != "991" || r.partition != 2 {
				t.Errorf("%s: %+v %v", c.name, o, err)
			}
			p.mu.Lock()
			if p.pays["991"] != c.pays || p.asks["991"] != c.asks {
				t.Errorf("%s: sent %d times, asked %d times; want %d and %d", c.name, p.pays["991"], p.asks["991"], c.pays, c.asks)
			}
			p.mu.Unlock()
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// swallowing loses requests before they reach the books.
type swallowing struct {
	*books
	left int
}

func (s *swallowing) Pay(ctx context.Context, r Request) (Outcome, error) {
	if s.left > 0 {
		s.left--
		return Outcome{}, errLost
	}
	return s.books.Pay(ctx, r)
}

// TestLostRequestsAreSentAgain: once the provider says that it has nothing.
func TestLostRequestsAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &swallowing{&books{}, 3}
		w, results := startWorkers(t, p)
		began := time.Now()
		w.Offer(0, Request{"991", 120_50, "EUR"}, true)
		<-results
		if p.pays["991"] != 1 || p.asks["991"] != 3 {
			t.Errorf("sent %d times, asked %d times", p.pays["991"], p.asks["991"])
		}
		if took := time.Since(began); took < firstWait || took > time.Minute {
			t.Errorf("it took %v", took)
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestBackoffIsBounded: a provider that is down is called ever more rarely, but
// is called.
func TestBackoffIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &books{lose: func(event.ID, bool, int) error { return errLost }}
		w, _ := startWorkers(t, p)
		w.Offer(0, Request{"991", 120_50, "EUR"}, true)
		time.Sleep(10 * time.Minute) // of the bubble's clock
		p.mu.Lock()
		asks := p.asks["991"]
		p.mu.Unlock()
		if asks < 20 || asks > 40 {
			t.Errorf("asked %d times in 10 minutes", asks)
		}
		if !errors.Is(w.Health(), errLost) {
			t.Errorf("health %v", w.Health())
		}
		p.mu.Lock()
		p.lose = nil
		p.mu.Unlock()
		time.Sleep(lastWait)
		if w.Health() != nil {
			t.Errorf("health %v when all is well", w.Health())
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestResultsAreWrittenUntilDurable and then offered again only if they do not
// arrive.
func TestResultsAreWrittenUntilDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &books{}
		var mu sync.Mutex
		var tries int
		w, err := NewWorkers(WorkersConfig{Provider: p, Results: func(context.Context, int32, []byte, []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if tries++; tries < 4 {
				return errors.New("kafka is down")
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if w.Offer(0, Request{Order: "1"}, true) {
			t.Error("a payment is taken before the start")
		}
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Offer(0, Request{"991", 1, "EUR"}, true)
		time.Sleep(10 * time.Second)
		for range 3 { // the task's look-through, while the result travels
			w.Offer(0, Request{"991", 1, "EUR"}, false)
		}
		synctest.Wait()
		if tries != 4 || p.pays["991"] != 1 || p.asks["991"] != 0 {
			t.Errorf("%d tries, sent %d times, asked %d times", tries, p.pays["991"], p.asks["991"])
		}
		time.Sleep(settleWait) // it has not arrived
		w.Offer(0, Request{"991", 1, "EUR"}, false)
		synctest.Wait()
		if tries != 5 || p.asks["991"] != 1 {
			t.Errorf("%d tries, asked %d times", tries, p.asks["991"])
		}
		w.Settled("991")
		w.Settled("unknown")
		synctest.Wait()
		if len(w.held) != 0 {
			t.Errorf("%d payments are held", len(w.held))
		}
		for range 2 {
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if w.Offer(0, Request{Order: "2"}, true) {
			t.Error("a payment is taken after the stop")
		}
	})
}

// TestLogTellsTheStory: a provider that loses every other answer does not flood
// the log; one that was down for long is reported when it is back.
func TestLogTellsTheStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		flaky := &books{lose: func(_ event.ID, pay bool, _ int) error {
			if pay {
				return errLost
			}
			return nil
		}}
		w, err := NewWorkers(WorkersConfig{Provider: flaky, Concurrency: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Results: func(context.Context, int32, []byte, []byte) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			w.Offer(0, Request{event.ID(fmt.Sprint(i)), 1, "EUR"}, true)
			time.Sleep(firstWait)
		}
		time.Sleep(warnEvery)
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || strings.Contains(log.String(), "level=INFO") {
			t.Errorf("%d warnings: %s", n, log.String())
		}
		flaky.mu.Lock()
		flaky.lose = func(event.ID, bool, int) error { return errLost }
		flaky.mu.Unlock()
		w.Offer(0, Request{"long", 1, "EUR"}, true)
		time.Sleep(2*warnEvery - time.Second)
		flaky.mu.Lock()
		flaky.lose = nil
		flaky.mu.Unlock()
		time.Sleep(lastWait)
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if warns, infos := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "answers again"); warns != 3 || infos != 1 {
			t.Errorf("%d warnings, %d all-clears: %s", warns, infos, log.String())
		}
	})
}

// TestSettledByAnother: the result of another instance ends the asking.
func TestSettledByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &books{lose: func(event.ID, bool, int) error { return errLost }}
		w, _ := startWorkers(t, p)
		w.Offer(0, Request{"991", 1, "EUR"}, true)
		synctest.Wait()
		w.Settled("991")
		synctest.Wait()
		asks := p.asks["991"]
		time.Sleep(time.Hour)
		if p.asks["991"] != asks || len(w.held) != 0 {
			t.Error("it is still asked for")
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// hanging answers only when ctx ends.
type hanging struct{}

func (h *hanging) Pay(ctx context.Context, _ Request) (Outcome, error) {
	<-ctx.Done()
	return Outcome{}, ctx.Err()
}
func (h *hanging) Ask(ctx context.Context, _ event.ID) (Outcome, error) {
	<-ctx.Done()
	return Outcome{}, ctx.Err()
}

func TestStopCutsCallsShortAndLimitsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		w, err := NewWorkers(WorkersConfig{Provider: &hanging{}, Concurrency: 2, Registerer: reg,
			Results: func(context.Context, int32, []byte, []byte) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Start(t.Context()); err == nil {
			t.Error("started twice")
		}
		for i := range maxHeld {
			if !w.Offer(0, Request{Order: event.ID(fmt.Sprint(i))}, true) {
				t.Fatalf("payment %d is not held", i)
			}
		}
		if w.Offer(0, Request{Order: "more"}, true) {
			t.Error("too many are held")
		}
		if !w.Offer(0, Request{Order: "0"}, true) {
			t.Error("one that is held is turned away")
		}
		synctest.Wait()
		if len(w.calls) != 2 {
			t.Errorf("%d calls at once", len(w.calls))
		}
		if n := gauge(t, reg, "comptoir_payment_held"); n != maxHeld {
			t.Errorf("metric says %v", n)
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if len(w.held) != 0 {
			t.Errorf("%d are held after the stop", len(w.held))
		}
	})
}

func TestWorkersNeedTheirParts(t *testing.T) {
	if _, err := NewWorkers(WorkersConfig{}); err == nil {
		t.Error("no error")
	}
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
