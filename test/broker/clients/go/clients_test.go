// Package clients checks other Go clients against the broker at CLIENTS_ADDR:
// they produce, consume in a group that rebalances, and commit and abort
// transactions where they can. It is a module of its own, so that these clients
// stay out of the project's.
package clients

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	// Its own suite is run from here.
	_ "github.com/twmb/franz-go/pkg/kgo"
)

const patience = time.Minute

// broker is the address, and a name for topics and groups that nobody else has.
func broker(t *testing.T) (addr, name string) {
	addr = os.Getenv("CLIENTS_ADDR")
	if addr == "" {
		t.Skip("left out: needs CLIENTS_ADDR, which the script run sets")
	}
	return addr, fmt.Sprint(t.Name(), "-", time.Now().UnixNano())
}

// until waits for what must come true.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// heap is the values that were consumed, and how often.
type heap struct {
	mu   sync.Mutex
	seen map[string]int
}

func (h *heap) add(v string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil {
		h.seen = map[string]int{}
	}
	h.seen[v]++
}

func (h *heap) has(want []string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !slices.ContainsFunc(want, func(v string) bool { return h.seen[v] == 0 })
}

func (h *heap) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.seen))
}

func values(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(prefix, i))
	}
	return list
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}
