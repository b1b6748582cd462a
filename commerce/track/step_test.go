package track

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// partitionAt is a partition whose last record is of the millisecond at, and
// which has unread records more.
func partitionAt(at, unread int64) *openPartition {
	p := &openPartition{place: place{at: at, end: 100 + unread, heard: time.Now()}}
	p.read.Store(100)
	return p
}

func TestSlice(t *testing.T) {
	orders, verdicts, dry := orderdb.Partition{Topic: event.TopicOrders}, orderdb.Partition{Topic: event.TopicVerdicts}, orderdb.Partition{Topic: event.TopicJournal}
	s := step{length: time.Second}
	open := map[orderdb.Partition]*openPartition{orders: partitionAt(9000, 10), verdicts: partitionAt(5000, behindRecords/2), dry: partitionAt(1000, 0)}
	look := func(wantStop, wantResume []orderdb.Partition, wantDone bool) {
		t.Helper()
		stop, resume := s.look(open)
		for what, c := range map[string]struct {
			got  map[string][]int32
			want []orderdb.Partition
		}{"stopped": {stop, wantStop}, "resumed": {resume, wantResume}} {
			var got []orderdb.Partition
			for topic, partitions := range c.got {
				for _, n := range partitions {
					got = append(got, orderdb.Partition{Topic: topic, Partition: n})
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, not %v", what, got, c.want)
			}
		}
		if s.done != wantDone {
			t.Errorf("done: %v", s.done)
		}
	}
	list := func(p ...orderdb.Partition) []orderdb.Partition { return p }

	look(nil, nil, false) // not behind
	if s.end != 0 {
		t.Fatal("a slice without being behind")
	}
	open[verdicts].end += behindRecords
	look(list(orders), nil, false) // the slice ends at 6000
	open[verdicts].at = 5999
	look(nil, nil, false)
	open[verdicts].at = 6000
	look(list(verdicts), nil, true)
	s.next(mostSlice + 1)
	if s.length != time.Second/2 {
		t.Errorf("after a large slice: %v", s.length)
	}
	look(nil, list(verdicts), false) // until 6500
	open[verdicts].heard = time.Now().Add(-2 * slicePatience)
	look(nil, nil, true) // it is silent
	listen(open)         // after a rest, in which nobody could say anything
	look(nil, nil, false)
	delete(open, orders) // revoked while it waits
	look(nil, list(orders), false)
	open[verdicts].read.Store(open[verdicts].end)
	look(nil, nil, true)
	s.next(leastSlice - 1)
	if s.length != time.Second {
		t.Errorf("after a small slice: %v", s.length)
	}
	look(nil, nil, false)
	if s.end != 0 {
		t.Error("a slice with all read")
	}
}

// TestSliceWithoutTheSilent: a partition that gives nothing, and has come to no
// time yet, does not keep others, which are far ahead of it, from being read.
func TestSliceWithoutTheSilent(t *testing.T) {
	silent, busy := orderdb.Partition{Topic: event.TopicOrders}, orderdb.Partition{Topic: event.TopicVerdicts}
	open := map[orderdb.Partition]*openPartition{silent: partitionAt(0, 10), busy: partitionAt(time.Now().UnixMilli(), behindRecords)}
	open[silent].heard = time.Now().Add(-2 * slicePatience)
	s := step{length: time.Second}
	if stop, _ := s.look(open); stop != nil || s.done || s.end != open[busy].at+1000 {
		t.Errorf("%v stopped, done: %v, a slice until %d", stop, s.done, s.end)
	}
	s.next(0)
	open[busy].heard = open[silent].heard
	if stop, _ := s.look(open); stop != nil || s.end != 0 {
		t.Errorf("%v stopped, a slice until %d when all are silent", stop, s.end)
	}
}

// TestBehind has a Tracker meet a backlog that spans a minute, so that it reads
// by slices: whatever waits is read in the end.
func TestBehind(t *testing.T) {
	c := newCluster(t, 2)
	const orders = 4000
	start := time.Now().Add(-time.Minute)
	for _, topic := range []string{event.TopicOrders, event.TopicVerdicts, event.TopicMovements, event.TopicAccepted, event.TopicInvoices, event.TopicNotifications} {
		var recs []*kgo.Record
		for i := range orders {
			r := record(topic, int32(i%2), fmt.Sprint(i))
			r.Timestamp = start.Add(time.Duration(i) * time.Minute / orders)
			recs = append(recs, r)
		}
		c.send(recs...)
	}
	db := newMemory()
	c.start(db)
	eventually(t, "lag 0", c.lag)
	if err := sameTimelines(db.timelines(), c.scan()); err != nil {
		t.Fatal(err)
	}
}

// TestFullBatchRests has the stages press on a Tracker that has a full batch: it
// must not read on while it rests, however much there is.
func TestFullBatchRests(t *testing.T) {
	c := newCluster(t, 2)
	const orders, looks = 24_000, 25
	var recs []*kgo.Record
	for i := range orders {
		recs = append(recs, record(event.TopicOrders, int32(i%2), fmt.Sprint(i)))
	}
	c.sendBulky(recs)
	db := newMemory()
	var asked atomic.Int32
	c.start(db, func(cfg *Config) {
		cfg.batchBytes = 256 << 10
		cfg.Yield = func() bool { n := asked.Add(1); return n > 3 && n < looks } // when it has begun to read
	})
	eventually(t, "lag 0", c.lag)
	// Two or three fetches make a batch full, of at most 128 KiB of each partition.
	if db.most > orders/2 {
		t.Errorf("a batch has %d of %d orders", db.most, orders)
	}
	if err := sameTimelines(db.timelines(), c.scan()); err != nil {
		t.Fatal(err)
	}
}

// TestRestsFromTheStart: what comes while the stages press waits, however little,
// until they no longer do.
func TestRestsFromTheStart(t *testing.T) {
	c := newCluster(t, 1)
	db := newMemory()
	var asked atomic.Int32
	var eased atomic.Bool
	c.start(db, func(cfg *Config) {
		cfg.Yield = func() bool { asked.Add(1); return !eased.Load() }
	})
	c.send(record(event.TopicOrders, 0, "one"))
	seen := asked.Load()
	eventually(t, "some looks", func() error {
		if n := asked.Load() - seen; n < 5 {
			return fmt.Errorf("%d looks", n)
		}
		return nil
	})
	if n := len(db.timelines()); n != 0 {
		t.Errorf("%d orders are known", n)
	}
	eased.Store(true)
	eventually(t, "lag 0", c.lag)
	if n := len(db.timelines()); n != 1 {
		t.Errorf("%d orders are known in the end", n)
	}
}

// TestRestsWithinABurst has the stages press as soon as a first batch is being
// applied, or as something is read: what else has come already is not read on.
func TestRestsWithinABurst(t *testing.T) {
	for _, test := range []struct {
		pressed string
		orders  int
	}{
		{"by a batch", 9000},           // no slice yet
		{"by a read", 6 * pollRecords}, // which begins one
	} {
		t.Run(test.pressed, func(t *testing.T) { restsWithinABurst(t, test.orders, test.pressed == "by a read") })
	}
}

func restsWithinABurst(t *testing.T, orders int, byRead bool) {
	c := newCluster(t, 1)
	var recs []*kgo.Record
	for i := range orders {
		recs = append(recs, record(event.TopicOrders, 0, fmt.Sprint(i)))
	}
	c.sendTogether(recs)
	db := newMemory()
	reg := prometheus.NewRegistry()
	read := func() (n float64) {
		families, err := reg.Gather()
		if err != nil {
			t.Error(err)
		}
		for _, f := range families {
			if f.GetName() == "comptoir_track_records_total" {
				for _, m := range f.GetMetric() {
					n += m.GetCounter().GetValue()
				}
			}
		}
		return n
	}
	p, release := pressure{begun: func() bool { return read() > 0 }}, func() {}
	if !byRead {
		p.begun, release = db.hold()
	}
	c.start(db, func(cfg *Config) { cfg.Registerer, cfg.Yield = reg, p.yield })
	t.Cleanup(release) // before the Tracker's stop
	p.looked(t, "from the beginning")
	release()
	p.looked(t, "after the batch")
	most := float64(pollRecords)
	if !byRead {
		most *= 3 // there may be two more reads before the batch is being applied
	}
	if n := read(); n == 0 || n > most {
		t.Errorf("%g of %d orders were read", n, orders)
	}
	p.eased.Store(true)
	eventually(t, "lag 0", c.lag)
	if err := sameTimelines(db.timelines(), c.scan()); err != nil {
		t.Fatal(err)
	}
}

// TestRestsBetweenSlices has the stages press while a slice is applied, of which
// partitions wait: when they no longer do, it goes on at once.
func TestRestsBetweenSlices(t *testing.T) {
	c := newCluster(t, 2)
	began := time.Now().Add(-time.Hour)
	var recs []*kgo.Record
	for i := range 2 * behindRecords {
		r := record(event.TopicOrders, int32(i%2), fmt.Sprint(i))
		r.Timestamp = began.Add(time.Duration(i) * time.Millisecond)
		recs = append(recs, r)
	}
	c.sendBulky(recs)
	db := newMemory()
	held, release := db.hold()
	p := pressure{begun: held}
	c.start(db, func(cfg *Config) { cfg.Yield = p.yield })
	t.Cleanup(release)
	p.looked(t, "while the slice is applied")
	release()
	p.looked(t, "after it")
	p.eased.Store(true)
	eventually(t, "lag 0", c.lag)
	if err := sameTimelines(db.timelines(), c.scan()); err != nil {
		t.Fatal(err)
	}
}

// TestCatalogueInBatches: a catalogue loaded at once, which is one slice, does not
// go into one batch, which would be one transaction.
func TestCatalogueInBatches(t *testing.T) {
	c := newCluster(t, 2)
	const products = 12_000
	name := strings.Repeat("n", event.MaxNameBytes)
	now := time.Now()
	var recs []*kgo.Record
	for i := range products {
		p := event.Product{ID: event.ID(fmt.Sprint(i)), Name: name}
		recs = append(recs, &kgo.Record{Topic: event.TopicProducts, Partition: int32(i % 2), Timestamp: now, Value: p.AppendJSON(nil)})
	}
	c.sendBulky(recs)
	db := newMemory()
	c.start(db, func(cfg *Config) { cfg.batchBytes = 256 << 10 })
	eventually(t, "lag 0", c.lag)
	if len(db.products) != products {
		t.Errorf("%d of %d products are known", len(db.products), products)
	}
	if db.mostProducts > products/2 {
		t.Errorf("a batch has %d of %d products", db.mostProducts, products)
	}
}
