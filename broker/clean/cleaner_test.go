package clean

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func fixed() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

var plain = &producer{id: -1}

func (w *world) put(pairs ...string) int64 {
	w.t.Helper()
	var records []keyValue
	for i := 0; i < len(pairs); i += 2 {
		kv := keyValue{key: []byte(pairs[i])}
		if pairs[i+1] != "" {
			kv.value = []byte(pairs[i+1])
		}
		records = append(records, kv)
	}
	return w.produce(plain, kgo.NoCompression(), 0, records...)
}

// sees fails unless a reader sees these records, each as "offset key value".
func (w *world) sees(want ...string) {
	w.t.Helper()
	var got []string
	for _, r := range w.committed() {
		got = append(got, fmt.Sprintf("%d %s %s", r.Offset, r.Key, r.Value))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("a reader sees %q, should see %q", got, want)
	}
}

// later lets d pass, and as long again as it takes until all that is there is
// compacted.
func (w *world) later(d time.Duration) {
	w.t.Helper()
	w.clock.turn(d)
	w.round()
	w.clock.turn(restless)
	w.round()
}

func (w *world) alter(name, value string) {
	w.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rr := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic}
	rr.Configs = append(rr.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Value: &value})
	req.Resources = append(req.Resources, rr)
	if got := do[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0]; got.ErrorCode != 0 {
		w.t.Fatal(*got.ErrorMessage)
	}
}

func TestRetentionByTime(t *testing.T) {
	w := newWorld(t, fixed(), 1000, "retention.ms", "60000")
	w.put("a", "1", "b", "2")
	w.clock.turn(30 * time.Second)
	w.put("c", "3")
	w.clock.turn(31 * time.Second)
	w.round()
	w.sees("2 c 3")
	if s := w.state(); s.Start != 2 || s.End != 3 {
		t.Errorf("%+v", s)
	}

	// An open transaction stays whole, and so does what lies behind it.
	p := w.producer("p")
	w.begin(p)
	w.produce(p, kgo.NoCompression(), 0, keyValue{[]byte("x"), []byte("y")})
	w.put("d", "4")
	w.clock.turn(2 * time.Minute)
	w.round()
	if s := w.state(); s.Start != 3 || s.Stable != 3 || s.End != 5 {
		t.Errorf("with an open transaction: %+v", s)
	}
	w.finish(p, true)
	w.clock.turn(2 * time.Minute)
	w.round()
	w.sees()
	s := w.state()
	if s.Start != s.End {
		t.Errorf("all is old: %+v", s)
	}

	// An emptied partition goes on where it was, also after a crash.
	w.crash()
	if got := w.state(); got.Start != s.Start || got.End != s.End {
		t.Errorf("after a crash: %+v, before: %+v", got, s)
	}
	if base := w.put("e", "5"); base != s.End {
		t.Errorf("the next record has offset %d, the end was %d", base, s.End)
	}
}

func TestRetentionBySize(t *testing.T) {
	w := newWorld(t, fixed(), 1000)
	for i := range 10 {
		w.put("k", strconv.Itoa(i))
	}
	w.round()
	if s := w.state(); s.Start != 0 {
		t.Fatalf("without a limit: %+v", s)
	}
	one := w.store.Size(w.partition()) / 10
	w.alter("retention.bytes", strconv.FormatInt(3*one+one/2, 10))
	w.round()
	if s := w.state(); s.Start != 6 || s.End != 10 {
		t.Errorf("what stays has at least the bytes asked for, and less than a batch more: %+v", s)
	}
	w.alter("cleanup.policy", "compact")
	w.alter("retention.bytes", "0")
	w.round()
	if s := w.state(); s.Start != 6 {
		t.Errorf("without the policy: %+v", s)
	}
}

func TestCompaction(t *testing.T) {
	w := newWorld(t, fixed(), 1000, "cleanup.policy", "compact", "delete.retention.ms", "600000", "min.cleanable.dirty.ratio", "0.01")
	w.put("a", "1", "b", "1", "c", "1")
	w.put("a", "2", "b", "")
	w.put("d", "1")
	w.later(restless)
	w.sees("2 c 1", "3 a 2", "4 b ", "5 d 1")
	// The tombstone goes when its time has come, without new records.
	w.later(11 * time.Minute)
	w.sees("2 c 1", "3 a 2", "5 d 1")
	w.put("d", "")
	w.later(restless)
	w.later(11 * time.Minute)
	w.sees("2 c 1", "3 a 2")
	// The last batch stays without its records: the end can be reached.
	all := w.batches()
	if last := all[len(all)-1]; last.NumRecords != 0 || last.LastOffset() != 6 {
		t.Errorf("the last batch: %+v", last)
	}
	w.put("e", "1")
	w.later(restless)
	w.sees("2 c 1", "3 a 2", "7 e 1")
	if n := len(w.batches()); n != 3 {
		t.Errorf("%d batches", n)
	}
}

func TestCompactionWaits(t *testing.T) {
	w := newWorld(t, fixed(), 1000, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.5", "max.compaction.lag.ms", "3600000")
	for i := range 10 {
		w.put("a"+strconv.Itoa(i), "1")
	}
	w.later(restless)
	w.put("a0", "2")
	w.later(restless)
	if n := len(w.committed()); n != 11 {
		t.Errorf("%d records: one of eleven that is new is no reason for a pass", n)
	}
	w.later(time.Hour)
	if n := len(w.committed()); n != 10 {
		t.Errorf("%d records: after its longest time a record is reason enough", n)
	}
}

func TestAbortedRecordsAndMarkersGo(t *testing.T) {
	w := newWorld(t, fixed(), 1000, "cleanup.policy", "compact", "delete.retention.ms", "600000", "min.cleanable.dirty.ratio", "0")
	p := w.producer("p")
	write := func(commit bool, value string) {
		w.begin(p)
		w.produce(p, kgo.NoCompression(), 0, keyValue{[]byte("a"), []byte(value)})
		w.finish(p, commit)
	}
	write(true, "1")  // 0, marker 1
	write(false, "2") // 2, marker 3
	w.put("z", "1")   // 4
	w.later(restless)
	w.sees("0 a 1", "4 z 1")
	if n := len(w.batches()); n != 4 {
		t.Errorf("%d batches: a marker stays for its time", n)
	}
	w.later(11 * time.Minute)
	w.sees("0 a 1", "4 z 1")
	if n := len(w.batches()); n != 3 {
		t.Errorf("%d batches: a marker stays with its transaction's records, and no other", n)
	}
	write(true, "3") // 5, marker 6
	w.later(restless)
	w.sees("4 z 1", "5 a 3")
}

// A batch that cannot be read stays, and so does every tombstone behind it: what
// it deletes may be in there.
func TestUnreadableBatchStays(t *testing.T) {
	w := newWorld(t, fixed(), 4, "cleanup.policy", "compact", "delete.retention.ms", "0", "min.cleanable.dirty.ratio", "0")
	w.put("a", "1")                                                             // 0
	w.put("k1", "1", "k2", "1", "k3", "1", "k4", "1", "k5", "1", "a", "hidden") // 1 to 6: more than fit
	w.put("a", "")                                                              // 7
	w.put("z", "1")                                                             // 8
	w.later(restless)
	w.later(time.Hour)
	w.sees("1 k1 1", "2 k2 1", "3 k3 1", "4 k4 1", "5 k5 1", "6 a hidden", "7 a ", "8 z 1")
}

// A pass that meets a change of policy gives up; the next round goes by the new
// one.
func TestPolicyChangesUnderWay(t *testing.T) {
	w := newWorld(t, fixed(), 1000, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0")
	w.put("a", "1")
	w.put("a", "2")
	w.round()
	w.clock.turn(restless)
	all, err := w.Cleanables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.alter("cleanup.policy", "delete")
	if err := w.cleaner.clean(t.Context(), all[0]); err != errStale {
		t.Errorf("got %v, want %v", err, errStale)
	}
	w.sees("0 a 1", "1 a 2")
}

// restClock counts how long it was asked to wait, and waits for nothing.
type restClock struct {
	now    time.Time
	rested time.Duration
}

func (c *restClock) Now() time.Time { return c.now }

func (c *restClock) After(d time.Duration) <-chan time.Time {
	c.rested += d
	done := make(chan time.Time, 1)
	done <- c.now
	return done
}

// TestYields: cleaning takes a quarter of a core, and an eighth of that while
// others need the processors.
func TestYields(t *testing.T) {
	clock := &restClock{now: time.Unix(1, 0)}
	pressed := false
	c := New(Config{Clock: clock, Yield: func() bool { return pressed }})
	rests := func(when string, want time.Duration) {
		t.Helper()
		clock.rested = 0
		if err := c.pace(t.Context(), clock.now.Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if clock.rested != want {
			t.Errorf("%s: rests for %v after a second of work, not %v", when, clock.rested, want)
		}
	}
	rests("alone", 3*time.Second)
	pressed = true
	rests("pressed", 31*time.Second)
	c.cfg.Yield = nil
	rests("without others", 3*time.Second)
}
