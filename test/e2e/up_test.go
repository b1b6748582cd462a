package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
)

func config(p *program.Process) invariants.Config {
	return invariants.Config{Brokers: p.Endpoints.Kafka, Archive: p.Endpoints.Archive}
}

// TestDemo: what `up --demo` promises, twice on one directory.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	p := program.Up(t, dir, "--demo")
	program.Until(t, 30*time.Second, "the demo's orders are there", func() error {
		if n, err := program.Progress(t.Context(), p.Endpoints.Kafka, orders.OrdersTopic); err != nil || n < 20 {
			return fmt.Errorf("%d records, %v", n, err)
		}
		return nil
	})
	first := program.Verify(t, config(p))
	ends := map[orders.Outcome]int{}
	for _, o := range first.Outcomes {
		ends[o]++
	}
	if ends[orders.Invoiced] < 10 || ends[orders.StockRefused] == 0 || ends[orders.PaymentRefused] == 0 || first.Rejected == 0 || first.Redelivered != 1 {
		t.Errorf("the demo ended so: %s", first.Summary())
	}
	if sent := first.Records - first.Redelivered; sent != 20 {
		t.Errorf("the demo sent %d orders, want 20", sent)
	}
	for id, o := range first.Outcomes {
		if o == orders.Invoiced && !strings.Contains(p.Output(), id) {
			t.Errorf("what up prints does not show order %s", id)
		}
	}
	if took, code := p.Stop(syscall.SIGINT, 10*time.Second); took > 2*time.Second || code != 0 {
		t.Errorf("after Ctrl-C it took %v to end, exit code %d", took, code)
	}

	p = program.Up(t, dir, "--demo")
	program.Until(t, 30*time.Second, "the second demo's orders are there", func() error {
		if n, err := program.Progress(t.Context(), p.Endpoints.Kafka, orders.OrdersTopic); err != nil || n < 40 {
			return fmt.Errorf("%d records, %v", n, err)
		}
		return nil
	})
	second := program.Verify(t, config(p))
	if len(second.Outcomes) != 2*len(first.Outcomes) {
		t.Errorf("after the second demo there are %d orders, after the first %d", len(second.Outcomes), len(first.Outcomes))
	}
	program.Audit(t, "--data-dir", dir)
}

// TestStart: ready soon on a new directory, small while idle, one process at a time.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	p := program.Up(t, dir)
	t.Logf("ready after %v", p.Ready)
	// The promise is one second; a machine that runs other tests beside may take longer.
	if p.Ready > 5*time.Second {
		t.Errorf("ready after %v", p.Ready)
	}
	if runtime.GOOS == "linux" {
		if kb := resident(t, p.PID()); kb > 120<<10 {
			t.Errorf("idle it holds %d MB", kb>>10)
		} else {
			t.Logf("idle it holds %d MB", kb>>10)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/health"} {
		if err := p.Health(path); err != nil {
			t.Error(err)
		}
	}
	if status, body, err := p.Get(p.Endpoints.HTTP + "/metrics"); err != nil || status != 200 || !strings.Contains(body, "\ncomptoir_") {
		t.Errorf("/metrics answers %d, %v: %.200s", status, err, body)
	}
	second := program.Start(t, dir, "up", "--data-dir", dir, "--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--connect", "127.0.0.1:0")
	select {
	case <-second.Ended():
	case <-time.After(20 * time.Second):
		t.Fatal("a second process runs on the same directory")
	}
	if !strings.Contains(second.Output(), dir) || !strings.Contains(second.Output(), strconv.Itoa(p.PID())) {
		t.Errorf("the refusal names neither directory nor process: %s", second.Output())
	}
	if err := p.Health("/readyz"); err != nil {
		t.Errorf("the second process disturbed the first: %v", err)
	}
}

func resident(t *testing.T, pid int) (kb int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmRSS in %s", status)
	}
	kb, err = strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// TestPortInUse: the error names the flag.
func TestPortInUse(t *testing.T) {
	p := program.Up(t, t.TempDir())
	taken := strings.TrimPrefix(p.Endpoints.HTTP, "http://")
	dir := t.TempDir()
	second := program.Start(t, dir, "up", "--data-dir", dir, "--http", taken, "--kafka", "127.0.0.1:0", "--connect", "127.0.0.1:0")
	select {
	case <-second.Ended():
	case <-time.After(20 * time.Second):
		t.Fatal("it runs although its port is in use")
	}
	if !strings.Contains(second.Output(), "--http") {
		t.Errorf("the error does not name --http: %s", second.Output())
	}
}

// TestMixedOrders: thousands of orders of every kind end as the contract says,
// a clean stop and start in the middle included.
func TestMixedOrders(t *testing.T) {
	w := orders.Generate(orders.Config{Seed: 1, Orders: program.Orders(t, 10_000)})
	dir := t.TempDir()
	p := program.Up(t, dir, "--catalogue", program.Catalogue(t, w))
	program.Supply(t, config(p), w)
	half := len(w.Orders) / 2
	program.Send(t, p.Endpoints.Kafka, orders.OrdersTopic, w.Orders[:half])
	if _, code := p.Stop(syscall.SIGTERM, 30*time.Second); code != 0 {
		t.Errorf("after SIGTERM exit code %d", code)
	}
	p = program.Up(t, dir, "--catalogue", program.Catalogue(t, w))
	program.Send(t, p.Endpoints.Kafka, orders.OrdersTopic, w.Orders[half:])
	report := program.Verify(t, config(p), w)
	if report.Records != len(w.Orders) {
		t.Errorf("%d records, %d were sent", report.Records, len(w.Orders))
	}
	program.Audit(t, "--data-dir", dir)
}

// TestKilledEmbedded: kill -9 of the whole shop, its broker included, while
// orders cross: each ends as without kills, and nothing is lost or doubled.
func TestKilledEmbedded(t *testing.T) {
	kills := program.Kills(t, 30)
	w := orders.Generate(orders.Config{Seed: 2, Orders: program.Orders(t, 20_000)})
	dir, catalogue := t.TempDir(), program.Catalogue(t, w)
	p := program.Up(t, dir, "--catalogue", catalogue)
	program.Supply(t, config(p), w)
	rng := rand.New(rand.NewPCG(2, uint64(kills)))
	// Each part is killed at some progress within it: early ones while verdicts
	// are made, later ones further down the way.
	watched := []string{"stock.verifie", "stock-mis-a-jour", "paiement-accepte", "factures.ecommerce", "notifications.clients"}
	for i := range kills {
		topic := watched[i%len(watched)]
		before, err := program.Progress(t.Context(), p.Endpoints.Kafka, topic)
		if err != nil {
			t.Fatal(err)
		}
		from, to := i*len(w.Orders)/(kills+1), (i+1)*len(w.Orders)/(kills+1)
		program.Send(t, p.Endpoints.Kafka, orders.OrdersTopic, w.Orders[from:to])
		goal := before + 1 + rng.Int64N(int64(max(1, (to-from)/3)))
		program.Until(t, time.Minute, fmt.Sprintf("%s holds %d", topic, goal), func() error {
			if got, err := program.Progress(t.Context(), p.Endpoints.Kafka, topic); err != nil || got < goal {
				return fmt.Errorf("%d, %v", got, err)
			}
			return nil
		})
		p.Kill()
		p = program.Up(t, dir, "--catalogue", catalogue)
	}
	program.Send(t, p.Endpoints.Kafka, orders.OrdersTopic, w.Orders[kills*len(w.Orders)/(kills+1):])
	report := program.Verify(t, config(p), w)
	if report.Records != len(w.Orders) {
		t.Errorf("%d records, %d were sent", report.Records, len(w.Orders))
	}
	program.Audit(t, "--data-dir", dir)
}

// TestSeedLine: the line that newcomers type goes all the way, by our own tools.
func TestSeedLine(t *testing.T) {
	p := program.Up(t, t.TempDir())
	brokers := []string{"--brokers", p.Endpoints.Kafka}
	command := func(input string, args ...string) string {
		t.Helper()
		stdout, stderr, code := program.Command(t, input, append(args, brokers...)...)
		if code != 0 {
			t.Fatalf("comptoir %s: exit code %d: %s", strings.Join(args, " "), code, stderr)
		}
		return stdout
	}
	line := `CLI-991:{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}` + "\n"
	command(line, "produce", "commandes.ecommerce", "--key-separator", ":")
	message := command("", "consume", "notifications.clients", "--from-beginning", "-n", "1")
	if !strings.Contains(message, "Bonjour LUCAS, votre commande 991 est confirmée. Facture FA-") {
		t.Errorf("notification: %s", message)
	}
	report := program.Verify(t, config(p))
	if report.Outcomes["991"] != orders.Invoiced || len(report.Outcomes) != 1 {
		t.Errorf("outcomes %v", report.Outcomes)
	}
	var topics []map[string]any
	if err := json.Unmarshal([]byte(command("", "topic", "list", "-o", "json")), &topics); err != nil || len(topics) < 10 {
		t.Errorf("topic list: %d topics, %v", len(topics), err)
	}
	if out := command("", "group", "describe", "service-stock"); !strings.Contains(out, "commandes.ecommerce") {
		t.Errorf("group describe: %s", out)
	}
	if _, stderr, code := program.Command(t, "", "topic", "describe", "no-such-topic", "--brokers", p.Endpoints.Kafka); code != 3 || !strings.Contains(stderr, "no-such-topic") {
		t.Errorf("describing a topic that is not there: exit code %d: %s", code, stderr)
	}
}
