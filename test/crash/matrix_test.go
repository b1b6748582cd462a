package crash

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/program"
	"github.com/comptoir/comptoir/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, program.Clean) }

// cell is one fault of one target, in the middle of orders.
type cell struct {
	target, fault string
	run           func(r *round, c *attempt)
}

func (c cell) name() string { return c.target + "/" + c.fault }

// cells is the whole matrix. Left out is what makes no sense: a network is not
// killed, and has faults of its own; hold is its SIGSTOP.
func cells() (all []cell) {
	add := func(target string, faults map[string]func(*round, *attempt)) {
		for _, fault := range []string{"none", "kill", "term", "restart", "stop", "disk", "cut", "hold", "delay", "half-close"} {
			if run := faults[fault]; run != nil {
				all = append(all, cell{target, fault, run})
			}
		}
	}
	for i := range instances {
		add(fmt.Sprintf("serve-%d", i+1), instanceFaults(i))
	}
	for i := range testenv.Nodes {
		add(fmt.Sprintf("broker-%d", i+1), brokerFaults(i))
	}
	add("postgres", postgresFaults())
	for target, links := range networks {
		add(target, networkFaults(links))
	}
	add("embedded", embeddedFaults())
	add("fleet", noFaults())
	slices.SortStableFunc(all, func(a, b cell) int { return strings.Compare(a.target, b.target) })
	return all
}

// telling are the cells of the short matrix: one of each pattern.
var telling = []string{"serve-?/kill", "serve-?/stop", "broker-?/kill", "postgres/kill", "net-kafka/hold", "net-broker/half-close", "embedded/kill"}

// round is a run of some cells.
type round struct {
	t     *testing.T
	seed  uint64
	done  []string
	fleet *fleet // nil until a cell needs it
}

// copies is how many other instances keep a copy of each task's state: one in
// every second round.
func (r *round) copies() int { return int(r.seed % 2) }

// attempt is a cell at work.
type attempt struct {
	cell
	rng    *rand.Rand
	number int // of the cell in the matrix
	log    entry
}

// entry is what the history keeps of an attempt.
type entry struct {
	Time    time.Time `json:"time"`
	Seed    uint64    `json:"seed"`
	Cell    string    `json:"cell"`
	Result  string    `json:"result"` // ok, failed, left out
	Seconds float64   `json:"seconds"`
	// Copies is stream.standby_copies of the instances.
	Copies int `json:"standby_copies,omitempty"`
	// Orders is how many records and requests were sent, Longest how many seconds
	// one waited from its record in Kafka to its notification.
	Orders  int     `json:"orders"`
	Longest float64 `json:"longest_wait_seconds"`
	// Fenced is how often a sleeper that woke up threw work away or found itself
	// out of its group.
	Fenced int    `json:"fenced,omitempty"`
	Note   string `json:"note,omitempty"`
}

// TestMatrix runs the cells that the environment asks for, on one deployment. It
// is the past of all cells on it that is checked after each, so the first that
// fails ends its batch, and those after it have a new deployment.
func TestMatrix(t *testing.T) {
	seed, all := seed(t), cells()
	left := choose(t, all, seed)
	t.Logf("seed %d, %d of %d cells", seed, len(left), len(all))
	const bearable = 3 // failures, after which no more is learnt
	for batch := 1; len(left) > 0 && batch <= bearable; batch++ {
		t.Run(fmt.Sprint("batch ", batch), func(t *testing.T) {
			r := &round{t: t, seed: seed}
			for len(left) > 0 && !t.Failed() {
				number := left[0]
				left = left[1:]
				r.try(all[number], number)
			}
		})
	}
	if len(left) > 0 {
		t.Errorf("%d cells were not run", len(left))
	}
}

func seed(t *testing.T) uint64 {
	given := os.Getenv("COMPTOIR_CRASH_SEED")
	if given == "" {
		return rand.Uint64N(1_000_000)
	}
	n, err := strconv.ParseUint(given, 10, 64)
	if err != nil {
		t.Fatalf("COMPTOIR_CRASH_SEED: %v", err)
	}
	return n
}

// choose returns the numbers of the cells to run, in their order.
func choose(t *testing.T, all []cell, seed uint64) (chosen []int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	matching := func(pattern string) (found []int) {
		for i, c := range all {
			if ok, err := path.Match(pattern, c.name()); err != nil {
				t.Fatalf("%s: %v", pattern, err)
			} else if ok {
				found = append(found, i)
			}
		}
		if len(found) == 0 {
			t.Fatalf("no cell is named %s", pattern)
		}
		return found
	}
	if given := os.Getenv("COMPTOIR_CRASH_CELL"); given != "" {
		for pattern := range strings.SplitSeq(given, ",") {
			for _, n := range matching(pattern) {
				if slices.Contains(chosen, n) {
					t.Fatalf("%s is asked for twice: its orders would have the same ids", all[n].name())
				}
				chosen = append(chosen, n)
			}
		}
		return chosen
	}
	if os.Getenv("COMPTOIR_CRASH_LONG") != "" {
		return rng.Perm(len(all))
	}
	for _, pattern := range telling {
		found := matching(pattern)
		chosen = append(chosen, found[rng.IntN(len(found))])
	}
	rng.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen
}

// try runs one cell, and says how to repeat it if it fails.
func (r *round) try(c cell, number int) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.name())) // never fails
	a := &attempt{cell: c, number: number, rng: rand.New(rand.NewPCG(r.seed, h.Sum64()))}
	a.log = entry{Time: time.Now().UTC(), Seed: r.seed, Cell: c.name(), Result: "ok"}
	r.done = append(r.done, c.name())
	finished := false
	defer func() {
		a.log.Seconds = float64(time.Since(a.log.Time).Milliseconds()) / 1000
		if r.t.Failed() || !finished {
			a.log.Result = "failed"
			const repeat = "COMPTOIR_TEST_SERVERS=$PWD/test/servers COMPTOIR_CRASH_SEED=%d COMPTOIR_CRASH_CELL='%s' go test ./test/crash -run TestMatrix -v"
			r.t.Logf("%s failed; to repeat it:\n\t"+repeat+"\nor with those before it:\n\t"+repeat,
				c.name(), r.seed, c.name(), r.seed, strings.Join(r.done, ","))
		}
		r.t.Logf("%s: %s in %.1f s; standby copies %d; %d orders, none waited longer than %.1f s; fenced %d times; %s",
			c.name(), a.log.Result, a.log.Seconds, a.log.Copies, a.log.Orders, a.log.Longest, a.log.Fenced, a.log.Note)
		r.keep(a.log)
	}()
	c.run(r, a)
	finished = true
}

// keep appends to the history.
func (r *round) keep(e entry) {
	file := os.Getenv("COMPTOIR_CRASH_HISTORY")
	if file == "" {
		return
	}
	line, err := json.Marshal(e)
	if err != nil {
		r.t.Error(err)
		return
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		r.t.Error(err)
	}
}

// leaveOut notes that a cell cannot run here.
func (a *attempt) leaveOut(why string) { a.log.Result, a.log.Note = "left out", why }

// note adds to what the history says of the attempt.
func (a *attempt) note(format string, args ...any) {
	if a.log.Note != "" {
		a.log.Note += "; "
	}
	a.log.Note += fmt.Sprintf(format, args...)
}

// between draws a duration.
func (a *attempt) between(least, most time.Duration) time.Duration {
	return least + time.Duration(a.rng.Int64N(int64(most-least)))
}

// pass lets time pass: an outage lasts, whatever happens meanwhile.
func (r *round) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}
