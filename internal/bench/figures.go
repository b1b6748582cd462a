package bench

import (
	"slices"
	"strconv"
)

// Figure is one number of a run, with its value of each round.
type Figure struct {
	ID   string
	Unit string
	// More is better; otherwise less is.
	More bool
	// Main figures decide whether a run is worse than another; of the others
	// there are so many that some differ by chance.
	Main   bool
	Values []float64
}

// Saturated begins the names of the figures of how long orders took in the
// throughput phase.
const Saturated = "at saturation"

// Median of the rounds.
func (f Figure) Median() float64 { return median(f.Values) }

// Range of the rounds.
func (f Figure) Range() (least, most float64) { return slices.Min(f.Values), slices.Max(f.Values) }

// Figures are all of a report, in an order that is always the same. None is
// without values; of a phase that some rounds do not have, there are fewer.
func (r *Report) Figures() []Figure {
	var out []Figure
	at := map[string]int{}
	add := func(f Figure, v float64) {
		i, ok := at[f.ID]
		if !ok {
			i = len(out)
			at[f.ID] = i
			out = append(out, f)
		}
		out[i].Values = append(out[i].Values, v)
	}
	for n, round := range r.Rounds {
		measured(add, "", &round.Measured, n == 0)
		if k := round.Kill; k != nil {
			add(Figure{ID: "longest wait after a kill", Unit: "s", Main: true}, k.LongestWait)
			add(Figure{ID: "longest standstill after a kill", Unit: "s"}, k.LongestGap)
		}
		if round.Floor != nil {
			measured(add, "floor, ", round.Floor, n == 0)
		}
	}
	return out
}

// typical is the median of what the rounds' throughput phases say; 0 if none does.
func (r *Report) typical(of func(*Saturation) float64) float64 {
	var all []float64
	for _, round := range r.Rounds {
		if s := round.Saturation; s != nil && of(s) > 0 {
			all = append(all, of(s))
		}
	}
	return median(all)
}

// cpuNotified is what an order costs to its notification, in microseconds.
func (r *Report) cpuNotified() float64 {
	return r.typical(func(s *Saturation) float64 { return s.Cost.CPUNotified })
}

// yardstick is what a fixed piece of work took, in microseconds.
func (r *Report) yardstick() float64 {
	return r.typical(func(s *Saturation) float64 { return s.Yardstick })
}

// measured adds what one round found.
func measured(add func(Figure, float64), of string, m *Measured, cold bool) {
	is := of == ""
	if s := m.Saturation; s != nil {
		add(Figure{ID: of + "throughput", Unit: "orders/s", More: true, Main: is}, s.PerSecond)
		if cold && s.FirstPerSecond > 0 {
			add(Figure{ID: of + "throughput of the first 20,000", Unit: "orders/s", More: true, Main: is}, s.FirstPerSecond)
		}
		if s.Cost.CPUMicros > 0 {
			add(Figure{ID: of + "CPU per order, to its notification", Unit: "µs", Main: is}, s.Cost.CPUNotified)
			if s.Cost.CPUKernel > 0 {
				add(Figure{ID: of + "CPU per order in the kernel, to its notification", Unit: "µs"}, s.Cost.CPUKernel)
			}
			add(Figure{ID: of + "CPU per order, all in all", Unit: "µs", Main: is}, s.Cost.CPUMicros)
		}
		add(Figure{ID: of + "records per order", Unit: "records", Main: is}, s.Cost.Records)
		if s.Cost.Bytes > 0 {
			add(Figure{ID: of + "bytes per order", Unit: "bytes", Main: is}, s.Cost.Bytes)
		}
		add(Figure{ID: of + "from the last notification to rest", Unit: "s"}, s.RestSeconds)
		if s.Yardstick > 0 {
			add(Figure{ID: of + "a fixed piece of work, on the load's side", Unit: "µs"}, s.Yardstick)
			if s.Cost.CPUNotified > 0 {
				add(Figure{ID: of + "CPU per 1,000 orders, in such pieces", Unit: "pieces"}, 1000*s.Cost.CPUNotified/s.Yardstick)
			}
		}
	}
	if m.PeakRSS > 0 {
		add(Figure{ID: of + "peak memory", Unit: "MB", Main: is}, float64(m.PeakRSS)/1e6)
	}
	spread := func(what string, q Quantiles, main bool) {
		for _, p := range []struct {
			name string
			v    float64
			main bool
		}{{"p50", q.P50, main}, {"p90", q.P90, false}, {"p99", q.P99, main}, {"p99.9", q.P999, false}, {"max", q.Max, false}} {
			add(Figure{ID: of + what + ", " + p.name, Unit: "ms", Main: p.main}, p.v)
		}
	}
	if s := m.Saturation; s != nil && s.Whole != nil {
		spread(Saturated, *s.Whole, is)
	}
	for _, l := range m.Rates {
		at := "at " + strconv.FormatFloat(l.Rate, 'g', -1, 64) + "/s"
		spread(at, l.Whole, is)
		if l.Answer != nil {
			spread(at+", answer", *l.Answer, false)
		}
		if l.Accepted != nil {
			spread(at+", from the answer", *l.Accepted, false)
		}
		for _, h := range l.Hops {
			spread(at+", to "+h.To, h.Took, false)
		}
	}
}
