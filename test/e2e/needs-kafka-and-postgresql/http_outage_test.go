package realservers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/httporders"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

// TestHTTPKafkaStopped: orders are accepted without Kafka, the health check says
// what is missing, and everything goes out when Kafka is back.
func TestHTTPKafkaStopped(t *testing.T) {
	t.Parallel()
	s, p := open(t, orders.Config{Seed: 24, Orders: program.Orders(t, 1_000)})
	requests := httporders.Requests(s.w, "sans-kafka")
	half := len(requests) / 2
	target := func(int, int) string { return p.Endpoints.HTTP }
	answers := s.answers(s.post(requests[:half], target))
	s.kafka.Stop()
	program.Until(t, outage, "/readyz says that Kafka is missing", func() error {
		status, body, err := p.Get(p.Endpoints.HTTP + "/readyz")
		if err == nil && (status != 200 || !strings.Contains(body, `"degraded"`) || !strings.Contains(body, `"check":"kafka"`)) {
			err = fmt.Errorf("%d: %s", status, body)
		}
		return err
	})
	answers = append(answers, s.answers(s.post(requests[half:], target))...)
	accepted := 0
	for i, a := range answers[half:] {
		if a.Tries != 1 {
			t.Errorf("%s took %d tries without Kafka", requests[half+i].Key, a.Tries)
		}
		if a.Status == http.StatusCreated {
			accepted++
		}
	}
	pending, err := sample(p, "comptoir_outbox_pending")
	if err != nil || int(pending) < accepted {
		t.Errorf("%v messages are pending, %v; %d orders were accepted without Kafka", pending, err, accepted)
	}
	s.kafka.Start()
	program.Until(t, time.Minute, "ready again", func() error { return p.Health("/readyz") })
	h := s.holds(p, requests, answers, 0)
	s.timelines(p, h, program.Sample(40))
}

// TestHTTPPostgresStopped: without the order database nothing is accepted, by
// halves neither; orders by Kafka go on, and tracking catches up.
func TestHTTPPostgresStopped(t *testing.T) {
	t.Parallel()
	s, p := open(t, orders.Config{Seed: 25, Orders: program.Orders(t, 1_000)})
	requests := httporders.Requests(s.w, "sans-postgres")
	load := s.post(requests, func(int, int) string { return p.Endpoints.HTTP })
	s.answered(load, len(requests)/3)
	s.postgres.Stop()
	for _, ask := range []struct{ method, path, body string }{
		{http.MethodPost, "/commandes", `{"commandeId":"SANS-BASE","client":"LUCAS","montant":1,"produit":7001}`},
		{http.MethodGet, "/commandes/SANS-BASE", ""},
	} {
		status, body, err := p.Do(ask.method, p.Endpoints.HTTP+ask.path, ask.body)
		if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, `"code"`) {
			t.Errorf("%s %s answers %d, %v: %s", ask.method, ask.path, status, err, body)
		}
	}
	program.Until(t, outage, "/readyz says that the database is missing", func() error {
		status, body, err := p.Get(p.Endpoints.HTTP + "/readyz")
		if err == nil && (status != http.StatusServiceUnavailable || !strings.Contains(body, "database")) {
			err = fmt.Errorf("%d: %s", status, body)
		}
		return err
	})
	before, err := s.progress("notifications.clients")
	if err != nil {
		t.Fatal(err)
	}
	direct := orders.Generate(orders.Config{Seed: 26, Orders: 200})
	program.Send(t, s.kafka.Addr, orders.OrdersTopic, direct.Orders)
	s.advanced("notifications.clients", before+int64(len(direct.Expected))/2)
	if err := p.Health("/livez"); err != nil {
		t.Error(err)
	}
	if got := load.Answered(); got >= len(requests) {
		t.Errorf("all %d requests are answered: PostgreSQL was not missing", got)
	}
	s.postgres.Start()
	answers := s.answers(load)
	unavailable := 0
	for _, a := range answers {
		unavailable += a.Unavailable
	}
	if unavailable == 0 {
		t.Error("no request was answered 503")
	}
	t.Logf("%d tries were answered 503", unavailable)
	program.Until(t, time.Minute, "ready again", func() error { return p.Health("/readyz") })
	if status, body, err := p.Get(p.Endpoints.HTTP + "/commandes/SANS-BASE"); err != nil || status != http.StatusNotFound {
		t.Errorf("GET of what was not accepted answers %d, %v: %s", status, err, body)
	}
	h := s.holds(p, requests, answers, len(direct.Orders))
	for _, r := range h.Topics[orders.OrdersTopic] {
		if strings.Contains(string(r.Value), "SANS-BASE") {
			t.Errorf("%s is of an order that was not accepted", r)
		}
	}
	s.timelines(p, h, program.Sample(200))
}
