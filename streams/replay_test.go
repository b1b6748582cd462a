package streams

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/streams/state"
)

// refused is what a full disk does not take.
type refused struct{ writes }

func (refused) Apply() error { return syscall.ENOSPC }

// TestReplayEndsWithWhatIsNotWritten: what follows a part that could not be
// written is not written either, though there is room again: its position would
// stand behind what is missing.
func TestReplayEndsWithWhatIsNotWritten(t *testing.T) {
	re, reopen := replayOfOne(t)
	re.into = refused{re.into}
	put := func(offset int64) error {
		return re.put(&kgo.Record{Offset: offset, Key: []byte("k"), Value: []byte("v")})
	}
	if err := errors.Join(put(0), re.apply(), put(1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := re.apply(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("applied behind what was not written: %v", err)
		}
	}
	if err := re.flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("flushed what was not written: %v", err)
	}
	if at := reopen().changelog; at != 0 {
		t.Errorf("the local state is up to %d without what was before", at)
	}
}

// replayOfOne is a replay for a task without state, and how to open that anew.
func replayOfOne(t *testing.T) (re *replay, reopen func() *task) {
	t.Helper()
	b := NewBuilder("app")
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text})
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	db, err := state.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	reopen = func() *task {
		t.Helper()
		tk, err := newTask(top, 0, db, nil, nil, testLog, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return tk
	}
	re = newReplay(db)
	re.tasks[0] = &replayed{t: reopen()}
	return re, reopen
}

// cutChangelog has the next reader of a changelog's partition hear that its leader
// is another, and that the log of the former one has lost all but a record.
func (c *cluster) cutChangelog(partition int32) {
	c.fake.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, p.LeaderEpoch, 1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: c.n(changelogOfTests), Partitions: []int32{partition}, Err: kerr.FencedLeaderEpoch})
}

// TestRule17ChangelogCutUnderRestore: what was restored from a changelog that has
// lost its tail since is wiped, though it may have grown past it again.
func TestRule17ChangelogCutUnderRestore(t *testing.T) {
	c := newCluster(t)
	c.countingTopics()
	app := c.launch(t.TempDir(), c.counting)
	c.produce("in", 170, key17)
	c.atRest(170)
	app.halt(t)
	// The restore waits for the end of a transaction.
	key := append(appendStoreName(nil, "counts"), "other"...)
	end := c.transact("foreign", &kgo.Record{Topic: c.n(changelogOfTests), Partition: 1, Key: key, Value: numberSerde.Append(nil, 1)})
	count, value := metered()
	seen := &logs{}
	app = c.prepare(t.TempDir(), c.counting, count, seen.use)
	started := make(chan error, 1)
	go func() { started <- app.Start(t.Context()) }()
	fetched := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: c.n(changelogOfTests), Partitions: []int32{1}, Observe: true, Count: -1})
	c.eventually("all is read that is committed", func() bool { return fetched.Hits() > 1 })
	fetched.Remove()
	c.cutChangelog(1)
	c.eventually("one task is wiped", func() bool { return seen.count("wiped", "partition=1") == 1 })
	end(true)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if n := seen.count("wiped"); n != 1 {
		t.Errorf("%d tasks wiped, want one", n)
	}
	if n := value(restoredMetric, ""); n == 0 {
		t.Error("nothing is restored")
	}
	c.produce("in", 170, key17)
	c.atRest(340)
}

// TestRule17ChangelogCutUnderCopies: so is a copy of it.
func TestRule17ChangelogCutUnderCopies(t *testing.T) {
	c := newCluster(t)
	c.countingTopics()
	c.launch(t.TempDir(), c.counting)
	c.produce("in", 170, key17)
	c.atRest(170)
	seen := &logs{}
	second := c.launch(t.TempDir(), c.counting, seen.use)
	c.copied(second, 2)
	second.worker.share.mu.Lock()
	kept := slices.Clone(second.worker.share.warm)
	second.worker.share.mu.Unlock()
	ghost := func(p int32) []byte {
		t.Helper()
		space, err := second.db.Space(c.n("app"), "state", p)
		if err != nil {
			t.Fatal(err)
		}
		return append(append(space[:], appendStoreName(nil, "counts")...), "ghost"...)
	}
	batch := second.db.NewBatch()
	for _, p := range kept {
		batch.Set(ghost(p), numberSerde.Append(nil, 1))
	}
	if err := batch.Apply(); err != nil {
		t.Fatal(err)
	}
	c.cutChangelog(kept[0])
	c.produce("in", 170, key17) // ends the fetch that waits
	c.eventually("the copy is wiped", func() bool { return seen.count("wiped", fmt.Sprint("partition=", kept[0])) == 1 })
	c.copied(second, 2)
	for _, p := range kept {
		there, err := second.db.Get(ghost(p), func([]byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if there == (p == kept[0]) {
			t.Errorf("what was in the copy of task %d before is there: %t", p, there)
		}
	}
	if n := seen.count("wiped"); n != 1 {
		t.Errorf("%d copies wiped, want one", n)
	}
	c.atRest(340)
	c.copied(second, 2)
}
