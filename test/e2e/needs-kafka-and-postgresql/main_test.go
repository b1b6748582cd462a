package realservers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
	"github.com/comptoir/comptoir/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, program.Clean) }

// site is one deployment: servers, instances and the orders that they get.
type site struct {
	t        *testing.T
	kafka    *testenv.Server
	postgres *testenv.Server
	cfg      invariants.Config
	w        *orders.Workload
	flags    []string
}

// open starts the servers, and one instance that loads the catalogue and has
// the archive connector of the contract.
func open(t *testing.T, cfg orders.Config) (*site, *program.Process) {
	t.Helper()
	s := &site{t: t, kafka: testenv.StartKafka(t), postgres: testenv.StartPostgres(t), w: orders.Generate(cfg)}
	s.cfg = invariants.Config{Brokers: s.kafka.Addr, Archive: s.postgres.Addr}
	s.flags = []string{"--catalogue", program.Catalogue(t, s.w)}
	p := s.serve(t.TempDir())
	program.Supply(t, s.cfg, s.w)
	s.connect(p)
	return s, p
}

// serve runs an instance on a directory of its own.
func (s *site) serve(dir string) *program.Process {
	s.t.Helper()
	return program.Serve(s.t, dir, s.kafka.Addr, s.postgres.Addr, s.flags...)
}

// connect posts the connector as users write it; only the port is ours.
func (s *site) connect(p *program.Process) {
	s.t.Helper()
	const sink = `{"name":"factures-sink","config":{"connector.class":"io.confluent.connect.jdbc.JdbcSinkConnector","connection.url":"jdbc:postgresql://localhost:%d/ecommerce","connection.user":"postgres","connection.password":"postgres","topics":"factures.ecommerce","auto.create":"true","insert.mode":"insert"}}`
	status, body, err := p.Do(http.MethodPost, p.Endpoints.Connect+"/connectors", fmt.Sprintf(sink, s.postgres.Port()))
	if err != nil || status != http.StatusCreated {
		s.t.Fatalf("POST /connectors answers %d, %v: %s", status, err, body)
	}
	program.Until(s.t, 30*time.Second, "the connector runs", func() error { return s.connector(p, "RUNNING") })
}

// connector is nil if the connector's only task is in the state.
func (s *site) connector(p *program.Process, state string) error {
	_, body, err := p.Get(p.Endpoints.Connect + "/connectors/factures-sink/status")
	if err != nil {
		return err
	}
	var status struct {
		Tasks []struct{ State, Trace string }
	}
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	if len(status.Tasks) != 1 || status.Tasks[0].State != state {
		return fmt.Errorf("status %s", body)
	}
	return nil
}

// send produces a part of the orders.
func (s *site) send(from, to int) {
	s.t.Helper()
	program.Send(s.t, s.kafka.Addr, orders.OrdersTopic, s.w.Orders[from:to])
}

// advanced returns once a topic holds at least n records and markers.
func (s *site) advanced(topic string, n int64) {
	s.t.Helper()
	program.Until(s.t, 3*time.Minute, fmt.Sprintf("%s holds %d", topic, n), func() error {
		got, err := s.progress(topic)
		if err == nil && got < n {
			err = fmt.Errorf("%d", got)
		}
		return err
	})
}

func (s *site) progress(topic string) (int64, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	return program.Progress(ctx, s.kafka.Addr, topic)
}

func (s *site) verify() invariants.Report {
	s.t.Helper()
	report := program.Verify(s.t, s.cfg, s.w)
	if report.Records < len(s.w.Orders) {
		s.t.Errorf("%d records, %d were sent", report.Records, len(s.w.Orders))
	}
	program.Audit(s.t, "--brokers", s.kafka.Addr, "--database", s.postgres.Addr, "--archive", s.postgres.Addr)
	return report
}

// lagOf reads Kafka's own description of a group: the lag of every partition,
// as text.
func lagOf(t *testing.T, brokers, group string) map[string]string {
	t.Helper()
	out, err := testenv.KafkaTool(t, "", "consumer-groups", "--bootstrap-server", brokers, "--describe", "--group", group)
	if err != nil {
		t.Fatalf("consumer-groups: %v: %s", err, out)
	}
	lags := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 6 && f[0] == group {
			lags[f[1]+"-"+f[2]] = f[5]
		}
	}
	if len(lags) == 0 {
		t.Fatalf("consumer-groups shows nothing of %s: %s", group, out)
	}
	return lags
}
