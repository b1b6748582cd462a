package streams

import (
	"context"
	"encoding/binary"
	"maps"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/comptoir/comptoir/streams/state"
)

// aLine has topics of one partition for the counting line.
func aLine(c *cluster) {
	c.by("line")
	for _, name := range []string{"in", "mid", "out"} {
		c.topic(name, 1)
	}
}

// oneByOne sends records to "in", each when the one before has come out.
func (c *cluster) oneByOne(n, before int) {
	c.tb.Helper()
	for i := range n {
		c.produce("in", 1, func(int) string { return key17(i) })
		c.read("out", before+i+1)
	}
}

// held is what group "next" holds for "mid".
func (c *cluster) held() (at int64, metadata string) {
	c.tb.Helper()
	offs, err := c.adm.FetchOffsets(context.Background(), c.n("next"))
	if err != nil {
		return -1, ""
	}
	o, ok := offs.Lookup(c.n("mid"), 0)
	if !ok {
		return -1, ""
	}
	return o.At, o.Metadata
}

// TestLineSharesATransaction: with little to do each record crosses both Apps in
// one transaction, and stands in the topic between them all the same. At rest the
// reader's offset has passed it, and nothing is noted beside.
func TestLineSharesATransaction(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		aLine(c)
		net := newFaultNet(t)
		app := c.launch(t.TempDir(), c.counting, net.use)
		c.oneByOne(1, 0)
		c.atRest(1)
		ends := net.count(kmsg.EndTxn)
		c.oneByOne(10, 1)
		c.atRest(11)
		if got := net.count(kmsg.EndTxn) - ends; got != 10 {
			t.Errorf("%d transactions for ten records, want 10", got)
		}
		if got := app.handed(); got < 10 {
			t.Errorf("%v records handed over, want 10 at least", got)
		}
		if got := len(c.all("mid")); got != 11 {
			t.Errorf("%d records between the Apps, want 11", got)
		}
		if _, metadata := c.held(); strings.Count(metadata, ":") != 1 {
			t.Errorf("metadata %q at rest", metadata)
		}
		if err := app.rest[0].Health(); err != nil {
			t.Error(err)
		}
	})
}

// TestLineBeyondItsPosition keeps the reader's position before a foreign
// transaction, while more and more records beyond it are handed over. Whatever
// happens then, each record counts once, the foreign one too.
func TestLineBeyondItsPosition(t *testing.T) {
	for _, then := range []string{"goes on", "aborted", "crash", "crash, state lost", "offsets foreign", "offsets foreign, state lost", "reset"} {
		t.Run(then, func(t *testing.T) {
			t.Parallel()
			onClusters(t, func(t *testing.T, c *cluster) {
				aLine(c)
				dir, net := t.TempDir(), newFaultNet(t)
				app := c.launch(dir, c.counting, net.use, c.shortSession)
				c.oneByOne(3, 0)
				c.atRest(3)
				end := c.transact("foreign", c.rec("mid", 0, "foreign", "x"))
				before, handed := c.end("mid", 0), app.handed()
				c.oneByOne(5, 3)
				if got := app.handed() - handed; got != 5 {
					t.Fatalf("%v handed over behind a foreign transaction, want 5", got)
				}
				if at, metadata := c.held(); at >= before || strings.Count(metadata, ":") != 2 {
					t.Fatalf("the group holds %d, %q, want less than %d and what is beyond it", at, metadata, before)
				}
				total := 9
				relaunch := func(dir string) { c.launch(dir, c.counting, c.shortSession) }
				commit := func(metadata string) {
					app.halt(t)
					var offs kadm.Offsets
					offs.Add(kadm.Offset{Topic: c.n("mid"), Partition: 0, At: 0, LeaderEpoch: -1, Metadata: metadata})
					if err := c.adm.CommitAllOffsets(context.Background(), c.n("next"), offs); err != nil {
						t.Fatal(err)
					}
				}
				switch then {
				case "aborted":
					end(false)
					total--
				case "crash", "crash, state lost":
					net.cut(true)
					app.kill()
					if then != "crash" {
						dir = t.TempDir()
					}
					relaunch(dir)
				case "offsets foreign":
					commit("console")
					relaunch(dir)
				case "offsets foreign, state lost":
					commit("console")
					relaunch(t.TempDir())
				case "reset":
					commit(resetMark)
					total += 8 // all of it once more
					relaunch(dir)
				}
				end(then != "aborted")
				c.read("out", total)
				c.oneByOne(3, total)
				c.atRest(total + 3)
			})
		})
	}
}

// TestLineWithABadLink: what one App cannot handle is not what the one before it
// stands still for.
func TestLineWithABadLink(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	aLine(c)
	var bad atomic.Bool
	app := c.prepareLine(t.TempDir(), []lineApp{{"app", c.counting}, {"next", func(b *Builder) {
		c.countingNext(b)
		handle := b.sources[0].handle
		b.sources[0].handle = func(c *Context, key, value []byte) error {
			if bad.Load() {
				panic("cannot")
			}
			return handle(c, key, value)
		}
	}}}, c.shortSession)
	app.begin(t)
	c.oneByOne(3, 0)
	bad.Store(true)
	c.produce("in", 20, key17)
	c.read("mid", 23)
	c.eventually("lag 0 of the first", func() bool { return c.lag("app", "in") == 0 })
	c.eventually("the second says what is wrong", func() bool { return app.rest[0].Health() != nil })
	bad.Store(false)
	c.atRest(23)
	c.eventually("both healthy", func() bool { return app.Health() == nil && app.rest[0].Health() == nil })
	c.oneByOne(3, 23)
}

// TestLineWithoutALink stops one App of a line for good, and another instance
// takes its place.
func TestLineWithoutALink(t *testing.T) {
	t.Parallel()
	onClusters(t, func(t *testing.T, c *cluster) {
		aLine(c)
		app := c.launch(t.TempDir(), c.counting, c.shortSession)
		c.oneByOne(3, 0)
		if err := app.rest[0].Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.produce("in", 20, key17)
		c.read("mid", 23)
		c.prepareLine(t.TempDir(), []lineApp{{"next", c.countingNext}}, c.shortSession).begin(t)
		c.atRest(23)
		c.produce("in", 20, key17)
		c.atRest(43)
	})
}

// TestLineOnOldTransactions: where a transaction has no epoch of its own, nothing
// is handed over.
func TestLineOnOldTransactions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kfake.MaxVersions(kversion.V3_6_0()))
	aLine(c)
	app := c.launch(t.TempDir(), c.counting)
	c.oneByOne(5, 0)
	c.atRest(5)
	if got := app.handed(); got != 0 {
		t.Errorf("%v records handed over", got)
	}
}

// TestLineWithoutKeys: records without a key are spread over the partitions.
func TestLineWithoutKeys(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for _, name := range []string{"in", "mid", "out"} {
		c.topic(name, 3)
	}
	keyless := func(from, to string) func(*Builder) {
		return func(b *Builder) {
			out := To(b, Topic[[]byte, []byte]{Name: c.n(to), Key: Bytes, Value: Bytes})
			seen := NewKeyValue(b, "seen", Text, numberSerde)
			From(b, Topic[[]byte, []byte]{Name: c.n(from), Key: Bytes, Value: Bytes}).Process("pass", func(c *Context, r Record[[]byte, []byte]) {
				n, _ := seen.Get(c, "n")
				seen.Put(c, "n", n+1)
				out.Send(c, Record[[]byte, []byte]{Value: r.Value})
			}, seen, out)
		}
	}
	app := c.prepareLine(t.TempDir(), []lineApp{{"app", keyless("in", "mid")}, {"next", keyless("mid", "out")}})
	app.begin(t)
	c.oneByOne(30, 0)
	perPartition := map[int32]int{}
	for _, r := range c.all("mid") {
		perPartition[r.Partition]++
	}
	if app.handed() == 0 || len(perPartition) != 3 {
		t.Errorf("%v handed over, records by partition: %v", app.handed(), perPartition)
	}
	c.eventually("lag 0", func() bool { return c.lag("app", "in") == 0 && c.lag("next", "mid") == 0 })
	if got := len(c.all("out")); got != 30 {
		t.Errorf("%d came out, want 30", got)
	}
}

func TestAhead(t *testing.T) {
	var a ahead
	rec := func(producer int64, epoch int16, offset int64) bool {
		return a.covers(&kgo.Record{ProducerID: producer, ProducerEpoch: epoch, Offset: offset})
	}
	a.add(7, 3)
	if rec(7, 3, 10) {
		t.Error("a record beyond the end of what was handed over is covered")
	}
	a.until = 11
	for _, tt := range []struct {
		producer int64
		epoch    int16
		offset   int64
		want     bool
	}{{7, 3, 10, true}, {7, 2, 9, true}, {7, 4, 10, false}, {8, 3, 10, false}, {7, 3, 11, false}} {
		if got := rec(tt.producer, tt.epoch, tt.offset); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
	a.add(7, 1)
	if a.epochs[7] != 3 {
		t.Error("an older epoch replaces a newer one")
	}
	if a.pass(10); len(a.epochs) != 1 {
		t.Error("forgotten before its end")
	}
	if a.pass(11); len(a.epochs) != 0 {
		t.Error("not forgotten at its end")
	}
}

func FuzzParseMark(f *testing.F) {
	id := [16]byte{1, 2, 3}
	f.Add(mark(id, nil))
	f.Add(mark(id, map[int64]int16{7: 3, math.MaxInt64: math.MaxInt16}))
	f.Add(mark([16]byte{4}, nil))
	f.Add(resetMark)
	f.Add(mark(id, nil) + ":7.-1,x")
	f.Add("")
	f.Fuzz(func(t *testing.T, metadata string) {
		beyond, ours := parseMark(metadata, id)
		if !ours {
			if beyond != nil {
				t.Fatalf("%q is not ours, and tells %v", metadata, beyond)
			}
			return
		}
		again, ours := parseMark(mark(id, beyond), id)
		if !ours || !maps.Equal(beyond, again) {
			t.Fatalf("%q: %v reads back as %v", metadata, beyond, again)
		}
	})
}

func TestMarkTellsOursApart(t *testing.T) {
	id := [16]byte{1}
	for metadata, want := range map[string]bool{
		mark(id, nil): true, mark(id, map[int64]int16{1: 2}): true, mark([16]byte{2}, nil): false,
		"": false, resetMark: false, mark(id, nil) + "x": false, mark(id, nil) + ":": false, mark(id, nil) + ":1": false,
		mark(id, nil) + ":1.40000": false, mark(id, nil) + ":" + strings.Repeat("1.1,", 2000) + "1.1": false,
	} {
		if _, ours := parseMark(metadata, id); ours != want {
			t.Errorf("%.60q: %v, want %v", metadata, ours, want)
		}
	}
}

// TestLineDoesNotOvertake has records lie between two Apps, behind a foreign
// transaction, in the ways in which neither App has seen them come: written before
// the reader was made, and written by another instance that had the writer's task.
// What is written from then on must follow them.
func TestLineDoesNotOvertake(t *testing.T) {
	number := func(c *cluster) lineApp {
		return lineApp{"app", func(b *Builder) {
			mid := To(b, Topic[string, uint64]{Name: c.n("mid"), Key: Text, Value: numberSerde})
			numbers := NewKeyValue(b, "numbers", Text, numberSerde)
			From(b, c.text("in")).Process("number", func(c *Context, r Record[string, string]) {
				n, _ := numbers.Get(c, "n")
				numbers.Put(c, "n", n+1)
				mid.Send(c, Record[string, uint64]{Key: r.Key, Value: n + 1})
			}, numbers, mid)
		}}
	}
	// Without state: what is noted beyond the position is with the group alone.
	pass := func(c *cluster) lineApp {
		return lineApp{"next", func(b *Builder) {
			out := To(b, Topic[string, uint64]{Name: c.n("out"), Key: Text, Value: numberSerde})
			From(b, Topic[string, uint64]{Name: c.n("mid"), Key: Text, Value: numberSerde}).To(out)
		}}
	}
	ways := map[string]func(c *cluster, work func(n int)) *runningApp{
		"the reader comes later": func(c *cluster, work func(n int)) *runningApp {
			line := c.prepareLine(c.tb.TempDir(), []lineApp{number(c), pass(c)}, c.shortSession)
			if err := line.Start(context.Background()); err != nil {
				c.tb.Fatal(err)
			}
			work(5)
			if err := line.rest[0].Start(context.Background()); err != nil {
				c.tb.Fatal(err)
			}
			return line
		},
		"the writer's task moves": func(c *cluster, work func(n int)) *runningApp {
			writer := c.prepareLine(c.tb.TempDir(), []lineApp{number(c)}, c.shortSession)
			writer.begin(c.tb)
			count, value := metered()
			line := c.prepareLine(c.tb.TempDir(), []lineApp{number(c), pass(c)}, count, c.shortSession)
			line.handed = func() float64 { return value("comptoir_stage_handed_over_records_total", "") }
			line.begin(c.tb)
			c.eventually("the reader's task is at work", func() bool { return value("comptoir_stage_tasks", c.n("next")) == 1 })
			work(5)
			writer.halt(c.tb)
			c.eventually("the writer's task has moved", func() bool { return value("comptoir_stage_tasks", c.n("app")) == 1 })
			return line
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onClusters(t, func(t *testing.T, c *cluster) {
				aLine(c)
				end := c.transact("foreign", c.rec("mid", 0, "k", "\x00"))
				sent := 0
				work := func(n int) {
					c.tb.Helper()
					c.produce("in", n, func(int) string { return "k" })
					sent += n
					c.eventually("all numbered", func() bool { return c.lag("app", "in") == 0 })
				}
				line := way(c, work)
				work(5)
				if got := len(c.all("out")); got != 0 || line.handed() != 0 {
					t.Fatalf("%d outputs, %v handed over, while records lie in the topic", got, line.handed())
				}
				end(false)
				c.read("out", sent)
				c.eventually("at rest", func() bool { return c.lag("next", "mid") == 0 })
				for range 3 {
					work(1)
					c.read("out", sent)
				}
				if line.handed() == 0 {
					t.Error("nothing was handed over in the end")
				}
				for i, r := range c.all("out") {
					if n, _ := binary.Uvarint(r.Value); n != uint64(i+1) {
						t.Fatalf("%d comes out where %d is due", n, i+1)
					}
				}
			})
		})
	}
}

// TestChainHands: what an App writes is handed over to those made after it, and not
// where one of those writes to the same topic.
func TestChainHands(t *testing.T) {
	ch := &Chain{}
	for _, a := range []struct {
		name    string
		in, out []string
	}{
		{"first", []string{"in"}, []string{"one", "loop"}},
		{"second", []string{"one", "loop"}, []string{"two"}},
		{"aside", []string{"in"}, []string{"aside"}},
		{"third", []string{"two", "one", "back"}, []string{"loop", "three"}},
	} {
		b := NewBuilder(a.name)
		for _, topic := range a.in {
			From(b, Topic[string, string]{Name: topic, Key: Text, Value: Text}).Filter("all", func(Record[string, string]) bool { return true })
		}
		for _, topic := range a.out {
			To(b, Topic[string, string]{Name: topic, Key: Text, Value: Text})
		}
		top, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		ch.add(top)
	}
	for _, tt := range []struct {
		from  int
		topic string
		to    int
		want  bool
	}{
		{0, "one", 1, true}, {0, "one", 3, true}, {0, "one", 2, false}, {1, "two", 3, true},
		{0, "loop", 1, false}, // third's loop is in the same transaction, and comes by the topic
		{3, "loop", 1, false}, {1, "one", 3, false}, {0, "two", 3, false},
	} {
		if got := ch.hands(tt.from, tt.topic, tt.to); got != tt.want {
			t.Errorf("%d > %s > %d: %v, want %v", tt.from, tt.topic, tt.to, got, tt.want)
		}
	}
	for place, want := range []string{"first second third", "second third", "aside", "third"} {
		var names []string
		for _, top := range ch.from(place) {
			names = append(names, top.app)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("from %d: %s, want %s", place, got, want)
		}
	}
}

// TestChainPauses: an end that comes later is not brought forward.
func TestChainPauses(t *testing.T) {
	ch := &Chain{}
	if ch.paused() {
		t.Error("paused from the start")
	}
	ch.disable()
	ch.pause()
	if time.Until(ch.pausedTill) < time.Hour || !ch.paused() {
		t.Errorf("disabled, and paused until %v", ch.pausedTill)
	}
}

// TestLineOfTwoWriters: an App that starts while a transaction is open is handed
// nothing of it, since not all that the transaction writes could be.
func TestLineOfTwoWriters(t *testing.T) {
	c := newCluster(t)
	ch := &Chain{}
	var workers []*worker
	for _, a := range []struct{ name, in, out string }{{"first", "in", "mid"}, {"second", "one", "mid"}, {"third", "mid", "out"}} {
		b := NewBuilder(a.name)
		From(b, Topic[string, string]{Name: a.in, Key: Text, Value: Text}).To(To(b, Topic[string, string]{Name: a.out, Key: Text, Value: Text}))
		top, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		db, err := state.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		app, err := NewApp(Config{Topology: top, Kafka: c.kafka, State: db, Chain: ch})
		if err != nil {
			t.Fatal(err)
		}
		w, err := newWorker(app)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.fetch.Close)
		w.tasks[0], w.member = &task{}, true
		w.calm.Store(true)
		w.turn <- struct{}{}
		workers = append(workers, w)
	}
	first, second := workers[0], workers[1]
	ch.started(first)
	ch.started(second)
	first.lookAround()
	ch.started(workers[2])
	if second.borrow(first) {
		t.Error("borrowed by a transaction that began before another App")
	}
	if len(second.turn) != 1 {
		t.Fatal("the turn is not given back")
	}
	first.lookAround()
	if !second.borrow(first) {
		t.Error("not borrowed by the next one")
	}
}

// TestLineStopsBehindWhatItWasHanded keeps the reader from fetching what it has been
// handed until it is told to stop: its offset is behind it all the same.
func TestLineStopsBehindWhatItWasHanded(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	aLine(c)
	net := newFaultNet(t)
	app := c.launch(t.TempDir(), c.counting, func(cfg *Config) {
		if cfg.Topology.app == c.n("next") {
			net.use(cfg)
		}
	})
	c.oneByOne(1, 0)
	c.atRest(1)
	held := net.strikeAll(kmsg.Fetch, heldUp)
	await(t, "a fetch held up", held.fired)
	handed := app.handed()
	c.oneByOne(1, 1)
	if app.handed() == handed {
		t.Fatal("not handed over")
	}
	go func() {
		for next := app.rest[0].worker; !next.stopping(); {
			runtime.Gosched()
		}
		net.lift(held)
	}()
	app.halt(t)
	if lag := c.countingLag(); lag != 0 {
		t.Errorf("lag %d after a clean stop", lag)
	}
}
