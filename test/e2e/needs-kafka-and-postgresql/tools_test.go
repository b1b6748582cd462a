package realservers

import (
	"strings"
	"testing"

	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
	"github.com/comptoir/comptoir/test/testenv"
)

// TestConsoleTools: what a newcomer does with Apache Kafka's own tools and a
// PostgreSQL beside `comptoir up`.
func TestConsoleTools(t *testing.T) {
	t.Parallel()
	s := &site{t: t, postgres: testenv.StartPostgres(t)}
	p := program.Up(t, t.TempDir())
	s.cfg = invariants.Config{Brokers: p.Endpoints.Kafka, Archive: s.postgres.Addr, Connector: "factures-sink"}
	s.connect(p)
	const line = `CLI-991:{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}` + "\n"
	out, err := testenv.KafkaTool(t, line, "console-producer", "--bootstrap-server", p.Endpoints.Kafka, "--topic", "commandes.ecommerce",
		"--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
	if err != nil {
		t.Fatalf("console-producer: %v: %s", err, out)
	}
	out, err = testenv.KafkaTool(t, "", "console-consumer", "--bootstrap-server", p.Endpoints.Kafka, "--topic", "notifications.clients",
		"--from-beginning", "--max-messages", "1", "--timeout-ms", "30000", "--isolation-level", "read_committed")
	if err != nil || !strings.Contains(out, "Bonjour LUCAS, votre commande 991 est confirmée. Facture FA-") {
		t.Errorf("console-consumer: %v: %s", err, out)
	}
	// Once for the embedded archive, once for PostgreSQL.
	report := program.Verify(t, s.cfg)
	program.Verify(t, invariants.Config{Brokers: p.Endpoints.Kafka, Archive: p.Endpoints.Archive, Connector: "archive"})
	if report.Outcomes["991"] != orders.Invoiced {
		t.Errorf("outcomes %v", report.Outcomes)
	}
	for partition, lag := range lagOf(t, p.Endpoints.Kafka, "service-stock") {
		if lag != "0" {
			t.Errorf("lag %s in %s", lag, partition)
		}
	}
}

// TestForeignConsumerRefused: a console consumer in a service's group is refused
// by Kafka and takes no order away.
func TestForeignConsumerRefused(t *testing.T) {
	t.Parallel()
	s, _ := open(t, orders.Config{Seed: 11, Orders: program.Orders(t, 3_000)})
	half := len(s.w.Orders) / 2
	s.send(0, half)
	out, err := testenv.KafkaTool(t, "", "console-consumer", "--bootstrap-server", s.kafka.Addr, "--topic", "commandes.ecommerce",
		"--group", "service-stock", "--from-beginning", "--timeout-ms", "15000")
	if !strings.Contains(out, "InconsistentGroupProtocol") && !strings.Contains(out, "protocols are incompatible") {
		t.Errorf("the console consumer was not refused: %v: %s", err, out)
	}
	if strings.Contains(out, "commandeId") {
		t.Errorf("the console consumer took orders away: %.300s", out)
	}
	s.send(half, len(s.w.Orders))
	s.verify()
}
