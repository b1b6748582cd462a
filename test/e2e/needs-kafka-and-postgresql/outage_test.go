package realservers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

// outage is how long a server stays away: long enough for every time-out that
// is not meant to end anything.
const outage = 30 * time.Second

// TestPostgresStopped: without its database the archive waits and says why;
// orders go on; when the database is back everything is archived once.
func TestPostgresStopped(t *testing.T) {
	t.Parallel()
	s, p := open(t, orders.Config{Seed: 7, Orders: program.Orders(t, 2_000)})
	third := len(s.w.Orders) / 3
	s.send(0, third)
	program.Settle(t, s.cfg)
	before, err := s.progress("notifications.clients")
	if err != nil {
		t.Fatal(err)
	}
	s.postgres.Stop()
	stopped := time.Now()
	s.send(third, 2*third)
	s.advanced("notifications.clients", before+int64(third)/2)
	program.Until(t, outage, "the connector's status says what is wrong", func() error {
		_, body, err := p.Get(p.Endpoints.Connect + "/connectors/factures-sink/status")
		if err == nil && !strings.Contains(body, "refused") && !strings.Contains(body, "connect") {
			err = fmt.Errorf("status %s", body)
		}
		return err
	})
	program.Until(t, outage, "the metrics say that the connector waits", func() error {
		return metric(p, `comptoir_connect_tasks_retrying{connector="factures-sink"}`)
	})
	program.During(t, outage-time.Since(stopped), "alive without PostgreSQL", func() error { return p.Health("/livez") })
	s.postgres.Start()
	program.Until(t, time.Minute, "the connector runs again by itself", func() error { return s.connector(p, "RUNNING") })
	s.send(2*third, len(s.w.Orders))
	s.verify()
	program.Until(t, time.Minute, "ready again", func() error { return p.Health("/readyz") })
	if !strings.Contains(p.Output(), "factures-sink") {
		t.Error("the log does not name the connector that had to wait")
	}
}

// TestKafkaStopped: without Kafka the process stays alive and says that it is
// not ready; when Kafka is back it goes on by itself.
func TestKafkaStopped(t *testing.T) {
	t.Parallel()
	s, p := open(t, orders.Config{Seed: 8, Orders: program.Orders(t, 2_000)})
	half := len(s.w.Orders) / 2
	before, err := s.progress("stock.verifie")
	if err != nil {
		t.Fatal(err)
	}
	s.send(0, half)
	s.advanced("stock.verifie", before+int64(half)/4)
	s.kafka.Stop()
	stopped := time.Now()
	program.Until(t, outage, "/readyz says that Kafka is missing", func() error {
		status, body, err := p.Get(p.Endpoints.HTTP + "/readyz")
		if err == nil && (status != 200 || !strings.Contains(body, `"degraded"`) || !strings.Contains(body, `"check":"kafka"`)) {
			err = fmt.Errorf("%d: %s", status, body)
		}
		return err
	})
	program.Until(t, outage, "the metrics say that Kafka is missing", func() error {
		return metric(p, `comptoir_kafka_connects_total{outcome="error"}`)
	})
	program.During(t, outage-time.Since(stopped), "alive without Kafka", func() error { return p.Health("/livez") })
	s.kafka.Start()
	program.Until(t, time.Minute, "ready again", func() error { return p.Health("/readyz") })
	s.send(half, len(s.w.Orders))
	s.verify()
	logHanging(t, p)
	if out := p.Output(); !strings.Contains(out, "kafka does not answer") || !strings.Contains(out, "kafka is back") {
		t.Error("the log does not say that Kafka was away and came back")
	}
}

// metric fails unless a counter or gauge is above 0.
func metric(p *program.Process, series string) error {
	_, body, err := p.Get(p.Endpoints.HTTP + "/metrics")
	if err != nil {
		return err
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok && strings.TrimSpace(value) != "0" {
			return nil
		}
	}
	return fmt.Errorf("%s is 0 or not there", series)
}

// TestKafkaKilled: the same when the broker crashes in the middle of the work.
func TestKafkaKilled(t *testing.T) {
	t.Parallel()
	s, p := open(t, orders.Config{Seed: 9, Orders: program.Orders(t, 2_000)})
	half := len(s.w.Orders) / 2
	before, err := s.progress("stock.verifie")
	if err != nil {
		t.Fatal(err)
	}
	s.send(0, half)
	s.advanced("stock.verifie", before+int64(half)/4)
	s.kafka.Kill()
	s.kafka.Start()
	program.Until(t, time.Minute, "ready again", func() error { return p.Health("/readyz") })
	s.send(half, len(s.w.Orders))
	s.verify()
	logHanging(t, p)
}

// logHanging tells whether Kafka left transactions hanging this time, and ours
// ended them (docs/decisions/0005).
func logHanging(t *testing.T, p *program.Process) {
	t.Helper()
	t.Logf("transactions that Kafka left hanging: %d", strings.Count(p.Output(), "left hanging is ended"))
}
