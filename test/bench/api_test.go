package bench

import (
	"bufio"
	"cmp"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/node"
)

// figures are what the node counts about itself.
type figures map[string]float64

// figures reads /metrics.
func (s *shop) figures() figures {
	s.b.Helper()
	resp, err := http.Get(s.n.Endpoints().HTTP + "/metrics")
	if err != nil {
		s.b.Fatal(err)
	}
	defer resp.Body.Close()
	f := figures{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && name != "#" {
			f[name], _ = strconv.ParseFloat(value, 64) // names without labels' blanks: all that is asked for
		}
	}
	return f
}

// mean is the average of a histogram since before, and how often it was observed.
func (f figures) mean(before figures, name, labels string) (mean float64, count int) {
	n := f[name+"_count"+labels] - before[name+"_count"+labels]
	return (f[name+"_sum"+labels] - before[name+"_sum"+labels]) / max(n, 1), int(n)
}

// transactions shows size and time of the order database's transactions.
func (f figures) transactions(before figures, kind string) string {
	labels := fmt.Sprintf("{kind=%q}", kind)
	size, n := f.mean(before, "comptoir_orderdb_batch_size", labels)
	took, _ := f.mean(before, "comptoir_orderdb_transaction_seconds", labels)
	return fmt.Sprintf("%s: %d transactions of %.1f in %.2f ms", kind, n, size, took*1000)
}

// post places n orders by HTTP over conns connections.
func (s *shop) post(run string, n, rate, conns int, keyed bool) *httpResult {
	s.b.Helper()
	l := &httpLoad{Addr: host(s.n.Endpoints().HTTP), Conns: conns, Rate: rate, Status: http.StatusCreated, Requests: posts(run, n, keyed)}
	runtime.GC()
	return l.run(s.b)
}

// behind is how many records a group has not read yet.
func (s *shop) behind(group string) int64 {
	s.b.Helper()
	lags, err := kadm.NewClient(s.admin).Lag(s.b.Context(), group)
	if err == nil {
		err = lags.Error()
	}
	if err != nil {
		s.b.Fatal(err)
	}
	return lags[group].Lag.Total()
}

// caughtUp waits until every group has read all there is, and returns how long
// that took.
func (s *shop) caughtUp() time.Duration {
	s.b.Helper()
	begin := time.Now()
	for _, g := range s.n.Groups() {
		for s.behind(g) > 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return time.Since(begin)
}

// BenchmarkPlace measures POST /commandes with 64 connections: accepted and
// durable, with the stages off and on. CPU is the node's alone.
func BenchmarkPlace(b *testing.B) {
	run := time.Now().Format("150405")
	for _, c := range []struct {
		name  string
		roles []string // none: all
		n     int
		keyed bool
	}{
		{"whole", nil, 50_000, false},
		{"api-relay", []string{"api", "relais"}, 60_000, false},
		{"api", []string{"api"}, 60_000, false}, // leaves its messages to others
		{"api-keyed", []string{"api"}, 60_000, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := openShop(b, func(cfg *node.Config) { cfg.Roles = c.roles })
			s.post(run+"w"+c.name, 3000, 0, 64, c.keyed) // warm
			if c.roles == nil {
				s.caughtUp()
			}
			before, used := s.figures(), cpu()
			r := s.post(run+c.name, c.n, 0, 64, c.keyed)
			answered, after := cpu()-used, s.figures()
			rate := float64(c.n) / r.All.Seconds()
			b.Logf("%.0f orders/s, %s; of the 2 cores the node took %.2f, the client %.2f", rate, quantiles(sorted(r.Took)), answered.Seconds()/r.All.Seconds(), r.CPU.Seconds()/r.All.Seconds())
			for _, kind := range []string{"submit", "sent", "apply"} {
				b.Log(after.transactions(before, kind))
			}
			if size, n := after.mean(before, "comptoir_outbox_batch_messages", ""); n > 0 {
				took, _ := after.mean(before, "comptoir_outbox_transaction_duration_seconds", "")
				b.Logf("relay: %d batches of %.1f messages in %.2f ms", n, size, took*1000)
			}
			b.Logf("CPU per order until the last answer: %d µs", answered.Microseconds()/int64(c.n))
			if c.roles == nil {
				s.await(run+c.name, c.n)
				last := time.Since(time.Unix(0, r.Sent[0]))
				s.caughtUp()
				b.Logf("%.0f orders/s notified; CPU per order for all: %d µs", float64(c.n)/last.Seconds(), (cpu()-used).Microseconds()/int64(c.n))
			}
			b.ReportMetric(rate, "orders/s")
		})
	}
}

// BenchmarkTracking offers 3,000 orders/s by HTTP, open loop, for 20 s, and
// measures how far behind service-suivi is, and how long after the last answer.
func BenchmarkTracking(b *testing.B) {
	const rate, n = 3000, 60_000
	run := time.Now().Format("150405")
	s := openShop(b, nil)
	s.post(run+"w", 3000, 500, 64, false)
	s.caughtUp()
	before, used := s.figures(), cpu()
	var most int64
	ended, measured := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(measured)
		for {
			select {
			case <-ended:
				return
			case <-time.After(250 * time.Millisecond):
				most = max(most, s.behind("service-suivi"))
			}
		}
	}()
	r := s.post(run, n, rate, 64, false)
	end := time.Now()
	close(ended)
	<-measured
	atEnd := s.behind("service-suivi")
	s.await(run, n)
	notified := time.Since(end)
	s.caughtUp()
	caught := time.Since(end)
	b.Logf("%.0f orders/s, %s; of the 2 cores the node took %.2f, the client %.2f", n/r.All.Seconds(), quantiles(sorted(r.Took)),
		(cpu()-used).Seconds()/(r.All+caught).Seconds(), r.CPU.Seconds()/r.All.Seconds())
	b.Logf("service-suivi: at most %d records behind, %d at the end of the load (of about %d a second); 0 after %v; last notification after %v",
		most, atEnd, rate*9, caught.Round(time.Millisecond), notified.Round(time.Millisecond))
	after := s.figures()
	for _, kind := range []string{"submit", "sent", "apply"} {
		b.Log(after.transactions(before, kind))
	}
	b.ReportMetric(caught.Seconds(), "s-to-catch-up")
}

// BenchmarkAccepted measures the way from a request to the notification beside
// the one from a record to it, at the same rates: in turn, since the machine is
// not the same all the time. It shows the median round of each.
func BenchmarkAccepted(b *testing.B) {
	const rounds = 5
	run := time.Now().Format("150405")
	s := openShop(b, nil)
	s.load(run+"w", 300, 100)
	s.post(run+"v", 300, 100, 8, false)
	s.caughtUp()
	for _, rate := range rates {
		var byKafka, byHTTP, answers [][]time.Duration
		for round := range rounds {
			n := rate * 2
			name := fmt.Sprintf("%sk%d-%d", run, rate, round)
			_, lat := s.load(name, n, rate)
			byKafka = append(byKafka, lat)
			s.caughtUp()
			name = fmt.Sprintf("%sh%d-%d", run, rate, round)
			r := s.post(name, n, rate, 64, false)
			s.await(name, n)
			byHTTP, answers = append(byHTTP, s.latencies(name, r.Sent)), append(answers, sorted(r.Took))
			s.caughtUp()
		}
		b.Logf("at %4d orders/s: record to notification %s; request to answer %s, to notification %s", rate,
			quantiles(medianRound(byKafka)), quantiles(medianRound(answers)), quantiles(medianRound(byHTTP)))
		b.Logf("best rounds:      record to notification %s; request to answer %s, to notification %s",
			quantiles(byKafka[0]), quantiles(answers[0]), quantiles(byHTTP[0]))
		lat := medianRound(byHTTP)
		b.ReportMetric(float64(lat[len(lat)/2].Microseconds())/1000, fmt.Sprintf("p50-ms-at-%d", rate))
	}
}

// medianRound sorts rounds of sorted durations by their medians, and returns the
// one in the middle.
func medianRound(rounds [][]time.Duration) []time.Duration {
	slices.SortFunc(rounds, func(x, y []time.Duration) int { return cmp.Compare(x[len(x)/2], y[len(y)/2]) })
	return rounds[len(rounds)/2]
}
