package track

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// caughtUp waits until the timelines are what a scan finds and the lag is 0.
func (c *cluster) caughtUp(db *memory) {
	c.tb.Helper()
	want := c.scan()
	eventually(c.tb, "timelines", func() error { return sameTimelines(db.timelines(), want) })
	eventually(c.tb, "lag 0", c.lag)
}

func healthy(t *Tracker) func() error { return t.Health }

func TestTwoTrackersShare(t *testing.T) {
	c := newCluster(t, 3)
	db := newMemory()
	rng := rand.New(rand.NewPCG(5, 5))
	a, stopA := c.start(db)
	eventually(t, "first is ready", healthy(a))
	c.history(rng, 200, 3, 10)
	b, _ := c.start(db)
	eventually(t, "both have partitions", func() error {
		for _, x := range []*Tracker{a, b} {
			if err := x.Health(); err != nil {
				return err
			}
		}
		g, err := c.adm.DescribeGroups(context.Background(), Group)
		if err != nil {
			return err
		}
		if n := len(g[Group].Members); n != 2 || g[Group].State != "Stable" {
			return fmt.Errorf("%d members, %s", n, g[Group].State)
		}
		for _, m := range g[Group].Members {
			if as, ok := m.Assigned.AsConsumer(); !ok || len(as.Topics) == 0 {
				return errors.New("a member without partitions")
			}
		}
		return nil
	})
	c.history(rng, 200, 3, 10)
	c.caughtUp(db)
	stopA()
	c.history(rng, 200, 3, 10)
	c.caughtUp(db)
}

// TestInstance: a Tracker that died without leaving the group is replaced by the
// next one of the same instance at once, and one that stops leaves.
func TestInstance(t *testing.T) {
	c := newCluster(t, 3)
	testInstance(t, c)
}

func testInstance(t *testing.T, c *cluster) {
	db := newMemory()
	instance := func(cfg *Config) { cfg.Instance = "i" }
	members := func() int {
		g, err := c.adm.DescribeGroups(context.Background(), Group)
		if err != nil {
			t.Fatal(err)
		}
		return len(g[Group].Members)
	}
	a, _ := c.start(db, instance)
	eventually(t, "first is ready", healthy(a))
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Stop(dead); err != nil {
		t.Fatal(err)
	}
	if n := members(); n != 1 {
		t.Fatalf("%d members after a death, want the dead one", n)
	}
	b, stop := c.start(db, instance)
	eventually(t, "second is ready", func() error {
		if n := members(); n > 1 {
			t.Fatalf("%d members: the dead one is waited for", n)
		}
		return b.Health()
	})
	c.history(rand.New(rand.NewPCG(6, 6)), 50, 3, 10)
	c.caughtUp(db)
	stop()
	if n := members(); n != 0 {
		t.Errorf("%d members after the stop", n)
	}
}

// TestZombie has a Tracker write a batch after another one has taken its
// partitions over.
func TestZombie(t *testing.T) {
	c := newCluster(t, 1)
	db := newMemory()
	a, _ := c.start(db)
	eventually(t, "ready", healthy(a))
	blocked, release := make(chan struct{}), make(chan struct{})
	db.set(func(m *memory) { m.blocked, m.block = blocked, release })
	c.send(record(event.TopicOrders, 0, "1"))
	<-blocked // the batch is on its way
	// Another one tracks the same record and the next.
	c.send(record(event.TopicOrders, 0, "2"))
	db.set(func(m *memory) {
		p := orderdb.Partition{Topic: event.TopicOrders}
		m.positions[p] = orderdb.Position{Topic: c.topicID(event.TopicOrders), Next: 2}
		m.entries["1"] = append(m.entries["1"], orderdb.Entry{Topic: p.Topic})
		m.entries["2"] = append(m.entries["2"], orderdb.Entry{Topic: p.Topic, Offset: 1})
	})
	close(release)
	c.send(record(event.TopicOrders, 0, "3"))
	c.caughtUp(db)
}

// TestDatabaseRestored puts the database back to an earlier state while a batch
// is on its way.
func TestDatabaseRestored(t *testing.T) {
	c := newCluster(t, 1)
	db := newMemory()
	c.start(db)
	c.send(record(event.TopicOrders, 0, "1"), record(event.TopicOrders, 0, "2"))
	c.caughtUp(db)
	blocked, release := make(chan struct{}), make(chan struct{})
	db.set(func(m *memory) { m.blocked, m.block = blocked, release })
	c.send(record(event.TopicOrders, 0, "3"))
	<-blocked
	db.set(func(m *memory) {
		clear(m.positions)
		clear(m.entries)
	})
	close(release)
	c.caughtUp(db)
}

// TestDatabaseRules gives the group to a database that knows nothing: what the
// group has committed does not count.
func TestDatabaseRules(t *testing.T) {
	c := newCluster(t, 2)
	rng := rand.New(rand.NewPCG(9, 9))
	first := newMemory()
	_, stop := c.start(first)
	c.history(rng, 100, 2, 10)
	c.caughtUp(first)
	stop()
	second := newMemory()
	c.start(second)
	c.caughtUp(second)
}

// TestRevokedIsDropped applies a batch after one of its partitions has gone.
func TestRevokedIsDropped(t *testing.T) {
	kept, lost := orderdb.Partition{Topic: event.TopicAccepted, Partition: 1}, orderdb.Partition{Topic: event.TopicMovements}
	s := &session{open: map[orderdb.Partition]*openPartition{}}
	b := &batch{}
	for i, p := range []orderdb.Partition{lost, kept, lost} {
		c := chunk{tp: p, p: &openPartition{}, to: orderdb.Position{Next: 9}}
		if i < 2 { // the third is a partition that went and came back
			s.open[p] = c.p
		}
		b.add(record(p.Topic, p.Partition, fmt.Sprint(i)))
		b.add(record(event.TopicProducts, 0, ""))
		if p == kept {
			b.add(record(p.Topic, p.Partition, "0")) // joins what the lost partition said
		}
		c.levels, c.products = len(b.said.Levels), len(b.said.Products)
		b.chunks = append(b.chunks, c)
	}
	s.revoked(t.Context(), nil, map[string][]int32{lost.Topic: {lost.Partition}})
	got := s.current(b)
	if len(got.From) != 1 || got.To[kept].Next != 9 {
		t.Errorf("positions from %v to %v", got.From, got.To)
	}
	if len(b.said.Orders) != 3 || len(b.said.Orders[0].More) != 1 {
		t.Errorf("gathered %v", b.said.Orders)
	}
	if len(got.Orders) != 2 || got.Orders[0].ID != "0" || got.Orders[0].Entry.Topic != kept.Topic || len(got.Orders[0].More) != 0 ||
		got.Orders[1].ID != "1" || len(got.Levels) != 0 || len(got.Products) != 1 {
		t.Errorf("orders %v, levels %v, products %v", got.Orders, got.Levels, got.Products)
	}
}

// TestReturnedIsReadAgain loses a partition while a batch gathers, and gets it
// back: what was read before comes again, and counts once.
func TestReturnedIsReadAgain(t *testing.T) {
	stays, returns := orderdb.Partition{Topic: event.TopicAccepted}, orderdb.Partition{Topic: event.TopicMovements}
	s := &session{t: &Tracker{metrics: newMetrics(nil)}, open: map[orderdb.Partition]*openPartition{stays: {}, returns: {}}}
	read := func(b *batch, p orderdb.Partition, from, to int64) *batch {
		t.Helper()
		part := kgo.FetchPartition{Partition: p.Partition, LastStableOffset: to, HighWatermark: to}
		for at := from; at < to; at++ {
			r := record(p.Topic, p.Partition, fmt.Sprint(at))
			r.Offset = at
			part.Records = append(part.Records, r)
		}
		b, back := s.index(b, kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: p.Topic, Partitions: []kgo.FetchPartition{part}}}}})
		if back != nil {
			t.Fatalf("went back: %v", back)
		}
		return b
	}
	b := read(nil, returns, 0, 2)
	b = read(b, stays, 0, 2) // joins
	b = read(b, returns, 2, 3)
	s.revoked(t.Context(), nil, map[string][]int32{returns.Topic: {returns.Partition}})
	s.open[returns] = &openPartition{}
	b = read(b, returns, 0, 3)
	b = read(b, returns, 3, 4)
	got := s.current(b)
	if got.To[returns].Next != 4 || got.From[returns].Next != 0 || got.To[stays].Next != 2 {
		t.Errorf("positions from %v to %v", got.From, got.To)
	}
	seen := map[string]int{}
	for _, o := range got.Orders {
		for _, e := range append([]orderdb.Entry{o.Entry}, o.More...) {
			seen[fmt.Sprintf("%s %d of %s", e.Topic, e.Offset, o.ID)]++
		}
	}
	for what, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", what, n)
		}
	}
	if len(seen) != 6 || len(got.Levels) != 4 {
		t.Errorf("%d records and %d levels, want 6 and 4: %v", len(seen), len(got.Levels), seen)
	}
}

func (c *cluster) topicID(topic string) [16]byte {
	c.tb.Helper()
	d, err := c.adm.ListTopics(context.Background(), topic)
	if err != nil {
		c.tb.Fatal(err)
	}
	return d[topic].ID
}

func TestTopicCreatedAnew(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprint("running=", running), func(t *testing.T) {
			c := newCluster(t, 2)
			db := newMemory()
			a, stop := c.start(db)
			c.send(record(event.TopicOrders, 0, "1"), record(event.TopicOrders, 0, "2"), record(event.TopicOrders, 1, "3"), record(event.TopicInvoices, 0, "1"))
			c.caughtUp(db)
			if !running {
				stop()
			}
			if _, err := c.adm.DeleteTopic(context.Background(), event.TopicOrders); err != nil {
				t.Fatal(err)
			}
			if _, err := c.adm.CreateTopic(context.Background(), 2, 1, nil, event.TopicOrders); err != nil {
				t.Fatal(err)
			}
			// The test's own producer keeps to the old topic.
			c.cl.Close()
			c.connect()
			// More than there was before: only the topic's id tells.
			c.send(record(event.TopicOrders, 0, "4"), record(event.TopicOrders, 0, "5"), record(event.TopicOrders, 0, "6"), record(event.TopicOrders, 1, "4"))
			if !running {
				a, _ = c.start(db)
			}
			c.caughtUp(db)
			eventually(t, "healthy", healthy(a))
			if got := db.timelines()["2"]; len(got) > 0 {
				t.Errorf("timeline of a lost record: %v", got)
			}
		})
	}
}

// TestLostEnd gives the database positions and entries that the log does not
// have.
func TestLostEnd(t *testing.T) {
	c := newCluster(t, 1)
	db := newMemory()
	c.send(record(event.TopicOrders, 0, "1"), record(event.TopicOrders, 0, "2"))
	p := orderdb.Partition{Topic: event.TopicOrders}
	db.positions[p] = orderdb.Position{Topic: c.topicID(p.Topic), Next: 5}
	for i, id := range []event.ID{"1", "2", "3", "4", "5"} {
		db.entries[id] = []orderdb.Entry{{Topic: p.Topic, Offset: int64(i)}}
	}
	// Start itself forgets, before anybody can fill the gap.
	c.start(db)
	if got := db.timelines(); len(got["3"]) > 0 || len(got["2"]) == 0 {
		t.Fatalf("after Start: %v", got)
	}
	c.send(record(event.TopicOrders, 0, "6"))
	c.caughtUp(db)
}

// TestPartitionGoesBack has a running Tracker meet records a second time.
func TestPartitionGoesBack(t *testing.T) {
	db := newMemory()
	tr, err := New(Config{Kafka: newCluster(t, 1).kafka, DB: db, Logger: testLog})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Stop(context.Background())
	s := &session{t: tr, ctx: t.Context(), open: map[orderdb.Partition]*openPartition{}}
	p := orderdb.Partition{Topic: event.TopicOrders}
	s.open[p] = &openPartition{topic: [16]byte{1}}
	s.open[p].read.Store(7)
	poll := func(offset int64) kgo.Fetches {
		r := record(p.Topic, 0, "1")
		r.Offset = offset
		return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: p.Topic, Partitions: []kgo.FetchPartition{{Records: []*kgo.Record{r}}}}}}}
	}
	b, back := s.index(nil, poll(9))
	if b == nil || back != nil || s.open[p].read.Load() != 10 {
		t.Fatalf("a gap: %+v, %+v", b, back)
	}
	// The next fetch joins the batch.
	b, _ = s.index(b, poll(10))
	if said := s.current(b); len(said.Orders) != 2 || said.From[p].Next != 0 || said.To[p].Next != 11 {
		t.Fatalf("two fetches: %+v", said)
	}
	b, back = s.index(b, poll(4))
	if b != nil || back == nil {
		t.Fatalf("a record again: %+v, %+v", b, back)
	}
	if err := s.wentBack(back); !errors.Is(err, errReopen) {
		t.Fatal(err)
	}
	if want := (orderdb.Position{Topic: [16]byte{1}, Next: 4}); db.positions[p] != want {
		t.Errorf("position %+v", db.positions[p])
	}
}

func TestDeletedBeforeTracked(t *testing.T) {
	c := newCluster(t, 1)
	db := newMemory()
	p := orderdb.Partition{Topic: event.TopicOrders}
	db.positions[p] = orderdb.Position{Topic: c.topicID(p.Topic), Next: 1}
	c.send(record(p.Topic, 0, "1"), record(p.Topic, 0, "2"), record(p.Topic, 0, "3"), record(p.Topic, 0, "4"))
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: p.Topic, At: 3})
	if _, err := c.adm.DeleteRecords(context.Background(), offsets); err != nil {
		t.Fatal(err)
	}
	c.start(db)
	c.caughtUp(db)
}

// TestDatabaseDown loses the database at start, in the middle, and in the
// moment when a batch was written.
func TestDatabaseDown(t *testing.T) {
	c := newCluster(t, 2)
	db := newMemory()
	down := fmt.Errorf("test: %w", orderdb.ErrUnavailable)
	db.down = down
	rng := rand.New(rand.NewPCG(6, 6))
	notified := make(chan struct{}, 1000)
	reg := prometheus.NewRegistry()
	a, _ := c.start(db, func(cfg *Config) {
		cfg.Applied = func() { notified <- struct{}{} }
		cfg.Registerer = reg
	})
	if err := a.Health(); !errors.Is(err, orderdb.ErrUnavailable) {
		t.Fatalf("health at start: %v", err)
	}
	c.history(rng, 100, 2, 5)
	db.set(func(m *memory) { m.down = nil })
	c.caughtUp(db)
	eventually(t, "healthy", healthy(a))
	<-notified

	db.set(func(m *memory) { m.down = down })
	c.send(record(event.TopicOrders, 0, "1"))
	eventually(t, "unhealthy", func() error {
		if err := a.Health(); !errors.Is(err, orderdb.ErrUnavailable) {
			return fmt.Errorf("health: %v", err)
		}
		return nil
	})
	g, err := c.adm.DescribeGroups(context.Background(), Group)
	if err != nil || len(g[Group].Members) != 1 {
		t.Fatalf("members while the database is down: %+v, %v", g, err)
	}
	db.set(func(m *memory) { m.down = nil })
	c.caughtUp(db)
	eventually(t, "healthy", healthy(a))

	applied := db.applied
	db.set(func(m *memory) { m.after = down })
	c.send(record(event.TopicOrders, 0, "1"))
	c.caughtUp(db)
	if db.applied != applied+1 {
		t.Errorf("a batch whose outcome was unknown was applied %d times", db.applied-applied)
	}
	if n := counted(t, reg, "comptoir_track_sessions_total"); n != 1 {
		t.Errorf("%v sessions: the database's trouble cost the membership", n)
	}
	if n := counted(t, reg, "comptoir_track_records_total"); n < 50 {
		t.Errorf("%v records counted", n)
	}
}

// counted is the sum of a counter over its labels.
func counted(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestKafkaDown(t *testing.T) {
	c := newCluster(t, 1)
	a, stop := c.start(newMemory())
	eventually(t, "ready", healthy(a))
	c.fake.Close()
	eventually(t, "unhealthy", func() error {
		if a.Health() == nil {
			return errors.New("healthy without Kafka")
		}
		return nil
	})
	stop()
}

func TestNewPartitionsAndTopics(t *testing.T) {
	c := newCluster(t, 1)
	if _, err := c.adm.DeleteTopic(context.Background(), event.TopicJournal); err != nil {
		t.Fatal(err)
	}
	db := newMemory()
	a, _ := c.start(db)
	eventually(t, "ready", healthy(a))
	if _, err := c.adm.CreateTopic(context.Background(), 1, 1, nil, event.TopicJournal); err != nil {
		t.Fatal(err)
	}
	if _, err := c.adm.UpdatePartitions(context.Background(), 3, event.TopicOrders); err != nil {
		t.Fatal(err)
	}
	c.cl.Close()
	c.connect()
	c.send(record(event.TopicJournal, 0, "1"), record(event.TopicOrders, 2, "2"))
	c.caughtUp(db)
}

// TestConsoleConsumerIsRefused keeps strangers from taking partitions.
func TestConsoleConsumerIsRefused(t *testing.T) {
	c := newCluster(t, 1)
	a, _ := c.start(newMemory())
	eventually(t, "ready", healthy(a))
	refused := make(chan error, 10)
	cl, err := c.kafka.New(kgo.ConsumerGroup(Group), kgo.ConsumeTopics(event.TopicOrders), kgo.WithHooks(hookFunc(func(err error) {
		select {
		case refused <- err:
		default:
		}
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	select {
	case err := <-refused:
		if !errors.Is(err, kerr.InconsistentGroupProtocol) {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a console consumer was not refused")
	}
}

type hookFunc func(error)

func (f hookFunc) OnGroupManageError(err error) { f(err) }
