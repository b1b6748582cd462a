package kill

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// fault is a kind of broken promise.
type fault int

const (
	missing    fault = iota // an acknowledged record is not at its offset
	duplicate               // a record stands twice
	half                    // a committed transaction is not seen whole
	visible                 // an aborted record is seen by read_committed
	twice                   // an input was output twice
	never                   // an input was never output
	lostKey                 // compaction lost a key's last value
	position                // a group offset or a log start went back
	topic                   // a topic or its configuration is not as acknowledged
	fenced                  // a producer's sequence, epoch or fencing was forgotten
	unreadable              // what should be read is refused
	faults                  // how many kinds there are
)

func (f fault) String() string {
	return [...]string{"acknowledged records missing", "duplicates", "committed transactions not whole", "aborted records visible",
		"inputs output twice", "inputs without output", "keys lost", "positions gone back", "topics not as acknowledged", "producers forgotten", "checks that failed"}[f]
}

// shown is how many examples of each fault are printed.
const shown = 3

// tally counts what was done and what went wrong.
type tally struct {
	mu       sync.Mutex
	faults   [faults]int
	examples [faults][]string
	done     map[string]int
}

func (t *tally) fault(f fault, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults[f]++
	if len(t.examples[f]) < shown {
		t.examples[f] = append(t.examples[f], fmt.Sprintf(format, args...))
	}
}

// did notes work, so that a run which proves nothing is seen to.
func (t *tally) did(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		t.done = map[string]int{}
	}
	t.done[what] += n
}

func (t *tally) count(f fault) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.faults[f]
}

func (t *tally) total() (n int) {
	for f := range faults {
		n += t.count(f)
	}
	return n
}

// String is a table of the faults, the work, and some examples.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var head, rule, row, rest strings.Builder
	for f := range faults {
		fmt.Fprintf(&head, "| %s ", f)
		rule.WriteString("|---")
		fmt.Fprintf(&row, "| %d ", t.faults[f])
		for _, e := range t.examples[f] {
			fmt.Fprintf(&rest, "  %s: %s\n", f, e)
		}
	}
	var work []string
	for what, n := range t.done {
		work = append(work, fmt.Sprintf("%d %s", n, what))
	}
	slices.SortFunc(work, func(a, b string) int { return strings.Compare(a[strings.Index(a, " "):], b[strings.Index(b, " "):]) })
	return fmt.Sprintf("%s|\n%s|\n%s|\nwork: %s\n%s", &head, &rule, &row, strings.Join(work, ", "), &rest)
}
