package trace

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	testTrace   = "4bf92f3577b34da6a3ce929d0e0e4736"
	testParent  = "00f067aa0ba902b7"
	testContext = "00-" + testTrace + "-" + testParent + "-01"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in          string
		ok, sampled bool
	}{
		{testContext, true, true},
		{"00-" + testTrace + "-" + testParent + "-00", true, false},
		{"00-" + testTrace + "-" + testParent + "-03", true, true},
		{"cc-" + testTrace + "-" + testParent + "-01", true, true},
		{"cc-" + testTrace + "-" + testParent + "-01-more", true, true},
		{"cc-" + testTrace + "-" + testParent + "-01.more", false, false},
		{"00-" + testTrace + "-" + testParent + "-01-more", false, false},
		{"ff-" + testTrace + "-" + testParent + "-01", false, false},
		{"00-" + strings.ToUpper(testTrace) + "-" + testParent + "-01", false, false},
		{"00-" + strings.Repeat("0", 32) + "-" + testParent + "-01", false, false},
		{"00-" + testTrace + "-" + strings.Repeat("0", 16) + "-01", false, false},
		{"00_" + testTrace + "-" + testParent + "-01", false, false},
		{"00-" + testTrace + "_" + testParent + "-01", false, false},
		{"00-" + testTrace + "-" + testParent + "_01", false, false},
		{"00-" + testTrace + "-" + testParent + "-0g", false, false},
		{"0g-" + testTrace + "-" + testParent + "-01", false, false},
		{testContext[:54], false, false},
		{"cc-" + testTrace + "-" + testParent + "-01-" + strings.Repeat("x", 200), true, true},
		{"cc-" + testTrace + "-" + testParent + "-01-" + strings.Repeat("x", 201), false, false},
		{"", false, false},
	} {
		sc, ok := parse(c.in)
		if ok != c.ok || sc.IsSampled() != c.sampled || sc.IsValid() != c.ok {
			t.Errorf("%q: ok %v, sampled %v, valid %v", c.in, ok, sc.IsSampled(), sc.IsValid())
		}
		if ok && (sc.TraceID().String() != testTrace || sc.SpanID().String() != testParent || !sc.IsRemote()) {
			t.Errorf("%q read as %+v", c.in, sc)
		}
	}
	if sc, _ := parse([]byte(testContext)); format(sc) != testContext {
		t.Errorf("%s written as %s", testContext, format(sc))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(testContext))
	f.Add([]byte("cc-" + testTrace + "-" + testParent + "-01-more"))
	f.Fuzz(func(t *testing.T, in []byte) {
		sc, ok := parse(in)
		if ok != sc.IsValid() {
			t.Fatalf("%q: ok %v, valid %v", in, ok, sc.IsValid())
		}
		// All that is accepted is written again; only version and what later
		// versions may add are not kept.
		if want := "00" + string(in[min(2, len(in)):min(55, len(in))]); ok && format(sc) != want {
			t.Fatalf("%q written as %q", in, format(sc))
		}
	})
}

// Records that nobody traces must cost nothing.
func TestUntracedRecordsCostNoMemory(t *testing.T) {
	live := &Tracer{}
	for _, c := range []struct {
		name    string
		tracer  *Tracer
		headers []kgo.RecordHeader
	}{
		{"no tracer", nil, []kgo.RecordHeader{{Key: HeaderTrace, Value: []byte(testContext)}}},
		{"no context", live, []kgo.RecordHeader{{Key: headerOrder, Value: []byte("991")}}},
		{"not sampled", live, []kgo.RecordHeader{{Key: HeaderTrace, Value: []byte(testContext[:53] + "00")}}},
		{"not well-formed", live, []kgo.RecordHeader{{Key: HeaderTrace, Value: []byte("01")}}},
	} {
		h := Hop{Topic: "t", Headers: c.headers}
		if n := testing.AllocsPerRun(100, func() { c.tracer.Sent(h); c.tracer.Processed(h) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func BenchmarkProcessedWithoutTracer(b *testing.B) {
	var tracer *Tracer
	h := Hop{Topic: "t", Headers: []kgo.RecordHeader{{Key: HeaderTrace, Value: []byte(testContext)}}}
	b.ReportAllocs()
	for b.Loop() {
		tracer.Processed(h)
	}
}
