package node

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/kclient"
)

// lines is a log that is read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestSentAgain: what an unclean stop may have cost is sent again by the first
// start that succeeds, however many failed before it, and by no later one.
func TestSentAgain(t *testing.T) {
	cfg := freePorts(t)
	cfg.Roles = []string{"api", "relais"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var log lines
	start := func() (*Node, error) {
		log.mu.Lock()
		log.buf.Reset()
		log.mu.Unlock()
		n, err := NewEmbedded(cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return n, n.Start(ctx)
	}
	run := func(f func(n *Node)) {
		t.Helper()
		n, err := start()
		if err != nil {
			t.Fatal(err)
		}
		f(n)
		if err := n.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	allSent := func(n *Node) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			if left, _, err := n.database.Pending(ctx); err == nil && left == 0 {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatal("the outbox is not sent")
			}
		}
	}
	run(func(n *Node) {
		res, err := http.Post(n.Endpoints().HTTP+"/commandes", "application/json", strings.NewReader(`{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			t.Fatalf("status %d", res.StatusCode)
		}
		allSent(n)
	})
	// As a power cut leaves it, when the broker syncs in intervals.
	if err := os.WriteFile(filepath.Join(cfg.DataDir, "broker", "lost"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// version sets the database's version and returns the one before.
	version := func(to int) (was int) {
		t.Helper()
		db, err := sql.Open("sqlite", filepath.Join(cfg.DataDir, "commandes.db"))
		if err != nil {
			t.Fatal(err)
		}
		if err = db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&was); err == nil {
			_, err = db.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, to))
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return was
	}
	was := version(99)
	for range 2 {
		if _, err := start(); err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Fatalf("a newer database: %v", err)
		}
	}
	version(was)
	const again = "the last messages are sent again"
	run(func(n *Node) {
		if !strings.Contains(log.String(), again) || !strings.Contains(log.String(), "messages=1") {
			t.Errorf("nothing is sent again: %s", log.String())
		}
		allSent(n)
	})
	run(func(*Node) {
		if strings.Contains(log.String(), again) {
			t.Error("sent again after a clean stop")
		}
	})
}

// TestOtherCluster: an order database goes with one cluster, unless another is
// named.
func TestOtherCluster(t *testing.T) {
	db, err := orderdb.Open(t.Context(), orderdb.Config{URL: filepath.Join(t.TempDir(), "orders.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	instance := func(id, adopt string) error {
		t.Helper()
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID(id))
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		n := &Node{cfg: Config{AdoptCluster: adopt}, log: quiet, database: db, kafka: kclient.Config{Brokers: fake.ListenAddrs()}}
		if n.admin, err = n.kafka.New(); err != nil {
			t.Fatal(err)
		}
		defer n.admin.Close()
		return n.checkCluster(t.Context())
	}
	for _, c := range []struct {
		id, adopt string
		refused   bool
	}{
		{"one", "", false},
		{"one", "", false},
		{"two", "", true},
		{"two", "three", true},
		{"one", "two", false},
		{"two", "two", false},
		{"one", "two", true},
	} {
		err := instance(c.id, c.adopt)
		if (err != nil) != c.refused {
			t.Errorf("cluster %s, adopted %q: %v", c.id, c.adopt, err)
		}
		if err != nil {
			for _, want := range []string{"one", "two", "--brokers", "COMPTOIR_ADOPT_CLUSTER=" + c.id} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
		}
	}
}
