package crash

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/comptoir/comptoir/test/httporders"
	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

// checked is a deployment's whole past, which is checked again after each cell.
type checked struct {
	cfg       invariants.Config
	database  string
	workloads []*orders.Workload
	requests  []httporders.Request
	answers   []httporders.Answer
	direct    int
	doubtful  int // records that may be there besides
}

// add notes what a load has sent.
func (c *checked) add(l *load, answers []httporders.Answer) {
	c.workloads = append(c.workloads, l.kafka, l.http)
	c.requests = append(c.requests, l.requests...)
	c.answers = append(c.answers, answers...)
	c.direct += len(l.kafka.Orders)
	c.doubtful += l.doubtful
}

// complaints returns what does not hold, once all is at rest, and notes how long
// an order of the cell waited.
func (c *checked) complaints(ctx context.Context, a *attempt) (complaints []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	begun := time.Now()
	if err := invariants.Settle(ctx, c.cfg); err != nil {
		return nil, err
	}
	a.note("at rest after %.1f s", time.Since(begun).Seconds())
	begun = time.Now()
	h, err := invariants.Load(ctx, c.cfg)
	if err != nil {
		return nil, err
	}
	report := h.Check()
	for _, v := range report.Violations {
		complaints = append(complaints, v.String())
	}
	for _, w := range c.workloads {
		complaints = append(complaints, report.Compare(w)...)
	}
	complaints = append(complaints, httporders.Check(c.requests, c.answers, h, c.sent(h))...)
	waited, spent := longest(h, a.log.Time)
	a.log.Longest = float64(waited.Milliseconds()) / 1000
	a.note("longest: %s", spent)
	a.note("checked in %.1f s", time.Since(begun).Seconds())
	return complaints, nil
}

// sent is how many records of commandes.ecommerce came by Kafka: all that were
// acknowledged, and of the doubtful ones as many as are there.
func (c *checked) sent(h *invariants.History) int {
	there := 0
	for _, r := range h.Topics[orders.OrdersTopic] {
		if !slices.ContainsFunc(r.Headers, func(h orders.Header) bool { return h.Key == "comptoir-order" }) {
			there++
		}
	}
	return max(c.direct, min(there, c.direct+c.doubtful))
}

// verify ends a cell: under load everything is well again, and at rest
// everything that was promised holds.
func (r *round) verify(a *attempt, l *load) {
	r.t.Helper()
	f := r.fleet
	begun := time.Now()
	f.whole()
	a.note("well after %.1f s", time.Since(begun).Seconds())
	begun = time.Now()
	answers, err := l.end()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, in := range f.members {
		f.until("the outbox is empty", func() error { return drained(in.Process) })
	}
	a.note("all sent after %.1f s", time.Since(begun).Seconds())
	f.checked.add(l, answers)
	a.log.Orders = len(l.kafka.Orders) + len(l.requests)
	complaints, err := f.checked.complaints(r.t.Context(), a)
	if err != nil {
		r.t.Fatal(err)
	}
	r.complain(complaints)
	r.audit(a, "--brokers", f.checked.cfg.Brokers, "--database", f.checked.database, "--archive", f.checked.cfg.Archive)
}

// complain fails the test with a few complaints.
func (r *round) complain(complaints []string) {
	r.t.Helper()
	const few = 20
	for _, text := range complaints[:min(len(complaints), few)] {
		r.t.Error(text)
	}
	if len(complaints) > few {
		r.t.Errorf("and %d more", len(complaints)-few)
	}
}

// audit runs the auditor that comes with the product.
func (r *round) audit(a *attempt, where ...string) {
	r.t.Helper()
	begun := time.Now()
	stdout, stderr, code := program.Command(r.t, "", append([]string{"audit", "--wait", "1m"}, where...)...)
	if code != 0 {
		r.t.Errorf("comptoir audit ends with %d: %s\n%s", code, clip(stderr), clip(stdout))
	}
	a.note("audit took %.1f s", time.Since(begun).Seconds())
}

func clip(text string) string {
	text = strings.TrimSpace(text)
	return text[:min(len(text), 6000)]
}

func drained(p *program.Process) error {
	pending, err := sum(p, "comptoir_outbox_pending")
	if err == nil && pending != 0 {
		err = fmt.Errorf("%v messages are pending", pending)
	}
	return err
}
