package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata")

func TestQuantiles(t *testing.T) {
	took := make([]time.Duration, 1000)
	for i := range took {
		took[len(took)-1-i] = time.Duration(i+1) * time.Millisecond
	}
	if got := quantiles(took); got != (Quantiles{500, 900, 990, 999, 1000}) {
		t.Errorf("of 1 to 1000 ms: %+v", got)
	}
	if took[0] != time.Second {
		t.Error("the values were sorted in place")
	}
	if got := quantiles([]time.Duration{3 * time.Millisecond}); got != (Quantiles{3, 3, 3, 3, 3}) {
		t.Errorf("of one: %+v", got)
	}
	if got := quantiles(nil); got != (Quantiles{}) {
		t.Errorf("of none: %+v", got)
	}
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}, {[]float64{7}, 7}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v", c.values, got)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		more bool
		a, b []float64
		want Verdict
	}{
		{"apart, less is better", false, []float64{10, 11, 12}, []float64{20, 21, 22}, Worse},
		{"apart the other way", false, []float64{20, 21, 22}, []float64{10, 11, 12}, Better},
		{"apart, more is better", true, []float64{10, 11, 12}, []float64{20, 21, 22}, Better},
		{"apart the other way, more is better", true, []float64{20, 21, 22}, []float64{10, 11, 12}, Worse},
		{"one round among the others", false, []float64{10, 11, 21}, []float64{20, 25, 30}, Same},
		{"they touch", false, []float64{10, 11, 20}, []float64{20, 25, 30}, Same},
		{"apart by too little", false, []float64{100, 101, 102}, []float64{103, 104, 105}, Same},
		{"apart by just enough", false, []float64{100, 100, 100}, []float64{105.1, 105.1, 105.1}, Worse},
		{"the same", false, []float64{1, 2, 3}, []float64{1, 2, 3}, Same},
		{"one round says nothing", false, []float64{1}, []float64{5, 6, 7}, Same},
		{"from nothing to something", false, []float64{0, 0}, []float64{5, 6}, Worse},
	} {
		got := compare(Figure{More: c.more, Values: c.a}, Figure{More: c.more, Values: c.b})
		if got.Verdict != c.want {
			t.Errorf("%s: %s", c.name, got.Verdict)
		}
	}
	for _, c := range []struct {
		m, n int
		want float64
	}{{3, 3, 0.1}, {5, 5, 2.0 / 252}, {2, 2, 1.0 / 3}, {1, 4, 0.4}} {
		if got := apartByChance(c.m, c.n); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%d and %d rounds apart by chance: %v, want %v", c.m, c.n, got, c.want)
		}
	}
}

// sample is a report with everything in it.
func sample() *Report {
	r := &Report{Format: format, Begun: time.Date(2026, 11, 21, 18, 0, 0, 0, time.UTC), Comptoir: "devel", Go: "go1.26", Kafka: "v4.3",
		Machine:  Machine{Platform: "linux/amd64", CPUs: 2, CPU: "AMD EPYC", Load: 0.5},
		Settings: Settings{Target: "instances", Instances: 3, Via: ViaHTTP, Orders: 30_000, InFlight: 2000, Rates: []float64{100, 1000, 4000}, Duration: Duration(10 * time.Second), Rounds: 2, Kill: true, Floor: true},
		Parts:    []Part{{"streams", 0.75, 45}, {"commerce/stock", 0.25, 15}},
		Notes:    []string{"a note"}}
	for n := range 2 {
		k := float64(n)
		m := func(scale float64) Measured {
			m := Measured{PeakRSS: 200 << 20, Saturation: &Saturation{Orders: 30_000, PerSecond: 15_000 + k, FirstPerSecond: 11_000 + k, RestSeconds: 0.5, Yardstick: 2000 + 100*k, Whole: &Quantiles{P50: 130 + k},
				Cost: Cost{CPUNotified: 60 + k, CPUKernel: 12 + k, CPUMicros: 80 + k, Records: 30, Bytes: 5000, Topics: []TopicCost{{"a", 20, 4000}, {"b", 10, 1000}}}}}
			for i, rate := range r.Settings.Rates {
				q := Quantiles{P50: scale * (10 + k) * float64(i+1), P90: 20 * scale, P99: scale * (40 + 10*k) * float64(i+1), P999: 300 * scale, Max: 400 * scale}
				m.Rates = append(m.Rates, Latency{Rate: rate, Orders: 1000, Whole: q, Answer: &Quantiles{P50: 1}, Accepted: &Quantiles{P50: 9}, Hops: []Hop{{topicOrders, q}, {HopRead, q}}})
			}
			return m
		}
		floor := m(0.3)
		r.Rounds = append(r.Rounds, Round{Measured: m(1), Floor: &floor, Kill: &Kill{Rate: 500, Orders: 10_000, LongestWait: 11 + k, LongestGap: 9}})
	}
	return r
}

func TestFigures(t *testing.T) {
	seen := map[string]Figure{}
	for _, f := range sample().Figures() {
		if _, twice := seen[f.ID]; twice {
			t.Errorf("%s twice", f.ID)
		}
		seen[f.ID] = f
	}
	for id, want := range map[string]Figure{
		"throughput":                                       {Unit: "orders/s", More: true, Main: true, Values: []float64{15_000, 15_001}},
		"throughput of the first 20,000":                   {Unit: "orders/s", More: true, Main: true, Values: []float64{11_000}}, // cold but once
		"CPU per order, to its notification":               {Unit: "µs", Main: true, Values: []float64{60, 61}},
		"CPU per order in the kernel, to its notification": {Unit: "µs", Values: []float64{12, 13}},
		"CPU per order, all in all":                        {Unit: "µs", Main: true, Values: []float64{80, 81}},
		"a fixed piece of work, on the load's side":        {Unit: "µs", Values: []float64{2000, 2100}},
		"CPU per 1,000 orders, in such pieces":             {Unit: "pieces", Values: []float64{30, 61_000. / 2100}},
		"floor, throughput":                                {Unit: "orders/s", More: true, Values: []float64{15_000, 15_001}},
		"at saturation, p50":                               {Unit: "ms", Main: true, Values: []float64{130, 131}},
		"at 1000/s, p99":                                   {Unit: "ms", Main: true, Values: []float64{80, 100}},
		"at 1000/s, max":                                   {Unit: "ms", Values: []float64{400, 400}},
		"at 100/s, from the answer, p50":                   {Unit: "ms", Values: []float64{9, 9}},
		"at 100/s, to read, p50":                           {Unit: "ms", Values: []float64{10, 11}},
		"longest wait after a kill":                        {Unit: "s", Main: true, Values: []float64{11, 12}},
	} {
		if want.ID = id; !reflect.DeepEqual(seen[id], want) {
			t.Errorf("%s: %+v", id, seen[id])
		}
	}
	if len(Compare(sample(), sample())) != len(seen) {
		t.Error("not every figure is compared")
	}
}

func TestComparable(t *testing.T) {
	if doubts := Comparable(sample(), sample()); len(doubts) > 0 {
		t.Errorf("of the same: %q", doubts)
	}
	b := sample()
	b.Settings.Orders, b.Machine.CPUs, b.Machine.Load, b.Kafka, b.Parts = 1, 8, 12, "v3", nil
	for i := range b.Rounds {
		b.Rounds[i].Saturation.Yardstick *= 1.11
	}
	if doubts := Comparable(sample(), b); len(doubts) != 6 {
		t.Errorf("doubts %q", doubts)
	}
	b = sample()
	b.Rounds[0].Saturation.Yardstick, b.Rounds[1].Saturation.Yardstick = 0, 0 // of another version or system
	if doubts := Comparable(sample(), b); len(doubts) > 0 {
		t.Errorf("of one that is not known: %q", doubts)
	}
}

func TestSVG(t *testing.T) {
	const name = "testdata/latency.svg"
	got := sample().SVG()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if it should, run the test with -update and look at it", name)
	}
	for _, r := range []*Report{{}, {Rounds: []Round{{Measured: Measured{Rates: []Latency{{Rate: 100}}}}}}} {
		if svg := string(r.SVG()); !strings.HasSuffix(svg, "</svg>\n") || strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("of little:\n%s", svg)
		}
	}
}

func TestDecode(t *testing.T) {
	b, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(bytes.NewReader(b))
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("%v: %+v", err, got)
	}
	for text, want := range map[string]string{
		`{}`:           "format 0",
		`{"format":2}`: "format 2",
		`{"format":1}`: "without rounds",
		`[]`:           "cannot unmarshal",
		`{"format":1,"rounds":[` + strings.Repeat(`{},`, maxRounds) + `{}]}`: "more than",
		strings.Repeat(" ", maxReport+1):                                     "larger than",
	} {
		if _, err := Decode(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
}

// What Decode takes can be written, read again, shown, drawn and compared.
func FuzzDecode(f *testing.F) {
	b, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"rounds":[{"rates":[{"rate":-1},{"rate":1e308},{"rate":5e-324,"whole":{"p50":1e300}}]},{}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Decode(bytes.NewReader(in))
		if err != nil {
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		second, err := json.Marshal(again)
		if err != nil || !bytes.Equal(out, second) {
			t.Fatalf("%v: %s, then %s", err, out, second)
		}
		Compare(r, again)
		if svg := r.SVG(); bytes.Contains(svg, []byte("NaN")) {
			t.Fatalf("%s", svg)
		}
	})
}
