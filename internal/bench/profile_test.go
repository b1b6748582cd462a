package bench

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func TestParts(t *testing.T) {
	stack := func(ms int64, leafToRoot ...string) *profile.Sample {
		s := &profile.Sample{Value: []int64{1, ms}}
		for _, f := range leafToRoot {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: f}}}})
		}
		return s
	}
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "milliseconds"}}, Sample: []*profile.Sample{
		stack(30, "runtime.memmove", module+"streams/state.(*Store).Get", module+"streams.(*worker).step"),
		stack(10, "github.com/cockroachdb/pebble/v2.(*Iterator).Next", module+"streams/state.get[go.shape.struct { a/b.C }]", "runtime.goexit"),
		stack(20, "github.com/klauspost/compress/s2.Encode", "github.com/cockroachdb/pebble/v2.(*DB).compact", "runtime.goexit"),
		stack(15, "runtime.greyobject", "runtime.gcAssistAlloc", module+"streams.(*worker).step"),
		stack(5, "runtime.scanobject", "runtime.gcBgMarkWorker"),
		stack(12, "modernc.org/sqlite/lib.step", "runtime.goexit"),
		stack(5, "runtime.futex", "runtime.mcall"),
		stack(3, "os.ReadFile", "main.resident"),
	}}
	want := []Part{
		{"streams/state", 0.40, 20}, {"garbage collection", 0.20, 10}, {"github.com/cockroachdb/pebble", 0.20, 10},
		{"modernc.org/sqlite", 0.12, 6}, {"Go runtime and standard library", 0.05, 2.5}, {"cmd/comptoir", 0.03, 1.5},
	}
	got := parts(p, 50)
	for i := range got {
		got[i].Share, got[i].Micros = math.Round(got[i].Share*1e6)/1e6, math.Round(got[i].Micros*1e6)/1e6
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parts %+v\nwant %+v", got, want)
	}
	if got := parts(&profile.Profile{}, 50); len(got) != 0 {
		t.Errorf("of an empty profile: %+v", got)
	}
}

// TestProfiling: whole seconds count, the one in which the phase ends only if it is
// the first.
func TestProfiling(t *testing.T) {
	asked, answer := make(chan bool), make(chan int)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != profilesPath+"profile" {
			t.Errorf("asked for %s", r.URL)
		}
		asked <- true
		select {
		case status := <-answer:
			http.Error(w, "profile in use", status)
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	for _, c := range []struct {
		seconds, want int
	}{{0, 1}, {1, 1}, {3, 3}} {
		var p profiles
		g := p.begin(t.Context(), []string{srv.URL})
		for range c.seconds {
			<-asked
			answer <- 200
		}
		<-asked
		g.end()
		answer <- 200
		if err := g.wait(); err != nil || len(p.taken) != c.want {
			t.Errorf("after %d seconds: %d profiles, %v", c.seconds, len(p.taken), err)
		}
	}
	var p profiles
	g := p.begin(t.Context(), []string{srv.URL})
	<-asked
	answer <- 500
	if err := g.wait(); err == nil || !strings.Contains(err.Error(), "500 Internal Server Error: profile in use") {
		t.Errorf("refused: %v", err)
	}
	if _, err := p.write(io.Discard, 1); err == nil {
		t.Error("no profile is written")
	}
	g = p.begin(t.Context(), []string{srv.URL})
	<-asked
	g.stop() // waits for no answer
}
