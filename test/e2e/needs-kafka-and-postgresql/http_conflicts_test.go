package realservers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/test/httporders"
	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

// meeting says how the two orders of a rival pair come together.
type meeting int

const (
	together   meeting = iota // at the same time
	kafkaAcked                // by HTTP as soon as Kafka has the other
	httpAcked                 // by Kafka as soon as the API has accepted the other
	kafkaFirst                // by HTTP when tracking knows the other
	httpFirst                 // by Kafka when the other stands in commandes.ecommerce
	meetings
)

// rivals are two orders with one id.
type rivals struct {
	meeting meeting
	same    bool // of equal content
	http    httporders.Request
	kafka   httporders.Request
	answer  httporders.Answer
}

// TestHTTPConflicts: the same id by HTTP and by Kafka, with equal and with other
// content, at once and one after the other: one order each, and the loser is
// told so.
func TestHTTPConflicts(t *testing.T) {
	t.Parallel()
	s, p := open(t, orders.Config{Seed: 23})
	pairs := make([]rivals, program.Sample(200))
	for i := range pairs {
		id, product := fmt.Sprintf("RIVALE-%d", i), s.w.Products[i%30]
		body := func(quantity int64) []byte {
			return fmt.Appendf(nil, `{"commandeId":%q,"client":"RIVAL","clientId":"CLI-%d","montant":%s,"produit":%s,"quantite":%d}`,
				id, i%20, orders.Decimal(product.Price*quantity), orders.ID(product.ID), quantity)
		}
		r := rivals{meeting: meeting(i % int(meetings)), same: i%2 == 0}
		r.http = httporders.New("by HTTP", body(1), "rivale-"+id)
		r.kafka = r.http
		if !r.same {
			r.kafka = httporders.New("by Kafka", body(2), "")
		}
		pairs[i] = r
	}
	client, err := orders.NewClient(s.kafka.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var wait sync.WaitGroup
	for worker := range 10 {
		wait.Go(func() {
			for i := worker; i < len(pairs); i += 10 {
				if err := pairs[i].meet(t.Context(), client, p); err != nil {
					t.Errorf("order %q: %v", pairs[i].http.ID, err)
				}
			}
		})
	}
	wait.Wait()
	s.sent(p)
	report := program.Verify(t, s.cfg)
	if len(report.Outcomes) != len(pairs) {
		t.Errorf("%d orders, want %d", len(report.Outcomes), len(pairs))
	}
	h := s.history()
	s.tracked(h)
	s.judge(p, pairs, scan(h))
	s.timelines(p, h, len(pairs))
}

// meet sends both orders.
func (r *rivals) meet(ctx context.Context, client *kgo.Client, p *program.Process) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	post := func() {
		load := httporders.Start(ctx, []httporders.Request{r.http}, httporders.Config{
			Connections: 1, Target: func(int, int) string { return p.Endpoints.HTTP },
		})
		answers, failed := load.Wait()
		if r.answer = answers[0]; failed != nil {
			err = failed
		}
	}
	produce := func() error {
		return orders.Produce(ctx, client, orders.OrdersTopic, []orders.Record{{Kind: r.kafka.Kind, Key: []byte(r.kafka.Client), Value: r.kafka.Body}})
	}
	switch r.meeting {
	case together:
		var wait sync.WaitGroup
		wait.Go(post)
		failed := produce()
		wait.Wait()
		if err == nil {
			err = failed
		}
		return err
	case httpAcked, httpFirst:
		if post(); err == nil && r.meeting == httpFirst {
			err = r.known(ctx, p, "/evenements", `"topic":"commandes.ecommerce"`)
		}
		if err == nil {
			err = produce()
		}
		return err
	}
	if err := produce(); err != nil {
		return err
	}
	if r.meeting == kafkaFirst {
		if err := r.known(ctx, p, "", `"statut"`); err != nil {
			return err
		}
	}
	post()
	return err
}

// known returns once the API's answer holds some text.
func (r *rivals) known(ctx context.Context, p *program.Process, route, text string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, body, err := p.Get(p.Endpoints.HTTP + "/commandes/" + url.PathEscape(r.http.ID) + route)
		if err == nil && bytes.Contains([]byte(body), []byte(text)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not known: %s, %w", r.http.ID, body, ctx.Err())
		case <-tick.C:
		}
	}
}

// judge holds each pair's answer against the order that won.
func (s *site) judge(p *program.Process, pairs []rivals, scanned map[string][]invariants.Record) {
	s.t.Helper()
	type way struct {
		same   bool
		status int
		winner string
	}
	count, wrong := map[way]int{}, 0
	for i := range pairs {
		r := &pairs[i]
		winner, records, problem := r.judge(p, scanned[r.http.ID])
		count[way{r.same, r.answer.Status, winner}]++
		if problem == "" {
			continue
		}
		if wrong++; wrong <= 20 {
			s.t.Errorf("order %q (meeting %d, same content %v, answered %d, %d records of it): %s", r.http.ID, r.meeting, r.same, r.answer.Status, records, problem)
		}
	}
	s.t.Logf("pairs by {same content, answer, winner}: %v; %d wrong", count, wrong)
	for _, wanted := range []way{{true, 201, "either"}, {true, 200, "either"}, {false, 201, "HTTP"}, {false, 409, "Kafka"}} {
		if count[wanted] == 0 {
			s.t.Errorf("no pair was %v: the test does not show what it is for", wanted)
		}
	}
}

func (r *rivals) judge(p *program.Process, records []invariants.Record) (winner string, placed int, problem string) {
	accused, sent := 0, 0
	for _, record := range records {
		switch record.Topic {
		case orders.OrdersTopic:
			sent++
		case "commandes.erreurs":
			accused++
		}
	}
	_, body, err := p.Get(p.Endpoints.HTTP + "/commandes/" + url.PathEscape(r.http.ID))
	var order struct {
		State  string `json:"statut"`
		Amount json.Number
		Lines  []struct {
			Quantity int64 `json:"quantite"`
		} `json:"lignes"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &order)
	}
	switch {
	case err != nil:
		return "", sent, err.Error()
	case order.State != "NOTIFIEE" || len(order.Lines) != 1:
		return "", sent, "the order shows " + body
	case r.same:
		winner = "either"
	case order.Lines[0].Quantity == 1:
		winner = "HTTP"
	default:
		winner = "Kafka"
	}
	// What the API did not accept must not reach Kafka.
	want := 1
	if r.answer.Status == http.StatusCreated {
		want = 2
	}
	// What was sent again after a lost commit is no further order.
	if sent < want || want == 1 && sent > 1 {
		return winner, sent, fmt.Sprintf("want %d records", want)
	}
	alone := r.same || r.answer.Status == http.StatusConflict // in Kafka
	switch status := r.answer.Status; {
	case alone && accused > 0:
		return winner, sent, fmt.Sprintf("%d refusals, want none", accused)
	case !alone && accused == 0:
		return winner, sent, "nobody was refused"
	case status != http.StatusCreated && (r.same && status != http.StatusOK || !r.same && (status != http.StatusConflict || r.answer.Code != "COMMANDE_EN_CONFLIT")):
		return winner, sent, fmt.Sprintf("answered %d %s", status, r.answer.Code)
	case status == http.StatusCreated && r.meeting == kafkaFirst:
		return winner, sent, "accepted though the other was known"
	case status == http.StatusConflict && winner != "Kafka":
		return winner, sent, "refused, and won"
	case status != http.StatusCreated && (r.meeting == httpAcked || r.meeting == httpFirst):
		return winner, sent, "the first one was not accepted"
	case r.meeting == httpFirst && winner == "Kafka":
		return winner, sent, "who came second won"
	}
	return winner, sent, r.again(p, winner)
}

// again posts both orders once more: the winner is known, the loser is refused.
func (r *rivals) again(p *program.Process, winner string) (problem string) {
	for name, q := range map[string]httporders.Request{"HTTP": r.http, "Kafka": r.kafka} {
		want := http.StatusConflict
		if r.same || name == winner {
			want = http.StatusOK
		}
		status, body, err := p.Do(http.MethodPost, p.Endpoints.HTTP+"/commandes", string(q.Body))
		if err != nil || status != want {
			return fmt.Sprintf("%s won, and %s posted again is answered %d, want %d: %v %s", winner, q.Kind, status, want, err, body)
		}
	}
	return ""
}
