package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"
)

// profilesPath is where a process serves Go's profiles, if it does.
const profilesPath = "/debug/pprof/"

// maxProfile is the most that is read of one profile; of a second it is some
// hundred kilobytes.
const maxProfile = 64 << 20

// Part is where CPU time of the throughput phase went.
type Part struct {
	// Name is a package of this program, with what it calls of others; a module of
	// others, or Go itself, in goroutines of their own; or garbage collection.
	Name string `json:"name"`
	// Share is of all CPU time of the measured processes, 0 to 1.
	Share float64 `json:"share"`
	// Micros is that share of what an order costs to its notification; 0 if that
	// was not measured.
	Micros float64 `json:"us_per_order,omitempty"`
}

// profiles are what was taken of all processes in all rounds, as it came. Safe for
// concurrent use.
type profiles struct {
	mu    sync.Mutex
	taken [][]byte
}

// profileTime is the longest that one profile, of a second, may take.
const profileTime = 30 * time.Second

// second takes the profile of a process for a second.
func second(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, profileTime)
	defer cancel()
	b, err := fetch(ctx, url+profilesPath+"profile?seconds=1", maxProfile)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return b, nil
}

// profilable says whether all measured processes can be profiled now.
func profilable(ctx context.Context, urls []string) error {
	if len(urls) == 0 {
		return errors.New("no process to profile is known: give --api, --data-dir or --instances")
	}
	for _, url := range urls {
		_, err := second(ctx, url)
		if answer, ok := errors.AsType[*statusError](err); ok && answer.status == http.StatusNotFound {
			return fmt.Errorf("%w: start that process with pprof: true in its configuration, or COMPTOIR_PPROF=true", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// profiling takes profiles of all processes, a second at a time.
type profiling struct {
	ended  chan struct{}
	end    func() // of what is measured
	cancel context.CancelFunc
	wg     sync.WaitGroup
	errs   []error
}

func (p *profiles) begin(ctx context.Context, urls []string) *profiling {
	ctx, cancel := context.WithCancel(ctx)
	g := &profiling{ended: make(chan struct{}), cancel: cancel, errs: make([]error, len(urls))}
	g.end = sync.OnceFunc(func() { close(g.ended) })
	for i, url := range urls {
		g.wg.Go(func() {
			for first := true; ; first = false {
				b, err := second(ctx, url)
				over := false
				select {
				case <-g.ended:
					over = true
				default:
				}
				if g.errs[i] = err; err == nil && (first || !over) {
					// The second in which all ends is of what comes after it too.
					p.mu.Lock()
					p.taken = append(p.taken, b)
					p.mu.Unlock()
				}
				if over || err != nil {
					return
				}
			}
		})
	}
	return g
}

// wait waits for the last second, and says why some are missing.
func (g *profiling) wait() error {
	g.end()
	g.wg.Wait()
	return errors.Join(g.errs...)
}

// stop ends it at once.
func (g *profiling) stop() {
	g.cancel()
	_ = g.wait() // what is missing is of no use any more
}

// write writes all as one profile, as `go tool pprof` reads it, and returns whose
// time it tells of. Micros is what an order costs.
func (p *profiles) write(w io.Writer, micros float64) ([]Part, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var each []*profile.Profile
	for _, b := range p.taken {
		one, err := profile.ParseData(b)
		if err != nil {
			return nil, fmt.Errorf("profile: %w", err)
		}
		each = append(each, one)
	}
	if len(each) == 0 {
		return nil, errors.New("no profile was taken")
	}
	all, err := profile.Merge(each)
	if err != nil {
		return nil, fmt.Errorf("merge profiles: %w", err)
	}
	if err := all.Write(w); err != nil {
		return nil, fmt.Errorf("write profile: %w", err)
	}
	return parts(all, micros), nil
}

// parts tells whose time a CPU profile tells of, the largest first.
func parts(p *profile.Profile, micros float64) []Part {
	last := len(p.SampleType) - 1 // CPU time; before it stands the number of samples
	if last < 0 {
		return nil
	}
	spent, sum := map[string]int64{}, int64(0)
	for _, s := range p.Sample {
		spent[owner(s)] += s.Value[last]
		sum += s.Value[last]
	}
	var out []Part
	for name, t := range spent {
		share := float64(t) / float64(max(sum, 1))
		out = append(out, Part{Name: name, Share: share, Micros: share * micros})
	}
	slices.SortFunc(out, func(x, y Part) int { return cmp.Or(cmp.Compare(y.Share, x.Share), cmp.Compare(x.Name, y.Name)) })
	return out
}

// Names of parts that are no package.
const (
	partCollection = "garbage collection"
	partGo         = "Go runtime and standard library"
)

// module is this program's.
const module = "github.com/comptoir/comptoir/"

// owner says whose work a sample is: our package that is nearest to the leaf of
// the stack, or else the module of others in whose goroutine it is.
func owner(s *profile.Sample) string {
	name := partGo
	for _, l := range s.Location { // from the leaf on
		for _, line := range l.Line {
			if line.Function == nil {
				continue
			}
			switch f := line.Function.Name; {
			case collects(f):
				return partCollection
			case strings.HasPrefix(f, module):
				return strings.TrimPrefix(packageOf(f), module)
			case strings.HasPrefix(f, "main."):
				return "cmd/comptoir"
			default:
				if m := moduleOf(packageOf(f)); m != "" {
					name = m
				}
			}
		}
	}
	return name
}

// collects says whether a function of Go's runtime collects garbage.
func collects(function string) bool {
	for _, f := range []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart"} {
		if strings.HasPrefix(function, f) {
			return true
		}
	}
	return false
}

// packageOf is the path of a function's package.
func packageOf(function string) string {
	function, _, _ = strings.Cut(function, "[") // what it is instantiated with has a path too
	dir := strings.LastIndexByte(function, '/') + 1
	name, _, _ := strings.Cut(function[dir:], ".")
	return function[:dir] + name
}

// moduleOf is the module of a package of others, as far as its path tells; empty
// for the standard library.
func moduleOf(pkg string) string {
	words := strings.Split(pkg, "/")
	n := 2
	switch {
	case !strings.Contains(words[0], "."):
		return ""
	case words[0] == "github.com" || words[0] == "golang.org":
		n = 3
	}
	return strings.Join(words[:min(n, len(words))], "/")
}
