package streams

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/streams/state"
)

// chained numbers the records of each key and passes them on by two repartition
// topics to "out". On the way stores are written in all manners.
func (c *cluster) chained(b *Builder) {
	one, onOne := Repartition(b, "one", Text, numberSerde, PartitionsOf(c.n("in")))
	two, onTwo := Repartition(b, "two", Text, numberSerde, PartitionsOf(c.n("in")))
	out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
	numbers := NewKeyValue(b, "numbers", Text, numberSerde)
	passing := NewKeyValue(b, "passing", Text, numberSerde)
	From(b, Topic[string, string]{Name: c.n("in"), Key: Text, Value: Text}).Process("number", func(c *Context, r Record[string, string]) {
		n, _ := numbers.Get(c, r.Key)
		numbers.Put(c, r.Key, n+1)
		one.Send(c, Record[string, uint64]{Key: "via " + r.Key, Value: n + 1})
	}, numbers, one)
	onOne.Process("pass", func(c *Context, r Record[string, uint64]) {
		switch r.Value % 4 {
		case 0: // it comes and goes
			passing.Get(c, r.Key)
			passing.Put(c, r.Key, r.Value)
			passing.Delete(c, r.Key)
		case 1: // it stays
			passing.Put(c, r.Key, r.Value)
		case 2: // it goes, without a look
			passing.Delete(c, r.Key)
		case 3:
			if _, ok := passing.Get(c, "other "+r.Key); ok {
				passing.Delete(c, "other "+r.Key)
			} else {
				passing.Put(c, "other "+r.Key, r.Value)
			}
		}
		two.Send(c, Record[string, uint64]{Key: r.Key[len("via "):], Value: r.Value})
	}, passing, two)
	onTwo.To(out)
}

// chainedLine is chained as three Apps that meet at public topics.
func (c *cluster) chainedLine() []lineApp {
	numbered := func(name string) Topic[string, uint64] {
		return Topic[string, uint64]{Name: c.n(name), Key: Text, Value: numberSerde}
	}
	return []lineApp{
		{"app", func(b *Builder) {
			one := To(b, numbered("one"))
			numbers := NewKeyValue(b, "numbers", Text, numberSerde)
			From(b, c.text("in")).Process("number", func(c *Context, r Record[string, string]) {
				n, _ := numbers.Get(c, r.Key)
				numbers.Put(c, r.Key, n+1)
				one.Send(c, Record[string, uint64]{Key: "via " + r.Key, Value: n + 1})
			}, numbers, one)
		}},
		{"pass", func(b *Builder) {
			two := To(b, numbered("two"))
			last := NewKeyValue(b, "last", Text, numberSerde)
			From(b, numbered("one")).Process("pass", func(c *Context, r Record[string, uint64]) {
				last.Put(c, r.Key, r.Value)
				two.Send(c, Record[string, uint64]{Key: r.Key[len("via "):], Value: r.Value})
			}, last, two)
		}},
		{"last", func(b *Builder) {
			seen := NewKeyValue(b, "seen", Text, numberSerde)
			out := To(b, numbered("out"))
			From(b, numbered("two")).Process("see", func(c *Context, r Record[string, uint64]) {
				seen.Put(c, r.Key, r.Value)
				out.Send(c, r)
			}, seen, out)
		}},
	}
}

// instance is one of several Apps that share the work.
type instance struct {
	app   *runningApp
	net   *faultNet
	value func(name, label string) float64
}

// crowd is instances that come and go, the load that they are under, and the
// check of what they write.
type crowd struct {
	c       *cluster
	line    bool
	rng     *rand.Rand
	running []*instance
	dirs    []string // of instances that are not running

	load sync.WaitGroup
	room chan struct{} // one for each record that may be under way
	stop chan struct{} // ends the load
	idle chan struct{} // closed when it has ended

	ended sync.Once

	mu   sync.Mutex
	sent int
	seen int
	// handed counts what was handed over between Apps, a little less: an instance
	// is asked before it ends.
	handed int
	bad    string // what came out of order
	more   chan struct{}
}

// TestNothingOvertakes lets instances start, stop, crash and lose their place in
// the group at random while records with numbers go through two repartitions:
// each key's numbers come out without a gap, in order and once, whether records
// were handed over or lay in a topic when their tasks moved. In the end the
// changelog gives the state that is there.
//
// STREAMS_TEST_SEED repeats a run's choices, though not its timing.
func TestNothingOvertakes(t *testing.T) { nothingOvertakes(t, false) }

// TestNothingOvertakesInALine is TestNothingOvertakes with three Apps in place of
// one and public topics in place of repartitions.
func TestNothingOvertakesInALine(t *testing.T) { nothingOvertakes(t, true) }

func nothingOvertakes(t *testing.T, line bool) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.near = true
		seed := uint64(time.Now().UnixNano())
		if s := os.Getenv("STREAMS_TEST_SEED"); s != "" {
			var err error
			if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("STREAMS_TEST_SEED=%d", seed)
		rounds := 20
		if c.fake == nil {
			rounds = 8
		}
		if os.Getenv("COMPTOIR_TEST_NIGHTLY") != "" {
			rounds = 100
		}
		cr := &crowd{c: c, line: line, rng: rand.New(rand.NewPCG(seed, 0)), room: make(chan struct{}, 600), stop: make(chan struct{}), idle: make(chan struct{}), more: make(chan struct{}, 1)}
		cr.play(rounds)
	})
}

func (cr *crowd) play(rounds int) {
	c, t := cr.c, cr.c.tb
	c.countingTopics()
	if cr.line {
		c.topic("one", 3)
		c.topic("two", 3)
	}
	cr.start()
	ctx, cancel := context.WithCancel(context.Background())
	cr.load.Go(cr.produce)
	cr.load.Go(func() { cr.check(ctx) })
	t.Cleanup(func() { cancel(); cr.endLoad(); cr.load.Wait() })
	crashes := 0
	for range rounds {
		switch do := cr.rng.IntN(8); {
		case len(cr.running) == 1 || do < 3 && len(cr.running) < 3:
			cr.start()
		case do < 6:
			cr.take().app.halt(t)
		default:
			if crashes++; c.fake == nil && crashes > 1 {
				cr.take().app.halt(t) // sessions are long there
			} else if do == 6 {
				i := cr.take()
				i.net.cut(true)
				i.app.kill()
			} else {
				cr.forget()
			}
		}
		cr.progress(200 + cr.rng.IntN(400))
	}
	cr.endLoad()
	cr.progress(0)

	for len(cr.running) > 1 {
		cr.take().app.halt(t)
	}
	last := cr.running[0]
	c.eventually("one has all tasks", func() bool { return last.value("comptoir_stage_tasks", "") == cr.tasks() })
	c.eventually("lag 0", func() bool {
		if cr.line {
			return c.lag("app", "in") == 0 && c.lag("pass", "one") == 0 && c.lag("last", "two") == 0
		}
		return c.lag("app", "in", "app-one-repartition", "app-two-repartition") == 0
	})
	cr.take().app.halt(t)
	lay := 2*cr.sent - cr.handed
	if !cr.line {
		lay = len(c.all("app-one-repartition")) + len(c.all("app-two-repartition"))
	}
	t.Logf("%d records, %d of %d steps by a topic", cr.sent, lay, 2*cr.sent)
	if lay <= 0 || lay > 19*cr.sent/10 {
		t.Errorf("%d of %d steps went by a topic: the test tests nothing", lay, 2*cr.sent)
	}
	fresh := t.TempDir()
	cr.launch(fresh).halt(t)
	here, restored := c.stored(cr.dirs[len(cr.dirs)-1]), c.stored(fresh)
	if len(here) < 12 || !maps.Equal(here, restored) {
		t.Errorf("the state is %v, and %v when it is restored", here, restored)
	}
}

// start starts another instance, on the state of one that ran before or on none.
func (cr *crowd) start() {
	dir := cr.c.tb.TempDir()
	if n := len(cr.dirs); n > 0 && cr.rng.IntN(2) == 0 {
		dir, cr.dirs = cr.dirs[n-1], cr.dirs[:n-1]
	}
	net := newFaultNet(cr.c.tb)
	count, value := metered()
	keep := func(cfg *Config) { cfg.keepRepartitioned = true }
	app := cr.launch(dir, net.use, count, keep, cr.c.shortSession)
	cr.running = append(cr.running, &instance{app, net, value})
}

// launch starts an instance on a state directory.
func (cr *crowd) launch(dir string, opts ...func(*Config)) *runningApp {
	apps := []lineApp{{"app", cr.c.chained}}
	if cr.line {
		apps = cr.c.chainedLine()
	}
	r := cr.c.prepareLine(dir, apps, opts...)
	r.begin(cr.c.tb)
	return r
}

// tasks are those of all Apps.
func (cr *crowd) tasks() float64 {
	if cr.line {
		return 9
	}
	return 3
}

// take removes an instance from those that run; the caller ends it.
func (cr *crowd) take() *instance {
	n := cr.rng.IntN(len(cr.running))
	i := cr.running[n]
	cr.running = append(cr.running[:n], cr.running[n+1:]...)
	cr.dirs = append(cr.dirs, i.app.dir)
	cr.handed += int(i.value("comptoir_stage_handed_over_records_total", ""))
	return i
}

// forget keeps an instance from the group, and from nothing else, until the
// others have its tasks.
func (cr *crowd) forget() {
	zombie := cr.running[cr.rng.IntN(len(cr.running))]
	silent := zombie.net.strikeAll(kmsg.Heartbeat, heldUp)
	cr.c.eventually("the others have all tasks", func() bool {
		tasks := 0.0
		for _, i := range cr.running {
			if i != zombie {
				tasks += i.value("comptoir_stage_tasks", "")
			}
		}
		return tasks == cr.tasks()
	})
	zombie.net.lift(silent)
}

func (cr *crowd) endLoad() {
	cr.ended.Do(func() { close(cr.stop) })
	<-cr.idle
}

// produce sends records until the load ends, as long as not too many are under way.
func (cr *crowd) produce() {
	defer close(cr.idle)
	for {
		recs := make([]*kgo.Record, 20)
		for i := range recs {
			select {
			case cr.room <- struct{}{}:
			case <-cr.stop:
				return
			}
			recs[i] = cr.c.rec("in", -1, fmt.Sprintf("k%d", i%12), "x")
		}
		if err := cr.c.cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
			cr.c.tb.Error(err)
			return
		}
		cr.mu.Lock()
		cr.sent += len(recs)
		cr.mu.Unlock()
	}
}

// check reads what comes out, and remembers the first that is out of order.
func (cr *crowd) check(ctx context.Context) {
	cl, err := cr.c.kafka.New(kgo.ConsumeTopics(cr.c.n("out")), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		cr.c.tb.Error(err)
		return
	}
	defer cl.Close()
	last := map[string]uint64{}
	for ctx.Err() == nil {
		for _, r := range cl.PollFetches(ctx).Records() {
			n, _ := binary.Uvarint(r.Value)
			cr.mu.Lock()
			if want := last[string(r.Key)] + 1; n != want && cr.bad == "" {
				cr.bad = fmt.Sprintf("key %s: %d where %d is due, at offset %d of partition %d", r.Key, n, want, r.Offset, r.Partition)
			}
			last[string(r.Key)] = n
			cr.seen++
			cr.mu.Unlock()
			select {
			case <-cr.room:
			default: // more came out than went in, which is noted
			}
		}
		select {
		case cr.more <- struct{}{}:
		default:
		}
	}
}

// progress waits until n more records have come out, or with 0 until all have,
// and fails the test if one was out of order.
func (cr *crowd) progress(n int) {
	cr.c.tb.Helper()
	deadline := time.After(60 * time.Second)
	cr.mu.Lock()
	target := cr.seen + n
	cr.mu.Unlock()
	for {
		if n == 0 {
			cr.mu.Lock()
			target = cr.sent
			cr.mu.Unlock()
		}
		cr.mu.Lock()
		seen, bad := cr.seen, cr.bad
		cr.mu.Unlock()
		if bad != "" {
			cr.c.tb.Fatal(bad)
		}
		if seen >= target {
			return
		}
		select {
		case <-cr.more:
		case <-deadline:
			cr.c.tb.Fatalf("%d records came out, want %d", seen, target)
		}
	}
}

// stored is what the stores hold in a state directory, over all tasks.
func (c *cluster) stored(dir string) map[string]string {
	c.tb.Helper()
	db, err := state.Open(dir)
	if err != nil {
		c.tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	got := map[string]string{}
	for n := range int32(9) {
		app, p := []string{"app", "pass", "last"}[n/3], n%3
		space, err := db.Space(c.n(app), "state", p)
		if err != nil {
			c.tb.Fatal(err)
		}
		err = db.Scan(space, []byte{1}, func(k, v []byte) bool { // the task's own begin with 0
			got[fmt.Sprintf("%s/%d/%s", app, p, k)] = string(v)
			return true
		})
		if err != nil {
			c.tb.Fatal(err)
		}
	}
	return got
}
