package realservers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/httporders"
	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

// connections is how many orders are posted at the same time.
const connections = 24

// TestHTTPKilled: the process is killed -9 in the middle of orders by HTTP.
// Each that was accepted crosses once, and no other does.
func TestHTTPKilled(t *testing.T) {
	t.Parallel()
	s, p := open(t, orders.Config{Seed: 21, Orders: program.Orders(t, 2_000)})
	requests := httporders.Requests(s.w, "tue")
	var base atomic.Pointer[string]
	base.Store(&p.Endpoints.HTTP)
	load := s.post(requests, func(int, int) string { return *base.Load() })
	kills := program.Kills(t, 3)
	rng := rand.New(rand.NewPCG(21, uint64(kills)))
	for i := range kills {
		from, to := i*len(requests)/(kills+1), (i+1)*len(requests)/(kills+1)
		s.answered(load, from+1+rng.IntN(to-from))
		p.Kill()
		p = s.serve(p.Dir)
		base.Store(&p.Endpoints.HTTP)
		t.Logf("killed after %d answers, ready again after %v", load.Answered(), p.Ready)
	}
	answers := s.answers(load)
	lost := 0
	for _, a := range answers {
		lost += a.Lost
	}
	t.Logf("%d requests, %d tries without answer", len(requests), lost)
	if lost < kills {
		t.Errorf("%d kills cost %d answers: they were not in the middle of the load", kills, lost)
	}
	h := s.holds(p, requests, answers, 0)
	s.timelines(p, h, program.Sample(200))
}

// TestHTTPTwoInstances: two instances take orders, also those of one client in
// turn; one is killed -9, and the other sends what both have accepted.
func TestHTTPTwoInstances(t *testing.T) {
	t.Parallel()
	s, first := open(t, orders.Config{Seed: 22, Orders: program.Orders(t, 2_000)})
	second := s.serve(t.TempDir())
	program.Until(t, time.Minute, "both instances have shards of the outbox", func() error {
		a, b, err := shards(first, second)
		if err == nil && (a == 0 || a != b) {
			err = fmt.Errorf("%v and %v", a, b)
		}
		return err
	})
	all, _, err := shards(first, second)
	if err != nil {
		t.Fatal(err)
	}
	all *= 2
	bases := []string{first.Endpoints.HTTP, second.Endpoints.HTTP}
	requests := httporders.Requests(s.w, "deux")
	load := s.post(requests, func(n, try int) string { return bases[(n+try)%len(bases)] })
	s.answered(load, len(requests)/2)
	first.Kill()
	answers := s.answers(load)
	program.Until(t, time.Minute, "the survivor has all shards", func() error {
		held, err := sample(second, "comptoir_outbox_shards_held")
		if err == nil && held != all {
			err = fmt.Errorf("%v of %v", held, all)
		}
		return err
	})
	h := s.holds(second, requests, answers, 0)
	s.timelines(second, h, program.Sample(40))
}

func shards(a, b *program.Process) (ofA, ofB float64, err error) {
	if ofA, err = sample(a, "comptoir_outbox_shards_held"); err != nil {
		return 0, 0, err
	}
	ofB, err = sample(b, "comptoir_outbox_shards_held")
	return ofA, ofB, err
}

// post begins to post requests.
func (s *site) post(requests []httporders.Request, target func(n, try int) string) *httporders.Load {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Minute)
	load := httporders.Start(ctx, requests, httporders.Config{Connections: connections, Target: target})
	s.t.Cleanup(func() {
		cancel()
		_, _ = load.Wait() // nothing outlives the test
	})
	return load
}

// answered returns once n requests have their answer.
func (s *site) answered(load *httporders.Load, n int) {
	s.t.Helper()
	program.Until(s.t, 3*time.Minute, fmt.Sprintf("%d answers", n), func() error {
		if got := load.Answered(); got < n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

func (s *site) answers(load *httporders.Load) []httporders.Answer {
	s.t.Helper()
	answers, err := load.Wait()
	if err != nil {
		s.t.Fatalf("orders were not all answered: %v", err)
	}
	return answers
}

// holds returns what the run left behind, once the outbox is empty and all is at
// rest, and says what does not hold. direct is how many orders came by Kafka.
func (s *site) holds(p *program.Process, requests []httporders.Request, answers []httporders.Answer, direct int) *invariants.History {
	s.t.Helper()
	s.sent(p)
	program.Verify(s.t, s.cfg, s.w)
	h := s.history()
	complaints := httporders.Check(requests, answers, h, direct)
	for _, complaint := range complaints[:min(len(complaints), 20)] {
		s.t.Error(complaint)
	}
	if len(complaints) > 20 {
		s.t.Errorf("and %d more", len(complaints)-20)
	}
	count := map[int]int{}
	for _, a := range answers {
		count[a.Status]++
	}
	s.t.Logf("answers by status: %v", count)
	s.tracked(h)
	program.Audit(s.t, "--brokers", s.kafka.Addr, "--database", s.postgres.Addr, "--archive", s.postgres.Addr)
	return h
}

// sent returns once the outbox is empty.
func (s *site) sent(p *program.Process) {
	s.t.Helper()
	program.Until(s.t, 2*time.Minute, "the outbox is empty", func() error {
		pending, err := sample(p, "comptoir_outbox_pending")
		if err == nil && pending != 0 {
			err = fmt.Errorf("%v messages are pending", pending)
		}
		return err
	})
}

func (s *site) history() *invariants.History {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	h, err := invariants.Load(ctx, s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// tracked: service-suivi has read every topic to its end.
func (s *site) tracked(h *invariants.History) {
	s.t.Helper()
	read := map[string]bool{}
	for _, p := range h.Positions {
		if p.Group != "service-suivi" {
			continue
		}
		read[p.Topic] = true
		if max(p.Committed, 0) != p.End {
			s.t.Errorf("service-suivi is at %d of %d in %s[%d]", p.Committed, p.End, p.Topic, p.Partition)
		}
	}
	for topic, records := range h.Topics {
		if len(records) > 0 && !read[topic] {
			s.t.Errorf("service-suivi has read nothing of %s", topic)
		}
	}
}

// sample reads a metric.
func sample(p *program.Process, series string) (float64, error) {
	status, body, err := p.Get(p.Endpoints.HTTP + "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("/metrics (%d) has no %s", status, series)
}
