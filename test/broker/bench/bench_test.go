package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/test/broker/child"
)

func TestMain(m *testing.M) {
	child.Main()
	os.Exit(m.Run())
}

// span is how long a measure of throughput runs.
const span = 3 * time.Second

// figure is one number of one engine.
type figure struct {
	name  string
	unit  string
	value float64
}

// measures by name; each starts with a broker on an empty directory.
var measures = map[string]func(t *testing.T, b *broker) []figure{
	"throughput": throughput, "latency": latency, "pipeline": pipeline, "transactions": transactions, "compaction": compaction, "idle": idle, "large": large,
}

// broker is one of the two under measurement.
type broker struct {
	*child.Process
	dir string
}

func (b *broker) addr() string {
	addr, _ := b.Started()
	return addr
}

func TestBesideKfake(t *testing.T) {
	names := strings.Split(os.Getenv("COMPTOIR_BROKER_BENCH"), ",")
	switch names[0] {
	case "":
		t.Skip("left out: `make broker-bench` runs it")
	case "all":
		names = []string{"throughput", "latency", "pipeline", "transactions", "compaction", "idle", "large"}
	}
	var out strings.Builder
	for _, name := range names {
		measure, ok := measures[name]
		if !ok {
			t.Fatalf("no measure is called %q", name)
		}
		for _, sync := range []string{"interval", "commit"} {
			if sync == "commit" && (name == "idle" || name == "large") {
				continue // memory does not depend on it
			}
			var every time.Duration // the engine's own
			if name == "compaction" {
				every = time.Second
			}
			var found [2][]figure
			for i, engine := range []string{child.Kfake, child.Comptoir} {
				dir := t.TempDir()
				b := &broker{child.New(t, child.Config{Engine: engine, Dir: dir, Sync: sync, CleanEvery: every}), dir}
				if err := b.Start(); err != nil {
					t.Fatal(err)
				}
				found[i] = measure(t, b)
				b.Kill()
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			for i, kfake := range found[0] {
				ours := found[1][i]
				fmt.Fprintf(&out, "| %s, sync=%s | %.4g %s | %.4g %s | %.2f |\n", kfake.name, sync, kfake.value, kfake.unit, ours.value, ours.unit, ours.value/kfake.value)
			}
		}
	}
	t.Logf("\n| measure | kfake | ours | ours/kfake |\n|---|---|---|---|\n%s", out.String())
}

func (b *broker) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.addr())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func (b *broker) topics(t *testing.T, partitions int32, names ...string) {
	t.Helper()
	b.configured(t, partitions, nil, names...)
}

func (b *broker) configured(t *testing.T, partitions int32, config map[string]*string, names ...string) {
	t.Helper()
	resp, err := kadm.NewClient(b.client(t)).CreateTopics(t.Context(), partitions, 1, config, names...)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// rss is the resident memory in megabytes.
func (b *broker) rss(t *testing.T) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// rank is a value of sorted durations, in milliseconds: .5 for the median.
func rank(d []time.Duration, at float64) float64 {
	if len(d) == 0 {
		return 0
	}
	d = slices.Sorted(slices.Values(d))
	return float64(d[min(len(d)-1, int(at*float64(len(d))))].Microseconds()) / 1000
}

// fsyncs measures writing 4 KiB and forcing it to the disk, beside what goes on,
// until the context ends.
func fsyncs(ctx context.Context, t *testing.T, dir string) <-chan []time.Duration {
	result := make(chan []time.Duration, 1)
	go func() {
		f, err := os.CreateTemp(dir, "fsync")
		if err != nil {
			t.Error(err)
			result <- nil
			return
		}
		defer os.Remove(f.Name())
		defer f.Close()
		var took []time.Duration
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				result <- took
				return
			case <-tick.C:
			}
			begun := time.Now()
			if _, err := f.Write(make([]byte, 4096)); err != nil {
				t.Error(err)
			}
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
			took = append(took, time.Since(begun))
		}
	}()
	return result
}
