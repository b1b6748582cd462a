package trace

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/trace/tracetest"
)

// hop makes one span.
func hop(tr *Tracer) {
	tr.Processed(Hop{Topic: "t", Start: time.Now(), End: time.Now(), Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte(testContext)}}})
}

// journal is a log that a test reads.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) count(words string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), words)
}

// watched is an option: metrics and log of the Tracer's own.
func watched() (func(*Config), *prometheus.Registry, *journal) {
	reg, j := prometheus.NewRegistry(), &journal{}
	return func(c *Config) { c.Registerer, c.Logger = reg, slog.New(slog.NewTextHandler(j, nil)) }, reg, j
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-limit:
			t.Fatalf("not reached: %s", what)
		case <-tick.C:
		}
	}
}

func quickRetries(t *testing.T) {
	first := retryFirst
	retryFirst = 5 * time.Millisecond
	t.Cleanup(func() { retryFirst = first })
}

// A collector that is away for a while gets the spans when it is back, each
// once, and the log tells of it twice.
func TestSpansWaitForTheCollector(t *testing.T) {
	quickRetries(t)
	opt, reg, j := watched()
	col := tracetest.NewCollector(t)
	col.Answer(http.StatusServiceUnavailable)
	tr := open(t, col.URL(), opt)
	for range 10 {
		hop(tr)
	}
	eventually(t, "a warning", func() bool { return j.count("level=WARN") == 1 })
	col.Answer(http.StatusOK)
	if got := len(col.Wait(testTrace, func(s []tracetest.Span) bool { return len(s) >= 10 })); got != 10 {
		t.Errorf("%d spans, want 10", got)
	}
	eventually(t, "the end of the outage in the log", func() bool { return j.count("exported again") == 1 })
	halt(t, tr)
	if e, d := value(t, reg, "exported"), value(t, reg, "dropped"); e != 10 || d != 0 {
		t.Errorf("%v exported, %v dropped", e, d)
	}
	if n := j.count("level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}

// What a collector refuses is not sent again, and does not hold up the rest.
func TestRefusedSpansAreDropped(t *testing.T) {
	opt, reg, _ := watched()
	col := tracetest.NewCollector(t)
	col.Answer(http.StatusBadRequest)
	tr := open(t, col.URL(), opt)
	hop(tr)
	eventually(t, "the span dropped", func() bool { return value(t, reg, "dropped") == 1 })
	col.Answer(http.StatusOK)
	hop(tr)
	halt(t, tr)
	if e, d := value(t, reg, "exported"), value(t, reg, "dropped"); e != 1 || d != 1 || len(col.Spans("")) != 1 {
		t.Errorf("%v exported, %v dropped, %d came", e, d, len(col.Spans("")))
	}
}

// hanging is a collector that takes requests and does not answer.
func hanging(t *testing.T) (url string, asked <-chan struct{}) {
	got, release := make(chan struct{}, 1000), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		got <- struct{}{}
		<-release
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	return srv.URL, got
}

// Making spans never waits: with a collector that hangs, the queue fills, the
// rest is dropped, all are accounted for, and Stop ends with its context.
func TestHangingCollectorHoldsNothingUp(t *testing.T) {
	opt, reg, _ := watched()
	url, asked := hanging(t)
	tr := open(t, url, opt)
	hop(tr)
	<-asked
	const more = queueSize + 1000
	for range more {
		hop(tr)
	}
	if d := value(t, reg, "dropped"); d != 1000 {
		t.Errorf("%v dropped, want 1000", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Stop(ctx); err != nil {
		t.Error(err)
	}
	if d := value(t, reg, "dropped"); d != more+1 {
		t.Errorf("%v dropped after the stop, want %d", d, more+1)
	}
	hop(tr) // after the stop: nothing happens
	if e := value(t, reg, "exported"); e != 0 {
		t.Errorf("%v exported", e)
	}
}

// Nobody listens: Stop does not wait, though its context would let it.
func TestStopWithoutCollector(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	opt, reg, j := watched()
	tr := open(t, url, opt)
	for range 3 * batchSize {
		hop(tr)
	}
	eventually(t, "the first batch refused", func() bool { return j.count("level=WARN") == 1 })
	halt(t, tr)
	halt(t, tr)
	if d := value(t, reg, "dropped"); d != 3*batchSize {
		t.Errorf("%v dropped, want %d", d, 3*batchSize)
	}
}

func TestEndpointPathAndPassword(t *testing.T) {
	type request struct{ path, user, password string }
	got := make(chan request, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		got <- request{r.URL.Path, user, password}
	}))
	t.Cleanup(srv.Close)
	tr := open(t, strings.Replace(srv.URL, "http://", "http://u:secret@", 1)+"/otlp/traces")
	hop(tr)
	halt(t, tr)
	if r := <-got; r != (request{"/otlp/traces", "u", "secret"}) {
		t.Errorf("request %+v", r)
	}
	// An error goes to the log: the password must not.
	c, err := newOTLP("http://u:secret@127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	err = c.UploadTraces(t.Context(), nil)
	if err == nil || errors.Is(err, errRefused) || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

// BenchmarkProcessed makes spans as fast as one goroutine can, into a collector
// in the same process; the share that was dropped is reported.
func BenchmarkProcessed(b *testing.B) {
	opt, reg, _ := watched()
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.Cleanup(srv.Close)
	tr := open(b, srv.URL, opt)
	h := Hop{Topic: "stock.verifie", Group: "service-stock", Start: time.Now(), End: time.Now(), Headers: []kgo.RecordHeader{
		{Key: "comptoir-order", Value: []byte("CMD-991")}, {Key: "traceparent", Value: []byte(testContext)},
	}}
	b.ReportAllocs()
	for b.Loop() {
		tr.Processed(h)
	}
	halt(b, tr)
	exported := value(b, reg, "exported")
	b.ReportMetric(exported/b.Elapsed().Seconds(), "exported/s")
	b.ReportMetric(value(b, reg, "dropped")/(exported+value(b, reg, "dropped")), "dropped/span")
}
