package streams

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestLoadPasses(t *testing.T) {
	var none *Load
	none.note()
	if none.High() {
		t.Error("no load is high")
	}
	synctest.Test(t, func(t *testing.T) {
		var l Load
		if l.High() {
			t.Error("high at first")
		}
		l.note()
		if !l.High() {
			t.Error("not high when it was just seen")
		}
		time.Sleep(loadLasts)
		if l.High() {
			t.Error("high for ever")
		}
	})
}

// TestTricklesAreNoLoad: an App that nobody waits for finds more to read after each
// rest between its transactions. That is no load.
func TestTricklesAreNoLoad(t *testing.T) {
	c := newCluster(t)
	c.topic("in", 1)
	c.topic("out", 1)
	var l Load
	c.launch(t.TempDir(), func(b *Builder) {
		out := To(b, Topic[string, string]{Name: c.n("out"), Key: Text, Value: Text})
		From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Unhurried().Process("pass on", func(x *Context, r Record[string, string]) {
			out.Send(x, r)
		}, out)
	}, func(cfg *Config) {
		cfg.Load, cfg.CommitInterval = &l, 50*time.Millisecond
	})
	// One after the other, until some transactions were ended with more behind them.
	seen := map[int64]bool{}
	for i := 0; len(seen) < 10; i++ {
		c.send(c.rec("in", -1, key17(i), fmt.Sprint(i)))
		at, _ := c.committed("in", 0)
		seen[at] = true
	}
	if l.seen.Load() != 0 {
		t.Error("load is noted")
	}
}

// TestLoadIsNoted: an App whose transactions end because they are full is under
// load, one that ends them when its input is dry is not.
func TestLoadIsNoted(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprintf("full=%v", full), func(t *testing.T) {
			c := newCluster(t)
			c.countingTopics()
			for i := range 50 {
				c.send(c.rec("in", -1, key17(i), fmt.Sprint(i)))
			}
			var l Load
			r := c.launch(t.TempDir(), c.counting, func(cfg *Config) {
				cfg.Load, cfg.CommitInterval = &l, 3*time.Second
				if full {
					cfg.BufferBytes, cfg.CommitInterval = 100, 100*time.Millisecond
				}
			})
			c.atRest(50)
			if r.worker.others.Pressed != nil {
				t.Error("it gives way to others")
			}
			if noted := l.seen.Load() != 0; noted != full {
				t.Errorf("load is noted: %v", noted)
			}
		})
	}
}

// TestManyAtOnceAreLoad: an App that meets as much as it takes at once is under load
// before its transaction has ended.
func TestManyAtOnceAreLoad(t *testing.T) {
	for n, want := range map[int]bool{maxPoll / 4: false, 2 * maxPoll: true} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCluster(t)
			c.countingTopics()
			recs := make([]*kgo.Record, n)
			for i := range recs {
				recs[i] = c.rec("in", 0, "k", fmt.Sprint(i))
			}
			c.send(recs...)
			var l Load
			c.launch(t.TempDir(), c.counting, func(cfg *Config) {
				cfg.Load, cfg.BufferBytes, cfg.CommitInterval = &l, 1<<30, time.Hour
			})
			c.atRest(n)
			if noted := l.seen.Load() != 0; noted != want {
				t.Errorf("load is noted: %v", noted)
			}
		})
	}
}

// TestUnhurriedYields: an App that nobody waits for commits what it has and takes
// no more while others are under load, and goes on when they no longer are.
func TestUnhurriedYields(t *testing.T) {
	c := newCluster(t)
	c.topic("in", 1)
	c.topic("out", 1)
	var l Load
	var taken atomic.Int64
	r := c.launch(t.TempDir(), func(b *Builder) {
		out := To(b, c.text("out"))
		From(b, c.text("in")).Unhurried().Process("pass on", func(x *Context, r Record[string, string]) {
			out.Send(x, r)
			taken.Add(1)
		}, out)
	}, func(cfg *Config) {
		cfg.Load, cfg.CommitInterval = &l, time.Hour
	})
	c.send(c.rec("in", 0, "a", "1"))
	c.eventually("the first record is taken", func() bool {
		r.worker.nudge() // its waits are as long as the interval
		return taken.Load() == 1
	})
	l.seen.Store(time.Now().Add(time.Hour).UnixMilli())
	c.eventually("what is open is committed", func() bool {
		r.worker.nudge()
		at, _ := c.committed("in", 0)
		return at > 0
	})
	c.send(c.rec("in", 0, "b", "2"))
	c.eventually("the second record is there, and not taken", func() bool { return r.worker.fetch.BufferedFetchRecords() == 1 })
	if n := taken.Load(); n != 1 {
		t.Errorf("%d records taken", n)
	}
	l.seen.Store(0)
	c.eventually("the second record is taken", func() bool { return taken.Load() == 2 })
}
