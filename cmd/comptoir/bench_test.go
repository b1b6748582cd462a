package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/comptoir/comptoir/internal/bench"
)

// childEnv makes the tests' program the program itself: `bench` starts processes
// of it.
const childEnv = "COMPTOIR_TEST_BENCH_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// The whole command, small: embedded, with the floor beside, by Kafka and by
// HTTP.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	for _, via := range []string{bench.ViaKafka, bench.ViaHTTP} {
		t.Run(via, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			picture := filepath.Join(t.TempDir(), "latency.svg")
			spent := filepath.Join(t.TempDir(), "cpu.pb.gz")
			s := &shell{t: t, environ: []string{childEnv + "=1", "TMPDIR=" + temp}}
			res := s.runContext(t.Context(), "", "bench", "--orders", "300", "--in-flight", "40", "--rate", "200", "--duration", "500ms", "--rounds", "2", "--floor", "--via", via, "--svg", picture, "--profile", spent, "-o", "json")
			if res.code != exitOK {
				t.Fatalf("exit code %d\n%s", res.code, res.err)
			}
			r, err := bench.Decode(strings.NewReader(res.out))
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Rounds) != 2 || len(r.Notes) > 0 || r.Comptoir == "" || r.Settings.Sync != "commit" {
				t.Fatalf("report %+v", r)
			}
			for _, round := range r.Rounds {
				for _, m := range []*bench.Measured{&round.Measured, round.Floor} {
					// An order writes nine public records and more, with markers; the floor
					// at least 15.
					c := m.Saturation.Cost
					if m.Saturation.Orders != 300 || m.Saturation.PerSecond <= 0 || c.Records < 10 || c.Records > 200 || c.Bytes < 500 || c.CPUMicros <= 0 {
						t.Errorf("saturation %+v", m.Saturation)
					}
					if w := m.Saturation.Whole; w == nil || !(0 < w.P50 && w.P50 <= w.Max) {
						t.Errorf("with 40 under way orders took %+v", w)
					}
					l := m.Rates[0]
					if l.Rate != 200 || l.Orders != 100 || !(0 < l.Whole.P50 && l.Whole.P50 <= l.Whole.P99 && l.Whole.P99 <= l.Whole.Max) {
						t.Errorf("latency %+v", l)
					}
				}
				l := round.Rates[0]
				var to []string
				var sum float64
				for _, h := range l.Hops {
					to, sum = append(to, h.To), sum+h.Took.Max
				}
				if want := []string{"commandes.ecommerce", "stock.verifie", "paiement-accepte", "factures.ecommerce", "notifications.clients", bench.HopRead}; !slices.Equal(to, want) {
					t.Errorf("hops %v", to)
				}
				if sum < l.Whole.Max {
					t.Errorf("the longest hops make %v ms, and the longest order took %v", sum, l.Whole.Max)
				}
				if (l.Accepted != nil) != (via == bench.ViaHTTP) || l.Accepted != nil && (l.Accepted.P50 <= 0 || l.Accepted.P50 > l.Whole.P50) {
					t.Errorf("from the answer %+v", l.Accepted)
				}
				if (l.Answer != nil) != (via == bench.ViaHTTP) || l.Answer != nil && (l.Answer.P50 <= 0 || l.Answer.P50 > l.Whole.P50) {
					t.Errorf("answer %+v", l.Answer)
				}
				if round.Floor.Rates[0].Hops != nil {
					t.Error("the floor has hops")
				}
			}
			if !strings.Contains(res.err, "round 2: ") {
				t.Errorf("progress:\n%s", res.err)
			}
			if svg, err := os.ReadFile(picture); err != nil || !strings.HasPrefix(string(svg), "<svg ") {
				t.Errorf("picture: %v %.80s", err, svg)
			}
			if cpu, err := os.ReadFile(spent); err != nil {
				t.Error(err)
			} else if _, err := profile.ParseData(cpu); err != nil {
				t.Error(err)
			}
			whole := 0.0
			for _, p := range r.Parts {
				whole += p.Share
			}
			if math.Abs(whole-1) > 1e-6 || r.Parts[0].Micros <= 0 {
				t.Errorf("parts of the CPU time: %+v", r.Parts)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// A process that is killed under load comes back under its addresses, and no
// order is lost.
func TestBenchKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	s := &shell{t: t, environ: []string{childEnv + "=1"}}
	r := s.runContext(t.Context(), "", "bench", "--orders", "0", "--rate", "0", "--rounds", "1", "--duration", "1s", "--kill")
	if r.code != exitOK || !strings.Contains(r.out, "longest wait after a kill") || !strings.Contains(r.err, "kill -9") {
		t.Errorf("%+v", r)
	}
}

// A running system is asked for its consent, and measured without being stopped.
func TestBenchRunning(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	dir := filepath.Join(t.TempDir(), "shop")
	shop := &benchProcesses{environ: []string{childEnv + "=1"}}
	if err := shop.start(t.Context(), []string{"up", "--data-dir", dir, "--kafka", "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shop.stop(); err != nil {
			t.Error(err)
		}
	})
	s := &shell{t: t, environ: []string{childEnv + "=1"}}
	args := []string{"bench", "--data-dir", dir, "--orders", "100", "--rate", "0", "--rounds", "1", "-o", "json"}
	s.fails(exitUsage, []string{"BENCH-", "--yes", shop.all[0].endpoints.Kafka}, "", args...)
	// It serves no profiles: that is said before anything is measured.
	s.fails(exitFailure, []string{"/debug/pprof/", "404", "COMPTOIR_PPROF=true"}, "", append(args, "--yes", "--profile", filepath.Join(dir, "cpu.pb.gz"))...)
	r := s.runContext(t.Context(), "", append(args, "--yes")...)
	report, err := bench.Decode(strings.NewReader(r.out))
	if r.code != exitOK || err != nil {
		t.Fatalf("%v %+v", err, r)
	}
	if report.Settings.InFlight != 20_000 {
		t.Errorf("%d orders may be under way without --in-flight", report.Settings.InFlight)
	}
	if m := report.Rounds[0]; m.Saturation.Cost.CPUMicros <= 0 || runtime.GOOS == "linux" && m.PeakRSS == 0 || report.Settings.Target != "running" {
		t.Errorf("report %s", r.out)
	}
	if err := shop.all[0].Ended(); err != nil {
		t.Error(err)
	}
}

func TestBenchParts(t *testing.T) {
	r := &bench.Report{Rounds: []bench.Round{{}}, Parts: []bench.Part{
		{Name: "streams", Share: 0.5, Micros: 30}, {Name: "commerce/stock", Share: 0.485, Micros: 29.1},
		{Name: "tiny", Share: 0.009, Micros: 0.54}, {Name: "tinier", Share: 0.006, Micros: 0.36},
	}}
	var b strings.Builder
	a := &app{out: &b, output: "table"}
	if err := a.print(r, func(w *tableWriter) { benchTable(w, r) }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"streams              50.0     30.0\n", "commerce/stock       48.5     29.1\n", "others               1.50     0.90\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// TestBenchInFlight: how long orders took at saturation is shown without any rates.
func TestBenchInFlight(t *testing.T) {
	r := &bench.Report{Settings: bench.Settings{InFlight: 4000}, Rounds: []bench.Round{{Measured: bench.Measured{
		Saturation: &bench.Saturation{PerSecond: 20_000, Whole: &bench.Quantiles{P50: 200, P90: 300, P99: 400, P999: 500, Max: 600}}}}}}
	var b strings.Builder
	a := &app{out: &b, output: "table"}
	if err := a.print(r, func(w *tableWriter) { benchTable(w, r) }); err != nil {
		t.Fatal(err)
	}
	if want := "at saturation, 4000 under way  200  300  400  500    600  200–200        400–400\n"; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, b.String())
	}
}

func TestBenchUsage(t *testing.T) {
	s := &shell{t: t}
	for _, tc := range []struct {
		words []string
		args  []string
	}{
		{[]string{"--rounds"}, []string{"--rounds", "0"}},
		{[]string{"nothing to measure"}, []string{"--orders", "0", "--rate", "0"}},
		{[]string{"--rate"}, []string{"--rate", "-5"}},
		{[]string{"--rate"}, []string{"--rate", "0,5"}},
		{[]string{"kafka, http"}, []string{"--via", "mail"}},
		{[]string{"commit, interval"}, []string{"--sync", "never"}},
		{[]string{"--sync"}, []string{"--sync", "commit", "--brokers", "x:1"}},
		{[]string{"--brokers"}, []string{"--instances", "1"}},
		{[]string{"--api"}, []string{"--instances", "1", "--brokers", "x:1", "--api", "http://x"}},
		{[]string{"--instances"}, []string{"--brokers", "x:1", "--database", "postgres://x"}},
		{[]string{"--kill", "--instances"}, []string{"--brokers", "x:1", "--kill"}},
		{[]string{"--svg"}, []string{"--rate", "0", "--svg", "x"}},
		{[]string{"--profile", "--data-dir"}, []string{"--brokers", "x:1", "--profile", "x"}},
		{[]string{"--profile", "--orders"}, []string{"--orders", "0", "--profile", "x"}},
		{[]string{"--in-flight", "0 or more"}, []string{"--in-flight", "-1"}},
		{[]string{"--in-flight", "--orders"}, []string{"--orders", "0", "--in-flight", "5"}},
		{[]string{"--yes"}, []string{"--brokers", "x:1"}},
		{[]string{"B.json"}, []string{"compare", "a"}},
	} {
		s.fails(exitUsage, tc.words, "", append([]string{"bench"}, tc.args...)...)
	}
}

func TestBenchCompare(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, perSecond ...float64) string {
		t.Helper()
		r := bench.Report{Format: 1, Begun: time.Unix(0, 0).UTC()}
		for _, v := range perSecond {
			r.Rounds = append(r.Rounds, bench.Round{Measured: bench.Measured{Saturation: &bench.Saturation{Orders: 1, PerSecond: v}}})
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	slow, fast, other := write("slow", 100, 110, 105), write("fast", 200, 220, 210), write("other", 90, 200, 300)
	s := &shell{t: t}
	if out := s.ok("", "bench", "compare", slow, fast); !strings.Contains(out, "2.00  better") {
		t.Errorf("faster:\n%s", out)
	}
	r := s.run("", "bench", "compare", fast, slow)
	if r.code != exitFailure || !strings.Contains(r.out, "0.50  worse") || !strings.Contains(r.err, "worse: throughput") {
		t.Errorf("slower: %+v", r)
	}
	if out := s.ok("", "bench", "compare", fast, other); !strings.Contains(out, "not distinguishable") {
		t.Errorf("noise:\n%s", out)
	}
	var all []bench.Comparison
	s.json(&all, "bench", "compare", slow, fast)
	if len(all) == 0 || all[0].ID != "throughput" || all[0].Verdict != bench.Better || all[0].Chance != 0.1 {
		t.Errorf("-o json: %+v", all)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fails(exitFailure, []string{empty, "no report of bench"}, "", "bench", "compare", slow, empty)
	s.fails(exitNotFound, []string{"nowhere"}, "", "bench", "compare", slow, filepath.Join(dir, "nowhere"))
}
