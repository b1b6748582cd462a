package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/commerce/event"
)

var quiet = slog.New(slog.DiscardHandler)

// freePorts is a configuration for a folder that does not exist yet.
func freePorts(t *testing.T) Config {
	cfg := Default()
	cfg.DataDir = filepath.Join(t.TempDir(), "data")
	cfg.HTTP, cfg.Kafka, cfg.Connect = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return cfg
}

// listenTest takes an address until the test ends.
func listenTest(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestNode looks at a whole node from outside.
func TestNode(t *testing.T) {
	cfg := freePorts(t)
	cfg.Pprof = true
	n, err := NewEmbedded(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	e := n.Endpoints()
	if got := get(t, e.HTTP+"/debug/pprof/goroutine?debug=1"); !strings.Contains(got, "streams.(*worker)") {
		t.Errorf("the profile of goroutines: %.200s", got)
	}
	if got := get(t, e.HTTP+"/debug/pprof/cmdline"); strings.Contains(got, ".test") {
		t.Errorf("the command line is told: %s", got)
	}
	if got := get(t, e.HTTP+"/"); !strings.Contains(got, `"/readyz"`) || !strings.Contains(got, `"/connectors"`) {
		t.Errorf("GET /: %s", got)
	}
	worker := strings.TrimPrefix(e.Connect, "http://")
	if got := get(t, e.HTTP+"/connectors/archive/status"); !strings.Contains(got, `"worker_id":"`+worker+`"`) {
		t.Errorf("the worker is not %s: %s", worker, got)
	}
	if got := n.database.Shards(); got != 1 {
		t.Errorf("the outbox of the only relay has %d shards", got)
	}

	if gone := n.goneTopics(ctx, errors.New("unwell")); len(gone) > 0 {
		t.Errorf("topics said to be gone: %v", gone)
	}
	if _, err := kadm.NewClient(n.admin).DeleteTopic(ctx, event.TopicInvoices); err != nil {
		t.Fatal(err)
	}
	if gone := n.goneTopics(ctx, errors.New("unwell")); len(gone) != 1 || gone[0] != event.TopicInvoices {
		t.Errorf("topics said to be gone: %v", gone)
	}
	if gone := n.goneTopics(ctx, nil); len(gone) > 0 {
		t.Errorf("a stage that is well was asked for: %v", gone)
	}
}

// TestReadiness: who takes orders is ready as long as the order database is
// there, everybody else only as long as everything is.
func TestReadiness(t *testing.T) {
	for _, tc := range []struct {
		roles               []string
		needed, dispensable string
	}{
		{nil, "database", "kafka service-suivi relais connect audit service-stock service-paiement state"},
		{[]string{"api"}, "database", "kafka"},
		{[]string{"relais", "suivi"}, "database kafka relais service-suivi", ""},
		{[]string{"suivi", "audit"}, "database kafka service-suivi", "audit"},
		{[]string{"stock", "connect"}, "kafka service-stock connect state", ""},
	} {
		cfg := freePorts(t)
		if tc.roles != nil {
			cfg.Roles = tc.roles
		}
		n, err := NewInstance(cfg, quiet)
		if err != nil {
			t.Fatal(err)
		}
		is := map[string]bool{}
		for _, c := range n.checks() {
			is[c.Name] = c.Dispensable
		}
		for list, want := range map[string]bool{tc.needed: false, tc.dispensable: true} {
			for _, name := range strings.Fields(list) {
				if got, ok := is[name]; !ok || got != want {
					t.Errorf("roles %v: %s is dispensable: %v (checked: %v)", tc.roles, name, got, ok)
				}
			}
		}
	}
}
