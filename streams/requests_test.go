package streams

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRequestsAreSmall: a transaction that is larger than a request may be goes in
// several, whole.
func TestRequestsAreSmall(t *testing.T) {
	c := newCluster(t)
	c.topic("in", 1)
	c.topic("out", 4)
	const n, size = 64, 100_000
	net := newFaultNet(t)
	var all, largest atomic.Int64
	net.observe(func(key int16, frame []byte) {
		if kmsg.Key(key) == kmsg.Produce {
			all.Add(int64(len(frame)))
			largest.Store(max(largest.Load(), int64(len(frame))))
		}
	})
	count, value := metered()
	c.launch(t.TempDir(), func(b *Builder) {
		c.bare(b, func(x *Context, r Record[string, string], out *Output[string, string]) {
			for i := range n {
				out.Send(x, Record[string, string]{Key: key17(i), Value: strings.Repeat("x", size)})
			}
		})
	}, net.use, count, func(cfg *Config) { cfg.BufferBytes = 4 * n * size })
	c.send(c.rec("in", -1, "k", "v"))
	if got := len(c.read("out", n)); got != n {
		t.Fatalf("%d records, want %d", got, n)
	}
	c.eventually("the transaction is counted", func() bool { return value(txnMetric, "committed") > 0 })
	if got := value(txnMetric, "committed"); got != 1 {
		t.Fatalf("%v transactions, want one: the test tests nothing", got)
	}
	if got := all.Load(); got < n*size {
		t.Fatalf("%d bytes of requests seen for %d of records", got, n*size)
	}
	if got := largest.Load(); got > 2*smallBatch {
		t.Errorf("a request of %d bytes", got)
	}
}

// growing has an App that turns a number into a text of so many bytes.
func (c *cluster) growing(from string) func(*Builder) {
	return func(b *Builder) {
		out := To(b, c.text("out"))
		From(b, c.text(from)).Process("grow", func(x *Context, r Record[string, string]) {
			n, _ := strconv.Atoi(r.Value)
			out.Send(x, Record[string, string]{Key: r.Key, Value: strings.Repeat("x", n)})
		}, out)
	}
}

// grow sends a number, the record i of "in", and waits for its text.
func (c *cluster) grow(i, n int) {
	c.tb.Helper()
	c.send(c.rec("in", -1, "k", strconv.Itoa(n)))
	if got := len(c.read("out", i+1)[i].Value); got != n {
		c.tb.Fatalf("record %d has %d bytes, want %d", i, got, n)
	}
}

// TestRecordLargerThanABatch: a record that does not fit into a batch of the usual
// size goes all the same, after its transaction was thrown away once, and those
// after it at once.
func TestRecordLargerThanABatch(t *testing.T) {
	c := newCluster(t)
	c.topic("in", 1)
	c.topic("out", 1)
	count, value := metered()
	c.launch(t.TempDir(), c.growing("in"), count)
	sizes := []int{1, largeBatch - 1000, 2, largeBatch - 2000}
	for i, n := range sizes {
		c.grow(i, n)
	}
	c.eventually("the last transaction is counted", func() bool { return value(txnMetric, "committed") >= float64(len(sizes)) })
	if got := value(txnMetric, "aborted"); got != 1 {
		t.Errorf("%v transactions aborted, want one", got)
	}
}

// TestLineWithARecordLargerThanABatch: a record of one App that is too large for
// another's transaction throws that away, and is met by nobody again.
func TestLineWithARecordLargerThanABatch(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	aLine(c)
	count, value := metered()
	c.prepareLine(t.TempDir(), []lineApp{{"app", c.countingFirst}, {"next", c.growing("mid")}}, count).begin(t)
	i := 0
	for ; value("comptoir_stage_handed_over_records_total", "") == 0; i++ {
		c.grow(i, 1+i)
	}
	c.grow(i, largeBatch-1000)
	c.grow(i+1, largeBatch-2000)
	if got := value(txnMetric, "aborted"); got != 1 {
		t.Errorf("%v transactions aborted, want one", got)
	}
}
