package bench

import (
	"fmt"
	"math"
	"reflect"
)

// Verdict says how a figure of one run stands to that of another.
type Verdict string

// The verdicts.
const (
	Better Verdict = "better"
	Worse  Verdict = "worse"
	// Same: the rounds of the two runs lie among each other, or so near that
	// nobody would mind.
	Same Verdict = "not distinguishable"
)

// Least is the difference of medians, as a share, below which figures count as
// the same however steady they are: one machine differs by as much from hour to
// hour.
const Least = 0.05

// slower is how much slower the machine may be in one of two runs, as a share,
// before that is worth a doubt.
const slower = 0.1

// Comparison is one figure of two runs.
type Comparison struct {
	ID      string  `json:"id"`
	Unit    string  `json:"unit"`
	Main    bool    `json:"main"`
	A       float64 `json:"a"` // medians of the rounds
	B       float64 `json:"b"`
	Ratio   float64 `json:"ratio"` // B / A; 0 if A is 0
	Verdict Verdict `json:"verdict"`
	// Chance is how probable it is that rounds of the same figure lie so far
	// apart, in either direction: 1 if they do not lie apart.
	Chance float64 `json:"chance"`
}

// Compare compares the figures that both reports have.
//
// It is the exact rank test of Mann and Whitney ("On a test of whether one of two
// random variables is stochastically larger than the other", 1947) at its
// sharpest: a figure has changed if every round of one run lies beyond every
// round of the other (U = 0). Of m and n rounds of one and the same distribution
// that happens with probability 2 / C(m+n, m): 10 % for 3 and 3, 0.8 % for 5 and
// 5. And the medians must differ by more than Least. Of a single round nothing
// can be said.
func Compare(a, b *Report) []Comparison {
	others := map[string]Figure{}
	for _, f := range b.Figures() {
		others[f.ID] = f
	}
	var out []Comparison
	for _, x := range a.Figures() {
		if y, ok := others[x.ID]; ok {
			out = append(out, compare(x, y))
		}
	}
	return out
}

func compare(x, y Figure) Comparison {
	c := Comparison{ID: x.ID, Unit: x.Unit, Main: x.Main, A: x.Median(), B: y.Median(), Verdict: Same, Chance: 1}
	if c.A != 0 {
		c.Ratio = c.B / c.A
	}
	least, most := x.Range()
	leastY, mostY := y.Range()
	lower, higher := mostY < least, leastY > most
	if !lower && !higher || len(x.Values) < 2 || len(y.Values) < 2 {
		return c
	}
	c.Chance = apartByChance(len(x.Values), len(y.Values))
	if math.Abs(c.B-c.A) <= Least*math.Abs(c.A) {
		return c
	}
	c.Verdict = Worse
	if higher == x.More {
		c.Verdict = Better
	}
	return c
}

// apartByChance is the probability that m and n values of one distribution do
// not lie among each other: 2 / C(m+n, m).
func apartByChance(m, n int) float64 {
	p := 2.0
	for i := 1; i <= m; i++ {
		p *= float64(i) / float64(n+i)
	}
	return p
}

// Comparable says what makes two runs hard to compare; nothing if they were made
// alike.
func Comparable(a, b *Report) (doubts []string) {
	if !reflect.DeepEqual(a.Settings, b.Settings) {
		doubts = append(doubts, "their settings differ")
	}
	x, y := a.Machine, b.Machine
	if x.Platform != y.Platform || x.CPUs != y.CPUs || x.CPU != y.CPU {
		doubts = append(doubts, "they were made on different machines")
	}
	if (len(a.Parts) > 0) != (len(b.Parts) > 0) {
		doubts = append(doubts, "only one of them took profiles, which cost some CPU time themselves")
	}
	if a.Kafka != b.Kafka {
		doubts = append(doubts, "their Kafka differs")
	}
	if math.Abs(x.Load-y.Load) > 0.5*float64(max(x.CPUs, 1)) {
		doubts = append(doubts, "the load of the machine differed at the begin")
	}
	if p, q := a.yardstick(), b.yardstick(); p > 0 && q > 0 && max(p/q, q/p) > 1+slower {
		doubts = append(doubts, fmt.Sprintf("the machine was not equally fast: the same piece of work took %.0f µs and %.0f µs", p, q))
	}
	return doubts
}
