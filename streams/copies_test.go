package streams

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func init() { copyLook = 50 * time.Millisecond }

func TestStandbys(t *testing.T) {
	table := []struct {
		name   string
		n      int
		owner  []int
		former [][]int32
		want   [][]int32
	}{
		{"none are wanted", 0, []int{0, 1}, [][]int32{nil, nil}, [][]int32{nil, nil}},
		{"one member", 1, []int{0, 0}, [][]int32{nil}, [][]int32{nil}},
		{"two members", 1, []int{0, 1, 0}, [][]int32{nil, nil}, [][]int32{{1}, {0, 2}}},
		{"evenly", 1, []int{0, 0, 0, 0}, [][]int32{nil, nil, nil}, [][]int32{nil, {0, 2}, {1, 3}}},
		{"who has one keeps it", 1, []int{0, 0, 1}, [][]int32{{2}, nil, {0, 1}}, [][]int32{{2}, nil, {0, 1}}},
		{"more than there are members", 5, []int{0, 1}, [][]int32{nil, nil, nil}, [][]int32{{1}, {0}, {0, 1}}},
	}
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			if got := standbys(row.n, row.owner, row.former); !slices.EqualFunc(got, row.want, slices.Equal[[]int32]) {
				t.Errorf("copies %v, want %v", got, row.want)
			}
		})
	}
}

// TestBalancerCopies: the leader tells members which copies to keep, and a task
// whose owner is gone goes to the member whose copy is up to date.
func TestBalancerCopies(t *testing.T) {
	told := map[string][]int32{}
	member := func(name string) *balancer {
		return &balancer{copies: 1, changelog: "log", member: func() string { return name },
			standby: func(tasks []int32) { told[name] = tasks }}
	}
	names := []string{"x", "y", "z"}
	members := map[string]*balancer{"x": member("x"), "y": member("y"), "z": member("z")}
	shares := map[string]map[string][]int32{}
	rebalance := func() {
		t.Helper()
		var joined []kmsg.JoinGroupResponseMember
		for _, name := range names {
			joined = append(joined, kmsg.JoinGroupResponseMember{MemberID: name,
				ProtocolMetadata: members[name].JoinGroupMetadata([]string{"a"}, shares[name], 1)})
		}
		b, _, err := members[names[0]].MemberBalancer(joined)
		if err != nil {
			t.Fatal(err)
		}
		into, err := b.(*kgo.ConsumerBalancer).BalanceOrError(map[string]int32{"a": 6})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range into.IntoSyncAssignment() {
			if shares[m.MemberID], err = members[m.MemberID].ParseSyncAssignment(m.MemberAssignment); err != nil {
				t.Fatal(err)
			}
		}
	}
	rebalance()
	kept := 0
	for name, tasks := range told {
		kept += len(tasks)
		for _, p := range tasks {
			if slices.Contains(shares[name]["a"], p) {
				t.Errorf("%s keeps a copy of task %d, which it owns", name, p)
			}
		}
	}
	if kept != 6 {
		t.Errorf("%d copies are kept, want 6", kept)
	}
	before := told["z"]
	for _, name := range names {
		members[name].keepsOf(told[name])
		members[name].keeps(told[name])
	}
	rebalance()
	if !slices.Equal(told["z"], before) {
		t.Errorf("copies %v have become %v without need", before, told["z"])
	}
	gone := shares["x"]["a"]
	names = names[1:]
	// The other way round than the load alone would have it.
	copies := map[string][]int32{"y": told["z"], "z": told["y"]}
	for name, tasks := range copies {
		members[name].keepsOf(tasks)
		members[name].keeps(tasks)
	}
	rebalance()
	for _, p := range gone {
		for _, name := range names {
			if slices.Contains(copies[name], p) != slices.Contains(shares[name]["a"], p) {
				t.Errorf("task %d did not go to whom had its copy: copies %v, shares %v", p, copies, shares)
			}
		}
	}
	y := members["y"]
	y.keepsOf(copies["y"][:1])
	for range 2 {
		if got := y.warm; !slices.Equal(got, copies["y"][:1]) {
			t.Errorf("up to date are copies of %v, want those of %v that are kept", got, copies["y"][:1])
		}
		y.keeps(copies["y"]) // by who kept them before, and has not heard of it yet
	}
}

// copyAt is how far the local state of a task is.
func (r *runningApp) copyAt(tb testing.TB, p int32) int64 {
	tb.Helper()
	t, err := newTask(r.cfg.Topology, p, r.db, nil, nil, testLog, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return t.changelog
}

// copied waits until an instance keeps so many copies, all of them at the
// changelog's end, markers included.
func (c *cluster) copied(r *runningApp, n int) {
	c.tb.Helper()
	c.eventually(fmt.Sprintf("%d copies are at the end of the changelog", n), func() bool {
		r.worker.share.mu.Lock()
		kept := slices.Clone(r.worker.share.warm)
		r.worker.share.mu.Unlock()
		for _, p := range kept {
			if r.copyAt(c.tb, p) != c.end(changelogOfTests, p) {
				return false
			}
		}
		return len(kept) == n
	})
}

func keyOwn(i int) string { return fmt.Sprint("key ", i) }

const (
	restoredMetric   = "comptoir_stage_restored_records_total"
	copyTasksMetric  = "comptoir_stage_standby_tasks"
	changelogOfTests = "app-state-changelog"
)

// TestCopyIsTakenOver: an instance keeps copies of another's tasks. When that is
// gone it restores next to nothing, and goes on from what was committed; so does
// the other when it is back.
func TestCopyIsTakenOver(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		dir := t.TempDir()
		first := c.launch(dir, c.counting)
		const many = 3000
		c.produce("in", many, keyOwn)
		c.atRest(many)
		count, value := metered()
		seen := &logs{}
		second := c.launch(t.TempDir(), c.counting, count, seen.use)
		c.copied(second, 2)
		c.eventually("it says so", func() bool {
			return value(copyTasksMetric, "") == 2 && value("comptoir_stage_standby_lag_records", "") == 0 && seen.count("copies of state", "up_to_date=true") > 0
		})
		if n := value("comptoir_stage_standby_records_total", ""); n < many/2 {
			t.Errorf("%v records were copied, want those of two tasks", n)
		}
		// What was aborted is nobody's.
		for p := range int32(3) {
			key := append(appendStoreName(nil, "counts"), keyOwn(int(p))...)
			end := c.transact(fmt.Sprint("foreign", p), &kgo.Record{Topic: c.n(changelogOfTests), Partition: p, Key: key, Value: numberSerde.Append(nil, 99)})
			end(false)
		}
		c.produce("in", many, keyOwn)
		c.atRest(2 * many)
		c.copied(second, 2)
		before := value(restoredMetric, "")
		first.kill()
		c.produce("in", many, keyOwn)
		c.atRest(3 * many)
		if n := value(restoredMetric, "") - before; n > many/10 {
			t.Errorf("%v records were restored to take over what there were copies of", n)
		}
		c.eventually("no copies are kept alone", func() bool { return value(copyTasksMetric, "") == 0 })
		back := c.launch(dir, c.counting)
		c.produce("in", many, keyOwn)
		c.atRest(4 * many)
		second.halt(t)
		c.produce("in", many, keyOwn)
		c.atRest(5 * many)
		if err := back.Health(); err != nil {
			t.Error(err)
		}
	})
}

// TestCopyOfRecreatedChangelog: a copy is emptied when its changelog is another.
func TestCopyOfRecreatedChangelog(t *testing.T) {
	c := newCluster(t)
	c.countingTopics()
	c.launch(t.TempDir(), c.counting)
	c.produce("in", 300, keyOwn)
	c.atRest(300)
	count, value := metered()
	seen := &logs{}
	second := c.launch(t.TempDir(), c.counting, count, seen.use)
	c.copied(second, 2)
	ctx := context.Background()
	topic := c.n(changelogOfTests)
	if _, err := c.adm.DeleteTopic(ctx, topic); err != nil {
		t.Fatal(err)
	}
	compact := map[string]*string{"cleanup.policy": kadm.StringPtr("compact")}
	if _, err := c.adm.CreateTopic(ctx, 3, 1, compact, topic); err != nil {
		t.Fatal(err)
	}
	for p := range int32(3) {
		c.send(&kgo.Record{Topic: topic, Partition: p, Key: append(appendStoreName(nil, "counts"), "new"...), Value: numberSerde.Append(nil, 5)})
	}
	c.eventually("two copies are anew", func() bool { return seen.count("local state wiped", "re-created") == 2 })
	c.copied(second, 2)
	only := 0
	for p := range int32(3) {
		space, err := second.db.Space(c.n("app"), "state", p)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := second.db.Scan(space, []byte{1}, func(_, _ []byte) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			only++
		}
	}
	if only != 2 {
		t.Errorf("%d copies hold the new record alone, want 2", only)
	}
	if n := value(copyTasksMetric, ""); n != 2 {
		t.Errorf("%v copies are kept", n)
	}
}

// TestCopiesYield: copies wait while the stages have too much to do, but not for
// ever.
func TestCopiesYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waited := func(load *Load) time.Duration {
			begin := time.Now()
			c := &copier{w: &worker{cfg: Config{Load: load}}}
			c.yield(t.Context())
			return time.Since(begin)
		}
		if d := waited(nil); d != 0 {
			t.Errorf("without a load they wait for %v", d)
		}
		load := &Load{}
		load.note()
		if d := waited(load); d != loadLasts {
			t.Errorf("after a sign of load they wait for %v, want %v", d, loadLasts)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				load.note()
				time.Sleep(loadLasts / 2)
			}
		}()
		load.note()
		if d := waited(load); d != copyYields {
			t.Errorf("under load they wait for %v, want %v", d, copyYields)
		}
		cancel()
		<-done
	})
}
