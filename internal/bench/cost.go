package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
	"github.com/twmb/franz-go/pkg/kadm"
)

// written is how much stands in one topic.
type written struct{ records, bytes int64 }

// spending is what was spent up to a moment.
type spending struct {
	topics map[string]written
	sized  bool    // the cluster tells the sizes of its logs
	cpu    float64 // seconds of all processes; below 0: not known
	kernel float64 // the same, of kernelTime
}

// spent reads what was spent until now.
func (b *bench) spent(ctx context.Context) (spending, error) {
	s := spending{topics: map[string]written{}, cpu: -1}
	listed, err := b.adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return s, fmt.Errorf("topics: %w", err)
	}
	ends, err := b.adm.ListEndOffsets(ctx, listed.Names()...)
	if err != nil {
		return s, fmt.Errorf("ends of the topics: %w", err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			w := s.topics[o.Topic]
			w.records += o.Offset
			s.topics[o.Topic] = w
		}
	})
	if dirs, err := b.adm.DescribeAllLogDirs(ctx, nil); err == nil { // a cluster may refuse it
		dirs.Each(func(d kadm.DescribedLogDir) {
			s.sized = s.sized || d.Err == nil
			d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
				w := s.topics[p.Topic]
				w.bytes += p.Size
				s.topics[p.Topic] = w
			})
		})
	}
	s.cpu, err = b.cpuTime(ctx)
	s.kernel = b.kernelTime()
	return s, err
}

// cpuTime is what the processes have used until now, in seconds; below 0: not known.
func (b *bench) cpuTime(ctx context.Context) (sum float64, err error) {
	if len(b.Metrics) == 0 {
		return -1, nil
	}
	for _, url := range b.Metrics {
		v, err := metric(ctx, url+"/metrics", "process_cpu_seconds_total")
		if err != nil {
			return -1, err
		}
		sum += v
	}
	return sum, nil
}

// ticks is how many units of time /proc counts in a second: on Linux always.
const ticks = 100

// kernelTime is the part of the processor time that the processes of this machine
// have spent in the kernel until now, in seconds; below 0: not known.
func (b *bench) kernelTime() (sum float64) {
	if b.PIDs == nil {
		return -1
	}
	for _, pid := range b.PIDs() {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return -1 // a system without /proc, or the process is gone
		}
		stat, err := p.Stat()
		if err != nil {
			return -1
		}
		sum += float64(stat.STime) / ticks
	}
	return sum
}

// since is what n orders cost between two moments.
func (s spending) since(before spending, n int) Cost {
	var c Cost
	for topic, now := range s.topics {
		was := before.topics[topic]
		t := TopicCost{Topic: topic, Records: float64(now.records-was.records) / float64(n)}
		if s.sized && before.sized {
			// A log that was compacted or cut meanwhile says nothing.
			t.Bytes = max(0, float64(now.bytes-was.bytes)/float64(n))
		}
		if t.Records <= 0 && t.Bytes == 0 {
			continue
		}
		c.Records += t.Records
		c.Bytes += t.Bytes
		c.Topics = append(c.Topics, t)
	}
	slices.SortFunc(c.Topics, func(x, y TopicCost) int {
		return cmp.Or(cmp.Compare(y.Records, x.Records), cmp.Compare(x.Topic, y.Topic))
	})
	if s.cpu >= 0 && before.cpu >= 0 {
		c.CPUMicros = (s.cpu - before.cpu) * 1e6 / float64(n)
	}
	return c
}

// maxMetrics is the most that is read of a page of metrics.
const maxMetrics = 16 << 20

// metric reads one value without labels from a page of metrics.
func metric(ctx context.Context, url, name string) (float64, error) {
	page, err := fetch(ctx, url, maxMetrics)
	if err != nil {
		return 0, fmt.Errorf("metrics: %w", err)
	}
	for line := range strings.Lines(string(page)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(v), 64)
		}
	}
	return 0, fmt.Errorf("metrics: %s has no %s", url, name)
}

// statusError is an answer other than 200.
type statusError struct {
	url    string
	status int
	said   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answers %d %s: %s", e.url, e.status, http.StatusText(e.status), e.said)
}

// fetch reads a page of at most so many bytes, which must be there.
func fetch(ctx context.Context, url string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status alone says enough
		first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
		return nil, &statusError{url, resp.StatusCode, first}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", url, limit)
	}
	return b, nil
}

// forgetPeak makes the peak of memory begin anew, where the system can.
func (b *bench) forgetPeak() {
	if b.PIDs == nil {
		return
	}
	for _, pid := range b.PIDs() {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // Linux; without it the peak is of the whole run
	}
}

// peak is the most memory that one of the processes held, in bytes; 0 if the
// system does not tell.
func (b *bench) peak() (most int64) {
	if b.PIDs == nil {
		return 0
	}
	for _, pid := range b.PIDs() {
		if p, err := procfs.NewProc(pid); err == nil {
			if status, err := p.NewStatus(); err == nil {
				most = max(most, int64(status.VmHWM))
			}
		}
	}
	return most
}

// version is what the cluster says it is.
func (b *bench) version(ctx context.Context) string {
	all, err := b.adm.ApiVersions(ctx)
	if err != nil {
		return ""
	}
	for _, v := range all.Sorted() {
		if v.Err == nil {
			return v.VersionGuess()
		}
	}
	return ""
}
