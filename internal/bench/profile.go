package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/google/pprof/profile"
)

// profilesPath is where a process serves Go's profiles, if it does.
const profilesPath = "/debug/pprof/"

// maxProfile is the most that is read of one profile; of a second it is some
// hundred kilobytes.
const maxProfile = 64 << 20

// Part is where CPU time of the throughput phase went.
type Part struct {
	// Name is a package of this program, with what it calls of others; or a module
	// of others, or Go itself, in goroutines of their own.
	Name string `json:"name"`
	// Share is of all CPU time of the measured processes, 0 to 1.
	Share float64 `json:"share"`
	// Micros is that share of what an order costs to its notification; 0 if that
	// was not measured.
	Micros float64 `json:"us_per_order,omitempty"`
}

// profiles are what was taken of all processes in all rounds. Safe for concurrent
// use.
type profiles struct {
	mu    sync.Mutex
	taken []*profile.Profile
}

// offered says whether all measured processes serve profiles.
func (b *bench) offered(ctx context.Context) error {
	if len(b.Metrics) == 0 {
		return errors.New("no process to profile is known: give --api, --data-dir or --instances")
	}
	for _, url := range b.Metrics {
		if _, err := fetch(ctx, url+profilesPath, maxProfile); err != nil {
			return fmt.Errorf("profiles: %w: start it with pprof: true, or COMPTOIR_PPROF=true", err)
		}
	}
	return nil
}

// take profiles all processes, a second at a time, until the function it returns
// is called, which waits for what is under way. The second in which that happens
// counts only if there was none before it, since it is of what comes after too.
func (p *profiles) take(ctx context.Context, urls []string) func() error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	errs := make([]error, len(urls))
	var wg sync.WaitGroup
	for i, url := range urls {
		wg.Go(func() {
			for n := 0; errs[i] == nil; n++ {
				errs[i] = p.second(ctx, url, func() bool {
					select {
					case <-ended:
						return n == 0
					default:
						return true
					}
				})
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	return sync.OnceValue(func() error {
		defer cancel()
		close(ended)
		wg.Wait()
		return errors.Join(errs...)
	})
}

// second takes one profile of a process, and keeps it if it is wanted then.
func (p *profiles) second(ctx context.Context, url string, wanted func() bool) error {
	b, err := fetch(ctx, url+profilesPath+"profile?seconds=1", maxProfile)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	one, err := profile.ParseData(b)
	if err != nil {
		return fmt.Errorf("profile of %s: %w", url, err)
	}
	if wanted() {
		p.mu.Lock()
		p.taken = append(p.taken, one)
		p.mu.Unlock()
	}
	return nil
}

// write writes all as one profile, as `go tool pprof` reads it, and returns whose
// time it tells of. Micros is what an order costs.
func (p *profiles) write(w io.Writer, micros float64) ([]Part, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, err := profile.Merge(p.taken)
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
	time, sum := map[string]int64{}, int64(0)
	for _, s := range p.Sample {
		time[owner(s)] += s.Value[last]
		sum += s.Value[last]
	}
	var out []Part
	for name, t := range time {
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
