package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/program"
)

// TestAuditRuns: the shop checks itself while it runs. A second invoice that
// somebody has slipped in is in metrics, log and /readyz, which stays as it was;
// so it is after a kill.
func TestAuditRuns(t *testing.T) {
	dir := t.TempDir()
	p := program.Up(t, dir)
	const order = `{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`
	if status, body, err := p.Do("POST", p.Endpoints.HTTP+"/commandes", order); err != nil || status != 201 {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	program.Until(t, time.Minute, "the order is through", func() error {
		_, body, err := p.Get(p.Endpoints.HTTP + "/commandes/991?attendre=NOTIFIEE&delai=5s")
		if err != nil || !strings.Contains(body, `"NOTIFIEE"`) {
			return fmt.Errorf("%s, %v", body, err)
		}
		return nil
	})
	metric := func(name string) error {
		_, body, err := p.Get(p.Endpoints.HTTP + "/metrics")
		if err == nil && !strings.Contains(body, "\n"+name+"\n") {
			err = fmt.Errorf("the metrics do not say %s", name)
		}
		return err
	}
	program.Until(t, time.Minute, "the audit has read the order", func() error { return metric(`comptoir_audit_checked_total{invariant="invoice-tax"} 1`) })
	for _, name := range []string{`comptoir_audit_following 1`, `comptoir_audit_violations{invariant="invoice-once"} 0`} {
		if err := metric(name); err != nil {
			t.Error(err)
		}
	}

	out, errs, code := program.Command(t, "", "consume", "factures.ecommerce", "--last", "1", "-o", "json", "--data-dir", dir)
	if code != 0 || !json.Valid([]byte(out)) {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	if _, errs, code := program.Command(t, out, "produce", "factures.ecommerce", "--input", "json", "--data-dir", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	told := func() error {
		if err := metric(`comptoir_audit_violations{invariant="invoice-once"} 1`); err != nil {
			return err
		}
		_, body, err := p.Get(p.Endpoints.HTTP + "/readyz")
		if err == nil && (!strings.Contains(body, "invoice-once (1)") || !strings.Contains(body, `"status":"ok"`)) {
			err = fmt.Errorf("/readyz says %s", body)
		}
		return err
	}
	program.Until(t, time.Minute, "the second invoice is told", told)
	if !strings.Contains(p.Output(), "invariant=invoice-once") {
		t.Errorf("the log does not say it: %s", p.Output())
	}
	if err := p.Health("/readyz"); err != nil {
		t.Error(err)
	}

	p.Kill()
	p = program.Up(t, dir)
	program.Until(t, time.Minute, "it is told after a kill", told)
	if _, errs, code := program.Command(t, "", "audit", "--data-dir", dir); code != 1 {
		t.Errorf("comptoir audit: exit code %d: %s", code, errs)
	}
	if _, errs, code := program.Command(t, "", "audit", "--follow", "--data-dir", dir); code != 1 || !strings.Contains(errs, "role audit") {
		t.Errorf("comptoir audit --follow: exit code %d: %s", code, errs)
	}
	if took, code := p.Stop(syscall.SIGTERM, 30*time.Second); code != 0 {
		t.Errorf("after %v exit code %d", took, code)
	}
}
