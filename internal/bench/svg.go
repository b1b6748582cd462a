package bench

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// The picture, in its own units.
const (
	svgWidth, svgHeight = 640, 400
	svgLeft, svgRight   = 70, 600
	svgTop, svgBottom   = 50, 330
	svgLegend           = 380
)

// axis is a logarithmic scale.
type axis struct{ least, most, from, to float64 }

func (a axis) at(v float64) float64 {
	return a.from + (a.to-a.from)*(math.Log(v)-math.Log(a.least))/(math.Log(a.most)-math.Log(a.least))
}

// newAxis spans from a mark to a mark, so that every value lies within.
func newAxis(values []float64, from, to float64) axis {
	a := axis{mark(slices.Min(values), false), mark(slices.Max(values), true), from, to}
	if a.least == a.most {
		a.least, a.most = mark(a.least*0.99, false), mark(a.most*1.01, true)
	}
	return a
}

// marks are 1, 2 and 5 of every decade.
func (a axis) marks() (out []float64) {
	for m := a.least; m <= a.most*1.001; m = mark(m*1.01, true) {
		out = append(out, m)
	}
	return out
}

// mark is the nearest mark below or above, or v itself.
func mark(v float64, above bool) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)+1e-9))
	steps := []float64{1, 2, 5, 10}
	if above {
		for _, s := range steps {
			if s*decade >= v*(1-1e-9) {
				return s * decade
			}
		}
	}
	for _, s := range slices.Backward(steps) {
		if s*decade <= v*(1+1e-9) {
			return s * decade
		}
	}
	return decade
}

// line is one curve: a quantile of the whole way against the rate.
type line struct {
	class, title string
	points       []point
}

type point struct{ rate, median, least, most float64 }

// SVG draws latency against rate: the medians of the rounds, with their range.
// It reads well on light and on dark ground. Without any rate it is an empty
// picture.
func (r *Report) SVG() []byte {
	lines := r.lines()
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" font-family="system-ui, sans-serif" font-size="12">
<title>Latency against rate</title>
<style>
  text { fill: #1f2328; } .grid { stroke: #d0d7de; }
  .line { fill: none; stroke-width: 2; } .range { stroke-width: 1; } .line.floor { stroke-dasharray: 5 4; }
  .p50 { stroke: #0550ae; } circle.p50 { fill: #0550ae; }
  .p99 { stroke: #bc4c00; } circle.p99 { fill: #bc4c00; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .grid { stroke: #3d444d; }
    .p50 { stroke: #79c0ff; } circle.p50 { fill: #79c0ff; }
    .p99 { stroke: #ffa657; } circle.p99 { fill: #ffa657; }
  }
</style>
`, svgWidth, svgHeight)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="15">From order to notification, by orders per second</text>`+"\n", svgLeft)
	var rates, times []float64
	for _, l := range lines {
		for _, p := range l.points {
			rates, times = append(rates, p.rate), append(times, p.least, p.most)
		}
	}
	if len(rates) > 0 {
		x, y := newAxis(rates, svgLeft, svgRight), newAxis(times, svgBottom, svgTop)
		for _, m := range x.marks() {
			fmt.Fprintf(&b, `<line class="grid" x1="%[1]s" y1="%[2]d" x2="%[1]s" y2="%[3]d"/><text x="%[1]s" y="%[4]d" text-anchor="middle">%[5]s</text>`+"\n",
				coordinate(x.at(m)), svgTop, svgBottom, svgBottom+18, number(m))
		}
		for _, m := range y.marks() {
			fmt.Fprintf(&b, `<line class="grid" x1="%[1]d" y1="%[2]s" x2="%[3]d" y2="%[2]s"/><text x="%[4]d" y="%[5]s" text-anchor="end">%[6]s</text>`+"\n",
				svgLeft, coordinate(y.at(m)), svgRight, svgLeft-8, coordinate(y.at(m)+4), number(m))
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">orders/s</text><text x="%d" y="%d" text-anchor="end">ms</text>`+"\n", svgRight, svgBottom+36, svgLeft-8, svgTop-12)
		for i, l := range lines {
			l.draw(&b, x, y)
			at := svgLeft + i*(svgRight-svgLeft)/4
			fmt.Fprintf(&b, `<line class="line %[1]s" x1="%[2]d" y1="%[3]d" x2="%[4]d" y2="%[3]d"/><text x="%[5]d" y="%[6]d">%[7]s</text>`+"\n",
				l.class, at, svgLegend, at+24, at+30, svgLegend+4, l.title)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (l line) draw(b *bytes.Buffer, x, y axis) {
	fmt.Fprintf(b, `<polyline class="line %s" points="`, l.class)
	for i, p := range l.points {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(coordinate(x.at(p.rate)) + "," + coordinate(y.at(p.median)))
	}
	b.WriteString("\"/>\n")
	for _, p := range l.points {
		fmt.Fprintf(b, `<line class="range %[1]s" x1="%[2]s" y1="%[3]s" x2="%[2]s" y2="%[4]s"/><circle class="%[1]s" cx="%[2]s" cy="%[5]s" r="3"><title>%[6]s at %[7]s orders/s: %[8]s ms (%[9]s to %[10]s)</title></circle>`+"\n",
			l.class, coordinate(x.at(p.rate)), coordinate(y.at(p.least)), coordinate(y.at(p.most)), coordinate(y.at(p.median)),
			l.title, number(p.rate), number(p.median), number(p.least), number(p.most))
	}
}

// lines are the curves of a report.
func (r *Report) lines() (out []line) {
	for _, c := range []struct {
		class, title string
		of           func(Round) []Latency
		q            func(Quantiles) float64
	}{
		{"p50", "p50", func(r Round) []Latency { return r.Rates }, func(q Quantiles) float64 { return q.P50 }},
		{"p99", "p99", func(r Round) []Latency { return r.Rates }, func(q Quantiles) float64 { return q.P99 }},
		{"p50 floor", "p50 of the floor", floorRates, func(q Quantiles) float64 { return q.P50 }},
		{"p99 floor", "p99 of the floor", floorRates, func(q Quantiles) float64 { return q.P99 }},
	} {
		values := map[float64][]float64{}
		for _, round := range r.Rounds {
			for _, l := range c.of(round) {
				// What is too fast or too slow for a logarithm lies on the edge.
				values[l.Rate] = append(values[l.Rate], min(max(c.q(l.Whole), 0.01), 1e7))
			}
		}
		l := line{class: c.class, title: c.title}
		for rate, v := range values {
			if rate > 0 {
				l.points = append(l.points, point{min(max(rate, 0.01), 1e7), median(v), slices.Min(v), slices.Max(v)})
			}
		}
		slices.SortFunc(l.points, func(a, b point) int { return int(math.Copysign(1, a.rate-b.rate)) })
		if len(l.points) > 0 {
			out = append(out, l)
		}
	}
	return out
}

func floorRates(r Round) []Latency {
	if r.Floor == nil {
		return nil
	}
	return r.Floor.Rates
}

// coordinate is a number of the picture, to a tenth.
func coordinate(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// number is one to be read, with three digits or all before the point.
func number(v float64) string {
	if v > 0 {
		unit := math.Pow(10, min(0, math.Floor(math.Log10(v))-2))
		v = math.Round(v/unit) * unit
	}
	return strconv.FormatFloat(v, 'f', -1, 32)
}
