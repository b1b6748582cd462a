package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/internal/trace"
	"github.com/comptoir/comptoir/internal/trace/tracetest"
)

const traceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestSampled(t *testing.T) {
	other := Header{Key: "comptoir-order", Value: []byte("991")}
	context := func(v string) Header { return Header{Key: "traceparent", Value: []byte(v)} }
	for _, c := range []struct {
		name    string
		headers []Header
		want    bool
	}{
		{"sampled", []Header{other, context(traceContext)}, true},
		{"not sampled", []Header{context(traceContext[:53] + "00")}, false},
		{"sampled and random", []Header{context(traceContext[:53] + "03")}, true},
		{"random only", []Header{context(traceContext[:53] + "02")}, false},
		{"a later version", []Header{context("cc" + traceContext[2:] + "-more")}, true},
		{"cut off", []Header{context(traceContext[:54])}, false},
		{"the first counts", []Header{context("x"), context(traceContext)}, false},
		{"none", []Header{other}, false},
	} {
		if got := sampled(c.headers); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if n := testing.AllocsPerRun(100, func() { sampled(c.headers) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// traces is an option that keeps what an App tells of, as "topic/offset".
type traces struct {
	mu  sync.Mutex
	all []Processed
}

func (x *traces) use(c *Config) {
	c.Trace = func(p Processed) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.all = append(x.all, p)
	}
}

func (x *traces) told(c *cluster) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []string
	for _, p := range x.all {
		if p.Group != c.n("app") || !sampled(p.Headers) || p.Start.IsZero() || !p.End.After(p.Start) {
			c.tb.Errorf("told of %+v", p)
		}
		out = append(out, fmt.Sprintf("%s/%d/%d", p.Topic[len(c.tag):], p.Partition, p.Offset))
	}
	slices.Sort(out)
	return out
}

// tracedCopy copies "in" to "out", headers as they came.
func tracedCopy(c *cluster, b *Builder) {
	c.bare(b, func(ctx *Context, r Record[string, string], out *Output[string, string]) { out.Send(ctx, r) })
}

func (c *cluster) traced(key, value, context string) *kgo.Record {
	r := c.rec("in", 0, key, value)
	if context != "" {
		r.Headers = []Header{{Key: "comptoir-order", Value: []byte(key)}, {Key: "traceparent", Value: []byte(context)}}
	}
	return r
}

// TestTraceTellsOfCommittedRecords: of the sampled ones, once, and only when
// their transaction has committed, whatever became of the tries before.
func TestTraceTellsOfCommittedRecords(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.topic("in", 1)
		c.topic("out", 1)
		net, seen := newFaultNet(t), &traces{}
		c.launch(t.TempDir(), func(b *Builder) { tracedCopy(c, b) }, net.use, seen.use, c.shortSession)
		held := net.strike(kmsg.EndTxn, 1, heldUp)
		c.send(c.traced("a", "1", traceContext), c.traced("b", "2", ""), c.traced("c", "3", traceContext[:53]+"00"), c.traced("d", "4", traceContext))
		await(t, "the end of the transaction", held.fired)
		if got := seen.told(c); len(got) != 0 {
			t.Fatalf("told of %v before the end", got)
		}
		lost := net.strike(kmsg.EndTxn, 1, lostBefore)
		net.cut(false) // what was held up is lost with its connection
		net.lift(held)
		await(t, "the end lost", lost.fired)
		c.values("out", 4)
		want := []string{"in/0/0", "in/0/3"}
		c.eventually("both told", func() bool { return len(seen.told(c)) >= len(want) })
		c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 })
		if got := seen.told(c); !slices.Equal(got, want) {
			t.Errorf("told of %v, want %v", got, want)
		}
	})
}

// TestTraceLeavesOutWhatDoesNotDecode: what no stage has handled is no hop.
func TestTraceLeavesOutWhatDoesNotDecode(t *testing.T) {
	c := newCluster(t)
	c.topic("in", 1)
	seen := &traces{}
	picky := Serde[string]{Append: Text.Append, Parse: func(data []byte) (string, error) {
		switch string(data) {
		case "bad":
			return "", errors.New("bad")
		case "skip":
			return "", ErrSkip
		}
		return string(data), nil
	}}
	c.launch(t.TempDir(), func(b *Builder) {
		From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: picky}).Process("nothing", func(*Context, Record[string, string]) {})
	}, seen.use)
	c.send(c.traced("a", "bad", traceContext), c.traced("b", "skip", traceContext), c.traced("c", "good", traceContext))
	c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 })
	// What is told of comes after the commit that others see.
	c.eventually("one told", func() bool { return len(seen.told(c)) >= 1 })
	if got, want := seen.told(c), []string{"in/0/2"}; !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
}

// TestOneTraceHoldsTheWholeWay sends a record by an HTTP request through two
// stages and an internal topic: the collector gets one trace, the request first,
// every hop a child of it, in order.
func TestOneTraceHoldsTheWholeWay(t *testing.T) {
	c := newCluster(t)
	c.topic("in", 1)
	c.topic("out", 1)
	c.topic("end", 1)
	col := tracetest.NewCollector(t)
	tr, err := trace.Open(t.Context(), trace.Config{Endpoint: col.URL(), Sample: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	use := func(cfg *Config) { cfg.Trace = func(p Processed) { tr.Processed(trace.Hop(p)) } }
	text := func(name string) Topic[string, string] {
		return Topic[string, string]{Name: c.n(name), Key: Text, Value: Text}
	}
	c.launch(t.TempDir(), func(b *Builder) {
		moved, again := Repartition(b, "moved", Text, Text, PartitionsOf(c.n("in")))
		out := To(b, text("out"))
		From(b, text("in")).To(moved)
		again.To(out)
	}, use)
	second := &cluster{tb: t, kafka: c.kafka, fake: c.fake, cl: c.cl, adm: c.adm, tag: "second-"}
	second.launch(t.TempDir(), func(b *Builder) { From(b, text("out")).To(To(b, text("end"))) }, use)

	mux := http.NewServeMux()
	mux.HandleFunc("POST /commandes", func(w http.ResponseWriter, r *http.Request) {
		c.send(c.traced("991", "order", tr.TraceParent(r)))
		w.WriteHeader(http.StatusCreated)
	})
	srv := httptest.NewServer(tr.HTTP(mux))
	t.Cleanup(srv.Close)
	resp, err := http.Post(srv.URL+"/commandes", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()

	arrived := c.read("end", 1)[0]
	var id string
	for _, h := range arrived.Headers {
		if h.Key == "traceparent" {
			id = string(h.Value[3:35])
		}
	}
	want := []string{"POST /commandes", "process in", "process app-moved-repartition", "process out"}
	spans := col.Wait(id, func(s []tracetest.Span) bool { return len(s) >= len(want) })
	var names []string
	for i, s := range spans {
		names = append(names, s.Name)
		if i > 0 && (s.ParentID != spans[0].SpanID || s.Attributes["comptoir.order.id"] != "991") {
			t.Errorf("hop %+v, want a child of %s for order 991", s, spans[0].SpanID)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("spans %q, want %q", names, want)
	}
	if got := len(col.Spans("")); got != len(want) {
		t.Errorf("%d spans of all traces, want %d", got, len(want))
	}
}
