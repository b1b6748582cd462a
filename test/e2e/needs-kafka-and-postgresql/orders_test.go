package realservers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

// TestMixedOrders: thousands of orders of every kind end as the contract says,
// and Kafka's own tool shows lag 0.
func TestMixedOrders(t *testing.T) {
	t.Parallel()
	s, _ := open(t, orders.Config{Seed: 1, Orders: program.Orders(t, 10_000)})
	s.send(0, len(s.w.Orders))
	s.verify()
	for _, group := range []string{"service-stock", "service-paiement", "service-facturation", "service-notification", "detection-anomalies", "connect-factures-sink"} {
		for partition, lag := range lagOf(t, s.kafka.Addr, group) {
			if lag != "0" {
				t.Errorf("%s: lag %s in %s", group, lag, partition)
			}
		}
	}
}

// TestKilled: the process is killed -9 again and again in the middle of its
// work, and everything ends as without kills.
func TestKilled(t *testing.T) {
	t.Parallel()
	kills := program.Kills(t, 10)
	s, p := open(t, orders.Config{Seed: 4, Orders: program.Orders(t, 10_000)})
	rng := rand.New(rand.NewPCG(4, uint64(kills)))
	// Each part is killed at some progress within it: early ones while verdicts
	// are made, later ones further down the way.
	watched := []string{"stock.verifie", "stock-mis-a-jour", "paiement-accepte", "factures.ecommerce", "notifications.clients"}
	for i := range kills {
		topic := watched[i%len(watched)]
		before, err := s.progress(topic)
		if err != nil {
			t.Fatal(err)
		}
		from, to := i*len(s.w.Orders)/(kills+1), (i+1)*len(s.w.Orders)/(kills+1)
		s.send(from, to)
		s.advanced(topic, before+1+rng.Int64N(int64(max(1, (to-from)/3))))
		p.Kill()
		p = s.serve(p.Dir)
	}
	s.send(kills*len(s.w.Orders)/(kills+1), len(s.w.Orders))
	s.verify()
}

// TestTwoInstances: two instances share the work; one is killed, the other
// finishes it; a successor of the first takes over when the second stops.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	s, first := open(t, orders.Config{Seed: 6, Orders: program.Orders(t, 5_000)})
	second := s.joined(t.TempDir())
	half := len(s.w.Orders) / 2
	before, err := s.progress("stock.verifie")
	if err != nil {
		t.Fatal(err)
	}
	s.send(0, half)
	s.advanced("stock.verifie", before+int64(half)/4)
	s.audits(first)
	if following, err := sample(second, "comptoir_audit_following"); err != nil || following != 0 {
		t.Errorf("the second instance audits beside the first: %v, %v", following, err)
	}
	first.Kill()
	s.send(half, len(s.w.Orders))
	s.verify()
	s.audits(second)

	third := s.joined(first.Dir)
	if took, code := second.Stop(syscall.SIGTERM, 30*time.Second); code != 0 {
		t.Errorf("after SIGTERM it ended with %d in %v", code, took)
	}
	if err := third.Health("/readyz"); err != nil {
		t.Error(err)
	}
	s.verify()
}

// audits waits until an instance is the one that audits, and knows of no
// violation.
func (s *site) audits(p *program.Process) {
	s.t.Helper()
	program.Until(s.t, time.Minute, "an instance audits", func() error {
		if following, err := sample(p, "comptoir_audit_following"); err != nil || following != 1 {
			return fmt.Errorf("comptoir_audit_following is %v, %v", following, err)
		}
		if at, err := sample(p, "comptoir_audit_last_round_timestamp_seconds"); err != nil || at == 0 {
			return fmt.Errorf("no round has ended, %v", err)
		}
		_, body, err := p.Get(p.Endpoints.HTTP + "/readyz")
		if err == nil && strings.Contains(body, `"audit"`) {
			err = errors.New(body)
		}
		return err
	})
}

// members are those of service-stock that have partitions.
func (s *site) members() (map[string]bool, error) {
	client, err := orders.NewClient(s.kafka.Addr)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	groups, err := kadm.NewClient(client).DescribeGroups(s.t.Context(), "service-stock")
	if err != nil {
		return nil, err
	}
	group, working := groups["service-stock"], map[string]bool{}
	if group.State != "Stable" {
		return nil, fmt.Errorf("the group is %s", group.State)
	}
	for _, m := range group.Members {
		if assigned, ok := m.Assigned.AsConsumer(); ok && len(assigned.Topics) > 0 {
			working[m.MemberID] = true
		}
	}
	return working, nil
}

// joined starts an instance, and returns once it has a share of the work beside
// those that were there before.
func (s *site) joined(dir string) *program.Process {
	s.t.Helper()
	var before map[string]bool
	program.Until(s.t, time.Minute, "the group is stable", func() (err error) {
		before, err = s.members()
		return err
	})
	p := s.serve(dir)
	program.Until(s.t, time.Minute, "old and new members share service-stock", func() error {
		now, err := s.members()
		if err != nil {
			return err
		}
		old, fresh := 0, 0
		for member := range now {
			if before[member] {
				old++
			} else {
				fresh++
			}
		}
		if old == 0 || fresh == 0 {
			return fmt.Errorf("%d old members have partitions, %d new ones", old, fresh)
		}
		return nil
	})
	return p
}
