package bench

import (
	"math"
	"reflect"
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
		stack(8, "runtime.futex", "runtime.mcall"),
	}}
	want := []Part{
		{"streams/state", 0.40, 20}, {"garbage collection", 0.20, 10}, {"github.com/cockroachdb/pebble", 0.20, 10},
		{"modernc.org/sqlite", 0.12, 6}, {"Go runtime and standard library", 0.08, 4},
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
