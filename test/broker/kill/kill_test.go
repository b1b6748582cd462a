package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/broker/child"
)

func TestMain(m *testing.M) {
	child.Main()
	os.Exit(m.Run())
}

// patience is how long anything may take before the run gives up.
const patience = time.Minute

// actor is one kind of work, with its own topics and its own memory of what was
// acknowledged.
type actor interface {
	// prepare makes topics, before the first kill.
	prepare(ctx context.Context) error
	// work goes on through kills until the context ends.
	work(ctx context.Context)
	// check compares the broker's word with memory while work goes on; at last,
	// when all work has ended, everything is read again from its start.
	check(ctx context.Context, last bool) error
}

// run is what actors share.
type run struct {
	t     *testing.T
	tally *tally
	proc  victim
	addr  string
}

// victim is a broker's process; child.Process is one.
type victim interface {
	Start() error
	// Launch starts without waiting.
	Launch() error
	Kill()
	Ended() <-chan struct{}
	Printed() string
	// Started says where it listens, and how long the last start took.
	Started() (addr string, took time.Duration)
}

// source gives each user a random source of its own, so that one's choices do
// not depend on the speed of another.
func source(seed uint64, name string) *rand.Rand {
	var h uint64 = 14695981039346656037
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}

func TestKills(t *testing.T) {
	kills, _ := strconv.Atoi(os.Getenv("COMPTOIR_KILLS"))
	if kills == 0 {
		t.Skip("left out: `make broker-kills` runs it")
	}
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	if s := os.Getenv("COMPTOIR_KILL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("COMPTOIR_KILL_SEED: %v", err)
		}
	}
	rng := source(seed, "kills")
	sync := os.Getenv("COMPTOIR_KILL_SYNC")
	if sync == "" {
		sync = []string{"commit", "interval"}[rng.IntN(2)]
	}
	engine, names := os.Getenv("COMPTOIR_KILL_ENGINE"), os.Getenv("COMPTOIR_KILL_ACTORS")
	if engine == "" {
		engine = child.Comptoir
	}
	command := fmt.Sprintf("COMPTOIR_KILLS=%d COMPTOIR_KILL_SEED=%d COMPTOIR_KILL_SYNC=%s COMPTOIR_KILL_ENGINE=%s COMPTOIR_KILL_ACTORS=%s go test ./test/broker/kill -run '^TestKills$' -count=1 -v -timeout 60m",
		kills, seed, sync, engine, names)
	t.Logf("%d kills of %s with sync=%s, seed %d", kills, engine, sync, seed)

	r := &run{t: t, tally: &tally{}}
	if engine == "kafka" {
		r.proc = newKafka(t)
	} else {
		r.proc = child.New(t, child.Config{Engine: engine, Dir: t.TempDir(), Sync: sync, CleanEvery: 300 * time.Millisecond})
	}
	begun := time.Now()
	err := r.kills(rng, kills, r.actors(seed, names))
	t.Logf("%s sync=%s, %d kills, %.0f s\n%s", engine, sync, kills, time.Since(begun).Seconds(), r.tally)
	if err != nil {
		t.Error(err)
	}
	if n := r.tally.total(); n > 0 {
		t.Errorf("%d promises broken", n)
	}
	if t.Failed() {
		t.Logf("again: %s", command)
	}
}

func (r *run) actors(seed uint64, names string) map[string]actor {
	all := map[string]actor{
		"plain": newPlain(r, seed), "transactions": newTransactions(r, seed), "pipeline": newPipeline(r, seed),
		"compaction": newCompaction(r, seed), "trim": newTrim(r, seed), "topics": newTopics(r, seed),
		"offsets": newOffsets(r, seed), "fencing": newFencing(r, seed),
	}
	if names != "" {
		for name := range all {
			if !slices.Contains(strings.Split(names, ","), name) {
				delete(all, name)
			}
		}
	}
	return all
}

// kills is the whole run: work, kill, start, check.
func (r *run) kills(rng *rand.Rand, kills int, actors map[string]actor) error {
	if err := r.proc.Start(); err != nil {
		return err
	}
	addr, slowest := r.proc.Started()
	r.addr = addr
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	for name, a := range actors {
		if err := a.prepare(ctx); err != nil {
			return fmt.Errorf("%s: prepare: %w", name, err)
		}
	}
	for _, a := range actors {
		working.Go(func() { a.work(ctx) })
	}
	for n := range kills {
		if err := r.pass(time.Duration(100+rng.IntN(2500)) * time.Millisecond); err != nil {
			return err
		}
		r.proc.Kill()
		// Some starts are killed too, before or shortly after they are done.
		for rng.IntN(6) == 0 {
			if err := r.proc.Launch(); err != nil {
				return err
			}
			_ = r.pass(time.Duration(rng.Int64N(2 * int64(slowest))))
			r.proc.Kill()
			r.tally.did("starts killed", 1)
		}
		if err := r.proc.Start(); err != nil {
			return fmt.Errorf("start after kill %d: %w", n+1, err)
		}
		_, took := r.proc.Started()
		slowest = max(slowest, took)
		r.checkAll(ctx, actors, false)
		if n%10 == 9 {
			r.t.Logf("%d kills, %d promises broken, slowest start %v", n+1, r.tally.total(), slowest.Round(time.Millisecond))
		}
	}
	cancel()
	stopped := make(chan struct{})
	go func() { working.Wait(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(patience):
		return fmt.Errorf("an actor's work does not end within %v", patience)
	}
	r.t.Logf("slowest start %v", slowest.Round(time.Millisecond))
	r.checkAll(context.Background(), actors, true)
	return nil
}

// pass lets time pass in which the broker must not end by itself.
func (r *run) pass(d time.Duration) error {
	select {
	case <-r.proc.Ended():
		return fmt.Errorf("the broker ended by itself: %s", r.proc.Printed())
	case <-time.After(d):
		return nil
	}
}

// checkAll lets every actor check. What cannot be checked, because the broker
// refuses to be asked, is a fault like others.
func (r *run) checkAll(ctx context.Context, actors map[string]actor, last bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var wait sync.WaitGroup
	for name, a := range actors {
		wait.Go(func() {
			if err := a.check(ctx, last); err != nil {
				r.tally.fault(unreadable, "%s: %v", name, err)
			}
		})
	}
	wait.Wait()
}

// until asks again until what must come true has, or the context's time is over.
func until(ctx context.Context, cond func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
