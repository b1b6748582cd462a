package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/audit"
)

func TestAudit(t *testing.T) {
	s := newShell(t)
	for _, topic := range []string{"commandes.ecommerce", "factures.ecommerce"} {
		s.ok("", "topic", "create", topic)
	}
	var report audit.Report
	s.json(&report, "audit")
	if len(report.Invariants) != len(audit.Invariants) || report.Violations != 0 {
		t.Fatalf("an empty history: %+v", report)
	}
	for _, i := range report.Invariants {
		if needs := strings.HasPrefix(i.ID, "database-") || strings.HasPrefix(i.ID, "archive-") || i.ID == "outbox-sent"; needs != (i.NotChecked != "") {
			t.Errorf("%s: not checked %q", i.ID, i.NotChecked)
		}
	}
	// An invoice for an order that nobody has placed.
	cl := s.client()
	invoice := &kgo.Record{Topic: "factures.ecommerce", Key: []byte("CLI-1"), Value: []byte(`{"numero":"FA-2026-000002"}`)}
	if err := cl.ProduceSync(context.Background(), invoice).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r := s.run("", "audit")
	if r.code != exitFailure || !strings.Contains(r.out, "factures.ecommerce[") || !strings.Contains(r.out, "record-well-formed") || !strings.Contains(r.err, "violation") {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.err)
	}
	// The invoice waits for its order.
	r = s.run("", "audit", "--invariant", "stock-ledger", "-o", "json")
	var only audit.Report
	if err := json.Unmarshal([]byte(r.out), &only); err != nil || r.code != exitPartial || len(only.Invariants) != 1 || only.InFlight != 1 {
		t.Errorf("an invariant that holds: exit code %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
	for _, args := range [][]string{
		{"audit", "--invariant", "nonsense"}, {"audit", "--limit", "0s"}, {"audit", "--zone", "Paris"},
		{"audit", "--follow", "--wait", "1s"}, {"audit", "--follow", "--invariant", "stock-ledger"}, {"audit", "x"},
	} {
		s.fails(exitUsage, nil, "", args...)
	}
	s.fails(exitFailure, []string{"--archive"}, "", "audit", "--archive", t.TempDir()+"/none.db")
}
