package bench

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A sender that stalls for a second must be seen in the latency of every order
// that was to be sent meanwhile, not of one alone.
func TestOpenLoopDoesNotWaitWithTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, rate, stalls = 300, 100, 100
		took := make([]time.Duration, n)
		begin := time.Now()
		err := openLoop(t.Context(), begin, n, rate, func(i int, planned time.Time) {
			if want := begin.Add(time.Duration(i) * 10 * time.Millisecond); !planned.Equal(want) {
				t.Fatalf("order %d is planned %v after the begin, want %v", i, planned.Sub(begin), want.Sub(begin))
			}
			if i == stalls {
				time.Sleep(time.Second)
			}
			took[i] = time.Since(planned)
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range took {
			want := time.Duration(0)
			if i >= stalls {
				want = max(0, time.Second-time.Duration(i-stalls)*10*time.Millisecond)
			}
			if d != want {
				t.Fatalf("order %d took %v, want %v", i, d, want)
			}
		}
		if q := quantiles(took); q.P50 != 0 || q.P90 != 700 || q.P99 != 970 || q.Max != 1000 {
			t.Errorf("quantiles %+v", q)
		}
	})
}

// TestInFlight: an order is sent only when fewer than the bound are under way, one
// that arrives twice makes room for one, and a pipeline that gives nothing ends it.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(newSeries("r", "s", 10), 10)
		f.room = make(chan struct{}, 2)
		enters := func(when string, want time.Duration, wantErr string) {
			t.Helper()
			began := time.Now()
			err := f.enter(t.Context(), time.Minute)
			if got := time.Since(began); got != want || wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
				t.Errorf("%s: %v after %v", when, err, got)
			}
		}
		enters("none under way", 0, "")
		enters("one under way", 0, "")
		go func() {
			time.Sleep(3 * time.Second)
			f.land(0, 3*time.Second, true)
			f.land(0, 3*time.Second, true)
		}()
		enters("two under way", 3*time.Second, "")
		enters("nothing arrives", time.Minute, "2 orders are under way")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.enter(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped: %v", err)
		}
	})
}

func TestOpenLoopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Millisecond)
		defer cancel()
		sent := 0
		err := openLoop(ctx, time.Now(), 1000, 100, func(int, time.Time) { sent++ })
		if !errors.Is(err, context.DeadlineExceeded) || sent != 5 {
			t.Errorf("%d sent, %v", sent, err)
		}
	})
}

// An API that is away or answers 503 gets the order again; one that refuses it
// ends the measurement.
func TestHTTPSender(t *testing.T) {
	var requests, answered atomic.Int32
	status := []int{http.StatusServiceUnavailable, http.StatusCreated, http.StatusOK, http.StatusUnprocessableEntity}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/commandes" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s", r.URL.Path, r.Header)
		}
		w.WriteHeader(status[requests.Add(1)-1])
	}))
	defer api.Close()
	s := newHTTPSender(api.URL, 1)
	defer s.close()
	for range 2 {
		s.send(t.Context(), nil, []byte(`{}`), func() { answered.Add(1) })
		s.running.Wait()
	}
	if err := s.wait(t.Context()); err != nil || answered.Load() != 2 || requests.Load() != 3 {
		t.Errorf("%d answered of %d requests, %v", answered.Load(), requests.Load(), err)
	}
	s.send(t.Context(), nil, []byte(`{}`), func() { answered.Add(1) })
	if err := s.wait(t.Context()); err == nil || answered.Load() != 2 {
		t.Errorf("%d answered, error %v", answered.Load(), err)
	}
}

func TestOrders(t *testing.T) {
	s := newSeries("run", "1s", 200_000)
	if s.clients != 20_000 || newSeries("run", "1s", 10).clients != leastClients {
		t.Error("a client has too many orders: alerts would be written for them")
	}
	for _, i := range []int{0, 1, 2, 99, 12_345} {
		key, value := s.order(i)
		var o struct {
			ID       string      `json:"commandeId"`
			ClientID string      `json:"clientId"`
			Amount   json.Number `json:"montant"`
			Lines    []struct {
				Product string  `json:"id_produit"`
				Price   float64 `json:"prix"`
			} `json:"lignes"`
		}
		if err := json.Unmarshal(value, &o); err != nil {
			t.Fatalf("%v: %s", err, value)
		}
		var sum float64
		var products []string
		for _, l := range o.Lines {
			sum += l.Price
			products = append(products, l.Product)
		}
		if amount, err := o.Amount.Float64(); err != nil || amount != sum || len(o.Lines) != i%3+1 || o.ClientID != string(key) {
			t.Errorf("%s: key %s", value, key)
		}
		if slices.Sort(products); len(slices.Compact(products)) != len(o.Lines) {
			t.Errorf("a product twice: %s", value)
		}
		if n, ok := s.number(value); !ok || n != i {
			t.Errorf("number %d %v of %s", n, ok, value)
		}
	}
	for value, want := range map[string]int{
		`{"id":"BENCH-run-1s-7-CONFIRMATION","commandeId":"BENCH-run-1s-7"}`: 7,
		`{"commandeId":"BENCH-run-1s-"}`:                                     -1,
		`{"commandeId":"BENCH-run-2s-7"}`:                                    -1,
		``:                                                                   -1,
	} {
		n, ok := s.number([]byte(value))
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%s: %d, want %d", value, n, want)
		}
	}
}

func TestFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(newSeries("run", "1", 3), 3)
		f.planned = []time.Duration{0, time.Second, 2 * time.Second}
		f.land(1, 1500*time.Millisecond, true)
		f.land(1, 9*time.Second, true) // read twice: the first counts
		f.land(7, time.Second, true)   // none of ours
		f.land(0, 4*time.Second, true)
		if err := f.await(t.Context(), time.Minute); err == nil {
			t.Fatal("it waits for none of three")
		}
		f.land(2, 5*time.Second, true)
		if err := f.await(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{4 * time.Second, 500 * time.Millisecond, 3 * time.Second}
		if got := f.latencies(); !slices.Equal(got, want) || f.gap != 2500*time.Millisecond || f.last != 5*time.Second {
			t.Errorf("latencies %v, gap %v, last %v", got, f.gap, f.last)
		}
		g := newFlight(newSeries("run", "2", 1), 1)
		g.land(0, 1, false)
		if err := g.await(t.Context(), time.Minute); err == nil {
			t.Error("a refused order is as good as another")
		}
	})
}
