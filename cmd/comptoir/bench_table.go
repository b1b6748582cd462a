package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/internal/bench"
)

// benchTable shows the medians of the rounds, with their range where there is
// room.
func benchTable(w *tableWriter, r *bench.Report) {
	s := r.Settings
	what := s.Target
	switch s.Target {
	case "embedded":
		what += ", sync=" + s.Sync
	case "instances":
		what = plural(s.Instances, "instance")
	}
	w.line("comptoir %s, %s, Kafka %s; %d CPUs (%s), load %.2f; orders by %s to %s; %s",
		r.Comptoir, r.Go, r.Kafka, r.Machine.CPUs, r.Machine.CPU, r.Machine.Load, s.Via, what, plural(s.Rounds, "round"))
	figures := map[string]bench.Figure{}
	var ids []string
	for _, f := range r.Figures() {
		figures[f.ID] = f
		if f.Unit != "ms" && !strings.HasPrefix(f.ID, "floor, ") {
			ids = append(ids, f.ID)
		}
	}
	if len(ids) > 0 {
		w.line("")
		head := []any{"FIGURE", "MEDIAN", "LEAST", "MOST", "UNIT"}
		if s.Floor {
			head = append(head, "FLOOR")
		}
		w.row(head...)
	}
	for _, id := range ids {
		f := figures[id]
		least, most := f.Range()
		row := []any{id, short(f.Median()), short(least), short(most), f.Unit}
		if s.Floor {
			row = append(row, "")
			if under, ok := figures["floor, "+id]; ok {
				row[len(row)-1] = short(under.Median())
			}
		}
		w.row(row...)
	}
	benchParts(w, r)
	benchLatencies(w, r, figures)
	for _, n := range r.Notes {
		w.line("note: %s", cleanCell(n))
	}
}

// benchParts shows where the time went, down to a hundredth of it.
func benchParts(w *tableWriter, r *bench.Report) {
	if len(r.Parts) == 0 {
		return
	}
	w.line("")
	w.row("WHERE CPU TIME GOES", "PERCENT", "µs AN ORDER")
	rest := bench.Part{Name: "others"}
	for _, p := range r.Parts {
		if p.Share < 0.01 {
			rest.Share += p.Share
			rest.Micros += p.Micros
			continue
		}
		w.row(p.Name, short(p.Share*100), short(p.Micros))
	}
	if rest.Share > 0 {
		w.row(rest.Name, short(rest.Share*100), short(rest.Micros))
	}
}

// benchLatencies shows what took how long at each rate.
func benchLatencies(w *tableWriter, r *bench.Report, figures map[string]bench.Figure) {
	_, bounded := figures[bench.Saturated+", p50"]
	if len(r.Settings.Rates) == 0 && !bounded {
		return
	}
	w.line("")
	w.row("MILLISECONDS", "P50", "P90", "P99", "P99.9", "MAX", "P50 OF ROUNDS", "P99 OF ROUNDS")
	row := func(title, id string) {
		cells := []any{title}
		for _, p := range []string{"p50", "p90", "p99", "p99.9", "max"} {
			f, ok := figures[id+", "+p]
			if !ok {
				return
			}
			cells = append(cells, short(f.Median()))
		}
		for _, p := range []string{"p50", "p99"} {
			least, most := figures[id+", "+p].Range()
			cells = append(cells, short(least)+"–"+short(most))
		}
		w.row(cells...)
	}
	row(fmt.Sprintf("%s, %d under way", bench.Saturated, r.Settings.InFlight), bench.Saturated)
	row("  the floor", "floor, "+bench.Saturated)
	for _, l := range r.Rounds[0].Rates {
		at := "at " + strconv.FormatFloat(l.Rate, 'g', -1, 64) + "/s"
		row(at, at)
		row("  the floor", "floor, "+at)
		row("  to the answer", at+", answer")
		row("  from the answer", at+", from the answer")
		for _, h := range l.Hops {
			title := "  to " + h.To
			if h.To == bench.HopRead {
				title = "  to being read"
			}
			row(title, at+", to "+h.To)
		}
	}
}

// short shows a number with three digits or all before the point.
func short(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func (a *app) benchCompareCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "compare A B",
		Short: "Compare two runs of bench, with a verdict that knows noise",
		Long: fmt.Sprintf(`Compares two runs of bench, kept with -o json: B beside A. A figure is better or
worse if every round of one run lies beyond every round of the other (the rank test
of Mann and Whitney at its sharpest), and the medians differ by more than %g %%.
Rounds of one and the same figure lie apart so by chance in 10 %% of cases with 3
rounds each, in 0.8 %% with 5 each: for small differences give bench --rounds 5.

Exit code 0: no main figure is worse. 1: one is. Main figures are throughput, cost
and memory, p50 and p99 of the whole way, and the wait after a kill.`, bench.Least*100),
		Example: "  comptoir bench compare before.json after.json",
		Args:    exactly("A.json", "B.json"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.benchCompare(args[0], args[1]) },
	}
}

func (a *app) benchCompare(before, after string) error {
	x, err := readBench(before)
	if err != nil {
		return err
	}
	y, err := readBench(after)
	if err != nil {
		return err
	}
	for _, d := range bench.Comparable(x, y) {
		fmt.Fprintf(a.err, "comptoir: to be read with care: %s\n", d)
	}
	all := bench.Compare(x, y)
	if len(all) == 0 {
		return failuref("%s and %s have no figure in common", before, after)
	}
	err = a.print(all, func(w *tableWriter) {
		w.row("FIGURE", "A", "B", "UNIT", "B/A", "VERDICT")
		aside := 0
		for _, c := range all {
			verdict := string(c.Verdict)
			if !c.Main {
				if c.Verdict == bench.Same {
					aside++
					continue
				}
				verdict += " (aside)"
			}
			w.row(c.ID, short(c.A), short(c.B), c.Unit, strconv.FormatFloat(c.Ratio, 'f', 2, 64), verdict)
		}
		if aside > 0 {
			w.line("and %d aside, not distinguishable: -o json shows them", aside)
		}
	})
	if err != nil {
		return err
	}
	var worse []string
	for _, c := range all {
		if c.Main && c.Verdict == bench.Worse {
			worse = append(worse, c.ID)
		}
	}
	if len(worse) > 0 {
		slices.Sort(worse)
		return failuref("worse: %s", strings.Join(worse, "; "))
	}
	return nil
}

// readBench reads a report.
func readBench(name string) (*bench.Report, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFoundf("%v", err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := bench.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}
