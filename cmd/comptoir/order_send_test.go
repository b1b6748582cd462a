package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestOrderSend(t *testing.T) {
	f, s := startAPI(t)
	f.faults = append(f.faults, unavailable, lost, unavailable)
	var r sendReport
	s.json(&r, "order", "send", "-n", "40", "--seed", "7")
	if r.Sent != 40 || r.Accepted != 32 || r.Refused != 8 || r.Known != 0 || r.Failed != 0 || r.Latency == nil || r.Latency.Max < r.Latency.P50 || f.posts != 32 || len(f.orders) != 32 {
		t.Errorf("%+v, %d effects", r, f.posts)
	}
	s.json(&r, "order", "send", "-n", "40", "--seed", "7", "--concurrency", "3", "--rate", "5000")
	if r.Accepted != 0 || r.Known != 32 || r.Refused != 8 || len(f.orders) != 32 {
		t.Errorf("again: %+v", r)
	}
	out := s.ok("", "order", "send")
	if !strings.HasPrefix(out, "SENT  ACCEPTED  KNOWN  REFUSED  FAILED\n20    16        0      4        0\n") || !strings.Contains(out, " orders/s\nlatency: p50 ") {
		t.Errorf("table:\n%s", out)
	}

	fail := func(_ *fakeAPI, w http.ResponseWriter, _ *http.Request) bool {
		answerProblem(w, 500, "ERREUR_INTERNE", "oops", "")
		return true
	}
	f.faults = append(f.faults, fail, fail)
	result := s.run("", "order", "send", "-n", "5", "--concurrency", "1")
	if result.code != exitPartial || strings.Count(result.err, "oops (ERREUR_INTERNE)") != 2 || !strings.Contains(result.out, "\n5     2         0      1        2\n") {
		t.Errorf("two fail: %+v", result)
	}
	for range 30 {
		f.faults = append(f.faults, fail)
	}
	s.fails(exitFailure, []string{"oops", "and 20 more"}, "", "order", "send", "-n", "30")
	s.fails(exitFailure, []string{"no order API", "--api"}, "", "order", "send", "--api", "127.0.0.1:1")
	for _, args := range [][]string{{"-n", "0"}, {"--concurrency", "0"}, {"--concurrency", "1001"}, {"--rate", "-1"}, {"--rate", "NaN"}} {
		s.fails(exitUsage, []string{"--"}, "", append([]string{"order", "send"}, args...)...)
	}
}

// An incoherent order that is accepted is no success, nor is a coherent one
// that is refused.
func TestOrderSendExpects(t *testing.T) {
	f, s := startAPI(t)
	f.faults = append(f.faults, func(_ *fakeAPI, w http.ResponseWriter, _ *http.Request) bool {
		answerProblem(w, 422, "COMMANDE_INCOHERENTE", "no", "")
		return true
	})
	for range 4 {
		f.faults = append(f.faults, func(_ *fakeAPI, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(201)
			_, _ = w.Write([]byte(`{"commandeId":1,"statut":"RECUE"}`))
			return true
		})
	}
	s.fails(exitPartial, []string{"-1: no (COMMANDE_INCOHERENTE)", "-5 was accepted, but is incoherent"}, "", "order", "send", "-n", "5", "--concurrency", "1")
}

func TestOrderSendInterrupted(t *testing.T) {
	f, s := startAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.faults = append(f.faults, func(f *fakeAPI, _ http.ResponseWriter, _ *http.Request) bool { return false },
		func(_ *fakeAPI, w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client goes
			cancel()
			<-r.Context().Done()
			return true
		})
	r := s.runContext(ctx, "", "order", "send", "-n", "1000", "--concurrency", "1")
	if r.code != exitPartial || !strings.Contains(r.err, "interrupted: 2 of 1000 orders sent, 1 without answer") || !strings.Contains(r.out, "\n2     1 ") {
		t.Errorf("%+v", r)
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{"": 0, "3": 3 * time.Second, "-1": 0, "soon": 0} {
		if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
