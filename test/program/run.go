package program

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
)

// Orders is how many orders a whole run sends: what COMPTOIR_TEST_ORDERS says,
// else n, and a tenth of it with -short.
func Orders(t testing.TB, n int) int {
	t.Helper()
	if given, ok := number(t, "COMPTOIR_TEST_ORDERS"); ok {
		return given
	}
	if testing.Short() {
		return n / 10
	}
	return n
}

// Kills is how often a run is killed: what COMPTOIR_TEST_KILLS says, else n.
func Kills(t testing.TB, n int) int {
	t.Helper()
	if given, ok := number(t, "COMPTOIR_TEST_KILLS"); ok {
		return given
	}
	return n
}

// Sample is how many of a run's orders are looked at one by one: n, and five
// times as many in nightly runs.
func Sample(n int) int {
	if os.Getenv("COMPTOIR_TEST_NIGHTLY") != "" {
		return 5 * n
	}
	return n
}

func number(t testing.TB, variable string) (n int, ok bool) {
	t.Helper()
	set := os.Getenv(variable)
	if set == "" {
		return 0, false
	}
	n, err := strconv.Atoi(set)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n, true
}

// Catalogue writes the workload's products as a file for --catalogue.
func Catalogue(t testing.TB, w *orders.Workload) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalogue.json")
	if err := os.WriteFile(path, w.Catalogue(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Send produces records to a topic and returns when all are acknowledged.
func Send(t testing.TB, brokers, topic string, records []orders.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	client, err := orders.NewClient(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := orders.Produce(ctx, client, topic, records); err != nil {
		t.Fatal(err)
	}
}

// Supply sends the workload's supplies, and returns once they and the catalogue
// have been handled, so that every order meets the same products.
func Supply(t testing.TB, cfg invariants.Config, w *orders.Workload) {
	t.Helper()
	Send(t, cfg.Brokers, orders.SuppliesTopic, w.Supplies)
	cfg.Archive = "" // no invoice yet
	Settle(t, cfg)
}

// Settle returns once there is nothing more to come.
func Settle(t testing.TB, cfg invariants.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := invariants.Settle(ctx, cfg); err != nil {
		t.Fatal(err)
	}
}

// Verify settles, checks every invariant, and compares the outcomes with those
// that the workloads expect.
func Verify(t testing.TB, cfg invariants.Config, workloads ...*orders.Workload) invariants.Report {
	t.Helper()
	Settle(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	report, err := invariants.Check(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	// A few of each kind, so that one cause does not hide another.
	const few = 5
	seen := map[string]int{}
	complain := func(kind, text string) {
		if seen[kind]++; seen[kind] <= few {
			t.Error(text)
		}
	}
	for _, v := range report.Violations {
		complain(v.Invariant, v.String())
	}
	for _, w := range workloads {
		for _, d := range report.Compare(w) {
			complain("outcomes as expected", d)
		}
	}
	for kind, n := range seen {
		if n > few {
			t.Errorf("%s: and %d more", kind, n-few)
		}
	}
	t.Log(report.Summary())
	return report
}

// Audit runs `comptoir audit` once all is at rest, and holds it to finding
// nothing.
func Audit(t testing.TB, args ...string) {
	t.Helper()
	out, errs, code := Command(t, "", append([]string{"audit", "--wait", "1m"}, args...)...)
	if code != 0 {
		t.Errorf("comptoir audit ends with %d: %s\n%s", code, tail(errs, 2_000), tail(out, 20_000))
	}
}

// Progress is how many records a topic holds by its offsets, markers included.
func Progress(ctx context.Context, brokers, topic string) (int64, error) {
	client, err := orders.NewClient(brokers)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	var sum int64
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			sum += o.Offset
		} else {
			err = fmt.Errorf("end of %s: %w", topic, o.Err)
		}
	})
	return sum, err
}
