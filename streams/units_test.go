package streams

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/streams/state"
)

func TestShares(t *testing.T) {
	table := []struct {
		name   string
		tasks  int32
		owned  [][]int32
		former [][]int32
		want   []int
	}{
		{"one member takes all", 3, [][]int32{nil}, nil, []int{0, 0, 0}},
		{"two new members", 4, [][]int32{nil, nil}, nil, []int{0, 1, 0, 1}},
		{"a member joins: the first keeps what is its share", 3, [][]int32{{0, 1, 2}, nil}, nil, []int{0, 0, 1}},
		{"a member has left: its tasks go to the least loaded", 4, [][]int32{{0}, {1, 3}}, nil, []int{0, 1, 0, 1}},
		{"more members than tasks", 1, [][]int32{nil, {0}, nil}, nil, []int{1}},
		{"tasks that are gone", 2, [][]int32{{0, 7, 8}, {1}}, nil, []int{0, 1}},
		{"claimed by two", 2, [][]int32{{0}, {0, 1}}, nil, []int{0, 1}},
		{"even already", 6, [][]int32{{5, 1}, {0, 2}, {3, 4}}, nil, []int{1, 0, 1, 2, 2, 0}},
		{"no tasks", 0, [][]int32{nil, nil}, nil, []int{}},
		{"all were out of the group: each gets back what it had", 4, [][]int32{nil, nil, nil}, [][]int32{{3}, {0, 2}, {1}}, []int{1, 2, 1, 0}},
		{"what one had has another now", 3, [][]int32{{0, 1}, nil, nil}, [][]int32{nil, {1, 2}, nil}, []int{0, 1, 2}},
		{"wishes of more than a share, and for what is not there", 4, [][]int32{nil, nil}, [][]int32{{-1, 0, 1, 2, 9}, nil}, []int{0, 0, 1, 1}},
	}
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			if got := shares(row.tasks, row.owned, row.former); !slices.Equal(got, row.want) {
				t.Errorf("owners %v, want %v", got, row.want)
			}
		})
	}
}

// TestBalancerAfterLoss lets all members of a group join anew after they were put
// out of it: each gets back what it had.
func TestBalancerAfterLoss(t *testing.T) {
	topics := map[string]int32{"a": 6, "b": 3}
	had := []map[string][]int32{{"a": {4, 1}, "b": {1}}, {"a": {3, 5}}, {"a": {0, 2}, "b": {0, 2}}}
	var members []kmsg.JoinGroupResponseMember
	for i, lost := range had {
		b := &balancer{member: func() string { return "" }}
		b.hadLost(lost)
		members = append(members, kmsg.JoinGroupResponseMember{
			MemberID: string(rune('z' - i)), ProtocolMetadata: b.JoinGroupMetadata([]string{"a", "b"}, nil, -1),
		})
	}
	b, _, err := (&balancer{}).MemberBalancer(members)
	if err != nil {
		t.Fatal(err)
	}
	into, err := b.(*kgo.ConsumerBalancer).BalanceOrError(topics)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range into.IntoSyncAssignment() {
		got, err := kgo.ParseConsumerSyncAssignment(m.MemberAssignment)
		if err != nil {
			t.Fatal(err)
		}
		want := had['z'-m.MemberID[0]]
		for topic := range topics {
			slices.Sort(got[topic])
			ps := slices.Sorted(slices.Values(want[topic]))
			if !slices.Equal(got[topic], ps) {
				t.Errorf("member %s has %v of %s, had %v", m.MemberID, got[topic], topic, ps)
			}
		}
	}
}

// TestBalancerTies: groups of the same members, one of which is gone, do not all
// give its task to the same other.
func TestBalancerTies(t *testing.T) {
	given := map[string]int{}
	for _, app := range []string{"one", "two", "three", "four", "five", "six", "seven", "eight"} {
		leader := &balancer{changelog: app, member: func() string { return "" }}
		var members []kmsg.JoinGroupResponseMember
		for i, name := range []string{"x", "y"} {
			members = append(members, kmsg.JoinGroupResponseMember{
				MemberID: name, ProtocolMetadata: leader.JoinGroupMetadata([]string{"a"}, map[string][]int32{"a": {int32(i)}}, 1),
			})
		}
		b, _, err := leader.MemberBalancer(members)
		if err != nil {
			t.Fatal(err)
		}
		into, err := b.(*kgo.ConsumerBalancer).BalanceOrError(map[string]int32{"a": 3})
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range into.IntoSyncAssignment() {
			got, err := kgo.ParseConsumerSyncAssignment(m.MemberAssignment)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(got["a"], int32(i)) {
				t.Errorf("%s: member %s has %v, and had %d", app, m.MemberID, got["a"], i)
			}
			if slices.Contains(got["a"], 2) {
				given[m.MemberID]++
			}
		}
	}
	if given["x"] < 2 || given["y"] < 2 || given["x"]+given["y"] != 8 {
		t.Errorf("of eight groups so many give the free task to each member: %v", given)
	}
}

// TestBalancerClaims: a member claims what it owns, in place of wishes for what it
// had; and nothing under another name than the one it was given it under.
func TestBalancerClaims(t *testing.T) {
	name := "one"
	b := &balancer{member: func() string { return name }, standby: func([]int32) {}}
	owned := map[string][]int32{"a": {3, 5}}
	said := func() (claims, wishes int) {
		t.Helper()
		var meta kmsg.ConsumerMemberMetadata
		if err := meta.ReadFrom(b.JoinGroupMetadata([]string{"a"}, owned, 7)); err != nil {
			t.Fatal(err)
		}
		if len(meta.UserData) > 0 {
			var wish kmsg.StickyMemberMetadata
			if err := wish.ReadFrom(meta.UserData); err != nil {
				t.Fatal(err)
			}
			for _, a := range wish.CurrentAssignment {
				wishes += len(a.Partitions)
			}
		}
		for _, o := range meta.OwnedPartitions {
			claims += len(o.Partitions)
		}
		return claims, wishes
	}
	share := func() {
		t.Helper()
		if _, err := b.ParseSyncAssignment(new(kmsg.ConsumerMemberAssignment).AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}
	share()
	b.hadLost(map[string][]int32{"a": {1}})
	if claims, wishes := said(); claims != 2 || wishes != 0 {
		t.Errorf("an owner makes %d claims and %d wishes", claims, wishes)
	}
	for _, name = range []string{"", "two"} { // forgotten, and named anew
		if claims, wishes := said(); claims != 0 || wishes != 2 {
			t.Errorf("one that was forgotten, now %q, makes %d claims and %d wishes", name, claims, wishes)
		}
	}
	share()
	if claims, wishes := said(); claims != 2 || wishes != 0 {
		t.Errorf("an owner makes %d claims and %d wishes", claims, wishes)
	}
	owned = nil
	if claims, wishes := said(); claims != 0 || wishes != 1 {
		t.Errorf("one that was put out makes %d claims and %d wishes", claims, wishes)
	}
}

// TestSharesProperties lets members come and go at random: every task has one
// owner, loads differ by one at most, and no task moves without need.
func TestSharesProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		tasks, n := int32(rnd.IntN(40)), 1+rnd.IntN(8)
		owned := make([][]int32, n)
		for p := range tasks {
			if m := rnd.IntN(n + 1); m < n {
				owned[m] = append(owned[m], p)
			}
		}
		owner := shares(tasks, owned, nil)
		load := make([]int, n)
		for p, m := range owner {
			if m < 0 || m >= n {
				t.Fatalf("task %d has owner %d of %d", p, m, n)
			}
			load[m]++
		}
		if slices.Max(load)-slices.Min(load) > 1 {
			t.Fatalf("loads %v", load)
		}
		// A member gives up nothing while it has no more than its share.
		kept, lower := make([]int, n), int(tasks)/n
		for m, ps := range owned {
			for _, p := range ps {
				if owner[p] == m {
					kept[m]++
				}
			}
			if want := min(len(ps), lower); kept[m] < want {
				t.Fatalf("member %d keeps %d of %d, its share is %d", m, kept[m], len(ps), lower)
			}
		}
		// Once even, the next round changes nothing.
		next := make([][]int32, n)
		for p, m := range owner {
			next[m] = append(next[m], int32(p))
		}
		if again := shares(tasks, next, nil); !slices.Equal(again, owner) {
			t.Fatalf("owners change from %v to %v without a reason", owner, again)
		}
	}
}

// TestPartitionIsThatOfKafka compares with franz-go's own default partitioner,
// and with known values of Kafka's Java client.
func TestPartitionIsThatOfKafka(t *testing.T) {
	for key, want := range map[string]uint32{ // org.apache.kafka.common.utils.UtilsTest
		"21": uint32(0xFFFFFFFF - 973932308 + 1), "foobar": uint32(0xFFFFFFFF - 790332482 + 1),
		"a-little-bit-long-string": uint32(0xFFFFFFFF - 985981536 + 1), "a-little-bit-longer-string": uint32(0xFFFFFFFF - 1486304829 + 1),
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": uint32(0xFFFFFFFF - 58897971 + 1), "abc": 479470107,
	} {
		if got := murmur2([]byte(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
	kgos := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		key := make([]byte, 1+rnd.IntN(40))
		for i := range key {
			key[i] = byte(rnd.Uint32())
		}
		n := 1 + rnd.IntN(100)
		if got, want := Partition(key, int32(n)), kgos.Partition(&kgo.Record{Key: key}, n); int(got) != want {
			t.Fatalf("key %x of %d partitions: %d, kgo says %d", key, n, got, want)
		}
	}
}

func FuzzParseMeta(f *testing.F) {
	b := NewBuilder("fuzz")
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).OnStreamTime("clock", time.Second, func(*Context, time.Time) {})
	top, err := b.Build()
	if err != nil {
		f.Fatal(err)
	}
	t := &task{top: top, positions: []int64{42}, topicIDs: [][16]byte{{1, 2, 3}}, clocks: []time.Time{time.UnixMilli(1_000_000)}}
	good := t.appendMeta(nil)
	f.Add(good)
	f.Add(good[:len(good)-1])
	t.ahead = []ahead{{epochs: map[int64]int16{7: 3, 1 << 40: math.MaxInt16}}}
	good = t.appendMeta(nil)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		type pos struct {
			topic  string
			id     [16]byte
			at     int64
			beyond map[int64]int16
		}
		type clock struct {
			name string
			at   time.Time
		}
		read := func(data []byte) (ps []pos, cs []clock, err error) {
			err = parseMeta(data, func(topic string, id [16]byte, at int64, beyond map[int64]int16) {
				ps = append(ps, pos{topic, id, at, beyond})
			},
				func(name string, at time.Time) { cs = append(cs, clock{name, at}) })
			return
		}
		ps, cs, err := read(data)
		if err != nil {
			return
		}
		// What is accepted encodes to what reads the same.
		again := &task{top: &Topology{}}
		for _, p := range ps {
			again.top.sources = append(again.top.sources, &source{topic: p.topic})
			again.topicIDs, again.positions = append(again.topicIDs, p.id), append(again.positions, p.at)
			again.ahead = append(again.ahead, ahead{epochs: p.beyond})
		}
		for _, c := range cs {
			again.top.clocks = append(again.top.clocks, c.name)
			again.clocks = append(again.clocks, c.at)
		}
		ps2, cs2, err := read(again.appendMeta(nil))
		if err != nil || !slices.EqualFunc(ps, ps2, func(a, b pos) bool {
			return a.topic == b.topic && a.id == b.id && a.at == b.at && maps.Equal(a.beyond, b.beyond)
		}) || !slices.EqualFunc(cs, cs2, func(a, b clock) bool { return a.name == b.name && a.at.Equal(b.at) }) {
			t.Fatalf("%v %v reads back as %v %v: %v", ps, cs, ps2, cs2, err)
		}
	})
}

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (write it with -update):\n%s", path, got)
	}
}

func TestInternal(t *testing.T) {
	for topic, want := range map[string]bool{
		"shop-lines-repartition":  true,
		"shop-state-changelog":    true,
		"shop-repartition":        false,
		"shop-lines":              false,
		"lines-repartition":       false,
		"shops-lines-repartition": false,
	} {
		if Internal("shop", topic) != want {
			t.Errorf("%s: internal %v, want %v", topic, !want, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	b := NewBuilder("shop")
	text := func(name string) Topic[string, string] {
		return Topic[string, string]{Name: name, Key: Text, Value: Text}
	}
	moved, again := Repartition(b, "by-product", Text, Text, FixedPartitions(4))
	out := To(b, text("verdicts"))
	store := NewKeyValue(b, "levels", Text, numberSerde)
	window := NewWindow(b, "recent", Text, numberSerde, time.Minute, time.Hour)
	prices := TableFrom(b, "prices", text("prices"))
	names := NewGlobalTable(b, "names", text("catalogue"), func() map[string]string { return nil }, func(map[string]string, string, *string) {})
	yes := func(Record[string, string]) bool { return true }
	in := From(b, text("orders")).Filter("valid", yes)
	parts := in.Branch("size", yes, yes)
	Map(parts[0].Merge("all", parts[1]), "rekey", func(r Record[string, string]) Record[string, string] { return r }).To(moved)
	again.Process("reserve", func(*Context, Record[string, string]) {}, store, window, prices, names, out)
	in.OnStreamTime("close", time.Minute, func(*Context, time.Time) {}, window)
	b.WallClock("sweep", time.Minute, func(*Context, time.Time) {}, store, out)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "describe.txt", top.Describe())
	golden(t, "describe.mmd", top.Mermaid())
	for _, row := range []struct {
		what      string
		got, want []string
	}{
		{"sources", top.Sources(), []string{"prices", "orders"}},
		{"outputs", top.Outputs(), []string{"verdicts"}},
		{"global sources", top.GlobalSources(), []string{"catalogue"}},
		{"internal topics", top.InternalTopics(), []string{"shop-by-product-repartition", "shop-state-changelog"}},
		{"stores", top.Stores(), []string{"levels", "prices", "recent"}},
	} {
		if !slices.Equal(row.got, row.want) {
			t.Errorf("%s %v, want %v", row.what, row.got, row.want)
		}
	}
}

func TestBuildReportsEveryMistake(t *testing.T) {
	b := NewBuilder("")
	text := Topic[string, string]{Name: "in", Key: Text, Value: Text}
	From(b, text).OnStreamTime("t", 0, func(*Context, time.Time) {})
	From(b, text)
	To(b, text)
	To(b, text)
	NewKeyValue(b, "s", Text, Text)
	NewKeyValue(b, "s", Text, Text)
	NewKeyValue(b, "", Text, Text)
	NewKeyValue(b, strings.Repeat("x", 256), Text, Text)
	NewWindow(b, "w", Text, Text, 0, 0)
	Repartition(b, "r", Text, Text, FixedPartitions(0))
	b.WallClock("p", -1, func(*Context, time.Time) {})
	_, err := b.Build()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"the application needs a name", `source "in" is defined twice`, `output "in" is defined twice`,
		`store "s" is defined twice`, "a store needs a name", "longer than 255 bytes", "size must be at least 1 ms",
		"at least one partition", "interval must be positive"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	if _, err := NewBuilder("empty").Build(); err == nil || !strings.Contains(err.Error(), "reads no topic") {
		t.Errorf("error %v for a topology without sources", err)
	}
}

// TestScanMergesWrites compares a store with a map: random writes in random
// transactions, of which some are thrown away, and scans from random keys.
func TestScanMergesWrites(t *testing.T) {
	db, err := state.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := NewBuilder("app")
	before := NewKeyValue(b, "a", Text, numberSerde)
	store := NewKeyValue(b, "b", Text, numberSerde)
	after := NewKeyValue(b, "c", Text, numberSerde)
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text})
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	open := func() *task {
		tk, err := newTask(top, 0, db, nil, map[string]int32{"in": 1}, slog.New(slog.DiscardHandler), time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		return tk
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	committed, model := map[string]uint64{}, map[string]uint64{}
	tk := open()
	for range 3000 {
		c := &tk.ctx
		k, v := fmt.Sprintf("%x", rnd.IntN(300)), rnd.Uint64()
		switch rnd.IntN(12) {
		case 0, 1, 2, 3:
			store.Put(c, k, v)
			model[k] = v
		case 4, 5:
			store.Delete(c, k)
			delete(model, k)
		case 6:
			before.Put(c, k, v)
			after.Put(c, k, v)
		case 7, 8:
			got, ok := store.Get(c, k)
			if want, is := model[k]; ok != is || got != want {
				t.Fatalf("get %s: %d %v, want %d %v", k, got, ok, want, is)
			}
		case 9:
			batch := db.NewBatch()
			tk.flush(batch, func([]byte, []byte) {})
			if err := batch.Apply(); err != nil {
				t.Fatal(err)
			}
			tk.settle()
			committed = maps.Clone(model)
			if rnd.IntN(3) == 0 {
				tk = open()
			}
		case 10:
			if rnd.IntN(4) == 0 {
				tk, model = open(), maps.Clone(committed) // thrown away
			}
		case 11:
			var from []byte
			if rnd.IntN(2) == 0 {
				from = []byte(k)
			}
			limit := 1 + rnd.IntN(200)
			var want []string
			for _, k := range slices.Sorted(maps.Keys(model)) {
				if bytes.Compare([]byte(k), from) >= 0 && len(want) < limit {
					want = append(want, fmt.Sprint(k, "=", model[k]))
				}
			}
			var got []string
			store.state(c).scan(from, func(k string, encoded []byte, v uint64) bool {
				if string(encoded) != k {
					t.Fatalf("key %s encoded as %x", k, encoded)
				}
				got = append(got, fmt.Sprint(k, "=", v))
				return len(got) < limit
			})
			if !slices.Equal(got, want) {
				t.Fatalf("scan from %q:\n%v\nwant\n%v", from, got, want)
			}
		}
	}
}

// TestScanWhileDeleting deletes while it scans: no entry is met twice.
func TestScanWhileDeleting(t *testing.T) {
	b := NewBuilder("app")
	store := NewKeyValue(b, "s", Text, numberSerde)
	var met []string
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("p", func(c *Context, r Record[string, string]) {
		if r.Key != "scan" {
			store.Put(c, r.Key, 1)
			return
		}
		store.Scan(c, func(k string, _ uint64) bool {
			met = append(met, k)
			store.Delete(c, k)
			return true
		})
	}, store)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSandbox(top, time.Unix(1e9, 0), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, k := range []string{"c", "a", "b", "scan", "scan"} {
		s.Pipe(RawRecord{Topic: "in", Key: []byte(k)})
	}
	if !slices.Equal(met, []string{"a", "b", "c"}) {
		t.Errorf("met %v, want a b c once", met)
	}
}

func TestWindow(t *testing.T) {
	b := NewBuilder("app")
	w := NewWindow(b, "w", Text, numberSerde, time.Minute, 2*time.Minute)
	base := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var oks []bool
	entries := 0
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("p", func(c *Context, r Record[string, string]) {
		n, _ := w.Get(c, r.Key, r.Time)
		oks = append(oks, w.Put(c, r.Key, r.Time, n+1))
		entries = 0
		w.kv.Scan(c, func(windowKey[string], uint64) bool { entries++; return true })
	}, w)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSandbox(top, base.Add(24*time.Hour), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	steps := []struct {
		at      time.Duration
		ok      bool
		entries int
	}{
		{0, true, 1}, {59 * time.Second, true, 1}, {time.Minute, true, 2}, {2*time.Minute + 30*time.Second, true, 3},
		{10 * time.Second, true, 3},                 // late, within retention
		{3 * time.Minute, true, 3},                  // the first window ended 2 minutes ago
		{30 * time.Second, false, 3},                // and is closed
		{time.Hour, true, 1},                        // all others expire
		{58 * time.Minute, true, 2},                 // ended less than a retention ago
		{57*time.Minute + 59*time.Second, false, 2}, // ended exactly a retention ago
	}
	for i, st := range steps {
		s.Pipe(RawRecord{Topic: "in", Key: []byte("k"), Time: base.Add(st.at)})
		if oks[i] != st.ok || entries != st.entries {
			t.Errorf("step %d at %v: open %v with %d entries, want %v with %d", i, st.at, oks[i], entries, st.ok, st.entries)
		}
		if i == 4 {
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for at, want := range map[time.Duration]time.Duration{0: 0, 59 * time.Second: 0, time.Minute: time.Minute, -time.Second: -time.Minute} {
		if got := w.Start(base.Add(at)); !got.Equal(base.Add(want)) {
			t.Errorf("window of %v starts at %v", at, got)
		}
	}
	if got := w.Start(time.UnixMilli(-1)); !got.Equal(time.UnixMilli(-60_000)) {
		t.Errorf("window before 1970 starts at %v", got)
	}
}
