package broker

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/broker/store"
)

// observed are the histograms of what is written, which its writers fill.
type observed struct {
	syncSeconds prometheus.Histogram
	group       prometheus.Histogram
	syncFailed  prometheus.Counter
}

func newObserved() *observed {
	return &observed{
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "comptoir_broker_sync_seconds", Help: "Time that forcing the journal to the disk takes.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 3, 11),
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "comptoir_broker_commit_answers", Help: "Answers that went out together once what they promise was safe: with sync=commit, those that shared one fsync.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		syncFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "comptoir_broker_sync_failures_total", Help: "Times that the journal could not be forced to the disk; writes are refused from then on.",
		}),
	}
}

func (o *observed) synced(s store.SyncInfo) {
	o.syncSeconds.Observe(s.Took.Seconds())
	if s.Err != nil {
		o.syncFailed.Inc()
	}
}

func (o *observed) answered(n int) { o.group.Observe(float64(n)) }

var (
	descBytes   = prometheus.NewDesc("comptoir_broker_journal_written_bytes_total", "Bytes written to the journal.", nil, nil)
	descFrames  = prometheus.NewDesc("comptoir_broker_journal_frames_total", "Frames written to the journal: what one turn of the broker decided is one.", nil, nil)
	descFiles   = prometheus.NewDesc("comptoir_broker_journal_files", "Files of the journal.", nil, nil)
	descJournal = prometheus.NewDesc("comptoir_broker_journal_bytes", "Bytes of the journal's files.", nil, nil)
	descLive    = prometheus.NewDesc("comptoir_broker_partition_bytes", "Bytes of record batches in all partitions: those of the journal that can still be read.", nil, nil)
	descIndex   = prometheus.NewDesc("comptoir_broker_index_bytes", "Bytes of the index on the disk.", nil, nil)
	descFree    = prometheus.NewDesc("comptoir_broker_disk_free_bytes", "Bytes that the disk of the journal has free.", nil, nil)
	descRefused = prometheus.NewDesc("comptoir_broker_writes_refused", "1 while writes are refused: the disk is full, or a write has failed.", nil, nil)
	descOpen    = prometheus.NewDesc("comptoir_broker_open_transactions", "Transactions that are open.", nil, nil)
	descOldest  = prometheus.NewDesc("comptoir_broker_oldest_transaction_seconds", "Age of the transaction that is open for longest; 0 for none.", nil, nil)
)

// askFor is how long the state machine has to say what is open; metrics are not
// to wait for a broker that hangs.
const askFor = time.Second

// collector reads what the broker holds when it is asked for.
type collector struct{ b *Broker }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBytes, descFrames, descFiles, descJournal, descLive, descIndex, descFree, descRefused, descOpen, descOldest} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(d, kind, v)
	}
	c.b.using.RLock()
	defer c.b.using.RUnlock()
	if c.b.closing.Err() != nil {
		return
	}
	s := c.b.store.Stats()
	send(descBytes, prometheus.CounterValue, float64(s.Bytes))
	send(descFrames, prometheus.CounterValue, float64(s.Frames))
	send(descFiles, prometheus.GaugeValue, float64(s.Files))
	send(descJournal, prometheus.GaugeValue, float64(s.FileBytes))
	send(descLive, prometheus.GaugeValue, float64(s.LiveBytes))
	send(descIndex, prometheus.GaugeValue, float64(s.IndexBytes))
	if free, ok := c.b.store.Space(); ok {
		send(descFree, prometheus.GaugeValue, float64(free))
	}
	refused := 0.0
	if c.b.store.Health() != nil {
		refused = 1
	}
	send(descRefused, prometheus.GaugeValue, refused)

	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	open, err := c.b.runner.OpenTransactions(ctx)
	if err != nil {
		return // what cannot be known is left out
	}
	send(descOpen, prometheus.GaugeValue, float64(open.Count))
	age := 0.0
	if open.Count > 0 {
		age = max(0, time.Since(open.Oldest).Seconds())
	}
	send(descOldest, prometheus.GaugeValue, age)
}
